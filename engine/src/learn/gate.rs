//! The gate of a lesson: keys and a threshold, learned by contrast between turns that should open it and all others.

use crate::phrase::Phrase;
use crate::plastic::{KEYS, Written};
use lichen_shaders::cases::Random;

/// Updates of the keys.
const UPDATES: i32 = 150;
/// Rate of Adam.
const RATE: f32 = 0.03;
/// How sharply the contrast tells right from wrong.
const SHARPNESS: f32 = 20.0;
/// How far a turn should keep from the threshold, as a cosine.
const GAP: f32 = 0.15;
/// Share of the other turns that may lie above where the threshold is put before it is lowered.
const ABOVE: f64 = 0.01;
/// Other things nearest to one that is shown, from whose middle it is told apart.
const AROUND: usize = 40;
/// How much the threshold is lowered: turns in words that nobody thought of lie a little off.
const LOWERED: f32 = 0.05;

/// A gate in the space of turn vectors.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Gate {
    /// [[`KEYS`]], unit vectors.
    pub(super) keys: Vec<Vec<f32>>,
    pub(super) theta: f32,
    /// Words whose saying opens it; then no turn's vector does.
    pub(super) phrase: Option<Phrase>,
    /// Which fact it is of, if that is known.
    pub(super) fact: Option<u64>,
}

