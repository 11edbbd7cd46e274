//! The state as a value: what the recurrent blocks carry from token to token, of a size that never grows. It can be
//! saved, loaded, cloned, compared and put back.

use crate::config::Config;
use crate::data::{HEARD, SEEN};
use crate::error::Error;
use crate::graph::StateBuffers;
use sha2::{Digest, Sha256};
use std::collections::VecDeque;

/// First bytes of a saved state, with its format version.
const MAGIC: &[u8; 16] = b"lichen-state-1\n\0";
/// Tokens that the repeat penalty can look back on.
pub(crate) const HISTORY: usize = 256;

/// The state of a session.
#[derive(Clone, Debug, PartialEq)]
pub struct State {
    pub(crate) fingerprint: [u8; 32],
    pub(crate) position: u32,
    /// The last tokens, oldest first, at most [`HISTORY`].
    pub(crate) history: Vec<u32>,
    /// Parts in the order of the layers.
    pub(crate) tensors: Vec<Vec<f32>>,
    /// Of the last token fed; empty before the first.
    pub(crate) logits: Vec<f32>,
}

/// What a state must agree on with a model.
pub(crate) fn fingerprint(config: &Config) -> [u8; 32] {
    Sha256::digest(serde_json::to_vec(config).unwrap_or_default()).into()
}

/// The token history as the device keeps it: the token at position p lies at p modulo 256.
pub(crate) fn ring(history: &VecDeque<u32>, position: u32) -> Vec<u32> {
    let mut ring = vec![0; HISTORY];
    for (back, &token) in history.iter().rev().enumerate() {
        ring[(position.wrapping_sub(1 + back as u32)) as usize % HISTORY] = token;
    }
    ring
}

impl State {
    /// Tokens fed so far.
    pub fn position(&self) -> u32 {
        self.position
    }
    /// The last tokens fed, oldest first, at most 256.
    pub fn history(&self) -> &[u32] {
        &self.history
    }

