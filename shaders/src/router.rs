//! Router: scores every section for a token and picks a fixed number of them.
//!
//! `scores[s] = sigmoid(p . r_s) + bias_s`; the ids are the shared sections `0..always`, then `always + s` for the
//! `picks` highest scores in ascending order of id. Ties go to the lower id and a NaN score counts as minus infinity,
//! so that the ids are distinct and valid whatever the numbers are. The bias steers the choice only: gates leave it
//! out. picks may not exceed sections.
//!
//! Shapes: p [rows, width], r [sections, width], bias `[sections]`, scores [rows, sections],
//! ids [rows, always + picks].
//! Source: sigmoid routing with a load bias, Wang et al. 2024 (arXiv 2408.15664). Cost: O(rows sections width) for the
//! scores and O(rows sections picks) for the choice.

use crate::cases::Cases;
use crate::kernel::{Real, Tolerance, grid};
use crate::shared::activation::sigmoid;
use crate::shared::order::{best, without_nan};

crate::params! {
    /// Tokens.
    rows: u32,
    /// Routed sections.
    sections: u32,
    /// Elements of p and of a router row.
    width: u32,
    /// Sections to pick for a token.
    picks: u32,
    /// Sections that every token takes; the routed ids start after them.
    always: u32,
}

crate::kernel! {
    name: "router",
    bindings(p) {
        read p: real [p.rows * p.width],
        read r: real [p.sections * p.width],
        read bias: real [p.sections],
        write scores: real [p.rows * p.sections],
        write ids: index [p.rows * (p.always + p.picks)],
    }
    variants {
        workgroup => [score => grid((p.rows * p.sections).div_ceil(8)), pick => grid(p.rows)],
        serial => [score_serial => grid((p.rows * p.sections).div_ceil(8)), pick_serial => grid(p.rows.div_ceil(8))],
    }
    choose(p, t): if t.software { 1 } else { 0 },
    backward: none,
    tolerance: Tolerance::LOOSE,
}

fn reference<F: Real>(p: &Params, a: Args<F>) {
    let (sections, width, always) = (p.sections as usize, p.width as usize, p.always as usize);
    let slots = always + p.picks as usize;
    for row in 0..p.rows as usize {
        let point = &a.p[row * width..][..width];
        let scores = &mut a.scores[row * sections..][..sections];
        for (s, score) in scores.iter_mut().enumerate() {
            let mut dot = F::zero();
            for i in 0..width {
                dot += point[i] * a.r[s * width + i];
            }
            *score = without_nan(sigmoid(dot) + a.bias[s]);
        }
        let mut picked = best(scores, p.picks as usize);
        picked.sort_unstable();
        let all = (0..p.always).chain(picked.into_iter().map(|s| p.always + s));
        for (slot, id) in a.ids[row * slots..][..slots].iter_mut().zip(all) {
            *slot = id;
        }
    }
}

fn cases(c: &mut Cases<Params>) {
    c.add("one", Params { rows: 1, sections: 1, width: 1, picks: 1, always: 0 });
    c.add("all", Params { rows: 3, sections: 5, width: 3, picks: 5, always: 2 });
    c.add("none", Params { rows: 2, sections: 3, width: 3, picks: 0, always: 1 });
    for sections in [63, 64, 65] {
        c.add(&format!("s{sections}"), Params { rows: 3, sections, width: 7, picks: 4, always: 1 });
    }
    // Equal points make every sigmoid the same, so that only the biases rank, and many of those are equal.
    c.add("ties", Params { rows: 2, sections: 70, width: 4, picks: 9, always: 1 })
        .reals("p", |_, _| 0.0)
        .reals("bias", |r, i| if i == 66 { -0.5 } else { 0.25 * r.below(3) as f64 });
    c.add("equal", Params { rows: 1, sections: 130, width: 2, picks: 70, always: 0 })
        .reals("p", |_, _| 0.0)
        .reals("bias", |_, _| 0.0);
    // NaN scores lose to all others, and are still picked, lowest id first, when nothing else is left.
    c.add("nan", Params { rows: 2, sections: 9, width: 2, picks: 4, always: 1 })
        .reals("r", |r, i| if i < 12 { f64::NAN } else { r.normal() })
        .reals("bias", |r, i| if i == 8 { f64::NEG_INFINITY } else { r.normal() });
    c.add("nano", Params { rows: 33, sections: 64, width: 32, picks: 5, always: 1 });
    c.add("real", Params { rows: 2, sections: 330, width: 64, picks: 11, always: 1 });
}
