//! Router: scores every section for a token and picks a fixed number of them.
//!
//! `scores[s] = sigmoid(a[s]) + bias_s`, where `a = R p` comes from a product with the router's rows; the ids are the shared sections `0..always`, then `always + s` for the
//! `picks` highest scores in ascending order of id. Ties go to the lower id and a NaN score counts as minus infinity,
//! so that the ids are distinct and valid whatever the numbers are. The bias steers the choice only: gates leave it
//! out. picks may not exceed sections.
//!
//! Shapes: a and scores [rows, sections], bias `[sections]`, ids [rows, always + picks].
//! Source: sigmoid routing with a load bias, Wang et al. 2024 (arXiv 2408.15664). Cost: O(rows sections picks).

use crate::cases::Cases;
use crate::kernel::{Real, Tolerance, grid};
use crate::shared::activation::sigmoid;
use crate::shared::order::{best, without_nan};

crate::params! {
    /// Tokens.
    rows: u32,
    /// Routed sections.
    sections: u32,
    /// Sections to pick for a token.
    picks: u32,
    /// Sections that every token takes; the routed ids start after them.
    always: u32,
}

crate::kernel! {
    name: "router",
    bindings(p) {
        read a: real [p.rows * p.sections],
        read bias: real [p.sections],
        write scores: real [p.rows * p.sections],
        write ids: index [p.rows * (p.always + p.picks)],
    }
    variants {
        workgroup => [score => grid((p.rows * p.sections).div_ceil(64)), pick => grid(p.rows)],
        serial => [score => grid((p.rows * p.sections).div_ceil(64)), pick_serial => grid(p.rows.div_ceil(8))],
    }
    choose(p, t): if t.software { 1 } else { 0 },
    backward: none,
    tolerance: Tolerance::LOOSE,
}

fn reference<F: Real>(p: &Params, a: Args<F>) {
    let (sections, always) = (p.sections as usize, p.always as usize);
    let slots = always + p.picks as usize;
    for row in 0..p.rows as usize {
        let scores = &mut a.scores[row * sections..][..sections];
        for (s, score) in scores.iter_mut().enumerate() {
            *score = without_nan(sigmoid(a.a[row * sections + s]) + a.bias[s]);
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
    c.add("one", Params { rows: 1, sections: 1, picks: 1, always: 0 });
    c.add("all", Params { rows: 3, sections: 5, picks: 5, always: 2 });
    c.add("none", Params { rows: 2, sections: 3, picks: 0, always: 1 });
    for sections in [63, 64, 65] {
        c.add(&format!("s{sections}"), Params { rows: 3, sections, picks: 4, always: 1 });
    }
    // Equal products make every sigmoid the same, so that only the biases rank, and many of those are equal.
    c.add("ties", Params { rows: 2, sections: 70, picks: 9, always: 1 })
        .reals("a", |_, _| 0.0)
        .reals("bias", |r, i| if i == 66 { -0.5 } else { 0.25 * r.below(3) as f64 });
    c.add("equal", Params { rows: 1, sections: 130, picks: 70, always: 0 })
        .reals("a", |_, _| 0.0)
        .reals("bias", |_, _| 0.0);
    // NaN scores lose to all others, and are still picked, lowest id first, when nothing else is left.
    c.add("nan", Params { rows: 2, sections: 9, picks: 4, always: 1 })
        .reals("a", |r, i| if i % 9 < 6 { f64::NAN } else { r.normal() })
        .reals("bias", |r, i| if i == 8 { f64::NEG_INFINITY } else { r.normal() });
    c.add("nano", Params { rows: 33, sections: 64, picks: 5, always: 1 });
    c.add("real", Params { rows: 2, sections: 330, picks: 11, always: 1 });
}
