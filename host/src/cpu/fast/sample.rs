//! `sample`: the best ids are looked for among few candidates.

use super::lanes::vector;
use super::share::Scratch;
use crate::pool::Pool;
use lichen_shaders::sample::{Args, Params, run};

/// Scores of a group; most groups hold none of the best ones.
const GROUP: usize = 64;

pub(super) fn forward(_: &Pool, p: &Params, a: Args<f32>) {
    run(p, a, best);
}

/// Ids of the `picks` highest scores. The highest ones of as many groups bound the lowest of them from below, and few
/// scores reach that bound.
fn best(scores: &[f32], picks: usize) -> Vec<u32> {
    let mut maxima = Scratch::new(scores.len().div_ceil(GROUP));
    tops(scores, &mut maxima);
    let mut bound = f32::NEG_INFINITY;
    if (1..=maxima.len()).contains(&picks) {
        bound = *maxima.select_nth_unstable_by(picks - 1, |a, b| b.total_cmp(a)).1;
    }
    let number = |x: f32| if x.is_nan() { f32::NEG_INFINITY } else { x };
    let mut ids = Vec::with_capacity(2 * picks + GROUP);
    for (group, scores) in scores.chunks(GROUP).enumerate() {
        if bound > f32::NEG_INFINITY && !reaches(scores, bound) {
            continue;
        }
        let first = (group * GROUP) as u32;
        ids.extend((first..).zip(scores).filter(|(_, x)| number(**x) >= bound).map(|(id, _)| id));
    }
    let order = |&a: &u32, &b: &u32| {
        let (x, y) = (number(scores[a as usize]), number(scores[b as usize]));
        y.partial_cmp(&x).unwrap_or(std::cmp::Ordering::Equal).then(a.cmp(&b))
    };
    if picks < ids.len() {
        ids.select_nth_unstable_by(picks, order);
        ids.truncate(picks);
    }
    ids.sort_unstable_by(order);
    ids
}

vector! {
    /// The highest score of each group; NaN counts for nothing.
    fn tops(scores: &[f32], maxima: &mut [f32]) {
        for (scores, most) in scores.chunks(GROUP).zip(maxima) {
            let mut lanes = [f32::NEG_INFINITY; super::lanes::LANES];
            for scores in scores.chunks(lanes.len()) {
                for (lane, &x) in lanes.iter_mut().zip(scores) {
                    *lane = if x > *lane { x } else { *lane };
                }
            }
            *most = lanes.into_iter().fold(f32::NEG_INFINITY, |most, x| if x > most { x } else { most });
        }
    }
}

vector! {
    /// Whether one of the scores is at least that high.
    fn reaches(scores: &[f32], bound: f32) -> bool {
        scores.iter().fold(false, |any, x| any | (*x >= bound))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lichen_shaders::cases::Random;

    #[test]
    fn the_best_are_those_of_a_sort() {
        let mut random = Random::new(11);
        for len in [1, 2, 63, 64, 65, 1000, 20_000] {
            for kinds in [3, 50, 1_000_000] {
                let mut scores: Vec<f32> = (0..len).map(|_| random.below(kinds) as f32 - 1.0).collect();
                scores[random.below(len)] = f32::NAN;
                scores[random.below(len)] = f32::NEG_INFINITY;
                scores[random.below(len)] = f32::INFINITY;
                scores[random.below(len)] = -0.0;
                let number = |id: u32| scores[id as usize];
                let mut sorted: Vec<u32> = (0..len as u32).collect();
                sorted.sort_by(|&a, &b| {
                    let [x, y] = [a, b].map(|id| if number(id).is_nan() { f32::NEG_INFINITY } else { number(id) });
                    y.partial_cmp(&x).expect("numbers").then(a.cmp(&b))
                });
                for picks in [1, 2, 40, 256, len] {
                    assert_eq!(best(&scores, picks), sorted[..picks.min(len)], "{len} scores, {picks} picks");
                }
            }
        }
    }
}
