//! Rows of a table in few bits: `x[r] = scale * table[ids[r] - first]`.
//!
//! Shapes: ids \[rows\], table the words of a packed matrix [count, width] ([`crate::packed`]), x [rows, width]. Ids
//! outside `first..first + count` leave their row of x alone, so that a table may lie in several bindings, one call
//! for each. width is a multiple of the format's. Cost: O(rows width).

use crate::cases::{Cases, Random};
use crate::kernel::{Real, Tolerance, grid};
use crate::packed::{Format, decode, encode};

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
    /// Code of the table's format.
    format: u32,
}

crate::kernel! {
    name: "embed_packed",
    bindings(p) {
        read ids: index [p.rows],
        read table: index [Format::of(p.format).words((p.count * p.width) as usize) as u32],
        write x: real [p.rows * p.width],
    }
    variants {
        flat => [main => grid((p.rows * p.width / 4).div_ceil(64))],
    }
    constants(p) { format: p.format }
    choose(p, t): 0,
    backward: none,
    tolerance: Tolerance::TIGHT,
}

fn reference<F: Real>(p: &Params, a: Args<F>) {
    let (width, scale) = (p.width as usize, F::of(f64::from(p.scale)));
    for (&id, x) in a.ids.iter().zip(a.x.chunks_mut(width)) {
        let Some(row) = id.checked_sub(p.first).filter(|&row| row < p.count) else { continue };
        decode(Format::of(p.format), p.count as usize * width, a.table, row as usize * width, x);
        x.iter_mut().for_each(|x| *x *= scale);
    }
}

fn cases(c: &mut Cases<Params>) {
    for format in Format::ALL {
        let mut add = |name: &str, p: Params, id: fn(&mut Random, usize) -> u32| {
            let p = Params { format: format.code(), ..p };
            c.add(&format!("{format:?}_{name}"), p).ids("ids", id).words("table", |r: &mut Random, _| {
                let weights: Vec<f32> = (0..p.count * p.width).map(|_| r.normal() as f32).collect();
                encode(format, &weights)
            });
        };
        let one = Params { rows: 1, width: 32, first: 0, count: 1, scale: 1.0, format: 0 };
        add("one", one, |_, _| 0);
        add("odd", Params { rows: 5, width: 96, count: 3, scale: 1.5, ..one }, |r, _| r.below(3) as u32);
        let shard = Params { rows: 9, width: 64, first: 7, count: 3, scale: 0.5, format: 0 };
        add("shard", shard, |_, i| if i == 8 { u32::MAX } else { 4 + i as u32 });
        let real = Params { rows: 33, width: 192, first: 0, count: 512, scale: 13.856, format: 0 };
        add("real", real, |r, _| r.below(512) as u32);
    }
}
