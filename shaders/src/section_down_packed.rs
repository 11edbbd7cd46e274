//! `section_down` over packed weights: `slots[t, k] = sum over e of h[t, k, e] * down_e`.
//!
//! Shapes: h [rows, picks, neurons], ids [rows, picks] or a plan of them, chunks of words as in
//! `shared/packed_sections.rs`, slots [rows, picks, width]. Suppressed features (`h` exactly zero) add nothing: for one
//! token their rows are not read. Slots whose id is [`crate::NONE`] or outside the window keep what they held. Packed
//! weights are not trained: gradients flow to h alone.
//! Cost: O(rows picks active width) for the active ones among the neurons, for all of them in tiles.

use crate::cases::Cases;
use crate::kernel::{Real, Tolerance, grid};
use crate::packed::Format;
use crate::shared::packed_sections;
pub use crate::shared::packed_sections::{Params, pack_slab, slab_words};

crate::kernel! {
    name: "section_down_packed",
    bindings(p) {
        read h: real [p.rows * p.picks * p.neurons],
        read ids: index [p.window().ids()],
        read chunk0: index [p.c0],
        read chunk1: index [p.c1],
        read chunk2: index [p.c2],
        read chunk3: index [p.c3],
        write slots: real [p.rows * p.picks * p.width],
    }
    variants {
        workgroup => [main => grid(p.rows * p.picks * p.width.div_ceil(64))],
        serial => [serial => grid((p.rows * p.picks * p.width.div_ceil(4)).div_ceil(8))],
        tile => [tile => p.window().tile_groups(p.width)],
        block => [block => p.window().block_groups(p.width, 8)],
    }
    constants(p) { format: p.format, one_chunk: p.chunks == 1 }
    choose(p, t): p.window().choose(t),
    backward: backward,
    tolerance: Tolerance::TIGHT,
}

fn reference<F: Real>(p: &Params, a: Args<F>) {
    let (width, neurons) = (p.width as usize, p.neurons as usize);
    let chunks = [a.chunk0, a.chunk1, a.chunk2, a.chunk3];
    let mut down = vec![F::zero(); width];
    for (i, &id) in a.ids[..(p.rows * p.picks) as usize].iter().enumerate() {
        let Some((chunk, at)) = p.place(id) else { continue };
        let slot = &mut a.slots[i * width..][..width];
        slot.fill(F::zero());
        for (e, &h) in a.h[i * neurons..][..neurons].iter().enumerate() {
            if h == F::zero() {
                continue;
            }
            p.row(&chunks[chunk][at + p.half()..], e, &mut down);
            for j in 0..width {
                slot[j] += h * down[j];
            }
        }
    }
}

fn backward<F: Real>(p: &Params, a: Values<F>, g: Grads<F>) {
    let Grads { h: Some(dh), slots: dslots, .. } = g else { return };
    let (width, neurons) = (p.width as usize, p.neurons as usize);
    let chunks = [a.chunk0, a.chunk1, a.chunk2, a.chunk3];
    let mut down = vec![F::zero(); width];
    for (i, &id) in a.ids[..(p.rows * p.picks) as usize].iter().enumerate() {
        let Some((chunk, at)) = p.place(id) else { continue };
        let dslot = &dslots[i * width..][..width];
        for e in 0..neurons {
            p.row(&chunks[chunk][at + p.half()..], e, &mut down);
            let mut dot = F::zero();
            for j in 0..width {
                dot += down[j] * dslot[j];
            }
            dh[i * neurons + e] += dot;
        }
    }
}

fn cases(c: &mut Cases<Params>) {
    // Half of the features suppressed, the others positive, as section_up leaves them.
    packed_sections::windows(c, &Format::ALL, |p, draft| {
        let draft = draft.reals("h", |r, _| r.normal().max(0.0).powi(2));
        if p.rows == 3 { draft.gradient() } else { draft }
    });
    for format in Format::ALL {
        let p = Params {
            rows: 2,
            picks: 2,
            width: 64,
            neurons: 7,
            per_chunk: 2,
            chunks: 2,
            ..Params::default()
        };
        // All features of some slots suppressed, one of another.
        packed_sections::add(c, "asleep", format, p, 0, [2, 2, 0, 0], |r, _| r.below(4) as u32)
            .reals("h", |r, i| if i == 9 || i > 20 { r.normal().powi(2) } else { 0.0 });
    }
}
