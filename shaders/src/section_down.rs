//! Down half of the picked sections: `slots[t, k] = sum over e of h[t, k, e] * down_e`.
//!
//! Shapes: h [rows, picks, neurons], ids [rows, picks] or a plan of them, chunks as in `shared/sections.rs`, slots
//! [rows, picks, width]. Suppressed features (`h` exactly zero) add nothing: for one token their rows are not read.
//! Slots whose id is [`crate::NONE`] or outside the window keep what they held. Every pick writes a slot of its own, so
//! that no two sums race.
//! Cost: O(rows picks active width) for the active ones among the neurons, for all of them in tiles.

use crate::cases::Cases;
use crate::kernel::{Real, Tolerance, grid};
pub use crate::shared::sections::Params;

crate::kernel! {
    name: "section_down",
    bindings(p) {
        read h: real [p.rows * p.picks * p.neurons],
        read ids: index [p.ids()],
        read chunk0: real [p.c0],
        read chunk1: real [p.c1],
        read chunk2: real [p.c2],
        read chunk3: real [p.c3],
        write slots: real [p.rows * p.picks * p.width],
    }
    variants {
        workgroup => [main => grid(p.rows * p.picks * p.width.div_ceil(64))],
        serial => [serial => grid((p.rows * p.picks * p.width.div_ceil(4)).div_ceil(8))],
        tile => [tile => p.tile_groups(p.width)],
        block => [block => p.block_groups(p.width, 8)],
    }
    constants(p) { one_chunk: p.chunks == 1 }
    choose(p, t): p.choose(t),
    backward: backward,
    tolerance: Tolerance::TIGHT,
}

fn reference<F: Real>(p: &Params, a: Args<F>) {
    let (width, neurons) = (p.width as usize, p.neurons as usize);
    let chunks = [a.chunk0, a.chunk1, a.chunk2, a.chunk3];
    for (i, &id) in a.ids[..(p.rows * p.picks) as usize].iter().enumerate() {
        let Some((chunk, at)) = p.place(id) else { continue };
        let slot = &mut a.slots[i * width..][..width];
        slot.fill(F::zero());
        for (e, &h) in a.h[i * neurons..][..neurons].iter().enumerate() {
            if h == F::zero() {
                continue;
            }
            let down = &chunks[chunk][at + p.half() + e * width..][..width];
            for j in 0..width {
                slot[j] += h * down[j];
            }
        }
    }
}

fn backward<F: Real>(p: &Params, a: Values<F>, g: Grads<F>) {
    let (width, neurons) = (p.width as usize, p.neurons as usize);
    let chunks = [a.chunk0, a.chunk1, a.chunk2, a.chunk3];
    let Grads { mut h, chunk0, chunk1, chunk2, chunk3, slots, .. } = g;
    let mut dchunks = [chunk0, chunk1, chunk2, chunk3];
    for (i, &id) in a.ids[..(p.rows * p.picks) as usize].iter().enumerate() {
        let Some((chunk, at)) = p.place(id) else { continue };
        let dslot = &slots[i * width..][..width];
        for e in 0..neurons {
            let down = at + p.half() + e * width;
            if let Some(dh) = h.as_deref_mut() {
                let mut dot = F::zero();
                for j in 0..width {
                    dot += chunks[chunk][down + j] * dslot[j];
                }
                dh[i * neurons + e] += dot;
            }
            let active = a.h[i * neurons + e];
            if let (Some(dchunk), false) = (dchunks[chunk].as_deref_mut(), active == F::zero()) {
                for j in 0..width {
                    dchunk[down + j] += active * dslot[j];
                }
            }
        }
    }
}

fn cases(c: &mut Cases<Params>) {
    // Half of the features suppressed, the others positive, as section_up leaves them.
    crate::shared::sections::windows(c, |draft| draft.reals("h", |r, _| r.normal().max(0.0).powi(2)));
}
