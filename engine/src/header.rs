//! The header of a model file: everything about the file that is known before its weights are read.
//!
//! The file is safetensors: a length (u64 LE), a JSON header, the tensors. `__metadata__` holds `format`, `config`,
//! `storage`, `tokenizer`, `parent`, `grown_from`, `about`, `actions`, `refusal_bias`, `bank` and, for each tensor, `sha256.NAME`: the
//! hex hash of its bytes; for a layer's sections one hash a section, joined by commas. [`Header::parse`] checks all of it before any weight is
//! allocated: hostile and damaged headers are errors of one line.

use crate::action::Catalogue;
use crate::config::{Config, TensorSpec};
use crate::error::Error;
use crate::learn::Bank;
use crate::source::{Source, fetch};
use crate::storage::Storage;
use crate::tokenizer::Tokenizer;
use serde::de::{Deserializer, Error as _, MapAccess, Visitor};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::fmt;

/// The format version that this program reads and writes.
pub const FORMAT: &str = "lichen-1";
/// Longest header.
const MOST_HEADER: u64 = 64 << 20;
/// Weights start at a multiple of this many bytes, so that a mapped file can be read in place.
const ALIGN: usize = 64;

/// A SHA-256.
pub(crate) type Hash = [u8; 32];

/// Element type of one tensor in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Dtype {
    F32,
    F16,
    U8,
}

/// Where and how one tensor lies in a file.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) spec: TensorSpec,
    pub(crate) dtype: Dtype,
    /// First byte after the header.
    pub(crate) offset: u64,
    /// Bytes.
    pub(crate) len: u64,
    /// Parts with a hash of their own: sections, or the whole tensor.
    pub(crate) hashes: Vec<Hash>,
}

/// What a model file says of itself.
#[derive(Clone, Debug)]
pub struct Header {
    /// Sizes.
    pub config: Config,
    /// How weights are stored.
    pub storage: Storage,
    /// The tokenizer.
    pub tokenizer: Tokenizer,
    /// The id of the model that this one came from.
    pub parent: Option<String>,
    /// The id of the model that this one answers like, bit for bit: it has more sections, and they are silent.
    pub grown_from: Option<String>,
    /// What a person should know about it.
    pub about: String,
    /// The actions that it can write; none where it was not taught any.
    pub actions: Option<Catalogue>,
    /// Added to the logit of the token that refuses where a turn names a task, so that it refuses as often as was found
    /// right.
    pub refusal_bias: f32,
    /// What it asks itself when it learns on a device; none where it was not given any.
    pub bank: Option<Bank>,
    /// SHA-256 of the header, in hex: the model's id. Empty while the model was never written.
    pub id: String,
    pub(crate) entries: Vec<Entry>,
    /// Bytes before the first weight.
    pub(crate) data_start: u64,
}

fn bad(what: impl fmt::Display) -> Error {
    Error::File(what.to_string().replace(['\n', '\r'], " "))
}

impl Header {
    /// A header without hashes: of a model that is not written yet.
    pub(crate) fn plan(
        config: &Config,
        storage: Storage,
        tokenizer: Tokenizer,
        parent: Option<String>,
        about: String,
    ) -> Self {
        let mut offset = 0;
        let entries = config
            .tensors()
            .into_iter()
            .map(|spec| {
                let (dtype, _, len) = storage.layout(config, &spec);
                offset += len;
                Entry { spec, dtype, offset: offset - len, len, hashes: Vec::new() }
            })
            .collect();
        Self {
            config: config.clone(),
            storage,
            tokenizer,
            parent,
            grown_from: None,
            about,
            actions: None,
            refusal_bias: 0.0,
            bank: None,
            id: String::new(),
            entries,
            data_start: 0,
        }
    }
    /// The header of the same model in another storage.
    pub(crate) fn stored(&self, storage: Storage) -> Self {
        let plan = Self::plan(&self.config, storage, self.tokenizer.clone(), self.parent.clone(), self.about.clone());
        let (actions, bank) = (self.actions.clone(), self.bank.clone());
        // Other bits are other answers.
        let grown_from = self.grown_from.clone().filter(|_| storage == self.storage);
        Self { actions, refusal_bias: self.refusal_bias, bank, grown_from, ..plan }
    }
    /// Whether a device can teach it.
    pub fn learns(&self) -> bool {
        self.bank.is_some() && self.config.turn > 0
    }
    /// The model whose memories this one opens: itself, or the one that it grew from.
    pub fn lineage(&self) -> &str {
        self.grown_from.as_deref().unwrap_or(&self.id)
    }

