//! Sharing work among the pool: cutting slices into pieces that workers own, and scratch that outlives a call.

use std::cell::RefCell;
use std::ops::{Deref, DerefMut, Range};

/// Cuts `0..n` into at most `pieces` equal ranges of at least `least`; always one range, even for `n = 0`.
/// The cut depends on the arguments only, so sums over pieces are the same in every run.
pub(super) fn pieces(n: usize, least: usize, pieces: usize) -> Vec<Range<usize>> {
    let count = pieces.min(n / least.max(1)).max(1);
    let piece = n.div_ceil(count);
    (0..count).map(|i| (i * piece).min(n)..((i + 1) * piece).min(n)).collect()
}

/// Cuts rows of `width` elements as the ranges say; the ranges must be in order and without gaps.
pub(super) fn cut<'a, T>(mut x: &'a mut [T], ranges: &[Range<usize>], width: usize) -> Vec<&'a mut [T]> {
    let take = |r: &Range<usize>| {
        let (head, tail) = std::mem::take(&mut x).split_at_mut(r.len() * width);
        x = tail;
        head
    };
    ranges.iter().map(take).collect()
}

/// The same for a gradient that may be unwanted.
pub(super) fn cut_wanted<'a>(
    x: Option<&'a mut [f32]>,
    ranges: &[Range<usize>],
    width: usize,
) -> Vec<Option<&'a mut [f32]>> {
    match x {
        Some(x) => cut(x, ranges, width).into_iter().map(Some).collect(),
        None => ranges.iter().map(|_| None).collect(),
    }
}

/// Adds partial sums, one of `len` elements a piece, in the order of the pieces.
pub(super) fn collect(into: &mut [f32], partial: &[f32]) {
    for part in partial.chunks(into.len().max(1)) {
        into.iter_mut().zip(part).for_each(|(a, b)| *a += b);
    }
}

/// Memory that several workers write at once, each elements of its own that no slice could express.
#[derive(Clone, Copy)]
pub(super) struct Scatter {
    at: *mut f32,
    len: usize,
}
// SAFETY: every access goes through `row`, whose callers promise that no two workers touch one element.
unsafe impl Send for Scatter {}
// SAFETY: as above.
unsafe impl Sync for Scatter {}
impl Scatter {
    pub(super) fn new(x: &mut [f32]) -> Self {
        Self { at: x.as_mut_ptr(), len: x.len() }
    }
    /// Elements `start .. start + len`.
    ///
    /// # Safety
    /// While the slice lives nobody else may hold one that overlaps it, and the memory must still be borrowed.
    pub(super) unsafe fn row<'a>(self, start: usize, len: usize) -> &'a mut [f32] {
        assert!(start + len <= self.len, "a row outside its buffer");
        // SAFETY: in range by the check, unshared by the caller's promise.
        unsafe { std::slice::from_raw_parts_mut(self.at.add(start), len) }
    }
}

thread_local! {
    static SPARE: RefCell<Vec<Vec<f32>>> = const { RefCell::new(Vec::new()) };
}

/// Scratch numbers, kept by the thread for the next call: fresh pages would cost more than most kernels.
pub(super) struct Scratch(Vec<f32>, usize);
impl Scratch {
    /// `len` numbers of any value.
    pub(super) fn new(len: usize) -> Self {
        let take = |spare: &RefCell<Vec<Vec<f32>>>| {
            let mut spare = spare.borrow_mut();
            let fit =
                spare.iter().enumerate().filter(|(_, v)| v.len() >= len).min_by_key(|(_, v)| v.len()).map(|(i, _)| i);
            fit.map(|i| spare.swap_remove(i))
        };
        Self(SPARE.with(take).unwrap_or_else(|| vec![0.0; len]), len)
    }
    /// `len` zeros.
    pub(super) fn zeros(len: usize) -> Self {
        let mut scratch = Self::new(len);
        scratch.fill(0.0);
        scratch
    }
}
impl Drop for Scratch {
    fn drop(&mut self) {
        let keep = |spare: &RefCell<Vec<Vec<f32>>>| {
            let mut spare = spare.borrow_mut();
            spare.push(std::mem::take(&mut self.0));
            if spare.len() > 8 {
                // The smallest is the cheapest to make again.
                let least = spare.iter().enumerate().min_by_key(|(_, v)| v.len()).map_or(0, |(i, _)| i);
                drop(spare.swap_remove(least));
            }
        };
        // A thread that is ending has no spare list left.
        let _ = SPARE.try_with(keep);
    }
}
impl Deref for Scratch {
    type Target = [f32];
    fn deref(&self) -> &[f32] {
        &self.0[..self.1]
    }
}
impl DerefMut for Scratch {
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut self.0[..self.1]
    }
}
