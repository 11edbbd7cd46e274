//! AdamW in place on the CPU device's weights (Loshchilov and Hutter 2019, arXiv 1711.05101).

use super::{Cpu, Gradients};
use crate::buffer::Buffer;
use crate::error::HostError;

/// One update's numbers.
#[derive(Clone, Copy, Debug)]
pub struct AdamW {
    /// Learning rate.
    pub lr: f32,
    /// Decay of the mean of gradients.
    pub beta1: f32,
    /// Decay of the mean of their squares.
    pub beta2: f32,
    /// Added to the root of the mean square.
    pub eps: f32,
    /// Pull to zero, as a share of the weight per unit of learning rate.
    pub weight_decay: f32,
    /// Factor on the gradient: clipping and averaging.
    pub scale: f32,
    /// Updates done before, plus one.
    pub step: u64,
}

/// Running means of a weight's gradient and of its square.
#[derive(Clone, Debug, PartialEq)]
pub struct Moments {
    /// Mean of gradients.
    pub first: Vec<f32>,
    /// Mean of squares.
    pub second: Vec<f32>,
}
impl Moments {
    /// At rest.
    pub fn zeros(len: usize) -> Self {
        Self { first: vec![0.0; len], second: vec![0.0; len] }
    }
}

/// Elements that one piece of the update takes.
const PIECE: usize = 1 << 15;

impl Cpu {
    /// Updates a weight in place from its gradient.
    pub fn adamw(
        &self,
        weight: &Buffer,
        gradients: &Gradients,
        moments: &mut Moments,
        rule: &AdamW,
    ) -> Result<(), HostError> {
        let Some(gradient) = gradients.get(weight) else { return Ok(()) };
        let mut inner = self.lock();
        let block = inner.memory.readable(weight)?;
        // SAFETY: the lock is held; the block has as many elements as the buffer.
        let w: &mut [f32] = unsafe { std::slice::from_raw_parts_mut(block.pointer().cast(), weight.len()) };
        let correct1 = 1.0 - f64::from(rule.beta1).powi(rule.step.min(1 << 20) as i32);
        let correct2 = 1.0 - f64::from(rule.beta2).powi(rule.step.min(1 << 20) as i32);
        let rate = (f64::from(rule.lr) / correct1) as f32;
        let root = (1.0 / correct2.sqrt()) as f32;
        let keep = 1.0 - rule.lr * rule.weight_decay;
        let all: Vec<_> = w
            .chunks_mut(PIECE)
            .zip(gradient.chunks(PIECE))
            .zip(moments.first.chunks_mut(PIECE).zip(moments.second.chunks_mut(PIECE)))
            .map(|((w, g), (m, v))| std::sync::Mutex::new((w, g, m, v)))
            .collect();
        self.pool.split(all.len(), 1, |range| {
            for piece in &all[range] {
                // Each piece is taken once; the lock only carries the exclusive borrow across threads.
                let mut piece = piece.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                let (w, g, m, v) = &mut *piece;
                update(w, g, m, v, rule, rate, root, keep);
            }
        });
        Ok(())
    }

    /// Sum of squares of all selected gradients, in a fixed order.
    pub fn squared_norm<'a>(&self, gradients: &Gradients, weights: impl IntoIterator<Item = &'a Buffer>) -> f64 {
        weights.into_iter().filter_map(|w| gradients.get(w)).map(squares).sum()
    }
}

#[multiversion::multiversion(targets("x86_64+avx512f", "x86_64+avx2+fma"))]
fn update(w: &mut [f32], g: &[f32], m: &mut [f32], v: &mut [f32], rule: &AdamW, rate: f32, root: f32, keep: f32) {
    let (b1, b2, eps, scale) = (rule.beta1, rule.beta2, rule.eps, rule.scale);
    let n = w.len().min(g.len()).min(m.len()).min(v.len());
    let (w, g, m, v) = (&mut w[..n], &g[..n], &mut m[..n], &mut v[..n]);
    for i in 0..n {
        let d = g[i] * scale;
        let first = b1 * m[i] + (1.0 - b1) * d;
        let second = b2 * v[i] + (1.0 - b2) * d * d;
        m[i] = first;
        v[i] = second;
        w[i] = w[i] * keep - rate * first / (second.sqrt() * root + eps);
    }
}

#[multiversion::multiversion(targets("x86_64+avx512f", "x86_64+avx2+fma"))]
fn squares(g: &[f32]) -> f64 {
    let mut total = 0.0;
    for piece in g.chunks(4096) {
        let mut lanes = [0f32; 16];
        let whole = piece.chunks_exact(16);
        let rest: f32 = whole.remainder().iter().map(|x| x * x).sum();
        for x in whole {
            for i in 0..16 {
                lanes[i] += x[i] * x[i];
            }
        }
        total += f64::from(lanes.iter().sum::<f32>() + rest);
    }
    total
}
