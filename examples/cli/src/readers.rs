//! Text from files: plain text and JSON lines, packed or not, one file or a folder of them.

use crate::failure::{Done, Failure};
use crate::files;
use lichen::Action;
use lichen::data::{Document, Speaker, Turn};
use serde::Deserialize;
use serde_json::Value;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

/// What can be read, for messages.
const KINDS: &str = ".txt, .txt.gz, .jsonl and .jsonl.gz";

/// A line of a `.jsonl` file: `{"text": ..}` or `{"turns": [..]}` with turns as [`Said`] or plain texts by turns; other
/// keys are left alone.
#[derive(Deserialize)]
struct Line {
    text: Option<String>,
    turns: Option<Vec<Said>>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Said {
    /// `{"s": "U" or "S", "t": .., "now": .., "about": .., "actions": [{"name": .., "arguments": {..}}, ..]}`, the last
    /// three where there are such.
    Marked {
        s: Side,
        t: String,
        now: Option<String>,
        about: Option<String>,
        #[serde(default)]
        actions: Vec<Value>,
    },
    Plain(String),
}

impl Said {
    fn turn(self, i: usize) -> Result<Turn, String> {
        match self {
            Self::Plain(text) => Ok(Turn::new(if i.is_multiple_of(2) { Speaker::User } else { Speaker::Lichen }, text)),
            Self::Marked { s, t, now, about, actions } => {
                let speaker = match s {
                    Side::U => Speaker::User,
                    Side::S => Speaker::Lichen,
                };
                Ok(Turn { now, about, actions: self::actions(&actions)?, ..Turn::new(speaker, t) })
            }
        }
    }
}

/// Actions as JSON has them.
pub(crate) fn actions(values: &[Value]) -> Result<Vec<Action>, String> {
    let action = |value: &Value| Action::from_value(value).ok_or_else(|| format!("{value} is no action"));
    values.iter().map(action).collect()
}

/// U: the user; S: the system, which here is the model.
#[derive(Deserialize)]
enum Side {
    U,
    S,
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Text,
    Lines,
}

/// The kind of a file by its name.
fn kind(path: &Path) -> Option<Kind> {
    let name = path.file_name()?.to_string_lossy().to_lowercase();
    let name = name.strip_suffix(".gz").unwrap_or(&name);
    match () {
        () if name.ends_with(".txt") => Some(Kind::Text),
        () if name.ends_with(".jsonl") => Some(Kind::Lines),
        () => None,
    }
}

/// All documents of files and folders (their readable files, recursively, in the order of their paths).
pub(crate) fn documents(paths: &[PathBuf]) -> Done<Vec<Document>> {
    let mut documents = Vec::new();
    for path in paths {
        let mut files = Vec::new();
        match fs::metadata(path).map_err(|e| Failure::file("read", path, &e))?.is_dir() {
            true => collect(path, &mut files)?,
            false => files.push(path.clone()),
        }
        if files.is_empty() {
            return Err(Failure::Failed(format!("{} holds no {KINDS} file", path.display())));
        }
        for file in files {
            let before = documents.len();
            read(&file, &mut documents)?;
            log::info!("{}: {} documents", file.display(), documents.len() - before);
        }
    }
    if documents.is_empty() {
        let names: Vec<_> = paths.iter().map(|p| p.display().to_string()).collect();
        return Err(Failure::Failed(format!("there is no text in {}", names.join(", "))));
    }
    Ok(documents)
}

/// Adds, for about `share` of the paragraphs of plain texts, a dialogue in which the user gives a paragraph's first
/// words and the model tells on: a model of tales then answers an opening with the tale. Which paragraphs and how
/// many words follows from the text alone.
pub(crate) fn with_openings(documents: Vec<Document>, share: f64) -> Vec<Document> {
    let told = documents.iter().filter_map(|document| match document {
        Document::Text(text) if share > 0.0 => Some(text),
        _ => None,
    });
    let dialogues: Vec<Document> = told.flat_map(|text| openings(text, share)).collect();
    // Mixed in evenly, so that no stretch of the stream is of one kind.
    let (n, m) = (documents.len(), dialogues.len());
    let mut dialogues = dialogues.into_iter();
    let mixed = documents.into_iter().enumerate().flat_map(|(i, document)| {
        let some: Vec<_> = dialogues.by_ref().take((i + 1) * m / n - i * m / n).collect();
        some.into_iter().chain([document])
    });
    mixed.collect()
}

fn openings(text: &str, share: f64) -> Vec<Document> {
    let paragraphs: Vec<&str> = text.split("\n\n").map(str::trim).filter(|p| p.len() > 80).collect();
    let picked = paragraphs.windows(2).filter_map(|pair| {
        let hash =
            pair[0].bytes().fold(0xcbf2_9ce4_8422_2325u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3));
        let words = 2 + (hash >> 20) as usize % 9;
        let (at, _) = pair[0].match_indices(' ').nth(words - 1)?;
        let (said, rest) = pair[0].split_at(at);
        let answer = format!("{}\n\n{}", rest.trim_start(), pair[1]);
        let turns = vec![Turn::new(Speaker::User, said), Turn::new(Speaker::Lichen, answer)];
        (((hash >> 40) as f64) < share * f64::from(1u32 << 24)).then_some(Document::Turns(turns))
    });
    picked.collect()
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> Done {
    let cannot = |e| Failure::file("read", folder, &e);
    let mut entries = Vec::new();
    for entry in fs::read_dir(folder).map_err(cannot)? {
        entries.push(entry.map_err(cannot)?);
    }
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let path = entry.path();
        // Links to folders are not followed: they may lead in a circle.
        if entry.file_type().map_err(cannot)?.is_dir() {
            collect(&path, files)?;
        } else if kind(&path).is_some() {
            files.push(path);
        } else {
            log::debug!("{} passed over: not {KINDS}", path.display());
        }
    }
    Ok(())
}