    /// Bytes of the header with the eight of its length, given the first eight of the file.
    pub fn header_len(first: &[u8]) -> Result<u64, Error> {
        let Some(Ok(length)) = first.get(..8).map(<[u8; 8]>::try_from) else {
            return Err(bad(format!("{} bytes are too short for a model file", first.len())));
        };
        match u64::from_le_bytes(length) {
            length @ 2..=MOST_HEADER => Ok(length + 8),
            length => Err(bad(format!("this is no model file: a header of {length} bytes (most is {MOST_HEADER})"))),
        }
    }

    /// Reads and checks the header of a model file.
    pub fn read(source: &dyn Source) -> Result<Self, Error> {
        let mut bytes = Vec::new();
        fetch(source, 0, source.size().min(8) as usize, &mut bytes)?;
        let len = Self::header_len(&bytes)?.min(source.size());
        fetch(source, 0, len as usize, &mut bytes)?;
        Self::parse(&bytes, source.size())
    }

    /// Checks a header; `bytes` are the file's first bytes, at least to the end of the header, and `file_len`
    /// is the length of the whole file.
    pub fn parse(bytes: &[u8], file_len: u64) -> Result<Self, Error> {
        let data_start = Self::header_len(bytes)?;
        if data_start > file_len || data_start > bytes.len() as u64 {
            return Err(bad(format!(
                "the header should have {} bytes, {} are there",
                data_start,
                file_len.min(bytes.len() as u64)
            )));
        }
        let text = &bytes[8..data_start as usize];
        let raw: Raw = serde_json::from_slice(text).map_err(|e| bad(format!("the header is not understood: {e}")))?;
        let mut meta = raw.metadata;
        // The version comes first: another version may mean anything else by the rest.
        match meta.remove("format") {
            Some(format) if format == FORMAT => {}
            Some(got) => return Err(Error::Version { got: shorten(&got), reads: FORMAT }),
            None => return Err(bad("the header has no `format`: this is no model file of this program")),
        }
        let mut take = |key: &str| meta.remove(key).ok_or_else(|| bad(format!("the header has no `{key}`")));
        let config: Config = serde_json::from_str(&take("config")?).map_err(|e| bad(format!("config: {e}")))?;
        config.validate()?;
        let storage: Storage = take("storage")?.parse()?;
        let tokenizer = Tokenizer::from_json(&take("tokenizer")?)?;
        if tokenizer.vocab() != config.vocab {
            return Err(bad(format!("the tokenizer has {} tokens, the config {}", tokenizer.vocab(), config.vocab)));
        }
        let parent = meta.remove("parent");
        let grown_from = meta.remove("grown_from");
        let about = meta.remove("about").unwrap_or_default();
        let actions = meta.remove("actions").map(|json| Catalogue::from_json(&json)).transpose()?;
        let refusal_bias = match meta.remove("refusal_bias") {
            None => 0.0,
            Some(text) => match text.parse::<f32>() {
                Ok(bias) if bias.is_finite() => bias,
                _ => return Err(bad(format!("refusal_bias is {:?}, it must be a number", shorten(&text)))),
            },
        };
        let bank = meta.remove("bank").map(|lines| Bank::from_jsonl(&lines)).transpose()?;
        let fits = |turn: &Vec<f32>| turn.len() == config.turn && turn.iter().all(|x| x.is_finite());
        if bank.as_ref().is_some_and(|bank| !bank.shown().iter().all(fits)) {
            return Err(bad(format!("bank: the vector of a turn must have {} finite numbers", config.turn)));
        }
        let plan = Self::plan(&config, storage, tokenizer, parent, about);
        let mut header = Self { actions, refusal_bias, bank, grown_from, ..plan };
        let mut tensors = raw.tensors;
        for entry in &mut header.entries {
            let name = entry.spec.name.clone();
            let (dtype, shape, _) = storage.layout(&config, &entry.spec);
            let want =
                Place { dtype: format!("{dtype:?}"), shape, data_offsets: [entry.offset, entry.offset + entry.len] };
            match tensors.remove(&name) {
                Some(got) if got == want => {}
                Some(got) => {
                    return Err(Error::Tensor { name, got: shorten(&got.to_string()), want: want.to_string() });
                }
                None => return Err(Error::Tensor { name, got: "absent".into(), want: want.to_string() }),
            }
            let parts = if entry.spec.is_sections() { entry.spec.shape[0] } else { 1 };
            let text = meta
                .remove(&format!("sha256.{name}"))
                .ok_or_else(|| bad(format!("the header has no SHA-256 of {name}")))?;
            entry.hashes = hashes(&text, parts)
                .ok_or_else(|| bad(format!("the SHA-256 of {name} should be {parts} times 64 hex digits")))?;
        }
        if let Some(name) = tensors.keys().min() {
            return Err(Error::Tensor {
                name: shorten(name),
                got: "present".into(),
                want: "absent by the config".into(),
            });
        }
        if let Some(key) = meta.keys().min() {
            return Err(bad(format!("unknown key {:?} in the header", shorten(key))));
        }
        let want = data_start + header.data_len();
        if file_len != want {
            return Err(bad(format!("the file has {file_len} bytes, by its header it should have {want}")));
        }
        header.id = hex(&Sha256::digest(text));
        header.data_start = data_start;
        Ok(header)
    }

