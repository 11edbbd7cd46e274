//! Names: what a model says to pictures and sounds that lessons gave a name, and to others.

use super::asker::Asker;
use super::{Report, some, step, wrong};
use crate::args::EvalArgs;
use crate::failure::Done;
use crate::sets::senses::{Sense, labelled};
use crate::sets::{heard, seen};
use crate::{learn, load};
use lichen::Random;
use lichen::data::Turn;
use lichen::learn::{Step, Teaching};
use lichen::plastic::{Plastic, Written};
use std::path::PathBuf;

/// Most tokens of an answer.
const MOST: usize = 64;
/// Things that are named where nobody says how many.
const LESSONS: usize = 20;
/// Changed copies of each that are asked about.
const VARIED: usize = 4;
/// Others of the same label that are asked about.
const OTHERS: usize = 4;

/// The first of each of some labels gets an invented name in a lesson; then it is asked about, with changed copies of
/// it, others of its label, and things of labels that got no name.
pub(super) fn names(args: &EvalArgs, files: &[PathBuf], asker: &mut Asker, report: &mut Report) -> Done {
    let mut all = Vec::new();
    for file in files {
        all.extend(labelled(file)?);
    }
    let mut labels: Vec<&String> = Vec::new();
    all.iter().for_each(|(_, label)| {
        if !labels.contains(&label) {
            labels.push(label);
        }
    });
    // Half of the labels at most: the others must stay.
    let most = args.most.unwrap_or(LESSONS).min(labels.len() / 2);
    let named = some(labels, Some(most));
    let other: Vec<&Sense> = all.iter().filter(|(_, label)| !named.contains(&label)).map(|(sense, _)| sense).collect();
    let other = some(other, Some(10 * most));

    let model = load::to_learn(args.model.model.as_deref(), args.model.device.threads)?;
    let mut learner = learn::prepared(&model, None, true)?;
    let mut before = Vec::new();
    for sense in &other {
        before.push(asker.alone(&asked(sense), Some(sense), MOST)?);
    }
    let pool = pollster::block_on(Plastic::new(&model, named.len()))?;
    let (mut random, mut names, mut written, mut refused) =
        (Random::new(1), Vec::new(), Vec::<(u64, Written)>::new(), 0);
    for (i, label) in named.iter().enumerate() {
        step(i, named.len())?;
        let name = loop {
            let name = invented(&mut random);
            if !names.contains(&name) {
                break name;
            }
        };
        names.push(name);
        let Some(first) = of(&all, label).next() else { continue };
        let teaching = Teaching::Name { shown: first.shown(), name: names[i].clone() };
        let mut lesson = learner.begin(&teaching, i as u64, written.iter().map(|(id, written)| (*id, written)))?;
        let learned = loop {
            match lesson.step(&mut learner)? {
                Step::Going(..) => {}
                Step::Done(learned) => break Some(learned),
                Step::Refused(why) => {
                    wrong(label, "a lesson", &why);
                    refused += 1;
                    break None;
                }
            }
        };
        let Some(learned) = learned else { continue };
        if let Some(old) = lesson.replaces() {
            wrong(label, "a lesson of its own", &format!("one that replaces that on {}", named[old as usize]));
            pool.shut(model.device(), old as usize)?;
            written.retain(|(id, _)| *id != old);
        }
        pool.write(model.device(), i, &learned.written)?;
        written.push((i as u64, learned.written));
    }
    let mut asker = Asker::with_plastic(&model, pool)?;
    let mut says = |sense: &Sense, name: &str| -> Done<bool> {
        let reply = asker.alone(&asked(sense), Some(sense), MOST)?;
        if reply.text != name {
            wrong("shown", name, &reply.whole());
        }
        Ok(reply.text == name)
    };
    let (mut same, mut varied, mut others) = (Vec::new(), Vec::new(), Vec::new());
    for (i, (label, name)) in named.iter().zip(&names).enumerate() {
        step(i, named.len())?;
        let mut shown = of(&all, label);
        let Some(first) = shown.next() else { continue };
        same.push(says(first, name)?);
        for _ in 0..VARIED {
            varied.push(says(&Sense::of(&first.shown().varied(&mut random)), name)?);
        }
        for sense in shown.take(OTHERS) {
            others.push(says(sense, name)?);
        }
    }
    let mut stays = Vec::new();
    for (sense, before) in other.iter().zip(&before) {
        stays.push(asker.alone(&asked(sense), Some(sense), MOST)? == *before);
    }
    report.share("efficacy", &same);
    report.share("generalisation", &varied);
    report.share("others", &others);
    report.share("locality", &stays);
    report.lines.push(format!("{} lessons, {refused} refused", named.len()));
    report.set("n", named.len());
    report.set("refused", refused);
    Ok(())
}

/// Those of a label.
fn of<'a>(all: &'a [(Sense, String)], label: &'a str) -> impl Iterator<Item = &'a Sense> {
    all.iter().filter(move |(_, l)| l == label).map(|(sense, _)| sense)
}

fn asked(sense: &Sense) -> Turn {
    match sense {
        Sense::Sound(_) => heard(),
        Sense::Picture(_) => seen(),
    }
}

/// A name that nothing has yet.
fn invented(random: &mut Random) -> String {
    const STARTS: [&str; 12] = ["B", "D", "F", "K", "L", "M", "N", "P", "R", "S", "T", "V"];
    const MIDDLES: [&str; 10] = ["a", "e", "i", "o", "u", "abi", "eli", "ino", "oru", "upa"];
    const ENDS: [&str; 10] = ["bo", "da", "fy", "ka", "lo", "mi", "nu", "pe", "ra", "to"];
    let mut part = |all: &[&str]| all[random.below(all.len())].to_string();
    part(&STARTS) + &part(&MIDDLES) + &part(&ENDS)
}