/// A file as text, unpacked if its name ends in `.gz`.
pub(crate) fn text(path: &Path) -> Done<String> {
    Ok(files::utf8(bytes(path)?, &path.display().to_string()))
}

/// The bytes of a file, unpacked if its name ends in `.gz`.
pub(crate) fn bytes(path: &Path) -> Done<Vec<u8>> {
    let cannot = |e| Failure::file("read", path, &e);
    let bytes = fs::read(path).map_err(cannot)?;
    if !path.extension().is_some_and(|e| e.eq_ignore_ascii_case("gz")) {
        return Ok(bytes);
    }
    let mut unpacked = Vec::with_capacity(bytes.len() * 3);
    flate2::read::MultiGzDecoder::new(bytes.as_slice()).read_to_end(&mut unpacked).map_err(cannot)?;
    Ok(unpacked)
}

/// The values of the lines of a `.jsonl` file; errors name the line.
pub(crate) fn lines<T: serde::de::DeserializeOwned>(path: &Path) -> Done<Vec<T>> {
    let text = text(path)?;
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let parse = |(i, line): (usize, &str)| {
        serde_json::from_str(line)
            .map_err(|e| Failure::Failed(format!("cannot read {}, line {}: {e}", path.display(), i + 1)))
    };
    lines.map(parse).collect()
}

fn read(path: &Path, documents: &mut Vec<Document>) -> Done {
    let Some(kind) = kind(path) else {
        return Err(Failure::Failed(format!("cannot read {}: only {KINDS} are read", path.display())));
    };
    let text = text(path)?;
    match kind {
        Kind::Text if text.trim().is_empty() => {}
        Kind::Text => documents.push(Document::Text(text)),
        Kind::Lines => {
            for (i, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
                let document = parse(line)
                    .map_err(|e| Failure::Failed(format!("cannot read {}, line {}: {e}", path.display(), i + 1)))?;
                documents.push(document);
            }
        }
    }
    Ok(())
}

fn parse(line: &str) -> Result<Document, String> {
    let line: Line = serde_json::from_str(line).map_err(|e| e.to_string())?;
    match line {
        Line { turns: Some(turns), .. } => {
            let turns: Result<Vec<_>, _> = turns.into_iter().enumerate().map(|(i, said)| said.turn(i)).collect();
            Ok(Document::Turns(turns?))
        }
        Line { text: Some(text), .. } => Ok(Document::Text(text)),
        _ => Err("it has neither \"text\" nor \"turns\"".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn packed(text: &str) -> Vec<u8> {
        let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        out.write_all(text.as_bytes()).expect("packs");
        out.finish().expect("packs")
    }

    #[test]
    fn folders_are_read_in_order() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let put = |name: &str, bytes: &[u8]| {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().expect("has a parent")).expect("creates");
            fs::write(path, bytes).expect("writes");
        };
        put("b/two.txt.gz", &packed("two"));
        put("a.txt", b"one");
        put(
            "c.jsonl",
            b"{\"text\":\"three\",\"x\":1}\n\n{\"turns\":[{\"s\":\"U\",\"t\":\"hi\"},{\"s\":\"S\",\"t\":\"yes\"}]}\n",
        );
        put("c.md", b"not read");
        put("empty.txt", b" \n");
        let turns = vec![Turn::new(Speaker::User, "hi"), Turn::new(Speaker::Lichen, "yes")];
        let text = |s: &str| Document::Text(s.into());
        let got = documents(&[dir.path().to_path_buf()]).expect("reads");
        assert_eq!(got, [text("one"), text("two"), text("three"), Document::Turns(turns)]);
    }

    #[test]
    fn bad_files_are_named() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let path = |name: &str| dir.path().join(name);
        for (name, bytes, says) in [
            ("a.jsonl", b"{\"text\":\"x\"}\n{\"other\":1}".to_vec(), "line 2"),
            ("b.jsonl", b"nonsense".to_vec(), "line 1"),
            ("c.txt.gz", b"not packed".to_vec(), "cannot read"),
            ("d.pdf", b"x".to_vec(), "only .txt"),
            ("e.txt", Vec::new(), "no text"),
        ] {
            fs::write(path(name), bytes).expect("writes");
            let error = documents(&[path(name)]).expect_err(name).to_string();
            assert!(error.contains(says) && error.contains(name), "{error}");
        }
        assert!(documents(&[path("absent.txt")]).is_err());
        let mut half = packed(&"some text ".repeat(100));
        half.truncate(half.len() / 2);
        fs::write(path("half.txt.gz"), half).expect("writes");
        assert!(documents(&[path("half.txt.gz")]).is_err());
    }
}
