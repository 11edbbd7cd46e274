//! `sample`: the best ids are looked for among few candidates.

use super::lanes::vector;
use super::share::Scratch;
use crate::pool::Pool;
use lichen_shaders::sample::{Args, Params, run};

pub(super) fn forward(_: &Pool, p: &Params, a: Args<f32>) {
    run(p, a, best);
}

/// Ids of the `picks` highest scores. The highest ones of as many groups bound the lowest of them from below, and few
/// scores reach that bound.
fn best(scores: &[f32], picks: usize) -> Vec<u32> {
    let group = (scores.len() / (4 * picks).max(1)).clamp(4, 64);
    let mut maxima = Scratch::new(scores.len().div_ceil(group));
    tops(scores, group, &mut maxima);
    let mut bound = f32::NEG_INFINITY;
    if (1..=maxima.len()).contains(&picks) {
        let mut keys: Vec<u32> = maxima.iter().map(|x| falling(*x)).collect();
        let lowest = *keys.select_nth_unstable(picks - 1).1;
        bound = maxima.iter().copied().find(|x| falling(*x) == lowest).unwrap_or(bound);
    }
    let mut keys = Vec::with_capacity(2 * picks + group);
    for (i, (scores, most)) in scores.chunks(group).zip(maxima.iter()).enumerate() {
        if *most < bound {
            continue;
        }
        let ids = (i * group) as u32..;
        let number = |x: f32| if x.is_nan() { f32::NEG_INFINITY } else { x };
        let high = ids.zip(scores).filter(|(_, x)| number(**x) >= bound);
        keys.extend(high.map(|(id, x)| u64::from(falling(*x)) << 32 | u64::from(id)));
    }
    if picks < keys.len() {
        keys.select_nth_unstable(picks);
        keys.truncate(picks);
    }
    keys.sort_unstable();
    keys.into_iter().map(|key| key as u32).collect()
}

/// An integer that falls as the number rises: integers are compared without branches. NaN counts as minus infinity.
fn falling(x: f32) -> u32 {
    let x = if x.is_nan() { f32::NEG_INFINITY } else { x };
    // Adding zero makes the two zeros one.
    let bits = (x + 0.0).to_bits();
    if bits >> 31 == 0 { 0x7FFF_FFFF - bits } else { bits }
}

vector! {
    /// The highest score of each group; NaN counts for nothing.
    fn tops(scores: &[f32], group: usize, maxima: &mut [f32]) {
        for (scores, most) in scores.chunks(group).zip(maxima) {
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
