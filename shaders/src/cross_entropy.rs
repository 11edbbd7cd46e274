//! Cross-entropy of rows: `loss = weight * (log(sum exp(logits)) - logits[target])`.
//!
//! Shapes: logits [rows, classes], targets, weight and loss `[rows]`. The largest logit is taken out before exp. A
//! target that is no class stands for a row without one: its loss is 0 and it sends no gradient.
//! Cost: O(rows classes).

use crate::cases::Cases;
use crate::kernel::{Real, Tolerance, grid};

crate::params! {
    /// Rows of logits.
    rows: u32,
    /// Classes.
    classes: u32,
}

crate::kernel! {
    name: "cross_entropy",
    bindings(p) {
        read logits: real [p.rows * p.classes],
        read targets: index [p.rows],
        read weight: real [p.rows],
        write loss: real [p.rows],
    }
    variants {
        workgroup => [main => grid(p.rows)],
        serial => [serial => grid(p.rows.div_ceil(8))],
    }
    choose(p, t): if t.software { 1 } else { 0 },
    backward: backward,
    tolerance: Tolerance::LOOSE,
}

/// The largest logit and the log of the sum of exponentials past it.
fn normaliser<F: Real>(logits: &[F]) -> (F, F) {
    let top = logits.iter().fold(F::neg_infinity(), |top, &l| top.max(l));
    let mut sum = F::zero();
    for &l in logits {
        sum += (l - top).exp();
    }
    (top, sum.ln())
}

fn reference<F: Real>(p: &Params, a: Args<F>) {
    let classes = p.classes as usize;
    for (r, loss) in a.loss.iter_mut().enumerate() {
        let logits = &a.logits[r * classes..][..classes];
        *loss = match logits.get(a.targets[r] as usize) {
            Some(&target) => {
                let (top, log_sum) = normaliser(logits);
                a.weight[r] * (log_sum + (top - target))
            }
            None => F::zero(),
        };
    }
}

/// `dlogits = weight * (softmax - onehot(target)) * dloss`.
fn backward<F: Real>(p: &Params, a: Values<F>, g: Grads<F>) {
    let classes = p.classes as usize;
    let Grads { logits: mut dlogits, weight: mut dweight, loss, .. } = g;
    for (r, &dloss) in loss.iter().enumerate() {
        let (logits, target) = (&a.logits[r * classes..][..classes], a.targets[r] as usize);
        if target >= classes {
            continue;
        }
        let (top, log_sum) = normaliser(logits);
        if let Some(dlogits) = dlogits.as_deref_mut() {
            let pull = a.weight[r] * dloss;
            for (c, &l) in logits.iter().enumerate() {
                dlogits[r * classes + c] += pull * (l - top - log_sum).exp();
            }
            dlogits[r * classes + target] -= pull;
        }
        if let Some(dweight) = dweight.as_deref_mut() {
            dweight[r] += (log_sum + (top - logits[target])) * dloss;
        }
    }
}

fn cases(c: &mut Cases<Params>) {
    c.add("one", Params { rows: 1, classes: 2 }).ids("targets", |_, _| 1);
    c.add("odd", Params { rows: 4, classes: 7 }).ids("targets", |_, i| [3, 6, crate::NONE, 0][i]).gradient();
    c.add("large", Params { rows: 2, classes: 5 })
        .reals("logits", |r, i| 1e4 * r.normal() + i as f64)
        .ids("targets", |_, i| i as u32);
    for classes in [63, 64, 65, 255, 256, 257] {
        c.add(&format!("c{classes}"), Params { rows: 9, classes })
            .ids("targets", move |r, _| r.below(classes as usize) as u32);
    }
    c.add("real", Params { rows: 3, classes: 32000 }).ids("targets", |r, _| r.below(32000) as u32);
}
