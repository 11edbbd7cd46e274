//! Intervals by resampling, and chrF.

use std::collections::HashMap;

/// Resamplings behind an interval.
pub(super) const RESAMPLES: usize = 2000;

/// A figure of `n` things asked and its 95% interval, by resampling them with replacement; the same every time.
pub(super) fn interval(n: usize, resamples: usize, figure: impl Fn(&[usize]) -> f64) -> (f64, [f64; 2]) {
    let mut rows: Vec<usize> = (0..n).collect();
    let value = figure(&rows);
    let mut random = lichen::Random::new(n as u64);
    let mut all: Vec<f64> = (0..resamples)
        .map(|_| {
            rows.iter_mut().for_each(|row| *row = random.below(n));
            figure(&rows)
        })
        .collect();
    all.sort_by(f64::total_cmp);
    (value, [all[resamples / 40], all[resamples - 1 - resamples / 40]])
}

/// Longest n-gram of chrF.
const ORDER: usize = 6;

/// Matches, and n-grams of the answer and of the reference, for each order.
pub(super) type Grams = [[f64; 3]; ORDER];

/// What chrF counts of an answer and a reference (Popovic 2015): n-grams of characters without spaces.
pub(super) fn grams(answer: &str, reference: &str) -> Grams {
    let letters = |text: &str| text.chars().filter(|c| !c.is_whitespace()).collect::<Vec<char>>();
    let (a, r) = (letters(answer), letters(reference));
    std::array::from_fn(|i| {
        let count = |text: &[char]| {
            let mut all: HashMap<Vec<char>, f64> = HashMap::new();
            text.windows(i + 1).for_each(|gram| *all.entry(gram.to_vec()).or_default() += 1.0);
            all
        };
        let (a, r) = (count(&a), count(&r));
        let matches = a.iter().map(|(gram, n)| n.min(r.get(gram).copied().unwrap_or(0.0))).sum();
        [matches, a.values().sum(), r.values().sum()]
    })
}

/// chrF2 in percent of summed counts: the mean over orders of F with recall counting twice.
pub(super) fn chrf<'a>(all: impl Iterator<Item = &'a Grams>) -> f64 {
    let mut sum = Grams::default();
    for grams in all {
        for (sum, grams) in sum.iter_mut().zip(grams) {
            sum.iter_mut().zip(grams).for_each(|(s, g)| *s += g);
        }
    }
    let (mut score, mut orders) = (0.0, 0);
    for [matches, answer, reference] in sum {
        // Sentences shorter than an order have none of it.
        if answer + reference == 0.0 {
            continue;
        }
        let (precision, recall) = (matches / answer.max(1.0), matches / reference.max(1.0));
        orders += 1;
        if precision + recall > 0.0 {
            score += 5.0 * precision * recall / (4.0 * precision + recall);
        }
    }
    100.0 * score / f64::from(orders.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_hold_the_figure_and_shrink() {
        let mean = |n: usize| {
            interval(n, 1000, move |rows| rows.iter().map(|&i| (i % 7) as f64).sum::<f64>() / rows.len() as f64)
        };
        let ((few, few_ci), (many, many_ci)) = (mean(14), mean(1400));
        assert!(few_ci[0] < few && few < few_ci[1]);
        assert!(many_ci[0] < many && many < many_ci[1]);
        assert!(many_ci[1] - many_ci[0] < 0.3 * (few_ci[1] - few_ci[0]));
        assert_eq!(mean(1), (0.0, [0.0, 0.0]));
    }

    #[test]
    fn chrf_is_that_of_the_paper() {
        let one = |a: &str, r: &str| chrf([grams(a, r)].iter());
        assert!((one("the cat sat", "the cat sat") - 100.0).abs() < 1e-9);
        assert_eq!((one("abc", "xyz"), one("", "xyz")), (0.0, 0.0));
        // By hand: "ab" for "abc": order 1 P 1, R 2/3, F2 = 5/7; order 2 P 1, R 1/2, F2 = 5/9; order 3 R 0.
        let want = 100.0 * (5.0 * (2.0 / 3.0) / (4.0 + 2.0 / 3.0) + 5.0 * 0.5 / 4.5) / 3.0;
        assert!((one("a b", "abc") - want).abs() < 1e-9, "{} {want}", one("a b", "abc"));
    }
}
