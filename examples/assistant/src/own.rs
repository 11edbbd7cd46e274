//! Own commands: "when i say movie time, dim the lights and close the blinds".

use crate::catalogue::Action;
use crate::data::{Step, wording};
use crate::dialogues::changes;
use crate::error::{Error, Result};
use crate::forms::Filled;

use crate::talk::{Answer, Sort, Talk, refusal};
use crate::words::Value;

/// A phrase and what it stands for.
#[derive(Debug, Clone)]
pub struct Command {
    /// `movie time`.
    pub phrase: String,
    /// `dim the lights and close the blinds`.
    pub said: String,
    /// `dim the lights, close the blinds`.
    pub told: String,
    /// What is done.
    pub actions: Vec<Action>,
}

impl Command {
    /// The key of the fact.
    pub fn about(&self) -> String {
        format!("{}.command", self.phrase.to_lowercase())
    }
    fn filled(&self) -> Filled {
        let steps = Value { said: self.said.clone(), norm: self.told.clone(), told: self.told.clone() };
        Filled::new().with("p", Value::same(self.phrase.clone())).with("c", steps)
    }
    /// What is answered when it is told.
    pub fn ack(&self) -> Result<String> {
        self.filled().reply("Got it, {p} means: {c}.")
    }
    /// What is answered when it is used.
    pub fn used(&self) -> Result<Answer> {
        Ok(Answer { reply: self.filled().reply("{p}: {c}.")?, actions: self.actions.clone() })
    }
}

/// A new command, unlike `phrase`.
pub fn command(talk: &mut Talk, phrase: Option<&str>) -> Result<Command> {
    let slots = talk.slots();
    let phrase = match phrase {
        Some(phrase) => phrase.to_string(),
        None => match talk.random.below(10) {
            0..5 => slots.value("own phrases", &mut talk.random)?.said,
            5..8 => {
                let word = talk.data.words.invented(talk.split, &mut talk.random);
                let kind = talk.random.word(&["time", "mode", "hour", "please", "now"]);
                if talk.random.chance(70) { format!("{word} {kind}") } else { word }
            }
            _ => {
                let first = talk.data.words.invented(talk.split, &mut talk.random);
                format!("{first} {}", talk.data.words.invented(talk.split, &mut talk.random))
            }
        },
    };
    let mut steps: Vec<&Step> = Vec::new();
    let wanted = talk.random.word(&["1", "1", "2", "2", "2", "3"]).parse().unwrap_or(2);
    for _ in 0..60 {
        if steps.len() >= wanted {
            break;
        }
        let step = talk.random.pick(&talk.data.steps).ok_or_else(|| Error::new("steps.txt is empty"))?;
        if steps.iter().all(|s| s.action.name != step.action.name) {
            steps.push(step);
        }
    }
    let mut filled = Filled::new();
    let (mut wordings, mut actions) = (Vec::new(), Vec::new());
    for step in steps {
        for gap in step.action.gaps() {
            filled.value(&gap, &slots, &mut talk.random)?;
        }
        wordings.push(filled.put(&step.wording, |v| &v.said)?);
        actions.push(step.action.fill(&filled)?);
    }
    let said = match wordings.as_slice() {
        [one] => one.clone(),
        [first, second] => format!("{first} {} {second}", talk.random.word(&["and", "and", "and then"])),
        all => {
            let (last, head) = all.split_last().ok_or_else(|| Error::new("a command without steps"))?;
            format!("{} and {last}", head.join(", "))
        }
    };
    Ok(Command { phrase, said, told: wordings.join(", "), actions })
}

/// What the user says about a command: `say`, `ask`, `use` or `change`.
pub fn text(talk: &mut Talk, command: &Command, list: &str, sort: Sort) -> Result<String> {
    let data = talk.data;
    let all = data.own.get(list).ok_or_else(|| Error::new(format!("own.txt has no {list:?}")))?;
    let template =
        wording(all, talk.split, &mut talk.random).ok_or_else(|| Error::new(format!("own.txt: too few {list:?}")))?;
    talk.text(template, &mut command.filled(), sort)
}

fn use_it(talk: &mut Talk, command: &Command, known: bool) -> Result<()> {
    let text = text(talk, command, "use", Sort::Bare)?;
    let answer = if known { command.used()? } else { refusal() };
    talk.say(text, Some(&command.about()), answer);
    Ok(())
}

fn ask(talk: &mut Talk, command: &Command, known: bool) -> Result<()> {
    let text = text(talk, command, "ask", Sort::Question)?;
    let form = if known { "{p} means: {c}." } else { "I do not know the command {p} yet." };
    let reply = command.filled().reply(form)?;
    talk.say(text, Some(&command.about()), Answer { reply, actions: Vec::new() });
    Ok(())
}

/// The user tells a command.
pub fn teach(talk: &mut Talk, command: &Command, list: &str) -> Result<()> {
    let sort = if list == "say" { Sort::Statement } else { Sort::Bare };
    let text = text(talk, command, list, sort)?;
    let reply = command.ack()?;
    talk.say(text, Some(&command.about()), Answer { reply, actions: Vec::new() });
    Ok(())
}

/// A dialogue about own commands.
pub fn dialogue(talk: &mut Talk) -> Result<()> {
    let first = command(talk, None)?;
    let other = command(talk, None)?;
    if first.phrase == other.phrase {
        return talk.request();
    }
    if talk.random.chance(15) {
        use_it(talk, &first, false)?;
    }
    teach(talk, &first, "say")?;
    let both = talk.random.chance(25);
    if both {
        teach(talk, &other, "say")?;
    } else if talk.random.chance(15) {
        talk.small_talk()?;
    }
    let mut order = [0, 1, 2];
    talk.random.shuffle(&mut order);
    for what in order {
        match what {
            0 => use_it(talk, &first, true)?,
            1 if both || talk.random.chance(45) => {
                if talk.random.chance(70) {
                    use_it(talk, &other, both)?
                } else {
                    ask(talk, &other, both)?
                }
            }
            2 if talk.random.chance(30) => ask(talk, &first, true)?,
            _ => {}
        }
    }
    if talk.random.chance(changes(talk.split, 15, 35)) {
        let phrase = first.phrase.clone();
        let changed = command(talk, Some(&phrase))?;
        teach(talk, &changed, "change")?;
        use_it(talk, &changed, true)?;
    }
    Ok(())
}