    /// The header as bytes, its length first; sets the id.
    pub(crate) fn seal(&mut self) -> Result<Vec<u8>, Error> {
        let mut meta = vec![
            ("format".to_string(), FORMAT.to_string()),
            ("config".into(), serde_json::to_string(&self.config).map_err(bad)?),
            ("storage".into(), self.storage.to_string()),
            ("tokenizer".into(), self.tokenizer.to_json()),
            ("about".into(), self.about.clone()),
        ];
        meta.extend(self.parent.clone().map(|parent| ("parent".to_string(), parent)));
        meta.extend(self.grown_from.clone().map(|from| ("grown_from".to_string(), from)));
        meta.extend(self.actions.as_ref().map(|actions| ("actions".to_string(), actions.to_json())));
        meta.extend(self.bank.as_ref().map(|bank| ("bank".to_string(), bank.to_jsonl())));
        if self.refusal_bias != 0.0 {
            meta.push(("refusal_bias".into(), self.refusal_bias.to_string()));
        }
        let mut all = serde_json::Map::new();
        for entry in &self.entries {
            let (dtype, shape, _) = self.storage.layout(&self.config, &entry.spec);
            let place =
                Place { dtype: format!("{dtype:?}"), shape, data_offsets: [entry.offset, entry.offset + entry.len] };
            all.insert(entry.spec.name.clone(), serde_json::to_value(place).map_err(bad)?);
            let hashes: Vec<String> = entry.hashes.iter().map(|h| hex(h)).collect();
            meta.push((format!("sha256.{}", entry.spec.name), hashes.join(",")));
        }
        all.insert(
            "__metadata__".into(),
            meta.into_iter().map(|(k, v)| (k, v.into())).collect::<serde_json::Map<_, _>>().into(),
        );
        let mut text = serde_json::to_vec(&all).map_err(bad)?;
        // Trailing spaces are part of the format.
        text.resize((text.len() + 8).next_multiple_of(ALIGN) - 8, b' ');
        if text.len() as u64 > MOST_HEADER {
            return Err(bad(format!("a header of {} bytes (most is {MOST_HEADER})", text.len())));
        }
        self.id = hex(&Sha256::digest(&text));
        self.data_start = text.len() as u64 + 8;
        Ok([&(text.len() as u64).to_le_bytes()[..], &text].concat())
    }

