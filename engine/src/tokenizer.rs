//! Text to token ids and back: plain bytes, or byte-level BPE through the `tokenizers` crate.
//!
//! Encoding never fails and never reads a special token out of a text: specials are only placed by
//! [`Tokenizer::user_turn`] and by the code that joins documents. Decoding gives raw bytes, because a token may
//! hold a part of a character; [`Utf8Stream`] turns a stream of them into whole characters.

use crate::error::Error;
use serde_json::Value;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use tokenizers::models::bpe::{BPE, BpeTrainerBuilder};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::tokenizer::{OffsetReferential, OffsetType, PreTokenizedString};
use tokenizers::{AddedToken, Model, PreTokenizer, Trainer};

/// Special tokens, the first ids of a BPE vocabulary: `<end>` ends documents and answers, `<user>` opens a person's
/// turn, `<lichen>` the answer, `<text>` plain text, `<act>` an action, `<task>` the name of a task before a turn,
/// `<now>` the time of a turn, `<audio>` what was heard, `<image>` what was seen.
pub const SPECIALS: [&str; 9] =
    ["<end>", "<user>", "<lichen>", "<text>", "<act>", "<task>", "<now>", "<audio>", "<image>"];
/// The ones that plain bytes have, ids 256..260.
const BYTE_SPECIALS: usize = 4;

/// What stands in a model file for plain bytes.
const BYTES_JSON: &str = r#"{"type":"bytes"}"#;

/// Turns text into token ids and back. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Tokenizer(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    json: String,
    /// What each id stands for; nothing for a special.
    pieces: Vec<Vec<u8>>,
    specials: HashMap<String, u32>,
    /// Tokens that stand for a whole text and are only placed by code, by that text.
    literals: HashMap<String, u32>,
    /// Absent for plain bytes.
    bpe: Option<Bpe>,
}

#[derive(Debug)]
struct Bpe {
    model: BPE,
    /// Ids of the 256 bytes, for text that the pre-tokenizer refuses.
    bytes: Vec<u32>,
}

impl PartialEq for Tokenizer {
    fn eq(&self, other: &Self) -> bool {
        self.0.json == other.0.json
    }
}

fn bad(what: impl std::fmt::Display) -> Error {
    Error::Tokenizer(what.to_string().replace('\n', " "))
}

/// How a literal is named in a vocabulary. Tokens learned from text have no space: theirs is another letter.
fn as_literal(text: &str) -> String {
    format!("literal {text}")
}
fn literal(name: &str) -> Option<&str> {
    name.strip_prefix("literal ").filter(|text| !text.is_empty())
}

/// Splits words as GPT-2 does; no letter is added and nothing is dropped.
fn splitter() -> ByteLevel {
    ByteLevel::new(false, false, true)
}

/// The byte-level alphabet: printable bytes stand for themselves, the others for letters from U+0100 on.
fn alphabet() -> [char; 256] {
    let printable = |b: u32| matches!(b, 0x21..=0x7E | 0xA1..=0xAC | 0xAE..=0xFF);
    let mut next = 0x100;
    std::array::from_fn(|b| {
        let b = b as u32;
        let code = if printable(b) {
            b
        } else {
            next += 1;
            next - 1
        };
        char::from_u32(code).unwrap_or('\u{FFFD}')
    })
}

impl Tokenizer {
    /// Plain bytes: ids 0..256 are bytes, then the specials.
    pub fn bytes() -> Self {
        let mut pieces: Vec<Vec<u8>> = (0..=255u8).map(|b| vec![b]).collect();
        let names = &SPECIALS[..BYTE_SPECIALS];
        pieces.extend(names.iter().map(|_| Vec::new()));
        let specials = names.iter().zip(256..).map(|(name, id)| (name.to_string(), id)).collect();
        Self(Arc::new(Inner { json: BYTES_JSON.into(), pieces, specials, literals: HashMap::new(), bpe: None }))
    }

