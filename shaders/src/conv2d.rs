//! Convolution over two axes, for the stems that turn sound and pictures into vectors:
//! `y[b, oy, ox, o] = act(bias[o] + sum_{ky, kx, i} w[o, ky, kx, i] x[b, oy stride_h + ky - pad_h, ox stride_w + kx - pad_w, i])`,
//! zeros outside of x, act identity or SiLU. What lies after the last row and column is padding too, as far as the
//! given output size reaches.
//!
//! Shapes, channels last: x [batch, in_h, in_w, in_c], w [out_c, kernel_h, kernel_w, in_c], bias \[out_c\],
//! y [batch, out_h, out_w, out_c]. Cost: O(batch out_h out_w out_c kernel_h kernel_w in_c).

use crate::cases::Cases;
use crate::kernel::{Real, Tolerance, grid};
use crate::shared::activation::{silu, silu_slope};

crate::params! {
    /// Pictures, or windows of sound.
    batch: u32,
    /// Rows of an input.
    in_h: u32,
    /// Columns of an input.
    in_w: u32,
    /// Channels of an input.
    in_c: u32,
    /// Rows of an output.
    out_h: u32,
    /// Columns of an output.
    out_w: u32,
    /// Channels of an output.
    out_c: u32,
    /// Rows of a filter.
    kernel_h: u32,
    /// Columns of a filter.
    kernel_w: u32,
    /// Rows of x from one output row to the next.
    stride_h: u32,
    /// Columns of x from one output column to the next.
    stride_w: u32,
    /// Rows of zeros before the first one of x.
    pad_h: u32,
    /// Columns of zeros before the first one of x.
    pad_w: u32,
    /// Whether y goes through SiLU.
    silu: u32,
}

impl Params {
    /// Weights of one output channel.
    pub fn taps(&self) -> u32 {
        self.kernel_h * self.kernel_w * self.in_c
    }
    /// Output positions of all inputs.
    pub fn places(&self) -> u32 {
        self.batch * self.out_h * self.out_w
    }
}

crate::kernel! {
    name: "conv2d",
    bindings(p) {
        read x: real [p.batch * p.in_h * p.in_w * p.in_c],
        read w: real [p.out_c * p.taps()],
        read bias: real [p.out_c],
        write y: real [p.places() * p.out_c],
    }
    variants { main => [main => grid((p.places() * p.out_c).div_ceil(64))] }
    choose(p, t): 0,
    backward: backward,
    tolerance: Tolerance::TIGHT,
}

/// Pairs of starts in x and w, of `in_c` elements each, that meet at output place `at` of all inputs.
fn pairs(p: &Params, at: usize) -> impl Iterator<Item = (usize, usize)> {
    let p = *p;
    let (b, oy, ox) = {
        let (row, ox) = (at / p.out_w as usize, at % p.out_w as usize);
        (row / p.out_h as usize, row % p.out_h as usize, ox)
    };
    (0..p.kernel_h as usize * p.kernel_w as usize).filter_map(move |k| {
        let (ky, kx) = (k / p.kernel_w as usize, k % p.kernel_w as usize);
        let y = (oy * p.stride_h as usize + ky).checked_sub(p.pad_h as usize).filter(|&y| y < p.in_h as usize)?;
        let x = (ox * p.stride_w as usize + kx).checked_sub(p.pad_w as usize).filter(|&x| x < p.in_w as usize)?;
        let place = (b * p.in_h as usize + y) * p.in_w as usize + x;
        Some((place * p.in_c as usize, k * p.in_c as usize))
    })
}

fn sum<F: Real>(p: &Params, x: &[F], w: &[F], bias: F, at: usize) -> F {
    let mut sum = bias;
    for (from, tap) in pairs(p, at) {
        for i in 0..p.in_c as usize {
            sum += w[tap + i] * x[from + i];
        }
    }
    sum
}

fn reference<F: Real>(p: &Params, a: Args<F>) {
    let taps = p.taps() as usize;
    for (at, y) in a.y.chunks_mut(p.out_c as usize).enumerate() {
        for (o, y) in y.iter_mut().enumerate() {
            let s = sum(p, a.x, &a.w[o * taps..][..taps], a.bias[o], at);
            *y = if p.silu != 0 { silu(s) } else { s };
        }
    }
}

