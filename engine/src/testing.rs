//! What tests of this crate share: a small random model on the CPU.

use crate::checkpoint::Checkpoint;
use crate::config::{Config, Mixer};
use crate::tokenizer::Tokenizer;
use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

/// The CPU device answers at once: nothing ever waits.
pub(crate) fn now<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("the CPU device never waits"),
    }
}

pub(crate) fn config(mixer: Mixer) -> Config {
    Config {
        mixer,
        vocab: 260,
        width: 64,
        layers: 2,
        heads: 2,
        key: 8,
        value: 16,
        rank: 4,
        sections: 8,
        picks: 2,
        neurons: 16,
        shared: 16,
        route: 8,
        rho: 1.0,
        turn: 0,
        senses: None,
    }
}

/// Random weights of these sizes, whose logits differ from token to token.
pub(crate) fn checkpoint(config: &Config, tokenizer: Tokenizer, seed: u64) -> Checkpoint {
    let mut checkpoint = Checkpoint::random(config, tokenizer, seed);
    // Random embeddings are small.
    let embed = checkpoint.take("embed").expect("tensor").iter().map(|x| x * 10.0).collect();
    checkpoint.set("embed", embed).expect("set");
    checkpoint
}
