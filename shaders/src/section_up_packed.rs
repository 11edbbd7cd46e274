//! `section_up` over packed weights: `h[t, k, e] = relu(up_e . z_t)^2` for the section in slot k of token t.
//!
//! Shapes: z [rows, width], ids [rows, picks] or a plan of them, chunks of words as in `shared/packed_sections.rs`,
//! h [rows, picks, neurons]. Slots whose id is [`crate::NONE`] or outside the window keep what they held. Weights are
//! unpacked where they are multiplied and the sums are float32. Packed weights are not trained: gradients flow to z alone.
//! Cost: O(rows picks neurons width), each picked up row read once a token or tile at the bits of its format.

use crate::cases::Cases;
use crate::kernel::{Real, Tolerance, grid};
use crate::packed::Format;
pub use crate::shared::packed_sections::{Params, pack_slab, slab_words};

crate::kernel! {
    name: "section_up_packed",
    bindings(p) {
        read z: real [p.rows * p.width],
        read ids: index [p.window().ids()],
        read chunk0: index [p.c0],
        read chunk1: index [p.c1],
        read chunk2: index [p.c2],
        read chunk3: index [p.c3],
        write h: real [p.rows * p.picks * p.neurons],
    }
    variants {
        workgroup => [main => grid(p.rows * p.picks * p.neurons.div_ceil(4))],
        serial => [serial => grid((p.rows * p.picks * p.neurons.div_ceil(4)).div_ceil(8))],
        tile => [tile => p.window().tile_groups(p.neurons)],
        block => [block => p.window().block_groups(p.neurons, 4)],
    }
    constants(p) { format: p.format, one_chunk: p.chunks == 1 }
    choose(p, t): p.window().choose(t),
    backward: backward,
    tolerance: Tolerance::TIGHT,
}

fn reference<F: Real>(p: &Params, a: Args<F>) {
    let (width, neurons) = (p.width as usize, p.neurons as usize);
    let chunks = [a.chunk0, a.chunk1, a.chunk2, a.chunk3];
    let mut up = vec![F::zero(); width];
    for (i, &id) in a.ids[..(p.rows * p.picks) as usize].iter().enumerate() {
        let Some((chunk, at)) = p.place(id) else { continue };
        let z = &a.z[i / p.picks as usize * width..][..width];
        for e in 0..neurons {
            p.row(&chunks[chunk][at..], e, &mut up);
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
    let Grads { z: Some(dz), h: dh, .. } = g else { return };
    let (width, neurons) = (p.width as usize, p.neurons as usize);
    let chunks = [a.chunk0, a.chunk1, a.chunk2, a.chunk3];
    let mut up = vec![F::zero(); width];
    for (i, &id) in a.ids[..(p.rows * p.picks) as usize].iter().enumerate() {
        let Some((chunk, at)) = p.place(id) else { continue };
        let dz = &mut dz[i / p.picks as usize * width..][..width];
        for e in 0..neurons {
            let pull = F::of(2.0) * a.h[i * neurons + e].sqrt() * dh[i * neurons + e];
            if pull == F::zero() {
                continue;
            }
            p.row(&chunks[chunk][at..], e, &mut up);
            for j in 0..width {
                dz[j] += pull * up[j];
            }
        }
    }
}

fn cases(c: &mut Cases<Params>) {
    crate::shared::packed_sections::windows(c, &Format::ALL, |p, draft| if p.rows == 3 { draft.gradient() } else { draft });
}
