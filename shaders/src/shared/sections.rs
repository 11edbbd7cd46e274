//! Where sections lie: what `section_up` and `section_down` share.
//!
//! A section is one slab `[up | down | padding]` of `stride` elements, up and down of [neurons, width] each. A chunk
//! holds `per_chunk` slabs; one call binds up to four chunks, a window over the ids from `first` on. Layers with more
//! chunks repeat the call with the next window, and every slot is written by exactly one of them.
//!
//! The binding `ids` is the ids alone, or the plan that [`crate::section_lists`] makes of them: the ids, then tiles of
//! slots that picked the same section. With tiles, variants read a section's weights once a tile.

use crate::cases::{Cases, Draft, Random};
use crate::kernel::{Traits, grid};
use crate::section_lists::{self, TILE};

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
    /// Tiles of the lists that follow the ids; 0 where there are none.
    tiles: u32,
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

    /// Elements of the binding `ids`.
    pub(crate) fn ids(&self) -> u32 {
        self.rows * self.picks + self.tiles * TILE
    }

    /// Workgroups that each make a tile of 16 slots by 64 outputs, of which a slot has so many.
    pub(crate) fn tile_groups(&self, outputs: u32) -> [u32; 3] {
        grid(self.tiles * outputs.div_ceil(64))
    }

    /// Workgroups of eight invocations that each make half a tile's slots by 8 outputs.
    pub(crate) fn block_groups(&self, outputs: u32, most: u32) -> [u32; 3] {
        grid((self.tiles * 2 * outputs.div_ceil(most)).div_ceil(8))
    }

    /// The variant for one slot (0, 1) or for tiles of them (2, 3), on hardware and on a software adapter.
    pub(crate) fn choose(&self, t: Traits) -> usize {
        2 * usize::from(self.tiles > 0) + usize::from(t.software)
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

/// Adds a case with a plan of these ids: every variant runs every case, and those for one slot read the ids alone.
pub(crate) fn planned<'a, P: crate::kernel::Params>(
    c: &'a mut Cases<P>,
    name: &str,
    window: Params,
    with: impl FnOnce(Params) -> P,
    mut ids: impl FnMut(&mut Random, usize) -> u32,
) -> Draft<'a> {
    let (picks, sections) = (window.rows * window.picks, window.first + window.chunks * window.per_chunk);
    let window = Params { tiles: section_lists::tiles(picks, sections), ..window };
    c.add(name, with(window)).words("ids", |random, _| {
        let ids: Vec<u32> = (0..picks as usize).map(|i| ids(random, i)).collect();
        section_lists::plan(&ids, sections)
    })
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
    let any = |held: u32| move |r: &mut Random, _: usize| r.below(held as usize) as u32;
    let same = |p: Params| p;

    fill(planned(c, "one", tiny.holding([1, 0, 0, 0]), same, |_, _| 0));
    fill(planned(c, "four_chunks", small.holding([2; 4]), same, any(8))).gradient();
    // Ids on both sides of the window, NONE, and one that the short last chunk does not hold.
    let part = Params { first: 3, chunks: 2, ..small }.holding([2, 1, 0, 0]);
    let ids = [3, 2, 4, crate::NONE, 5, 6, 7, 0, 4, 3, u32::MAX - 1, 5];
    fill(planned(c, "part", part, same, |_, i| ids[i])).gradient();
    for neurons in [1, 3, 4, 5, 63, 64, 65] {
        let p = Params { rows: 2, picks: 2, width: 7, neurons, stride: 14 * neurons + 3, ..small };
        fill(planned(c, &format!("e{neurons}"), p.holding([2; 4]), same, any(8)));
    }
    for width in [63, 64, 65] {
        let p = Params { rows: 2, picks: 2, width, neurons: 9, stride: 18 * width, ..small };
        let p = Params { first: 1, per_chunk: 3, chunks: 1, ..p }.holding([3, 0, 0, 0]);
        fill(planned(c, &format!("w{width}"), p, same, |r, _| 1 + r.below(3) as u32));
    }
    fill(planned(c, "real", nano.holding([4, 4, 0, 0]), same, any(8)));
    let rows = Params { rows: 70, picks: 3, width: 33, neurons: 6, stride: 448, ..small }.holding([2; 4]);
    fill(planned(c, "rows", rows, same, any(9)));
    // One section with all picks, on both sides of a whole tile; the others have none.
    for rows in [7, 8, 9, 15, 16, 17, 33] {
        let p = Params { rows, picks: 1, width: 19, neurons: 9, stride: 352, ..small }.holding([2; 4]);
        fill(planned(c, &format!("all{rows}"), p, same, |_, _| 5));
    }
    // Every token takes section 0, as a chunk of tokens takes a shared one.
    let chunk = Params { rows: 40, width: 67, neurons: 66, stride: 2 * 67 * 66, ..small }.holding([2; 4]);
    fill(planned(c, "chunk", chunk, same, |r, i| if i % 4 == 0 { 0 } else { 1 + r.below(7) as u32 }));
}
