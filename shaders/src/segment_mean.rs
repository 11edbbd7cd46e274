//! Means of rows by segment, such as a vector for each turn of a person: `y[s] = mean of x[r] over r with segment[r] = s`.
//!
//! Shapes: x [rows, width], segment \[rows\], y [segments, width]. Rows whose segment is not below `segments` count
//! nowhere; a segment without rows is zero. Cost: O(segments rows + rows width).

use crate::cases::Cases;
use crate::kernel::{Real, Tolerance, grid};

crate::params! {
    /// Rows of x.
    rows: u32,
    /// Elements of a row.
    width: u32,
    /// Rows of y.
    segments: u32,
}

crate::kernel! {
    name: "segment_mean",
    bindings(p) {
        read x: real [p.rows * p.width],
        read segment: index [p.rows],
        write y: real [p.segments * p.width],
    }
    variants {
        flat => [main => grid((p.segments * p.width).div_ceil(64))],
    }
    choose(p, t): 0,
    backward: backward,
    tolerance: Tolerance::TIGHT,
}

/// One over the number of rows of each segment.
fn shares<F: Real>(p: &Params, segment: &[u32]) -> Vec<F> {
    let mut counts = vec![0u32; p.segments as usize];
    for &s in segment {
        if let Some(count) = counts.get_mut(s as usize) {
            *count += 1;
        }
    }
    counts.iter().map(|&n| F::one() / F::of(f64::from(n.max(1)))).collect()
}

fn reference<F: Real>(p: &Params, a: Args<F>) {
    let width = p.width as usize;
    a.y.fill(F::zero());
    for (x, &s) in a.x.chunks(width).zip(a.segment) {
        let Some(y) = a.y.get_mut(s as usize * width..).filter(|_| s < p.segments) else { continue };
        y.iter_mut().zip(x).for_each(|(y, &x)| *y += x);
    }
    for (y, share) in a.y.chunks_mut(width).zip(shares::<F>(p, a.segment)) {
        y.iter_mut().for_each(|y| *y *= share);
    }
}

fn backward<F: Real>(p: &Params, a: Values<F>, g: Grads<F>) {
    let width = p.width as usize;
    let Some(x) = g.x else { return };
    let shares = shares::<F>(p, a.segment);
    for (dx, &s) in x.chunks_mut(width).zip(a.segment).filter(|(_, s)| **s < p.segments) {
        let (dy, share) = (&g.y[s as usize * width..][..width], shares[s as usize]);
        dx.iter_mut().zip(dy).for_each(|(dx, &dy)| *dx += share * dy);
    }
}

fn cases(c: &mut Cases<Params>) {
    let one = |r: &mut crate::cases::Random, _: usize| r.below(5) as u32;
    c.add("one", Params { rows: 1, width: 1, segments: 1 }).ids("segment", |_, _| 0);
    c.add("odd", Params { rows: 9, width: 3, segments: 4 }).ids("segment", one).gradient();
    // Nobody's rows, and a segment without rows.
    c.add("left_out", Params { rows: 7, width: 5, segments: 3 })
        .ids("segment", |_, i| [0, crate::NONE, 2, 3, 0, 2, u32::MAX - 1][i])
        .gradient();
    for width in [63, 64, 65] {
        c.add(&format!("w{width}"), Params { rows: 11, width, segments: 2 }).ids("segment", |_, i| (i / 6) as u32);
    }
    c.add("real", Params { rows: 256, width: 64, segments: 5 }).ids("segment", |_, i| (i / 60) as u32);
}