fn backward<F: Real>(p: &Params, a: Values<F>, g: Grads<F>) {
    let (taps, width) = (p.taps() as usize, p.in_c as usize);
    let Grads { mut x, mut w, mut bias, y, .. } = g;
    for (at, dy) in y.chunks(p.out_c as usize).enumerate() {
        for (o, &dy) in dy.iter().enumerate() {
            let filter = &a.w[o * taps..][..taps];
            let mut d = dy;
            if p.silu != 0 {
                d *= silu_slope(sum(p, a.x, filter, a.bias[o], at));
            }
            if let Some(dbias) = bias.as_deref_mut() {
                dbias[o] += d;
            }
            for (from, tap) in pairs(p, at) {
                if let Some(dx) = x.as_deref_mut() {
                    for (dx, &w) in dx[from..][..width].iter_mut().zip(&filter[tap..]) {
                        *dx += d * w;
                    }
                }
                if let Some(dw) = w.as_deref_mut() {
                    for (dw, &x) in dw[o * taps + tap..][..width].iter_mut().zip(&a.x[from..]) {
                        *dw += d * x;
                    }
                }
            }
        }
    }
}

/// Three by three with a row and a column of zeros all around, and SiLU.
fn square(batch: u32, side: u32, in_c: u32, out_c: u32, stride: u32) -> Params {
    let out = side.div_ceil(stride);
    Params {
        batch,
        in_h: side,
        in_w: side,
        in_c,
        out_h: out,
        out_w: out,
        out_c,
        kernel_h: 3,
        kernel_w: 3,
        stride_h: stride,
        stride_w: stride,
        pad_h: 1,
        pad_w: 1,
        silu: 1,
    }
}

fn cases(c: &mut Cases<Params>) {
    let point = Params { kernel_h: 1, kernel_w: 1, pad_h: 0, pad_w: 0, silu: 0, ..square(1, 1, 1, 1, 1) };
    c.add("one", point);
    c.add("same", square(2, 4, 3, 5, 1)).gradient();
    c.add("linear", Params { silu: 0, ..square(1, 5, 2, 3, 2) }).gradient();
    // Sides, filters, strides and pads that differ, so that no two of them can be taken for each other.
    let uneven = Params { in_h: 5, in_w: 7, out_h: 4, out_w: 3, kernel_h: 2, kernel_w: 4, ..square(2, 1, 3, 4, 1) };
    c.add("uneven", Params { stride_w: 2, pad_w: 2, ..uneven }).gradient();
    c.add("across", Params { stride_h: 2, out_h: 3, stride_w: 1, out_w: 6, pad_h: 0, ..uneven }).gradient();
    c.add("columns", Params { kernel_h: 1, pad_h: 0, out_h: 5, stride_w: 4, out_w: 2, ..uneven }).gradient();
    // Outputs whose window lies in the padding altogether see the bias alone; strides that skip inputs.
    c.add("outside", Params { pad_h: 3, pad_w: 5, out_h: 9, out_w: 14, ..uneven }).gradient();
    c.add("skips", Params { stride_h: 4, stride_w: 3, out_h: 2, out_w: 3, ..uneven });
    let points = Params { in_h: 3, in_w: 5, out_h: 3, out_w: 5, kernel_h: 1, kernel_w: 1, pad_h: 0, pad_w: 0, ..uneven };
    c.add("points", points).gradient();
    for out_c in [15, 16, 17, 33] {
        c.add(&format!("o{out_c}"), square(1, 5, 3, out_c, 2));
    }
    c.add("many", square(70, 4, 2, 3, 1));
    // The stem of sound: seven frames of 40 bands to ten vectors.
    let sound = Params { in_h: 7, in_w: 40, out_h: 3, out_w: 20, pad_h: 0, ..square(3, 1, 1, 32, 2) };
    c.add("sound", sound);
    c.add("sound_deep", Params { in_h: 3, in_w: 20, in_c: 32, out_h: 1, out_w: 10, out_c: 64, ..sound });
    // The stem of pictures: 32 by 32 to 16 patches.
    c.add("picture", square(1, 32, 3, 32, 1));
    c.add("picture_deep", square(1, 32, 32, 64, 2));
    let patches = Params { kernel_h: 4, kernel_w: 4, stride_h: 4, stride_w: 4, out_h: 4, out_w: 4, ..point };
    c.add("patches", Params { in_h: 16, in_w: 16, in_c: 64, out_c: 256, ..patches });
}
