//! Spoken commands and words, read out by `espeak-ng`.

use crate::catalogue::Action;
use crate::data::Data;
use crate::error::{Error, Result};
use crate::forms::Filled;
use crate::random::Random;
use crate::requests::{self, Requests};
use crate::slots::Slots;
use crate::split::Split;
use crate::template::{CLOSE, OPEN};
use crate::wav::Sound;
use crate::write::Lines;
use serde::Serialize;
use std::path::Path;
use std::process::{Command, Stdio};

/// Accents that training and both held-out sets have.
pub const ACCENTS: [&str; 6] = ["en-us", "en-gb", "en-gb-x-rp", "en-gb-x-gbclan", "en-gb-x-gbcwmd", "en-029"];
/// The accent that only the test has.
pub const TEST_ACCENT: &str = "en-gb-scotland";
/// Speakers of the validation set.
pub const VALIDATION_VOICES: [&str; 9] = ["f4", "m5", "Denis", "linda", "Marco", "Hugo", "quincy", "steph2", "paul"];
/// Speakers of the test set.
pub const TEST_VOICES: [&str; 9] = ["f5", "m8", "Alicia", "david", "robert", "victor", "belinda", "edward", "shelby"];
/// Speakers of the training set: none that whisper, croak or buzz.
pub const TRAIN_VOICES: [&str; 48] = [
    "m1",
    "m2",
    "m3",
    "m4",
    "m6",
    "m7",
    "f1",
    "f2",
    "f3",
    "Alex",
    "Andrea",
    "Andy",
    "Annie",
    "Diogo",
    "Gene",
    "Henrique",
    "Jacky",
    "Lee",
    "Mario",
    "Michael",
    "Mike",
    "adam",
    "anika",
    "antonio",
    "aunty",
    "benjamin",
    "boris",
    "caleb",
    "ed",
    "iven",
    "iven2",
    "iven3",
    "john",
    "kaukovalta",
    "marcelo",
    "max",
    "michel",
    "miguel",
    "norbert",
    "pablo",
    "pedro",
    "rob",
    "sandro",
    "steph",
    "steph3",
    "travis",
    "zac",
    "klatt2",
];
/// Words to say where no list is given.
pub const NOUNS: &str = include_str!("../data/nouns.txt");

/// A line of a list of recordings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Clip {
    /// The recording, relative to the list.
    pub file: String,
    /// What is said.
    pub text: String,
    /// Who says it: accent and speaker.
    pub voice: String,
    /// What is to be done.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub actions: Vec<Action>,
    /// What is answered; for a single word, the word.
    pub reply: String,
}

/// How a clip is spoken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Voice {
    /// Accent and speaker: `en-gb+f2`.
    pub name: String,
    /// Words a minute.
    pub rate: usize,
    /// Pitch, 0 to 99.
    pub pitch: usize,
}

impl Voice {
    /// A voice of a split.
    pub fn draw(split: Split, random: &mut Random) -> Self {
        let speaker = match split {
            Split::Train => random.word(&TRAIN_VOICES),
            Split::Validation => random.word(&VALIDATION_VOICES),
            Split::Test => random.word(&TEST_VOICES),
        };
        let accent = if split == Split::Test && random.chance(40) { TEST_ACCENT } else { random.word(&ACCENTS) };
        Voice { name: format!("{accent}+{speaker}"), rate: random.range(130, 210), pitch: random.range(20, 80) }
    }
    /// Says a text.
    pub fn say(&self, text: &str) -> Result<Sound> {
        let mut command = Command::new("espeak-ng");
        command.args([
            "-v",
            &self.name,
            "-s",
            &self.rate.to_string(),
            "-p",
            &self.pitch.to_string(),
            "--stdout",
            "--",
            text,
        ]);
        let done = command.stdin(Stdio::null()).output().map_err(|e| match e.kind() {
            std::io::ErrorKind::NotFound => {
                Error::new("espeak-ng is not installed: install the package espeak-ng, then try again")
            }
            _ => Error::new(format!("cannot run espeak-ng: {e}")),
        })?;
        if !done.status.success() {
            let why = String::from_utf8_lossy(&done.stderr);
            return Err(Error::new(format!("espeak-ng cannot say {text:?} as {}: {}", self.name, why.trim())));
        }
        let sound =
            Sound::read(&done.stdout).map_err(|e| Error::new(format!("espeak-ng answered with something odd: {e}")))?;
        if sound.samples.is_empty() {
            return Err(Error::new(format!("espeak-ng said nothing for {text:?} as {}", self.name)));
        }
        Ok(sound.trimmed().at_16_khz())
    }
}