    /// From what stands in a model file: `{"type":"bytes"}` or a byte-level BPE `tokenizer.json`.
    pub fn from_json(json: &str) -> Result<Self, Error> {
        let file: Value = serde_json::from_str(json).map_err(bad)?;
        if file.get("type").and_then(Value::as_str) == Some("bytes") {
            return match json {
                BYTES_JSON => Ok(Self::bytes()),
                _ => Err(bad(format!("plain bytes are written {BYTES_JSON}"))),
            };
        }
        let absent = |value: &Value, key: &str| value.get(key).is_none_or(Value::is_null);
        let Some(model) = file.get("model").filter(|m| m.get("type").and_then(Value::as_str) == Some("BPE")) else {
            return Err(bad("only byte-level BPE and plain bytes are read"));
        };
        for key in ["dropout", "unk_token", "continuing_subword_prefix", "end_of_word_suffix"] {
            if !absent(model, key) {
                return Err(bad(format!("model.{key} is not supported")));
            }
        }
        if !absent(&file, "normalizer") {
            return Err(bad("a normalizer changes the text; it is not supported"));
        }
        let pre: ByteLevel = match file.get("pre_tokenizer") {
            Some(pre) => serde_json::from_value(pre.clone()).map_err(bad)?,
            None => return Err(bad("pre_tokenizer is absent, should be ByteLevel")),
        };
        if pre.add_prefix_space || !pre.use_regex {
            return Err(bad("pre_tokenizer must be ByteLevel with add_prefix_space false and use_regex true"));
        }
        let added: Vec<AddedToken> = match file.get("added_tokens") {
            Some(added) => serde_json::from_value(added.clone()).map_err(bad)?,
            None => Vec::new(),
        };
        Self::build(json.to_string(), serde_json::from_str(&model.to_string()), added)
    }

    fn build(json: String, model: Result<BPE, serde_json::Error>, added: Vec<AddedToken>) -> Result<Self, Error> {
        let model = model.map_err(bad)?;
        let vocab = model.get_vocab();
        let mut pieces: Vec<Option<Vec<u8>>> = vec![None; vocab.len()];
        let (mut specials, mut literals) = (HashMap::new(), HashMap::new());
        for token in added {
            let id = vocab.get(&token.content).copied();
            let id = id.ok_or_else(|| bad(format!("added token {:?} must be in the vocabulary", token.content)))?;
            match literal(&token.content) {
                _ if token.special => specials.insert(token.content, id),
                Some(text) => literals.insert(text.to_string(), id),
                None => return Err(bad(format!("added token {:?} is neither special nor literal", token.content))),
            };
        }
        let alphabet = alphabet();
        let byte_of: HashMap<char, u8> = alphabet.iter().copied().zip(0..=255).collect();
        for (text, &id) in &vocab {
            let whole = literal(text).filter(|text| literals.get(*text) == Some(&id));
            let piece = match whole {
                _ if specials.contains_key(text) => Some(Vec::new()),
                Some(text) => Some(text.as_bytes().to_vec()),
                None => text.chars().map(|c| byte_of.get(&c).copied()).collect(),
            };
            let piece = piece.ok_or_else(|| bad(format!("token {id} is not in the byte-level alphabet")))?;
            match pieces.get_mut(id as usize) {
                Some(place) if place.is_none() => *place = Some(piece),
                _ => return Err(bad(format!("token id {id} is used twice or leaves a gap"))),
            }
        }
        // As many ids as places and no place taken twice: every place is filled.
        let pieces: Vec<Vec<u8>> = pieces.into_iter().map(Option::unwrap_or_default).collect();
        let bytes: Option<Vec<u32>> = alphabet.iter().map(|c| vocab.get(c.to_string().as_str()).copied()).collect();
        let bytes = bytes.ok_or_else(|| bad("the vocabulary lacks some of the 256 bytes"))?;
        let tokenizer = Self(Arc::new(Inner { json, pieces, specials, literals, bpe: Some(Bpe { model, bytes }) }));
        for (name, &id) in &tokenizer.0.specials {
            let text: Option<Vec<u8>> = name.chars().map(|c| byte_of.get(&c).copied()).collect();
            let text = text.and_then(|t| String::from_utf8(t).ok()).unwrap_or_else(|| name.clone());
            if tokenizer.encode(&text).contains(&id) {
                return Err(bad(format!("special token {name:?} can be typed: a person could end the answer with it")));
            }
        }
        Ok(tokenizer)
    }

    /// What stands in a model file.
    pub fn to_json(&self) -> String {
        self.0.json.clone()
    }

