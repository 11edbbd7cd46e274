//! Text as one stream of tokens, document after document.

use crate::error::Error;
use crate::tokenizer::Tokenizer;
use sha2::{Digest, Sha256};

/// Who says a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speaker {
    /// The person.
    User,
    /// The model.
    Lichen,
}

/// One piece of training or test data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Document {
    /// Plain text: `<text> .. <end>`.
    Text(String),
    /// A dialogue: `<user> .. <lichen> .. <end>`, the end after each answer.
    Turns(Vec<(Speaker, String)>),
}

/// A stream of tokens with the bytes they stand for.
#[derive(Clone, Debug, Default)]
pub struct Dataset {
    tokens: Vec<u32>,
    bytes: u64,
    documents: Vec<usize>,
}

impl Dataset {
    /// Encodes documents one after the other.
    pub fn new(tokenizer: &Tokenizer, documents: impl IntoIterator<Item = Document>) -> Result<Self, Error> {
        let mark = |name: &str| {
            tokenizer
                .special(name)
                .ok_or_else(|| Error::Tokenizer(format!("it has no {name} token, which documents need")))
        };
        let (text, user, lichen, end) = (mark("<text>")?, mark("<user>")?, mark("<lichen>")?, mark("<end>")?);
        let mut all = Self::default();
        for document in documents {
            all.documents.push(all.tokens.len());
            match document {
                Document::Text(body) => {
                    all.tokens.push(text);
                    all.push(tokenizer, &body);
                    all.tokens.push(end);
                }
                Document::Turns(turns) => {
                    for (speaker, body) in turns {
                        all.tokens.push(if speaker == Speaker::User { user } else { lichen });
                        all.push(tokenizer, &body);
                        if speaker == Speaker::Lichen {
                            all.tokens.push(end);
                        }
                    }
                }
            }
        }
        Ok(all)
    }
    fn push(&mut self, tokenizer: &Tokenizer, body: &str) {
        self.bytes += body.len() as u64;
        self.tokens.extend(tokenizer.encode(body));
    }

    /// The stream.
    pub fn tokens(&self) -> &[u32] {
        &self.tokens
    }
    /// Bytes of text behind it.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }
    /// Tokens of each document.
    pub fn documents(&self) -> impl Iterator<Item = &[u32]> {
        let ends = self.documents.iter().skip(1).copied().chain([self.tokens.len()]);
        self.documents.iter().zip(ends).map(|(&from, to)| &self.tokens[from..to])
    }
    /// SHA-256 of the stream, hex: a resumed run must see the same data.
    pub fn fingerprint(&self) -> String {
        let digest = Sha256::digest(bytemuck::cast_slice::<u32, u8>(&self.tokens));
        digest.iter().map(|b| format!("{b:02x}")).collect()
    }
}
