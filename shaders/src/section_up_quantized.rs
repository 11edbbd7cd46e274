//! `section_up` over weights in 8 or 4 bits and tokens in 8: `h[t, k, e] = relu(up_e . z_t)^2` for the section in slot k
//! of token t, by integers within a block.
//!
//! Shapes: z the words of [rows, width] as [`crate::quantize`] leaves them, ids [rows, picks] or a plan of them, chunks
//! of words as in `shared/packed_sections.rs` of a format with scales, h [rows, picks, neurons]. Slots whose id is [`crate::NONE`] or
//! outside the window keep what they held. Packed weights are not trained: no gradient.
//! Cost: O(rows picks neurons width), each picked up row read once a token or tile at the bits of its format.

use crate::cases::Cases;
use crate::kernel::{Real, Tolerance, grid};
use crate::packed::Format;
use crate::quantize::{decode_row, random_rows, row_words};
pub use crate::shared::packed_sections::Params;

crate::kernel! {
    name: "section_up_quantized",
    bindings(p) {
        read z: index [p.rows * row_words(p.width as usize) as u32],
        read ids: index [p.window().ids()],
        read chunk0: index [p.c0],
        read chunk1: index [p.c1],
        read chunk2: index [p.c2],
        read chunk3: index [p.c3],
        write h: real [p.rows * p.picks * p.neurons],
    }
    variants {
        workgroup => [main => grid(p.rows * p.picks * p.neurons.div_ceil(8))],
        serial => [serial => grid((p.rows * p.picks * p.neurons.div_ceil(4)).div_ceil(8))],
        tile => [tile => p.window().tile_groups(p.neurons)],
        block => [block => p.window().block_groups(p.neurons, 4)],
    }
    constants(p) { format: p.format, one_chunk: p.chunks == 1 }
    choose(p, t): p.window().choose(t),
    backward: none,
    tolerance: Tolerance::TIGHT,
}

fn reference<F: Real>(p: &Params, a: Args<F>) {
    let (width, neurons) = (p.width as usize, p.neurons as usize);
    let chunks = [a.chunk0, a.chunk1, a.chunk2, a.chunk3];
    let (mut z, mut up) = (vec![F::zero(); width], vec![F::zero(); width]);
    for (i, &id) in a.ids[..(p.rows * p.picks) as usize].iter().enumerate() {
        let Some((chunk, at)) = p.place(id) else { continue };
        decode_row(&a.z[i / p.picks as usize * row_words(width)..][..row_words(width)], &mut z);
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

fn cases(c: &mut Cases<Params>) {
    crate::shared::packed_sections::windows(c, &[Format::Q8, Format::Q4], |p, draft| {
        draft.words("z", |r, _| random_rows(r, p.rows as usize, p.width as usize))
    });
}