    /// Learns a byte-level BPE vocabulary of at most `vocab` tokens (fewer when the texts hold no more pairs):
    /// the specials, the literals, the 256 bytes, then merges. The same texts give the same vocabulary. A literal is
    /// a token for a whole printable text, which only [`Tokenizer::literal`] gives.
    pub fn train(texts: impl Iterator<Item = String> + Send, vocab: usize, literals: &[String]) -> Result<Self, Error> {
        let least = SPECIALS.len() + literals.len() + 256;
        if vocab < least {
            return Err(bad(format!("a vocabulary needs at least {least} tokens, {vocab} were asked for")));
        }
        let specials = SPECIALS.iter().map(|name| AddedToken::from(*name, true));
        let literals = literals.iter().map(|text| AddedToken::from(as_literal(text), false));
        let added: Vec<AddedToken> = specials.chain(literals).collect();
        let mut trainer = BpeTrainerBuilder::new()
            .vocab_size(vocab)
            .min_frequency(2)
            .show_progress(false)
            .special_tokens(added.clone())
            .initial_alphabet(alphabet().into_iter().collect::<HashSet<char>>())
            .build();
        let words = |text: &str| {
            let mut split = PreTokenizedString::from(text);
            splitter().pre_tokenize(&mut split)?;
            let words = split.get_splits(OffsetReferential::Normalized, OffsetType::None);
            Ok(words.into_iter().map(|(word, _, _)| word.to_string()).collect())
        };
        trainer.feed(texts, words).map_err(bad)?;
        let mut model = BPE::default();
        trainer.train(&mut model).map_err(bad)?;
        let mut whole = tokenizers::Tokenizer::new(model);
        whole.with_pre_tokenizer(Some(splitter()));
        whole.with_decoder(Some(splitter()));
        for token in &added {
            match token.special {
                true => whole.add_special_tokens(std::slice::from_ref(token)),
                false => whole.add_tokens(std::slice::from_ref(token)),
            };
        }
        Self::from_json(&whole.to_string(false).map_err(bad)?)
    }

    /// Tokens of the vocabulary.
    pub fn vocab(&self) -> usize {
        self.0.pieces.len()
    }

    /// The ids of a text. A special's name in the text is just text.
    pub fn encode(&self, text: &str) -> Vec<u32> {
        let Some(bpe) = &self.0.bpe else {
            return text.bytes().map(u32::from).collect();
        };
        // Every byte is in the vocabulary, so the model has no text to refuse; should it, bytes still stand for it.
        bpe.encode(text).unwrap_or_else(|| text.bytes().map(|b| bpe.bytes[usize::from(b)]).collect())
    }

    /// The bytes of ids: specials and ids outside the vocabulary give nothing.
    pub fn decode(&self, ids: &[u32]) -> Vec<u8> {
        ids.iter().filter_map(|&id| self.0.pieces.get(id as usize)).flatten().copied().collect()
    }

    /// The id of a special token.
    pub fn special(&self, name: &str) -> Option<u32> {
        self.0.specials.get(name).copied()
    }

    /// The id of a literal: a token that stands for this whole text and is never read out of a text.
    pub fn literal(&self, text: &str) -> Option<u32> {
        self.0.literals.get(text).copied()
    }

    /// Whether an id is a literal's.
    pub(crate) fn is_literal(&self, id: u32) -> bool {
        self.0.literals.values().any(|&literal| literal == id)
    }

    /// A person's turn up to where the answer starts: `<user> text <lichen>`, or the plain text when the
    /// vocabulary has no such tokens.
    pub fn user_turn(&self, text: &str) -> Vec<u32> {
        match (self.special("<user>"), self.special("<lichen>")) {
            (Some(user), Some(lichen)) => [vec![user], self.encode(text), vec![lichen]].concat(),
            _ => self.encode(text),
        }
    }
}

impl Bpe {
    fn encode(&self, text: &str) -> Option<Vec<u32>> {
        let mut split = PreTokenizedString::from(text);
        splitter().pre_tokenize(&mut split).ok()?;
        let mut ids = Vec::with_capacity(text.len() / 3);
        for (word, _, _) in split.get_splits(OffsetReferential::Normalized, OffsetType::None) {
            ids.extend(self.model.tokenize(word).ok()?.into_iter().map(|token| token.id));
        }
        Some(ids)
    }
}