    /// Bytes of all weights.
    pub(crate) fn data_len(&self) -> u64 {
        self.entries.iter().map(|e| e.len).sum()
    }
    /// Bytes of the whole file; known once it was read or written.
    pub fn file_len(&self) -> u64 {
        self.data_start + self.data_len()
    }
}

/// Parts of a message that come from a file stay short.
pub(crate) fn shorten(text: &str) -> String {
    match text.char_indices().nth(60) {
        Some((end, _)) => format!("{}...", text[..end].escape_debug()),
        None => text.escape_debug().to_string(),
    }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// `parts` hashes of 64 lower-case hex digits, joined by commas.
fn hashes(text: &str, parts: usize) -> Option<Vec<Hash>> {
    if text.len() != (64 * parts + parts).checked_sub(1)? {
        return None;
    }
    let digit = |b: u8| match b {
        b'0'..=b'9' => Some(b - b'0'),
        b'a'..=b'f' => Some(b - b'a' + 10),
        _ => None,
    };
    let one = |text: &str| {
        let mut hash = [0; 32];
        let text = Some(text.as_bytes()).filter(|t| t.len() == 64)?;
        for (byte, pair) in hash.iter_mut().zip(text.chunks_exact(2)) {
            *byte = digit(pair[0])? << 4 | digit(pair[1])?;
        }
        Some(hash)
    };
    text.split(',').map(one).collect::<Option<Vec<_>>>().filter(|all| all.len() == parts)
}

/// A tensor's line in the header.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Place {
    dtype: String,
    shape: Vec<u64>,
    data_offsets: [u64; 2],
}
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?} at {}..{}", self.dtype, self.shape, self.data_offsets[0], self.data_offsets[1])
    }
}

/// The header as written; a key that stands twice is an error, not the last one's victory.
#[derive(Default)]
struct Raw {
    metadata: HashMap<String, String>,
    tensors: HashMap<String, Place>,
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Outer;
        impl<'de> Visitor<'de> for Outer {
            type Value = Raw;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map of tensors")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Raw, A::Error> {
                let mut raw = Raw::default();
                let mut seen = false;
                while let Some(key) = map.next_key::<String>()? {
                    let twice = match key.as_str() {
                        "__metadata__" => {
                            raw.metadata = map.next_value::<Pairs>()?.0;
                            std::mem::replace(&mut seen, true)
                        }
                        _ => raw.tensors.insert(key.clone(), map.next_value()?).is_some(),
                    };
                    if twice {
                        return Err(A::Error::custom(format!("{:?} stands twice", shorten(&key))));
                    }
                }
                Ok(raw)
            }
        }
        deserializer.deserialize_map(Outer)
    }
}

struct Pairs(HashMap<String, String>);
impl<'de> Deserialize<'de> for Pairs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Inner;
        impl<'de> Visitor<'de> for Inner {
            type Value = Pairs;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map of texts")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Pairs, A::Error> {
                let mut pairs = HashMap::new();
                while let Some((key, value)) = map.next_entry::<String, String>()? {
                    if pairs.insert(key.clone(), value).is_some() {
                        return Err(A::Error::custom(format!("{:?} stands twice", shorten(&key))));
                    }
                }
                Ok(Pairs(pairs))
            }
        }
        deserializer.deserialize_map(Inner)
    }
}
