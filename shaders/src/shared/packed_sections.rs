//! Packed sections: what `section_up_packed` and `section_down_packed` share.
//!
//! A slab is `[up | padding | down | padding]` in words, up and down each a packed matrix [neurons, width] of
//! [`crate::packed`], each padded to a multiple of 64 words. Chunks and windows are those of `shared/sections.rs`,
//! counted in words.

use super::sections;
use crate::cases::{Cases, Draft, Random};
use crate::packed::{BLOCK, Format, decode, encode};

crate::params! {
    /// Tokens.
    rows: u32,
    /// Slots of a token.
    picks: u32,
    /// Elements of a token's vector: a multiple of the format's [`Format::multiple`].
    width: u32,
    /// Neurons of a section.
    neurons: u32,
    /// Words from one slab to the next.
    stride: u32,
    /// Id of the first section in chunk 0.
    first: u32,
    /// Slabs of a chunk.
    per_chunk: u32,
    /// Chunks in use, at most 4.
    chunks: u32,
    /// Words bound as chunk 0.
    c0: u32,
    /// Words bound as chunk 1.
    c1: u32,
    /// Words bound as chunk 2.
    c2: u32,
    /// Words bound as chunk 3.
    c3: u32,
    /// Tiles of the lists that follow the ids; 0 where there are none.
    tiles: u32,
    /// Code of the weights' format.
    format: u32,
}

/// Words to which each half of a slab is padded: 256 bytes, at which every adapter can bind.
const ALIGN: usize = 64;

/// Words of a slab, a multiple of 64; its down half starts in the middle.
pub fn slab_words(format: Format, neurons: usize, width: usize) -> usize {
    2 * format.words(neurons * width).next_multiple_of(ALIGN)
}

/// Packs a slab of floats `[up | down]`, each [neurons, width].
pub fn pack_slab(format: Format, neurons: usize, width: usize, slab: &[f32]) -> Vec<u32> {
    let half = slab_words(format, neurons, width) / 2;
    let mut words = Vec::with_capacity(2 * half);
    for matrix in slab.chunks(neurons * width) {
        words.extend(encode(format, matrix));
        words.resize(words.len().next_multiple_of(half), 0);
    }
    words
}

impl Params {
    /// A window of weights in some format; its stride and chunks are in words.
    pub fn new(window: sections::Params, format: Format) -> Self {
        let sections::Params { rows, picks, width, neurons, stride, first, per_chunk, chunks, .. } = window;
        let sections::Params { c0, c1, c2, c3, tiles, .. } = window;
        let format = format.code();
        Self { rows, picks, width, neurons, stride, first, per_chunk, chunks, c0, c1, c2, c3, tiles, format }
    }
    /// The format of the weights.
    pub fn packing(&self) -> Format {
        Format::of(self.format)
    }
    /// Words of half a slab, at which its down matrix starts.
    pub fn half(&self) -> usize {
        slab_words(self.packing(), self.neurons as usize, self.width as usize) / 2
    }
    /// The same window as unpacked kernels describe it; its stride and chunks stay in words.
    pub fn window(&self) -> sections::Params {
        let &Self { rows, picks, width, neurons, stride, first, per_chunk, chunks, c0, c1, c2, c3, tiles, .. } = self;
        sections::Params { rows, picks, width, neurons, stride, first, per_chunk, chunks, c0, c1, c2, c3, tiles }
    }
    /// Chunk and first word of a section; `None` for ids outside the window and past the end of a short chunk.
    pub(crate) fn place(&self, id: u32) -> Option<(usize, usize)> {
        self.window().place_slab(id, 2 * self.half())
    }
    /// Row e of the packed matrix that starts at the first of these words.
    pub(crate) fn row<F: crate::kernel::Real>(&self, matrix: &[u32], e: usize, row: &mut [F]) {
        decode(self.packing(), self.neurons as usize * row.len(), matrix, e * row.len(), row);
    }
}

