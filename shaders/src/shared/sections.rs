//! Where sections lie: what `section_up` and `section_down` share.
//!
//! A section is one slab `[up | down | padding]` of `stride` elements, up and down of [neurons, width] each. A chunk
//! holds `per_chunk` slabs; one call binds up to four chunks, a window over the ids from `first` on. Layers with more
//! chunks repeat the call with the next window, and every slot is written by exactly one of them.

use crate::cases::{Cases, Draft};

crate::params! {
    /// Tokens.
    rows: u32,
    /// Slots of a token.
    picks: u32,
    /// Elements of a token's vector.
    width: u32,
    /// Neurons of a section.
    neurons: u32,
    /// Elements from one slab to the next.
    stride: u32,
    /// Id of the first section in chunk 0.
    first: u32,
    /// Slabs of a chunk.
    per_chunk: u32,
    /// Chunks in use, at most 4.
    chunks: u32,
    /// Elements bound as chunk 0.
    c0: u32,
    /// Elements bound as chunk 1.
    c1: u32,
    /// Elements bound as chunk 2.
    c2: u32,
    /// Elements bound as chunk 3.
    c3: u32,
}

impl Params {
    /// Chunk and first element of a section; `None` for ids outside the window and past the end of a short chunk.
    pub(crate) fn place(&self, id: u32) -> Option<(usize, usize)> {
        self.place_slab(id, 2 * self.half())
    }

    /// The same for slabs of that many elements.
    pub(crate) fn place_slab(&self, id: u32, slab: usize) -> Option<(usize, usize)> {
        let local = id.checked_sub(self.first)? as usize;
        let (per_chunk, stride) = (self.per_chunk as usize, self.stride as usize);
        if local >= self.chunks.min(4) as usize * per_chunk {
            return None;
        }
        let (chunk, at) = (local / per_chunk, local % per_chunk * stride);
        let length = [self.c0, self.c1, self.c2, self.c3][chunk] as usize;
        (at + slab <= length).then_some((chunk, at))
    }

    /// Elements of the up rows, and of the down rows.
    pub(crate) fn half(&self) -> usize {
        self.neurons as usize * self.width as usize
    }

    /// Chunk sizes for `held` slabs of `stride` elements in each chunk; an unused chunk still binds one element.
    fn holding(self, held: [u32; 4]) -> Self {
        let [c0, c1, c2, c3] = held.map(|n| (n * self.stride).max(1));
        Self { c0, c1, c2, c3, ..self }
    }
}

/// Adds the window cases that both kernels run; `fill` finishes each.
pub(crate) fn windows(c: &mut Cases<Params>, fill: fn(Draft<'_>) -> Draft<'_>) {
    let small = Params {
        rows: 3,
        picks: 4,
        width: 5,
        neurons: 3,
        stride: 32,
        first: 0,
        per_chunk: 2,
        chunks: 4,
        ..Params::default()
    };
    let nano = Params { rows: 1, picks: 6, width: 192, neurons: 64, stride: 24576, per_chunk: 4, chunks: 2, ..small };
    let tiny = Params { rows: 1, picks: 1, width: 1, neurons: 4, stride: 8, per_chunk: 1, chunks: 1, ..small };
    let any = |held: u32| move |r: &mut crate::cases::Random, _: usize| r.below(held as usize) as u32;

    fill(c.add("one", tiny.holding([1, 0, 0, 0])).ids("ids", |_, _| 0));
    fill(c.add("four_chunks", small.holding([2; 4])).ids("ids", any(8))).gradient();
    // Ids on both sides of the window, NONE, and one that the short last chunk does not hold.
    let part = Params { first: 3, chunks: 2, ..small }.holding([2, 1, 0, 0]);
    fill(c.add("part", part).ids("ids", |_, i| [3, 2, 4, crate::NONE, 5, 6, 7, 0, 4, 3, u32::MAX - 1, 5][i]))
        .gradient();
    for neurons in [1, 3, 4, 5, 63, 64, 65] {
        let p = Params { rows: 2, picks: 2, width: 7, neurons, stride: 14 * neurons + 3, ..small };
        fill(c.add(&format!("e{neurons}"), p.holding([2; 4])).ids("ids", any(8)));
    }
    for width in [63, 64, 65] {
        let p = Params {
            rows: 2,
            picks: 2,
            width,
            neurons: 9,
            stride: 18 * width,
            first: 1,
            per_chunk: 3,
            chunks: 1,
            ..small
        };
        fill(c.add(&format!("w{width}"), p.holding([3, 0, 0, 0])).ids("ids", |r, _| 1 + r.below(3) as u32));
    }
    fill(c.add("real", nano.holding([4, 4, 0, 0])).ids("ids", any(8)));
    fill(
        c.add("rows", Params { rows: 70, picks: 3, width: 33, neurons: 6, stride: 448, ..small }.holding([2; 4]))
            .ids("ids", any(9)),
    );
}
