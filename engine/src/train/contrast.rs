//! A contrast loss over turns: turns about the same fact attract, all others repel (Khosla et al. 2020, arXiv
//! 2004.11362, form "out"), so that a gate which knows one wording of a fact opens for the others.

/// Cosines are divided by this.
const TEMPERATURE: f32 = 0.1;

/// Loss and gradient of turn vectors [n, dim], taken relative to `background` [dim]; turns with the same label attract,
/// those without one only repel. The loss is the sum over the turns that have a fellow; their number is returned too.
pub(super) fn contrast(
    turns: &[f32],
    background: &[f32],
    labels: &[Option<&str>],
    gradient: &mut [f32],
) -> (f64, usize) {
    let (dim, n) = (background.len(), labels.len());
    let mut unit = vec![0f32; n * dim];
    let mut lengths = vec![0f32; n];
    for (i, (to, turn)) in unit.chunks_mut(dim).zip(turns.chunks(dim)).enumerate() {
        to.iter_mut().zip(turn.iter().zip(background)).for_each(|(to, (x, b))| *to = x - b);
        lengths[i] = to.iter().map(|x| x * x).sum::<f32>().sqrt().max(1e-6);
        to.iter_mut().for_each(|x| *x /= lengths[i]);
    }
    let vector = |i: usize| &unit[i * dim..(i + 1) * dim];
    let mut slopes = vec![0f32; n * n];
    let (mut loss, mut anchors) = (0f64, 0);
    for i in 0..n {
        let fellow = |j: usize| j != i && labels[i].is_some() && labels[i] == labels[j];
        let fellows = (0..n).filter(|&j| fellow(j)).count();
        if fellows == 0 {
            continue;
        }
        let cosines: Vec<f32> =
            (0..n).map(|j| vector(i).iter().zip(vector(j)).map(|(a, b)| a * b).sum::<f32>() / TEMPERATURE).collect();
        let others = || (0..n).filter(|&j| j != i);
        let top = others().map(|j| cosines[j]).fold(f32::NEG_INFINITY, f32::max);
        let sum: f32 = others().map(|j| (cosines[j] - top).exp()).sum();
        for j in others() {
            let chance = (cosines[j] - top).exp() / sum;
            let wanted = if fellow(j) { 1.0 / fellows as f32 } else { 0.0 };
            slopes[i * n + j] = (chance - wanted) / TEMPERATURE;
            loss -= f64::from(wanted) * f64::from(cosines[j] - top - sum.ln());
        }
        anchors += 1;
    }
    for i in 0..n {
        let mut pull = vec![0f32; dim];
        for j in 0..n {
            let slope = slopes[i * n + j] + slopes[j * n + i];
            pull.iter_mut().zip(vector(j)).for_each(|(p, x)| *p += slope * x);
        }
        let along: f32 = pull.iter().zip(vector(i)).map(|(p, x)| p * x).sum();
        let to = &mut gradient[i * dim..(i + 1) * dim];
        for ((to, p), x) in to.iter_mut().zip(&pull).zip(vector(i)) {
            *to = (p - along * x) / lengths[i];
        }
    }
    (loss, anchors)
}

#[cfg(test)]
mod tests {
    use super::*;
    use lichen_shaders::cases::Random;

    #[test]
    fn the_gradient_is_that_of_finite_differences() {
        let (n, dim) = (7, 5);
        let mut random = Random::new(3);
        let mut turns: Vec<f32> = (0..n * dim).map(|_| random.normal() as f32).collect();
        let background: Vec<f32> = (0..dim).map(|_| 0.3 * random.normal() as f32).collect();
        let labels = [Some("a"), Some("b"), Some("a"), None, Some("b"), Some("a"), Some("c")];
        let mut gradient = vec![f32::NAN; n * dim];
        let (_, anchors) = contrast(&turns, &background, &labels, &mut gradient);
        assert_eq!(anchors, 5);
        let mut nothing = vec![0.0; n * dim];
        for at in 0..n * dim {
            let (x, step) = (turns[at], 1e-2);
            turns[at] = x + step;
            let up = contrast(&turns, &background, &labels, &mut nothing).0;
            turns[at] = x - step;
            let down = contrast(&turns, &background, &labels, &mut nothing).0;
            turns[at] = x;
            let slope = (up - down) / f64::from(2.0 * step);
            assert!(
                (slope - f64::from(gradient[at])).abs() < 0.02 + 0.02 * slope.abs(),
                "{at}: {slope} {}",
                gradient[at]
            );
        }
    }

    #[test]
    fn fellows_that_are_alike_cost_less() {
        let labels = [Some("a"), Some("a"), Some("b"), Some("b")];
        let mut gradient = vec![0.0; 8];
        let of = |turns: &[f32], gradient: &mut [f32]| contrast(turns, &[0.0, 0.0], &labels, gradient).0;
        let apart = of(&[1.0, 0.0, 0.9, 0.1, 0.0, 1.0, 0.1, 0.9], &mut gradient);
        let mixed = of(&[1.0, 0.0, 0.0, 1.0, 0.9, 0.1, 0.1, 0.9], &mut gradient);
        assert!(apart < 0.1 && mixed > 1.0, "{apart} {mixed}");
        assert_eq!(contrast(&[1.0, 0.0], &[0.0, 0.0], &[Some("a")], &mut gradient[..2]), (0.0, 0));
        assert_eq!(gradient[..2], [0.0, 0.0]);
    }
}