/// Adds a case whose chunks hold `held` slabs, `gap` words of nonsense between them. Weights are normals, about one
/// in 97 of them thirty times larger, as those of float cases are.
pub(crate) fn add<'a>(
    c: &'a mut Cases<Params>,
    name: &str,
    format: Format,
    p: Params,
    gap: usize,
    held: [u32; 4],
    ids: impl FnMut(&mut Random, usize) -> u32,
) -> Draft<'a> {
    let (neurons, width) = (p.neurons as usize, p.width as usize);
    assert!(width.is_multiple_of(format.multiple()), "{name}: rows of {width} do not pack as {format:?}");
    let stride = slab_words(format, neurons, width) + gap;
    // An unused chunk still binds one word.
    let [c0, c1, c2, c3] = held.map(|n| (n * stride as u32).max(1));
    let p = Params { stride: stride as u32, format: format.code(), c0, c1, c2, c3, ..p };
    let chunk = |random: &mut Random, len: usize| {
        let mut words = vec![u32::MAX; len];
        for slab in words.chunks_exact_mut(stride) {
            let weights: Vec<f32> = (0..2 * neurons * width).map(|_| random.outlier() as f32).collect();
            slab[..stride - gap].copy_from_slice(&pack_slab(format, neurons, width, &weights));
        }
        words
    };
    let name = format!("{format:?}_{name}").to_lowercase();
    let draft = sections::planned(c, &name, p.window(), |window| Params::new(window, format), ids);
    ["chunk0", "chunk1", "chunk2", "chunk3"].into_iter().fold(draft, |draft, name| draft.words(name, chunk))
}

/// Adds the window cases that all kernels run; `finish` completes each.
pub(crate) fn windows(c: &mut Cases<Params>, formats: &[Format], finish: for<'a> fn(Params, Draft<'a>) -> Draft<'a>) {
    let any = |held: usize| move |r: &mut Random, _: usize| r.below(held) as u32;
    for &format in formats {
        let mut fill = |name: &str, p: Params, gap, held, ids: &mut dyn FnMut(&mut Random, usize) -> u32| {
            finish(p, add(c, name, format, p, gap, held, ids));
        };
        let small = Params { rows: 3, picks: 4, width: 32, neurons: 3, per_chunk: 2, chunks: 4, ..Params::default() };
        let tiny = Params { rows: 1, picks: 1, neurons: 4, per_chunk: 1, chunks: 1, ..small };
        fill("one", tiny, 0, [1, 0, 0, 0], &mut |_, _| 0);
        fill("four_chunks", small, 64, [2; 4], &mut any(8));
        // Ids on both sides of the window, NONE, and one that the short last chunk does not hold.
        let part = Params { first: 3, chunks: 2, ..small };
        let ids = [3, 2, 4, crate::NONE, 5, 6, 7, 0, 4, 3, u32::MAX - 1, 5];
        fill("part", part, 0, [2, 1, 0, 0], &mut |_, i| ids[i]);
        for neurons in [1, 3, 5, 63, 65] {
            // Rows enough that not every feature of one neuron is suppressed.
            let p = Params { rows: 7, picks: 2, neurons, ..small };
            fill(&format!("e{neurons}"), p, 64, [2; 4], &mut any(8));
        }
        // Half precision packs rows that are no whole blocks.
        for width in [4, 64, 68, 96].into_iter().filter(|&w: &usize| w.is_multiple_of(format.multiple())) {
            let p = Params { width: width as u32, neurons: 9, first: 1, per_chunk: 3, chunks: 1, ..small };
            fill(&format!("w{width}"), p, 0, [3, 0, 0, 0], &mut |r, _| 1 + r.below(3) as u32);
        }
        let real = Params { rows: 1, picks: 6, width: 192, neurons: 64, per_chunk: 4, chunks: 2, ..small };
        fill("real", real, 0, [4, 4, 0, 0], &mut any(8));
        let rows = Params { rows: 70, picks: 3, width: 3 * BLOCK as u32, neurons: 6, ..small };
        fill("rows", rows, 64, [2; 4], &mut any(9));
        for rows in [7, 8, 9, 16, 17, 33] {
            let p = Params { rows, picks: 1, neurons: 9, ..small };
            fill(&format!("all{rows}"), p, 0, [2; 4], &mut |_, _| 5);
        }
        let chunk = Params { rows: 40, width: 96, neurons: 66, ..small };
        fill("chunk", chunk, 64, [2; 4], &mut |r, i| if i % 4 == 0 { 0 } else { 1 + r.below(7) as u32 });
    }
}
