//! RMS norm of rows: `y[i] = x[i] / sqrt(mean(x^2) + eps) * gain[i]` (Zhang and Sennrich 2019, arXiv 1910.07467).
//!
//! Shapes: x [rows, width], gain [gains, width], y [rows, width]; row r takes gain row `r % gains`, so that
//! heads of one token may have gains of their own. Cost: O(rows width), one workgroup a row.

use crate::cases::Cases;
use crate::kernel::{Real, Tolerance, grid};

crate::params! {
    /// Rows of x.
    rows: u32,
    /// Elements of a row.
    width: u32,
    /// Rows of gain.
    gains: u32,
    /// Added to the mean square.
    eps: f32,
}

crate::kernel! {
    name: "rms_norm",
    bindings(p) {
        read x: real [p.rows * p.width],
        read gain: real [p.gains * p.width],
        write y: real [p.rows * p.width],
    }
    variants {
        workgroup => [main => grid(p.rows)],
        serial => [serial => grid(p.rows.div_ceil(8))],
    }
    choose(p, t): if t.software { 1 } else { 0 },
    backward: backward,
    tolerance: Tolerance::TIGHT,
}

fn scale<F: Real>(p: &Params, row: &[F]) -> F {
    let mut sum = F::zero();
    for &x in row {
        sum += x * x;
    }
    F::one() / (sum / F::of(row.len() as f64) + F::of(f64::from(p.eps))).sqrt()
}

fn reference<F: Real>(p: &Params, a: Args<F>) {
    let width = p.width as usize;
    for (r, (x, y)) in a.x.chunks(width).zip(a.y.chunks_mut(width)).enumerate() {
        let s = scale(p, x);
        let gain = &a.gain[r % p.gains as usize * width..][..width];
        for i in 0..width {
            y[i] = x[i] * s * gain[i];
        }
    }
}

/// With `s = 1/sqrt(mean(x^2) + eps)` and `h = dy * gain`: `dx = s h - x s^3 mean(h x)`.
fn backward<F: Real>(p: &Params, a: Values<F>, g: Grads<F>) {
    let width = p.width as usize;
    let Grads { mut x, mut gain, y, .. } = g;
    for (r, (row, dy)) in a.x.chunks(width).zip(y.chunks(width)).enumerate() {
        let s = scale(p, row);
        let at = r % p.gains as usize * width;
        let gains = &a.gain[at..][..width];
        let mut dot = F::zero();
        for i in 0..width {
            dot += dy[i] * gains[i] * row[i];
        }
        let pull = dot * s * s * s / F::of(width as f64);
        if let Some(dx) = x.as_deref_mut() {
            for i in 0..width {
                dx[r * width + i] += dy[i] * gains[i] * s - row[i] * pull;
            }
        }
        if let Some(dg) = gain.as_deref_mut() {
            for i in 0..width {
                dg[at + i] += dy[i] * row[i] * s;
            }
        }
    }
}

fn cases(c: &mut Cases<Params>) {
    c.add("one", Params { rows: 1, width: 1, gains: 1, eps: 1e-6 });
    c.add("odd", Params { rows: 3, width: 7, gains: 1, eps: 1e-6 }).gradient();
    c.add("heads", Params { rows: 6, width: 5, gains: 3, eps: 1e-6 }).gradient();
    for width in [63, 64, 65] {
        c.add(&format!("w{width}"), Params { rows: 2, width, gains: 2, eps: 1e-6 });
    }
    c.add("real", Params { rows: 33, width: 192, gains: 1, eps: 1e-6 });
}
