//! Suites of requests: which label and which slots (`intents`), which action (`actions`).

use super::asker::Asker;
use super::{Report, some, stats, step, wrong};
use crate::args::EvalArgs;
use crate::failure::{Done, Failure};
use crate::readers;
use crate::sets::{Labelled, OUT_OF_SCOPE, Slot, set_name};
use lichen::Action;
use lichen::action::UNKNOWN;
use lichen::data::{Speaker, Turn};
use serde::Deserialize;
use serde_json::Value;
use std::path::PathBuf;

/// Most tokens of a label with its slots, or of an action.
const MOST: usize = 96;

/// Label accuracy of what is in scope, refusals of what is not, and F1 of slots.
pub(super) fn intents(args: &EvalArgs, files: &[PathBuf], asker: &mut Asker, report: &mut Report) -> Done {
    let mut lines = Vec::new();
    for file in files {
        let set = args.set.clone().unwrap_or_else(|| set_name(file));
        lines.extend(readers::lines::<Labelled>(file)?.into_iter().map(|line| (set.clone(), line)));
    }
    let lines = some(lines, args.most);
    let (mut right, mut refused, mut oos, mut counts) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for (i, (set, line)) in lines.iter().enumerate() {
        step(i, lines.len())?;
        let reply = asker.alone(&line.asked(set), None, MOST)?;
        if line.intent == OUT_OF_SCOPE {
            oos.push(reply.refuses());
            continue;
        }
        let (label, slots) = parse(&reply.text);
        let is_right = !reply.refuses() && label == line.intent;
        if !is_right {
            wrong(&line.text, &line.intent, &reply.whole());
        }
        right.push(is_right);
        refused.push(reply.refuses());
        let want: Vec<Slot> =
            line.slots.iter().map(|s| Slot { slot: s.slot.clone(), value: s.value.trim().to_string() }).collect();
        counts.push(matches(&slots, &want));
    }
    report.share("accuracy", &right);
    report.share("oos_recall", &oos);
    report.share("false_refusals", &refused);
    if counts.iter().any(|c| c[2] > 0.0) {
        let f1 = |rows: &[usize]| {
            let sum = |k: usize| rows.iter().map(|&i| counts[i][k]).sum::<f64>();
            200.0 * sum(0) / (sum(1) + sum(2)).max(1.0)
        };
        let (value, ci) = stats::interval(counts.len(), stats::RESAMPLES, f1);
        report.figure("slot_f1", value, ci);
    }
    report.set("n", lines.len());
    Ok(())
}

/// The bias at which just a share of what is in scope would be refused, and what else it would refuse.
pub(super) fn fit_refusals(args: &EvalArgs, share: f64, files: &[PathBuf], asker: &mut Asker) -> Done<(f32, f64)> {
    let (mut inside, mut outside) = (Vec::new(), Vec::new());
    for file in files {
        let set = args.set.clone().unwrap_or_else(|| set_name(file));
        let lines = some(readers::lines::<Labelled>(file)?, args.most);
        for (i, line) in lines.iter().enumerate() {
            step(i, lines.len())?;
            let margin = asker.refusal_margin(&line.asked(&set))?;
            if line.intent == OUT_OF_SCOPE { outside.push(margin) } else { inside.push(margin) }
        }
    }
    if inside.is_empty() || outside.is_empty() {
        return Err(Failure::Failed("the data needs requests in scope, and out of scope (intent oos)".into()));
    }
    inside.sort_by(f32::total_cmp);
    let at = ((1.0 - share) * inside.len() as f64) as usize;
    let bias = -inside[at.min(inside.len() - 1)];
    let caught = outside.iter().filter(|margin| **margin + bias > 0.0).count() as f64 / outside.len() as f64;
    Ok((bias, caught))
}

/// `label; slot: value; slot: value`.
fn parse(text: &str) -> (&str, Vec<Slot>) {
    let mut parts = text.split("; ");
    let label = parts.next().unwrap_or_default().trim();
    let slots = parts.filter_map(|part| part.split_once(": "));
    (label, slots.map(|(slot, value)| Slot { slot: slot.into(), value: value.trim().into() }).collect())
}

/// Slots that are right, given and wanted.
fn matches(given: &[Slot], want: &[Slot]) -> [f64; 3] {
    let mut rest = want.to_vec();
    let mut right = 0.0;
    for slot in given {
        if let Some(at) = rest.iter().position(|s| s == slot) {
            rest.swap_remove(at);
            right += 1.0;
        }
    }
    [right, given.len() as f64, want.len() as f64]
}

/// A line of an actions file.
#[derive(Deserialize)]
struct Request {
    text: String,
    action: Value,
    now: Option<String>,
}

/// Exact actions: name and all arguments.
pub(super) fn actions(args: &EvalArgs, files: &[PathBuf], asker: &mut Asker, report: &mut Report) -> Done {
    let mut lines = Vec::new();
    for file in files {
        lines.extend(readers::lines::<Request>(file)?);
    }
    let lines = some(lines, args.most);
    let (mut exact, mut named, mut unknown, mut refused) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for (i, line) in lines.iter().enumerate() {
        step(i, lines.len())?;
        let want =
            Action::from_value(&line.action).ok_or_else(|| Failure::Failed(format!("{} is no action", line.action)))?;
        let asked = Turn { now: line.now.clone(), ..Turn::new(Speaker::User, &line.text) };
        let reply = asker.alone(&asked, None, MOST)?;
        let is_right = reply.actions.first() == Some(&want);
        if !is_right {
            wrong(&line.text, &line.action.to_string(), &reply.whole());
        }
        match want.name == UNKNOWN {
            true => unknown.push(is_right),
            false => {
                exact.push(is_right);
                named.push(reply.actions.first().is_some_and(|a| a.name == want.name));
                refused.push(reply.refuses());
            }
        }
    }
    report.share("exact", &exact);
    report.share("name", &named);
    report.share("oos_recall", &unknown);
    report.share("false_refusals", &refused);
    report.set("n", lines.len());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_taken_apart() {
        let (label, slots) = parse("PlayMusic; artist: AC/DC; album: a: b ");
        let slot = |slot: &str, value: &str| Slot { slot: slot.into(), value: value.into() };
        assert_eq!((label, slots.clone()), ("PlayMusic", vec![slot("artist", "AC/DC"), slot("album", "a: b")]));
        assert_eq!(matches(&slots, &[slot("artist", "AC/DC"), slot("year", "1980")]), [1.0, 2.0, 2.0]);
        let twice = [slot("a", "x"), slot("a", "x")];
        assert_eq!(matches(&twice, &twice[..1]), [1.0, 2.0, 1.0]);
        assert_eq!(parse(""), ("", vec![]));
    }
}