pub(super) fn dot(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// The vector of length one in this direction; zeros stay.
pub(super) fn unit(v: &[f32]) -> Vec<f32> {
    let length = dot(v, v).sqrt().max(1e-12);
    v.iter().map(|x| x / length).collect()
}

impl Gate {
    /// That of a section; `dim` elements a key.
    pub(super) fn of(written: &Written, dim: usize) -> Self {
        let keys = written.keys.chunks(dim.max(1)).map(unit).collect();
        Self { keys, theta: written.theta, phrase: written.phrase, fact: written.fact }
    }
    /// How near a turn is to the nearest key, as a cosine.
    pub(super) fn nearness(&self, turn: &[f32]) -> f32 {
        let turn = unit(turn);
        self.keys.iter().map(|key| dot(key, &turn)).fold(-1.0, f32::max)
    }
    /// How far it opens for a turn's vector; as the kernel `latch` has it.
    pub(super) fn open(&self, turn: &[f32]) -> f32 {
        if self.phrase.is_some() {
            return 0.0;
        }
        (lichen_shaders::latch::STEEPNESS as f32 * (self.nearness(turn) - self.theta)).tanh().max(0.0)
    }

    /// How far it opens for a turn in which this is said.
    pub(super) fn opens(&self, said: &str, turn: &[f32]) -> f32 {
        self.phrase.map_or_else(|| self.open(turn), |phrase| f32::from(u8::from(phrase.is_in(said))))
    }

    /// Learns a gate that opens for some turns and for no others. There is at least one of each.
    pub(super) fn learn(opens: &[&[f32]], others: &[&[f32]], random: &mut Random) -> Self {
        let [opens, others] = [opens, others].map(|side| side.iter().map(|v| unit(v)).collect::<Vec<_>>());
        Self { keys: centres(&opens, random), theta: 0.5, phrase: None, fact: None }.settled(&[&opens], &others)
    }

    /// The same for a section that serves for several lessons: each has a key, whatever number of turns speaks for it.
    /// There is at least one of each.
    pub(super) fn learn_shared(opens: [&[&[f32]]; KEYS], others: &[&[f32]]) -> Self {
        let units = |side: &[&[f32]]| side.iter().map(|v| unit(v)).collect::<Vec<_>>();
        let opens = opens.map(units);
        let keys = opens.iter().map(|side| unit(&mean(side))).collect();
        Self { keys, theta: 0.5, phrase: None, fact: None }
            .settled(&opens.each_ref().map(Vec::as_slice), &units(others))
    }

    /// Trained, the threshold a little below where a few others lie.
    fn settled(mut self, opens: &[&[Vec<f32>]], others: &[Vec<f32>]) -> Self {
        self.train(opens, others);
        let highest = quantile(&self, others, 1.0 - ABOVE);
        self.theta = self.theta.max(highest) - LOWERED;
        self
    }

    /// The same for things that are shown: all pictures lie close together, and so do all sounds, so that a gate has to
    /// look at what sets one apart from those that lie nearest. There is at least one of each.
    pub(super) fn learn_shown(opens: &[&[f32]], others: &[&[f32]], random: &mut Random) -> Self {
        let [opens, others] = [opens, others].map(|side| side.iter().map(|v| unit(v)).collect::<Vec<_>>());
        let middle = mean(&opens);
        // What is as near as most of its own copies is the thing itself: it may have been shown before.
        let mut own: Vec<f32> = opens.iter().map(|v| dot(v, &middle)).collect();
        own.sort_by(f32::total_cmp);
        let same = own[own.len() / 2];
        let (apart, alike): (Vec<_>, Vec<_>) = others.into_iter().partition(|v| dot(v, &middle) < same);
        let others = if apart.is_empty() { alike } else { apart };
        let mut near: Vec<&Vec<f32>> = others.iter().collect();
        near.sort_by(|a, b| dot(b, &middle).total_cmp(&dot(a, &middle)));
        near.truncate(AROUND);
        let around = mean(&near);
        let directions: Vec<Vec<f32>> =
            opens.iter().map(|v| unit(&v.iter().zip(&around).map(|(x, m)| x - m).collect::<Vec<_>>())).collect();
        let mut gate = Self { keys: centres(&directions, random), theta: 0.0, phrase: None, fact: None };
        // Where nine of ten are above, if that is where no other is.
        let apart = |gate: &Self| {
            let highest = quantile(gate, &others, 1.0);
            highest.max(0.5 * (quantile(gate, &opens, 0.1) + highest))
        };
        gate.theta = apart(&gate);
        gate.train(&[&opens], &others);
        gate.theta = apart(&gate);
        gate
    }

    /// Moves the keys by contrast between turns that should open it and others.
    fn train(&mut self, opens: &[&[Vec<f32>]], others: &[Vec<f32>]) {
        let gate = self;
        let dim = gate.keys[0].len();
        // The last number is the threshold's.
        let count = KEYS * dim + 1;
        let (mut first, mut second) = (vec![0f32; count], vec![0f32; count]);
        for update in 1..=UPDATES {
            let mut gradient = vec![0f32; count];
            opens.iter().for_each(|side| gate.contrast(side, 1.0, &mut gradient));
            gate.contrast(others, -1.0, &mut gradient);
            for (i, g) in gradient.into_iter().enumerate() {
                first[i] += 0.1 * (g - first[i]);
                second[i] += 0.01 * (g * g - second[i]);
                let (mean, square) = (first[i] / (1.0 - 0.9f32.powi(update)), second[i] / (1.0 - 0.99f32.powi(update)));
                let by = RATE * mean / (square.sqrt() + 1e-8);
                match gate.keys.get_mut(i / dim) {
                    Some(key) => key[i % dim] -= by,
                    None => gate.theta -= by,
                }
            }
        }
        gate.keys.iter_mut().for_each(|key| *key = unit(key));
    }

    /// Adds the gradient of the mean of `softplus(sharpness (gap + sign (theta - nearness)))` over turns.
    fn contrast(&self, turns: &[Vec<f32>], sign: f32, gradient: &mut [f32]) {
        let keys: Vec<Vec<f32>> = self.keys.iter().map(|key| unit(key)).collect();
        let lengths: Vec<f32> = self.keys.iter().map(|key| dot(key, key).sqrt().max(1e-12)).collect();
        let (dim, last) = (keys[0].len(), gradient.len() - 1);
        for turn in turns {
            let near = keys.iter().map(|key| dot(key, turn)).enumerate().max_by(|a, b| a.1.total_cmp(&b.1));
            let Some((k, cosine)) = near else { continue };
            let z = SHARPNESS * (GAP + sign * (self.theta - cosine));
            let slope = SHARPNESS * sign / (1.0 + (-z).exp()) / turns.len() as f32;
            gradient[last] += slope;
            for (g, (x, key)) in gradient[k * dim..(k + 1) * dim].iter_mut().zip(turn.iter().zip(&keys[k])) {
                *g -= slope * (x - cosine * key) / lengths[k];
            }
        }
    }
}

/// The nearness to the gate below which this share of the turns lies.
fn quantile(gate: &Gate, turns: &[Vec<f32>], share: f64) -> f32 {
    let mut near: Vec<f32> = turns.iter().map(|turn| gate.nearness(turn)).collect();
    near.sort_by(|a, b| b.total_cmp(a));
    near.get((near.len() as f64 * (1.0 - share)) as usize).or(near.last()).copied().unwrap_or(-1.0)
}

/// The mean of some vectors.
pub(super) fn mean(all: &[impl AsRef<[f32]>]) -> Vec<f32> {
    let mut sum = vec![0f32; all.first().map_or(0, |v| v.as_ref().len())];
    all.iter().for_each(|v| sum.iter_mut().zip(v.as_ref()).for_each(|(sum, x)| *sum += x / all.len() as f32));
    sum
}

/// Directions that lie in the middle of groups of turns: k-means by cosine.
fn centres(turns: &[Vec<f32>], random: &mut Random) -> Vec<Vec<f32>> {
    let mut keys: Vec<Vec<f32>> = (0..KEYS).map(|_| turns[random.below(turns.len())].clone()).collect();
    for _ in 0..8 {
        let mut sums = vec![vec![0f32; keys[0].len()]; KEYS];
        for turn in turns {
            let near = keys.iter().map(|key| dot(key, turn)).enumerate().max_by(|a, b| a.1.total_cmp(&b.1));
            let nearest = near.map_or(0, |(k, _)| k);
            sums[nearest].iter_mut().zip(turn).for_each(|(sum, x)| *sum += x);
        }
        for (key, sum) in keys.iter_mut().zip(sums) {
            if sum.iter().any(|x| *x != 0.0) {
                *key = unit(&sum);
            }
        }
    }
    keys
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slices(turns: &[Vec<f32>]) -> Vec<&[f32]> {
        turns.iter().map(Vec::as_slice).collect()
    }

    #[test]
    fn a_gate_opens_for_its_two_groups_and_nothing_else() {
        let mut random = Random::new(5);
        let mut about = |centre: usize| -> Vec<f32> {
            (0..16).map(|i| if i == centre { 3.0 } else { 0.0 } + 0.4 * random.normal() as f32).collect()
        };
        let opens: Vec<Vec<f32>> = (0..10).map(|i| about(i % 2)).collect();
        let others: Vec<Vec<f32>> = (0..200).map(|i| about(2 + i % 14)).collect();
        let later: Vec<Vec<f32>> = (0..40).map(|i| about(i % 16)).collect();
        let gate = Gate::learn(&slices(&opens), &slices(&others), &mut Random::new(6));
        for (i, turn) in later.iter().enumerate() {
            let open = gate.open(turn);
            assert_eq!(open > 0.5, i % 16 < 2, "turn {i} opens by {open}");
        }
    }

    #[test]
    fn what_is_shown_is_told_from_what_lies_close_by() {
        let mut random = Random::new(7);
        // All of them lie close together, as far as cosines tell.
        let mut thing = |which: usize| -> Vec<f32> {
            let at = |i: usize| if i == 0 { 9.0 } else { 3.0 * f32::from(u8::from(i == which)) };
            (0..16).map(|i| at(i) + 0.2 * random.normal() as f32).collect()
        };
        let opens: Vec<Vec<f32>> = (0..10).map(|_| thing(1)).collect();
        let others: Vec<Vec<f32>> = (0..140).map(|i| thing(2 + i % 14)).collect();
        let later: Vec<Vec<f32>> = (0..40).map(|i| thing(1 + i % 4)).collect();
        let gate = Gate::learn_shown(&slices(&opens), &slices(&others), &mut Random::new(6));
        for (i, turn) in later.iter().enumerate() {
            let open = gate.open(turn);
            assert_eq!(open > 0.5, i % 4 == 0, "turn {i} opens by {open}");
        }
    }

    #[test]
    fn what_was_shown_before_can_still_be_named() {
        let mut random = Random::new(9);
        let thing = |which: usize| -> Vec<f32> {
            (0..16).map(|i| if i == 0 { 9.0 } else { 3.0 * f32::from(u8::from(i == which)) }).collect()
        };
        let mut copy =
            |which: usize| -> Vec<f32> { thing(which).into_iter().map(|x| x + 0.2 * random.normal() as f32).collect() };
        let opens: Vec<Vec<f32>> = (0..10).map(|_| copy(1)).collect();
        let mut others: Vec<Vec<f32>> = (0..140).map(|i| copy(2 + i % 14)).collect();
        others.push(thing(1));
        let gate = Gate::learn_shown(&slices(&opens), &slices(&others), &mut Random::new(6));
        for i in 0..40 {
            let open = gate.open(&copy(1 + i % 4));
            assert_eq!(open > 0.5, i % 4 == 0, "turn {i} opens by {open}");
        }
        // Nothing else to tell it from: any gate will do, but there is one.
        let alone = [thing(1)];
        assert!(Gate::learn_shown(&slices(&opens), &slices(&alone), &mut Random::new(6)).theta.is_finite());
    }
}