/// Takes bytes as they come and gives whole characters: a character that is still incomplete waits; bytes that
/// can never become one are replaced by U+FFFD.
#[derive(Clone, Debug, Default)]
pub struct Utf8Stream {
    waiting: Vec<u8>,
}

impl Utf8Stream {
    /// An empty stream.
    pub fn new() -> Self {
        Self::default()
    }
    /// Adds bytes; gives the characters that are complete.
    pub fn push(&mut self, bytes: &[u8]) -> String {
        self.waiting.extend_from_slice(bytes);
        let mut text = String::new();
        let mut from = 0;
        for chunk in self.waiting.utf8_chunks() {
            text.push_str(chunk.valid());
            from += chunk.valid().len();
            let invalid = chunk.invalid();
            // An incomplete character at the very end may still be completed.
            let last = from + invalid.len() == self.waiting.len();
            if last && incomplete(invalid) {
                break;
            }
            if !invalid.is_empty() {
                text.push('\u{FFFD}');
            }
            from += invalid.len();
        }
        self.waiting.drain(..from);
        text
    }
    /// Ends the stream; gives what was waiting, lossily.
    pub fn finish(&mut self) -> String {
        let rest = std::mem::take(&mut self.waiting);
        String::from_utf8_lossy(&rest).into_owned()
    }
}

/// Whether more bytes could make these a character.
fn incomplete(bytes: &[u8]) -> bool {
    matches!(std::str::from_utf8(bytes), Err(error) if error.error_len().is_none())
}

#[cfg(test)]
mod tests {
    use super::*;
    use lichen_shaders::cases::Random;

    fn trained() -> Tokenizer {
        let lines = [
            "the lichen grows on the rock, slowly",
            "the rock is bare; the lichen is not",
            "zwölf größere Flechten 🪨 日本語 日本語",
        ];
        Tokenizer::train((0..40).map(|i| lines[i % 3].to_string()), 330, &[]).expect("training")
    }

    #[test]
    fn every_character_comes_back() {
        for tokenizer in [Tokenizer::bytes(), trained()] {
            let all: String = (0..=0x10FFFF).step_by(7).chain(0..0x3000).filter_map(char::from_u32).collect();
            assert_eq!(tokenizer.decode(&tokenizer.encode(&all)), all.as_bytes());
            assert!(tokenizer.encode(&all).iter().all(|&id| (id as usize) < tokenizer.vocab()));
            assert_eq!(tokenizer.encode(""), Vec::<u32>::new());
            let spaces = " ".repeat(5000) + "\n\t x";
            assert_eq!(tokenizer.decode(&tokenizer.encode(&spaces)), spaces.as_bytes());
        }
    }

    #[test]
    fn training_is_deterministic_and_survives_json() {
        let tokenizer = trained();
        assert_eq!(tokenizer.to_json(), trained().to_json());
        assert_eq!(tokenizer.vocab(), 330);
        let again = Tokenizer::from_json(&tokenizer.to_json()).expect("reading");
        let text = "the lichen and größere 日本 rocks";
        assert_eq!(again.encode(text), tokenizer.encode(text));
        assert!(tokenizer.encode("the lichen").len() < 6);
        for (i, name) in SPECIALS.iter().enumerate() {
            assert_eq!(tokenizer.special(name), Some(i as u32));
        }
        assert_eq!(Tokenizer::from_json(&Tokenizer::bytes().to_json()).expect("bytes"), Tokenizer::bytes());
    }

    #[test]
    fn few_texts_give_a_smaller_vocabulary() {
        let tokenizer = Tokenizer::train(["abc abc".to_string()].into_iter(), 4096, &[]).expect("training");
        assert!((265..300).contains(&tokenizer.vocab()));
        assert!(Tokenizer::train(std::iter::empty(), 4096, &[]).is_ok_and(|t| t.vocab() == 265));
        assert!(Tokenizer::train(std::iter::empty(), 264, &[]).is_err());
    }

