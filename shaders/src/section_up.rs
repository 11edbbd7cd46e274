//! Up half of the picked sections: `h[t, k, e] = relu(up_e . z_t)^2` for the section in slot k of token t.
//!
//! Shapes: z [rows, width], ids [rows, picks] or a plan of them, chunks as in `shared/sections.rs`, h [rows, picks,
//! neurons]. Slots whose id is [`crate::NONE`] or outside the window keep what they held. The square of the rectifier
//! (So et al. 2021, arXiv 2109.08668) makes negative features exactly zero, so that the down half skips them.
//! Cost: O(rows picks neurons width), each picked up row read once a token, or once a tile of tokens.

use crate::cases::Cases;
use crate::kernel::{Real, Tolerance, grid};
pub use crate::shared::sections::Params;

crate::kernel! {
    name: "section_up",
    bindings(p) {
        read z: real [p.rows * p.width],
        read ids: index [p.ids()],
        read chunk0: real [p.c0],
        read chunk1: real [p.c1],
        read chunk2: real [p.c2],
        read chunk3: real [p.c3],
        write h: real [p.rows * p.picks * p.neurons],
    }
    variants {
        workgroup => [main => grid(p.rows * p.picks * p.neurons.div_ceil(4))],
        serial => [serial => grid((p.rows * p.picks * p.neurons.div_ceil(4)).div_ceil(8))],
        tile => [tile => p.tile_groups(p.neurons)],
        block => [block => p.block_groups(p.neurons, 4)],
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
        let z = &a.z[i / p.picks as usize * width..][..width];
        for e in 0..neurons {
            let up = &chunks[chunk][at + e * width..][..width];
            let mut dot = F::zero();
            for j in 0..width {
                dot += up[j] * z[j];
            }
            let active = dot.max(F::zero());
            a.h[i * neurons + e] = active * active;
        }
    }
}

/// With `a = up . z` and `h = relu(a)^2`: `da = 2 sqrt(h) dh`.
fn backward<F: Real>(p: &Params, a: Values<F>, g: Grads<F>) {
    let (width, neurons) = (p.width as usize, p.neurons as usize);
    let chunks = [a.chunk0, a.chunk1, a.chunk2, a.chunk3];
    let Grads { mut z, chunk0, chunk1, chunk2, chunk3, h, .. } = g;
    let mut dchunks = [chunk0, chunk1, chunk2, chunk3];
    for (i, &id) in a.ids[..(p.rows * p.picks) as usize].iter().enumerate() {
        let Some((chunk, at)) = p.place(id) else { continue };
        let row = i / p.picks as usize * width;
        for e in 0..neurons {
            let pull = F::of(2.0) * a.h[i * neurons + e].sqrt() * h[i * neurons + e];
            if pull == F::zero() {
                continue;
            }
            let up = at + e * width;
            if let Some(dz) = z.as_deref_mut() {
                for j in 0..width {
                    dz[row + j] += pull * chunks[chunk][up + j];
                }
            }
            if let Some(dchunk) = dchunks[chunk].as_deref_mut() {
                for j in 0..width {
                    dchunk[up + j] += pull * a.z[row + j];
                }
            }
        }
    }
}

fn cases(c: &mut Cases<Params>) {
    crate::shared::sections::windows(c, |draft| draft);
}
