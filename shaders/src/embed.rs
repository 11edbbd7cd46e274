//! Rows of a table: `x[r] = scale * table[ids[r] - first]`.
//!
//! Shapes: ids \[rows\], table [count, width], x [rows, width]. Ids outside `first..first + count` leave their row
//! of x alone, so that a table may lie in several bindings, one call for each. Cost: O(rows width).

use crate::cases::Cases;
use crate::kernel::{Real, Tolerance, grid};

crate::params! {
    /// Ids to look up.
    rows: u32,
    /// Elements of a row.
    width: u32,
    /// Id of the table's first row.
    first: u32,
    /// Rows of the table.
    count: u32,
    /// Factor on what is looked up.
    scale: f32,
}

crate::kernel! {
    name: "embed",
    bindings(p) {
        read ids: index [p.rows],
        read table: real [p.count * p.width],
        write x: real [p.rows * p.width],
    }
    variants {
        flat => [main => grid((p.rows * p.width).div_ceil(64))],
    }
    choose(p, t): 0,
    backward: backward,
    tolerance: Tolerance::TIGHT,
}

/// Where the row of `id` starts in this shard of the table.
fn place(p: &Params, id: u32) -> Option<usize> {
    let row = id.checked_sub(p.first).filter(|&row| row < p.count)?;
    Some(row as usize * p.width as usize)
}

fn reference<F: Real>(p: &Params, a: Args<F>) {
    let (width, scale) = (p.width as usize, F::of(f64::from(p.scale)));
    for (&id, x) in a.ids.iter().zip(a.x.chunks_mut(width)) {
        let Some(at) = place(p, id) else { continue };
        for (x, &e) in x.iter_mut().zip(&a.table[at..]) {
            *x = scale * e;
        }
    }
}

fn backward<F: Real>(p: &Params, a: Values<F>, g: Grads<F>) {
    let (width, scale) = (p.width as usize, F::of(f64::from(p.scale)));
    let Some(table) = g.table else { return };
    for (&id, dx) in a.ids.iter().zip(g.x.chunks(width)) {
        let Some(at) = place(p, id) else { continue };
        for (e, &d) in table[at..].iter_mut().zip(dx) {
            *e += scale * d;
        }
    }
}

fn cases(c: &mut Cases<Params>) {
    c.add("one", Params { rows: 1, width: 1, first: 0, count: 1, scale: 1.0 });
    c.add("odd", Params { rows: 5, width: 3, first: 0, count: 4, scale: 1.5 })
        .ids("ids", |r, _| r.below(4) as u32)
        .gradient();
    c.add("shard", Params { rows: 9, width: 5, first: 7, count: 3, scale: 0.5 })
        .ids("ids", |_, i| if i == 8 { u32::MAX } else { 4 + i as u32 })
        .gradient();
    for width in [63, 64, 65] {
        c.add(&format!("w{width}"), Params { rows: 3, width, first: 2, count: 9, scale: 1.0 })
            .ids("ids", |r, _| 2 + r.below(9) as u32);
    }
    c.add("real", Params { rows: 33, width: 192, first: 0, count: 512, scale: 13.856 })
        .ids("ids", |r, _| r.below(512) as u32);
}