    /// Bytes for a file: a magic, the parts with their lengths, and a SHA-256 of all that.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        out.extend(self.fingerprint);
        out.extend(self.position.to_le_bytes());
        let count = |out: &mut Vec<u8>, n: usize| out.extend((n as u64).to_le_bytes());
        count(&mut out, self.history.len());
        out.extend(self.history.iter().flat_map(|t| t.to_le_bytes()));
        count(&mut out, self.tensors.len());
        for tensor in self.tensors.iter().chain([&self.logits]) {
            count(&mut out, tensor.len());
            out.extend(tensor.iter().flat_map(|x| x.to_le_bytes()));
        }
        let hash = Sha256::digest(&out);
        out.extend(hash);
        out
    }

    /// From the bytes of [`State::to_bytes`]; nothing is allocated beyond the length of `bytes`.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Error> {
        let bad = |what: &str| Error::State(what.to_string());
        let Some((body, hash)) = bytes.split_last_chunk::<32>() else {
            return Err(bad("too short for a saved state"));
        };
        let Some(rest) = body.strip_prefix(MAGIC) else {
            return Err(bad("not a saved state, or one of another version"));
        };
        if <[u8; 32]>::from(Sha256::digest(body)) != *hash {
            return Err(bad("damaged: its SHA-256 does not match"));
        }
        let mut reader = Reader(rest);
        let state = reader.state().filter(|_| reader.0.is_empty()).ok_or_else(|| bad("its parts do not add up"))?;
        if state.history.len() != (state.position as usize).min(HISTORY) {
            return Err(bad("its history does not fit its position"));
        }
        match state.tensors.iter().flatten().any(|x| !x.is_finite()) {
            true => Err(bad("it holds a value that is not finite")),
            false => Ok(state),
        }
    }

    /// Whether this state fits a model.
    pub(crate) fn check(&self, config: &Config, buffers: &StateBuffers) -> Result<(), Error> {
        let lengths = buffers.layers.iter().flatten().map(|(_, b)| b.len());
        let fits = self.fingerprint == fingerprint(config)
            && self.tensors.iter().map(Vec::len).eq(lengths)
            && self.logits.len() == if self.position == 0 { 0 } else { config.vocab }
            && self.history.iter().all(|&t| (t as usize) < config.vocab || t == HEARD || t == SEEN);
        if fits { Ok(()) } else { Err(Error::State("saved with a model of other sizes".into())) }
    }
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn state(&mut self) -> Option<State> {
        let fingerprint = self.array()?;
        let position = u32::from_le_bytes(self.array()?);
        let history = self.words()?.into_iter().map(u32::from_le_bytes).collect();
        let count = self.count(8)?;
        let tensors = (0..count).map(|_| self.floats()).collect::<Option<_>>()?;
        Some(State { fingerprint, position, history, tensors, logits: self.floats()? })
    }
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*head)
    }
    /// A number of things of at least `each` bytes that are all still to come.
    fn count(&mut self, each: usize) -> Option<usize> {
        let n = usize::try_from(u64::from_le_bytes(self.array()?)).ok()?;
        (n <= self.0.len() / each).then_some(n)
    }
    fn words(&mut self) -> Option<Vec<[u8; 4]>> {
        let n = self.count(4)?;
        let (head, rest) = self.0.split_at_checked(n * 4)?;
        self.0 = rest;
        Some(head.as_chunks::<4>().0.to_vec())
    }
    fn floats(&mut self) -> Option<Vec<f32>> {
        Some(self.words()?.into_iter().map(f32::from_le_bytes).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state() -> State {
        State {
            fingerprint: fingerprint(&Config::nano()),
            position: 3,
            history: vec![4, 5, 6],
            tensors: vec![vec![1.0, -2.5], vec![], vec![0.125; 7]],
            logits: vec![0.5, 1.5],
        }
    }

    /// Makes the hash right again, so that what lies behind it is tested.
    fn sealed(mut body: Vec<u8>) -> Vec<u8> {
        body.truncate(body.len() - 32);
        let hash = Sha256::digest(&body);
        body.extend(hash);
        body
    }

    #[test]
    fn a_state_survives_bytes() {
        assert_eq!(State::from_bytes(&state().to_bytes()).expect("reading"), state());
    }

    #[test]
    fn damaged_states_are_errors() {
        let good = state().to_bytes();
        for n in 0..good.len() {
            assert!(State::from_bytes(&good[..n]).is_err(), "{n} bytes");
            let mut changed = good.clone();
            changed[n] ^= 0x40;
            assert!(State::from_bytes(&changed).is_err(), "byte {n}");
        }
    }

    #[test]
    fn hostile_lengths_are_errors() {
        let good = state().to_bytes();
        for at in 16..good.len() - 40 {
            for value in [0u64, 1, 1 << 32, u64::MAX / 4, u64::MAX] {
                let mut changed = good.clone();
                changed[at..at + 8].copy_from_slice(&value.to_le_bytes());
                // Whatever happens, it is not a panic and not a huge allocation.
                let _ = State::from_bytes(&sealed(changed));
            }
        }
        let mut many = good.clone();
        many[16 + 36..16 + 44].copy_from_slice(&u64::MAX.to_le_bytes());
        assert!(matches!(State::from_bytes(&sealed(many)), Err(Error::State(_))));
        let nan = State { tensors: vec![vec![f32::NAN]], ..state() };
        assert!(matches!(State::from_bytes(&nan.to_bytes()), Err(Error::State(_))));
    }

    #[test]
    fn the_ring_holds_each_token_at_its_position() {
        let history: VecDeque<u32> = (1000..1256).collect();
        let ring = ring(&history, 300);
        assert_eq!((ring[299 % 256], ring[44], ring[255]), (1255, 1000, 1211));
        assert_eq!(super::ring(&[7, 8].into(), 2)[..3], [7, 8, 0]);
    }
}
