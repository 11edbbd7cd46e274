//! One window gates another: `y = act(a) b`, act sigmoid or SiLU (GLU variants, arXiv 2002.05202).
//!
//! Shapes: a [rows, a_stride] and b [rows, b_stride], of each a window of `width`, y [rows, width].
//! Cost: O(rows width), one invocation an element.

use crate::cases::Cases;
use crate::kernel::{Real, Tolerance, grid};
use crate::shared::activation::{sigmoid, sigmoid_slope, silu, silu_slope};

crate::params! {
    /// Rows.
    rows: u32,
    /// Elements of a row of y.
    width: u32,
    /// [`SIGMOID`] or [`SILU`].
    act: u32,
    /// Elements from one row of a to the next.
    a_stride: u32,
    /// First element of the window in a row of a.
    a_offset: u32,
    /// Elements from one row of b to the next.
    b_stride: u32,
    /// First element of the window in a row of b.
    b_offset: u32,
}

/// `act` for the logistic function.
pub const SIGMOID: u32 = 0;
/// `act` for `x sigmoid(x)`.
pub const SILU: u32 = 1;

crate::kernel! {
    name: "gate",
    bindings(p) {
        read a: real [p.rows * p.a_stride],
        read b: real [p.rows * p.b_stride],
        write y: real [p.rows * p.width],
    }
    variants {
        flat => [main => grid((p.rows * p.width).div_ceil(64))],
    }
    choose(p, t): 0,
    backward: backward,
    tolerance: Tolerance::LOOSE,
}

/// Where element (r, c) lies in a and in b.
fn places(p: &Params, r: usize, c: usize) -> (usize, usize) {
    let a = r * p.a_stride as usize + p.a_offset as usize + c;
    let b = r * p.b_stride as usize + p.b_offset as usize + c;
    (a, b)
}

fn reference<F: Real>(p: &Params, a: Args<F>) {
    for (r, y) in a.y.chunks_mut(p.width as usize).enumerate() {
        for (c, y) in y.iter_mut().enumerate() {
            let (i, j) = places(p, r, c);
            *y = a.b[j] * if p.act == SILU { silu(a.a[i]) } else { sigmoid(a.a[i]) };
        }
    }
}

fn backward<F: Real>(p: &Params, v: Values<F>, g: Grads<F>) {
    let Grads { mut a, mut b, y, .. } = g;
    for (r, dy) in y.chunks(p.width as usize).enumerate() {
        for (c, &dy) in dy.iter().enumerate() {
            let (i, j) = places(p, r, c);
            let x = v.a[i];
            let (act, slope) = if p.act == SILU { (silu(x), silu_slope(x)) } else { (sigmoid(x), sigmoid_slope(x)) };
            if let Some(da) = a.as_deref_mut() {
                da[i] += dy * v.b[j] * slope;
            }
            if let Some(db) = b.as_deref_mut() {
                db[j] += dy * act;
            }
        }
    }
}

fn cases(c: &mut Cases<Params>) {
    let plain =
        |rows, width, act| Params { rows, width, act, a_stride: width, a_offset: 0, b_stride: width, b_offset: 0 };
    c.add("one", plain(1, 1, SIGMOID));
    c.add("sigmoid", plain(3, 5, SIGMOID)).gradient();
    c.add("silu", plain(2, 7, SILU)).gradient();
    let window = Params { a_stride: 9, a_offset: 4, b_stride: 7, b_offset: 2, ..plain(3, 5, SILU) };
    c.add("window", window).gradient();
    // Far past where exp saturates.
    c.add("extreme", plain(2, 16, SILU)).reals("a", |r, _| 300.0 * r.normal());
    for width in [63, 64, 65] {
        c.add(&format!("w{width}"), plain(3, width, SIGMOID));
    }
    c.add("real", Params { a_stride: 400, a_offset: 16, ..plain(33, 192, SILU) });
}