/// What can be said.
#[derive(Debug)]
pub struct Commands<'a> {
    data: &'a Data,
    requests: Vec<Requests>,
}

impl<'a> Commands<'a> {
    /// Reads the commands.
    pub fn read(data: &'a Data) -> Result<Self> {
        Ok(Commands { data, requests: requests::read(include_str!("../data/spoken.txt"))? })
    }
    /// The patterns.
    pub fn requests(&self) -> &[Requests] {
        &self.requests
    }
    /// What number `index` of a split says, does and is answered, and its voice. Wordings are shared by all splits; voices are not.
    pub fn command(&self, split: Split, seed: u64, index: u64) -> Result<(Clip, Voice)> {
        let mut random = Random::new(seed, &format!("commands {}", split.name()), index);
        let slots = Slots { words: &self.data.words, split: Split::Train, spoken: true, capitals: false };
        let nothing = || Error::new("spoken.txt is empty");
        // One command in ten is refused; the others go evenly over the actions.
        let refuse = random.chance(10);
        let some: Vec<&Requests> = self.requests.iter().filter(|r| (r.action == "unknown") == refuse).collect();
        let requests = random.pick(&some).ok_or_else(nothing)?;
        let pattern = random.pick(&requests.patterns).ok_or_else(nothing)?;
        let template = random.pick(&pattern.wordings).ok_or_else(nothing)?;
        let mut filled = Filled::new();
        let text = template.fill(&mut random, &mut |random, gap| Ok(filled.value(gap, &slots, random)?.said))?;
        let text = text.replace([OPEN, CLOSE], "").split_whitespace().collect::<Vec<_>>().join(" ");
        let actions = pattern.answer.action.iter().map(|a| a.fill(&filled)).collect::<Result<Vec<_>>>()?;
        let reply = filled.reply(&pattern.answer.reply)?;
        let voice = Voice::draw(split, &mut random);
        let file = format!("{}/{index:06}.wav", split.name());
        Ok((Clip { file, text, voice: voice.name.clone(), actions, reply }, voice))
    }
}

/// Single words in random order, each as often as any other.
pub fn word(words: &[String], split: Split, seed: u64, index: u64) -> Result<(Clip, Voice)> {
    let count = words.len() as u64;
    let round = index.checked_div(count).ok_or_else(|| Error::new("the list of words is empty"))?;
    let mut order: Vec<&String> = words.iter().collect();
    Random::new(seed, &format!("order {}", split.name()), round).shuffle(&mut order);
    let text = order.get(usize::try_from(index % count).unwrap_or(0)).map(|w| w.to_string()).unwrap_or_default();
    let voice = Voice::draw(split, &mut Random::new(seed, &format!("words {}", split.name()), index));
    let file = format!("words.{}/{index:06}.wav", split.name());
    Ok((Clip { file, reply: text.clone(), text, voice: voice.name.clone(), actions: Vec::new() }, voice))
}

/// Words of a file, one a line; without a file, digits and common nouns.
pub fn words(path: Option<&Path>) -> Result<Vec<String>> {
    let text = match path {
        Some(path) => std::fs::read_to_string(path).map_err(|e| Error::file("read", path, &e))?,
        None => NOUNS.to_string(),
    };
    let lines = text.lines().map(str::trim).filter(|l| !l.is_empty() && !l.starts_with('#'));
    let mut words: Vec<String> = lines.map(str::to_string).collect();
    words.dedup();
    if words.is_empty() { Err(Error::new("the list of words is empty")) } else { Ok(words) }
}

/// Writes a list and its recordings.
pub fn write(folder: &Path, name: &str, count: u64, make: impl Fn(u64) -> Result<(Clip, Voice)>) -> Result<()> {
    let mut lines = Lines::create(folder, name)?;
    for index in 0..count {
        let (clip, voice) = make(index)?;
        let path = folder.join(&clip.file);
        if index == 0
            && let Some(parent) = path.parent()
        {
            std::fs::create_dir_all(parent).map_err(|e| Error::file("write", parent, &e))?;
        }
        std::fs::write(&path, voice.say(&clip.text)?.write()).map_err(|e| Error::file("write", &path, &e))?;
        lines.line(&clip)?;
    }
    lines.finish()
}