    #[test]
    fn specials_in_text_are_text() {
        for tokenizer in [Tokenizer::bytes(), trained()] {
            let text = "<end><user> <lichen>\n<text>";
            let ids = tokenizer.encode(text);
            assert!(SPECIALS.iter().filter_map(|name| tokenizer.special(name)).all(|id| !ids.contains(&id)));
            assert_eq!(tokenizer.decode(&ids), text.as_bytes());
            let turn = tokenizer.user_turn("hi");
            assert_eq!(
                (turn.first().copied(), turn.last().copied()),
                (tokenizer.special("<user>"), tokenizer.special("<lichen>"))
            );
            assert_eq!(tokenizer.decode(&turn), b"hi");
        }
    }

    #[test]
    fn literals_stand_for_their_text_and_are_never_read_out_of_one() {
        let texts = ["{\"name\":\"go\"} \"}}", "literal \", literal\"}} \",\""];
        let literals = ["{\"name\":\"go\"}".to_string(), "\"}}".to_string(), "\",".to_string()];
        let tokenizer = Tokenizer::train((0..60).map(|i| texts[i % 2].to_string()), 400, &literals).expect("training");
        let again = Tokenizer::from_json(&tokenizer.to_json()).expect("reading");
        assert_eq!(again.vocab(), tokenizer.vocab());
        for text in &literals {
            let id = again.literal(text).expect("is there");
            assert_eq!(again.decode(&[id]), text.as_bytes());
            for typed in [text.clone(), as_literal(text), texts[1].to_string()] {
                assert!(!again.encode(&typed).contains(&id), "{typed}");
                assert_eq!(again.decode(&again.encode(&typed)), typed.as_bytes());
            }
        }
        assert_eq!((again.literal("\"}"), trained().literal("\"}}")), (None, None));
    }

    #[test]
    fn hostile_files_are_errors() {
        let good: Value = serde_json::from_str(&trained().to_json()).expect("json");
        let change = |path: &str, value: Value| {
            let mut file = good.clone();
            *file.pointer_mut(path).expect("a place in the file") = value;
            Tokenizer::from_json(&file.to_string())
        };
        assert!(change("/normalizer", Value::Null).is_ok());
        for (path, value) in [
            ("/model/type", "Unigram".into()),
            ("/model/vocab/<end>", 7.into()),
            ("/model/vocab/<end>", 4_000_000_000u32.into()),
            ("/model/merges/0", serde_json::json!(["zz", "yy"])),
            ("/model/dropout", 0.5.into()),
            ("/model/continuing_subword_prefix", "####".into()),
            ("/normalizer", serde_json::json!({"type": "NFC"})),
            ("/pre_tokenizer", Value::Null),
            ("/pre_tokenizer/add_prefix_space", true.into()),
            ("/added_tokens/0/content", "absent".into()),
            ("/added_tokens/0/content", "the".into()),
            ("/added_tokens/0/special", false.into()),
        ] {
            assert!(matches!(change(path, value), Err(Error::Tokenizer(_))), "{path}");
        }
        for text in ["", "{", "{}", "[]", "null", r#"{"type":"bytes","x":1}"#, r#"{"model":{"type":"BPE"}}"#] {
            assert!(matches!(Tokenizer::from_json(text), Err(Error::Tokenizer(_))), "{text}");
        }
    }

    #[test]
    fn a_stream_never_splits_a_character() {
        let text = "añ日本🪨 end";
        let mut stream = Utf8Stream::new();
        let mut got = String::new();
        for byte in text.bytes() {
            let part = stream.push(&[byte]);
            assert!(!part.contains('\u{FFFD}'));
            got += &part;
        }
        assert_eq!(got + &stream.finish(), text);
    }

    #[test]
    fn a_stream_of_any_bytes_equals_the_lossy_whole() {
        let mut random = Random::new(3);
        for _ in 0..2000 {
            // Leading and continuation bytes are drawn often, so that broken characters of every kind occur.
            let bytes: Vec<u8> = (0..random.below(24))
                .map(|_| [0x61, 0xE6, 0x97, 0xA5, 0xF0, 0x9F, 0x80, 0xC3, 0xFF][random.below(9)])
                .collect();
            let mut stream = Utf8Stream::new();
            let mut got = String::new();
            let mut rest = bytes.as_slice();
            while !rest.is_empty() {
                let (part, tail) = rest.split_at(1 + random.below(rest.len()));
                got += &stream.push(part);
                rest = tail;
            }
            assert_eq!(got + &stream.finish(), String::from_utf8_lossy(&bytes), "{bytes:x?}");
        }
    }
}
