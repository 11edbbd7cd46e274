//! The one order by which kernels pick: higher first, ties to the lower id, NaN as low as minus infinity.

use crate::kernel::Real;
use std::cmp::Ordering;

/// `x`, or minus infinity in place of NaN.
pub(crate) fn without_nan<F: Real>(x: F) -> F {
    if x.is_nan() { F::neg_infinity() } else { x }
}

/// Ids of the `picks` highest scores, best first; fewer when there are fewer scores.
pub(crate) fn best<F: Real>(scores: &[F], picks: usize) -> Vec<u32> {
    let order = |&a: &u32, &b: &u32| {
        let (x, y) = (without_nan(scores[a as usize]), without_nan(scores[b as usize]));
        y.partial_cmp(&x).unwrap_or(Ordering::Equal).then(a.cmp(&b))
    };
    let mut ids: Vec<u32> = (0..scores.len() as u32).collect();
    if picks == 0 {
        return Vec::new();
    }
    if picks < ids.len() {
        ids.select_nth_unstable_by(picks, order);
        ids.truncate(picks);
    }
    ids.sort_unstable_by(order);
    ids
}
