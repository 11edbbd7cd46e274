//! Do the senses share sections? The same thing seen, heard, spoken and written, against other things in the same two
//! senses: how much more do routes have in common when the thing is the same?

use super::asker::Asker;
use super::{Report, stats, step};
use crate::args::EvalArgs;
use crate::failure::{Done, Failure};
use crate::readers;
use crate::sets::senses::{Files, Sense, digits};
use crate::sets::{heard, seen};
use lichen::data::{Speaker, Turn};
use lichen::session::RouteMap;
use serde::Deserialize;
use serde_json::Value;
use std::path::{Path, PathBuf};

/// A thing that exists in several senses, as the index of concepts has it.
#[derive(Deserialize)]
struct Concept {
    concept: String,
    word: String,
    image: Option<Value>,
    emoji: Option<Value>,
    sound: Option<Vec<Value>>,
    speech: Option<Value>,
}

/// The senses, in the order of a concept's routes.
const SENSES: [&str; 4] = ["seen", "heard", "spoken", "written"];

/// The first line of a list that has these values.
fn line(list: &Path, wanted: &[(&str, &Value)]) -> Done<Option<Value>> {
    let lines = readers::lines::<Value>(list)?;
    Ok(lines.into_iter().find(|line| wanted.iter().all(|(key, value)| &line[*key] == *value)))
}

/// A sound or a picture of a list's first fitting line, from the first split that has one.
fn sense(root: &Path, set: &str, splits: &[&str], wanted: &[(&str, &Value)], sees: bool) -> Done<Option<Sense>> {
    for split in splits {
        let list = root.join(set).join(format!("{split}.jsonl"));
        if let Some(found) = line(&list, wanted)? {
            let files = Files::beside(&list)?;
            let file = found["file"].as_str().unwrap_or_default();
            return Ok(Some(match sees {
                true => Sense::picture(&files.picture(file)?),
                false => Sense::sound(&files.sound(file)?),
            }));
        }
    }
    Ok(None)
}

/// Each sense's input of a concept, where it exists.
fn inputs(root: &Path, concept: &Concept) -> Done<[Option<(Turn, Option<Sense>)>; 4]> {
    let every = ["test", "validation", "train"];
    let picture = match (&concept.image, &concept.emoji) {
        (_, Some(emoji)) => sense(root, "noto_emoji", &every, &[("codepoint", &emoji["codepoint"])], true)?,
        (Some(image), None) if image["set"] == "mnist" => {
            let all = digits(&root.join("mnist/test-images-idx3-ubyte.gz"))?;
            let found = all.into_iter().find(|(_, label)| image["label"].as_u64() == Some(u64::from(*label)));
            found.map(|(picture, _)| Sense::picture(&picture))
        }
        _ => None,
    };
    let sound = match concept.sound.as_ref().and_then(|all| all.first()) {
        Some(sound) => sense(root, "esc10", &every, &[("label", &sound["label"])], false)?,
        None => None,
    };
    let spoken = match &concept.speech {
        Some(speech) if speech["set"] == "fsdd" => sense(root, "fsdd", &every, &[("digit", &speech["digit"])], false)?,
        Some(speech) => sense(root, "gcompris_spoken_words_en", &every, &[("word", &speech["word"])], false)?,
        None => None,
    };
    let words = Turn::new(Speaker::User, &concept.word);
    let with = |turn: Turn| move |sense: Sense| (turn, Some(sense));
    Ok([picture.map(with(seen())), sound.map(with(heard())), spoken.map(with(heard())), Some((words, None))])
}

/// The routes of a concept's senses: over the whole input, and where the answer begins.
type Routes = [Option<[RouteMap; 2]>; 4];

pub(super) fn sharing(_: &EvalArgs, files: &[PathBuf], asker: &mut Asker, report: &mut Report) -> Done {
    let index = files.first().ok_or_else(|| Failure::Usage("give --data a file of concepts".into()))?;
    let root = index.parent().and_then(Path::parent).unwrap_or(Path::new(""));
    let concepts: Vec<Concept> = serde_json::from_str(&readers::text(index)?)
        .map_err(|e| Failure::Failed(format!("cannot read {}: {e}", index.display())))?;
    let mut all: Vec<Routes> = Vec::new();
    for (i, concept) in concepts.iter().enumerate() {
        step(i, concepts.len())?;
        log::info!("{}", concept.concept);
        let mut routes: Routes = [None, None, None, None];
        for (route, input) in routes.iter_mut().zip(inputs(root, concept)?) {
            if let Some((turn, sense)) = input {
                let map = asker.route(&turn, sense.as_ref())?;
                *route = Some([map.last(), map]);
            }
        }
        all.push(routes);
    }
    for (which, name) in ["at_answer", "whole"].into_iter().enumerate() {
        let mut gains: Vec<(String, f64, f64)> = Vec::new();
        for (a, b) in (0..4).flat_map(|a| (a + 1..4).map(move |b| (a, b))) {
            for (i, concept) in all.iter().enumerate() {
                let (Some(one), Some(same)) = (&concept[a], &concept[b]) else { continue };
                let others: Vec<f64> = (0..all.len())
                    .filter(|j| *j != i)
                    .filter_map(|j| all[j][b].as_ref())
                    .map(|other| f64::from(one[which].overlap(&other[which]).1))
                    .collect();
                if others.is_empty() {
                    continue;
                }
                let mean = others.iter().sum::<f64>() / others.len() as f64;
                let shared = f64::from(one[which].overlap(&same[which]).1);
                gains.push((format!("{}_{}", SENSES[a], SENSES[b]), shared, mean));
            }
        }
        if gains.is_empty() {
            return Err(Failure::Failed("no concept exists in two senses".into()));
        }
        let mean = |rows: &[usize], of: fn(&(String, f64, f64)) -> f64| {
            100.0 * rows.iter().map(|&i| of(&gains[i])).sum::<f64>() / rows.len() as f64
        };
        let parts: [(&str, fn(&(String, f64, f64)) -> f64); 3] =
            [("same", |g| g.1), ("other", |g| g.2), ("more", |g| g.1 - g.2)];
        for (part, of) in parts {
            let (value, ci) = stats::interval(gains.len(), stats::RESAMPLES, |rows| mean(rows, of));
            report.figure(&format!("{name}_{part}"), value, ci);
        }
        let pairs: std::collections::BTreeSet<&str> = gains.iter().map(|g| g.0.as_str()).collect();
        for pair in pairs {
            let rows: Vec<usize> = (0..gains.len()).filter(|&i| gains[i].0 == pair).collect();
            report.set(&format!("{name}_more_{pair}"), mean(&rows, |g| g.1 - g.2));
        }
        report.set("n", gains.len());
    }
    Ok(())
}
