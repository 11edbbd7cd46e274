//! Two sections become one: what the merged one must do is asked of the model, it is trained, and asked again.

use super::super::choose::{GUARD_OPEN, moment, shuffle};
use super::super::gate::Gate;
use super::super::lesson::FRAME_OPEN;
use super::super::reader::{Last, Reader, Talk};
use super::super::training::{Planned, Training};
use super::super::{ANSWERS, Known, Learner, Phase, Receipt, generated, now};
use super::Consolidation;
use crate::error::Error;
use crate::plastic::{KEYS, NEURONS, Written};
use crate::sampler::Sampler;
use crate::session::Session;
use crate::tokenizer::Tokenizer;
use lichen_shaders::cases::Random;
use std::sync::Arc;

/// Prompts of each lesson that are also asked at a moment and after another turn, and of those nearest that open
/// nothing.
const PLACED: usize = 48;
/// Most turns of each lesson that are trained on.
const FRAMES: usize = 40;
/// Turns that open nothing and are trained on: the nearest ones.
const GUARDS: usize = 36;
/// Times that it is trained at most: each time beginning with what was answered otherwise before.
const ROUNDS: usize = 3;

/// From which opening on an answer depends on a section.
const WIDE: f32 = 0.9;
/// How far inside the gate turns lie that must open it, as a cosine.
const MARGIN: f32 = 0.06;
/// Share of the prompts that open nothing for which a merged gate may open: there training keeps the answers.
const OVER: f64 = 0.05;

/// What a step of a pair led to.
pub(super) enum Outcome {
    Going(Phase, f32),
    /// To be put in the place of the first one, the second one shut.
    Trained(Written),
    Passed(Written, Receipt),
    Refused(String),
}

/// A turn somewhere in a conversation.
struct Probe {
    prompt: String,
    before: Option<(String, Vec<u32>)>,
    now: Option<String>,
    /// The vectors of its turns, the asked one last; none before they were read.
    turns: Vec<Vec<f32>>,
    /// What the model answers with the sections as they are.
    answer: Option<Vec<u32>>,
}

impl Probe {
    fn talk(&self, tokenizer: &Tokenizer) -> Result<Talk, Error> {
        let before = self.before.iter().map(|(said, answer)| (said.as_str(), answer.as_slice()));
        let turns: Vec<_> = before.chain([(self.prompt.as_str(), self.answer.as_deref().unwrap_or(&[]))]).collect();
        Talk::new(tokenizer, &turns, false, Last { now: self.now.as_deref(), shown: None })
    }
    /// What a session answers.
    fn ask(&self, session: &mut Session, sampler: &Sampler) -> Result<Vec<u32>, Error> {
        let talk = self.talk(session.model().tokenizer())?;
        session.reset()?;
        now(session.prefill(&talk.ids[..talk.answer().start]))?;
        generated(session, sampler)
    }
    /// The vector of the turn that is asked.
    fn turn(&self) -> &[f32] {
        self.turns.last().map_or(&[], Vec::as_slice)
    }
}

/// Two sections on their way to be one.
pub(super) struct Pair {
    pub(super) at: [usize; KEYS],
    own: [Gate; KEYS],
    others: Vec<Gate>,
    /// What training goes on from: the strongest neurons of both, later what it came to before.
    slabs: Vec<Vec<f32>>,
    round: usize,
    prompts: Arc<Vec<Known>>,
    random: Random,
    phase: Phase,
    done: usize,
    probes: Vec<Probe>,
    /// Of the merged section.
    gate: Option<Gate>,
    training: Option<Training>,
    written: Option<Written>,
    /// Probes that are asked of the model as it is.
    asked: Vec<usize>,
    /// Those that are asked again in the end, and those of them that were answered otherwise.
    checks: Vec<usize>,
    wrong: Vec<usize>,
    receipt: Receipt,
}

impl Pair {
    pub(super) fn new(at: [usize; KEYS], of: &Consolidation, learner: &Learner) -> Result<Self, Error> {
        let own = at.map(|place| of.gates[place].clone());
        let others = (0..of.gates.len()).filter(|place| !at.contains(place)).map(|place| of.gates[place].clone());
        let seed = of.lessons(at).iter().fold(0x6d65_7267u64, |seed, id| seed.wrapping_mul(31).wrapping_add(*id));
        let mut pair = Self {
            at,
            own,
            others: others.collect(),
            slabs: strongest(at.map(|place| &of.all[place].written)),
            round: 0,
            prompts: of.prompts.clone(),
            random: Random::new(seed),
            phase: Phase::Asking,
            done: 0,
            probes: Vec::new(),
            gate: None,
            training: None,
            written: None,
            asked: Vec::new(),
            checks: Vec::new(),
            wrong: Vec::new(),
            receipt: Receipt::default(),
        };
        pair.gather(learner);
        Ok(pair)
    }

    /// All prompts that open one of the two, and those nearest to them, here and elsewhere in a conversation.
    fn gather(&mut self, learner: &Learner) {
        let prompts = self.prompts.clone();
        let opening: Vec<f32> = prompts.iter().map(|known| self.opening(&known.turn)).collect();
        let mut opened: Vec<usize> = (0..prompts.len()).filter(|&i| opening[i] > 0.0).collect();
        let mut near: Vec<(f32, usize)> = (0..prompts.len())
            .filter(|&i| opening[i] == 0.0)
            .map(|i| (self.own.iter().map(|gate| gate.nearness(&prompts[i].turn) - gate.theta).fold(-2.0, f32::max), i))
            .collect();
        near.sort_by(|a, b| b.0.total_cmp(&a.0));
        shuffle(&mut opened, &mut self.random);
        let mut placed = [0; KEYS];
        for i in opened {
            self.probe(&prompts[i], None, None);
            let side = self.side(&prompts[i].turn);
            placed[side] += 1;
            if placed[side] <= PLACED {
                self.elsewhere(&prompts[i], learner, [true, true]);
            }
        }
        for (n, &(_, i)) in near.iter().take(2 * PLACED).enumerate() {
            self.probe(&prompts[i], None, None);
            self.elsewhere(&prompts[i], learner, [n % 2 == 0, n % 2 == 1]);
        }
    }

    fn probe(&mut self, known: &Known, before: Option<(String, Vec<u32>)>, now: Option<String>) {
        let turns = if before.is_none() && now.is_none() { vec![known.turn.clone()] } else { Vec::new() };
        let prompt = known.prompt.clone();
        self.probes.push(Probe { prompt, before, now, turns, answer: None });
    }

    /// The same prompt at a moment, and after a turn that opens nothing.
    fn elsewhere(&mut self, known: &Known, learner: &Learner, [at_moment, later]: [bool; 2]) {
        // Only models that were taught actions know of moments.
        if at_moment && learner.model.header().actions.is_some() {
            let now = moment(&mut self.random);
            self.probe(known, None, Some(now));
        }
        if later {
            let other = &learner.known[self.random.below(learner.known.len())];
            if self.opening(&other.turn) == 0.0 && !self.foreign(&other.turn) {
                self.probe(known, Some((other.prompt.clone(), other.answer.clone())), None);
            }
        }
    }

    /// How far one of the two opens for a turn.
    fn opening(&self, turn: &[f32]) -> f32 {
        self.own.iter().map(|gate| gate.open(turn)).fold(0.0, f32::max)
    }
    /// Which of the two is nearer to opening.
    fn side(&self, turn: &[f32]) -> usize {
        let [first, second] = self.own.each_ref().map(|gate| gate.nearness(turn) - gate.theta);
        usize::from(second > first)
    }
    /// Whether sections of other lessons open too.
    fn foreign(&self, turn: &[f32]) -> bool {
        self.others.iter().any(|gate| gate.open(turn) > 0.0)
    }
    fn merged(&self, turn: &[f32]) -> f32 {
        self.gate.as_ref().map_or(0.0, |gate| gate.open(turn))
    }

    fn go(&mut self, phase: Phase) -> Outcome {
        (self.phase, self.done) = (phase, 0);
        Outcome::Going(phase, 0.0)
    }
    fn going(&mut self, of: usize) -> Outcome {
        self.done += 1;
        Outcome::Going(self.phase, (self.done as f32 / of.max(1) as f32).min(1.0))
    }

    pub(super) fn step(
        &mut self,
        before: &mut Session,
        after: &mut Session,
        learner: &mut Learner,
    ) -> Result<Outcome, Error> {
        match self.phase {
            Phase::Hearing | Phase::Asking => match self.read(learner)? {
                0 => Ok(self.go(Phase::Choosing)),
                left => Ok(self.going(self.done + 1 + left)),
            },
            Phase::Choosing => self.choose(),
            Phase::Answering => self.answer(before, learner),
            Phase::Training => self.train(learner),
            Phase::Checking => self.check(after, learner),
        }
    }

    /// Reads the vectors of some turns; says how many groups were left, none where all were read before.
    fn read(&mut self, learner: &mut Learner) -> Result<usize, Error> {
        let unread: Vec<usize> = (0..self.probes.len()).filter(|&i| self.probes[i].turns.is_empty()).collect();
        let talks =
            unread.iter().map(|&i| self.probes[i].talk(learner.model.tokenizer())).collect::<Result<Vec<_>, _>>()?;
        let groups = Reader::groups(&talks);
        if let Some(group) = groups.first() {
            let seen = learner.reader.read(&group.iter().map(|&i| &talks[i]).collect::<Vec<_>>(), None, None)?;
            for (&i, seen) in group.iter().zip(seen) {
                self.probes[unread[i]].turns = seen.turns;
            }
        }
        Ok(groups.len())
    }

    /// The gate opens where one of the two does, a key for each.
    fn choose(&mut self) -> Result<Outcome, Error> {
        let mut opens: [Vec<&[f32]>; KEYS] = Default::default();
        let mut others: Vec<&[f32]> = Vec::new();
        let bank = self.prompts.iter().map(|known| known.turn.as_slice());
        let elsewhere = self.probes.iter().filter(|p| p.turns.len() > 1 || p.now.is_some()).map(Probe::turn);
        for turn in bank.chain(elsewhere) {
            match self.opening(turn) {
                0.0 => others.push(turn),
                open if open > 0.5 => opens[self.side(turn)].push(turn),
                _ => {}
            }
        }
        if opens.iter().any(Vec::is_empty) || others.is_empty() {
            return Ok(Outcome::Refused("what opens the one opens the other".into()));
        }
        let gate = Gate::learn_shared(opens.each_ref().map(Vec::as_slice), &others);
        self.gate = Some(gate);
        // Where one of the two opens wide the answer depends on it.
        let wide = |p: &&Probe| self.opening(p.turn()) > WIDE;
        let least = self.least(self.probes.iter().filter(wide));
        Ok(self.widen(least))
    }

    /// The nearness to the merged gate of the turn that is farthest from it.
    fn least<'a>(&self, probes: impl Iterator<Item = &'a Probe>) -> f32 {
        let nearness = |p: &Probe| self.gate.as_ref().map_or(1.0, |gate| gate.nearness(p.turn()));
        probes.map(nearness).fold(1.0, f32::min)
    }

    /// Opens the gate for all turns that are so near, and finds what is to be asked then: what it or one of the two opens
    /// for, and the nearest others.
    fn widen(&mut self, nearness: f32) -> Outcome {
        let Some(gate) = &mut self.gate else { return Outcome::Refused("there is no gate".into()) };
        gate.theta = gate.theta.min(nearness - MARGIN);
        let others: Vec<usize> =
            (0..self.prompts.len()).filter(|&i| self.opening(&self.prompts[i].turn) == 0.0).collect();
        let over: Vec<usize> = others.iter().copied().filter(|&i| self.merged(&self.prompts[i].turn) > 0.0).collect();
        if over.len() as f64 > OVER * others.len() as f64 {
            let (over, of) = (over.len(), others.len());
            return Outcome::Refused(format!("with a key for each it would open for {over} of {of} other prompts"));
        }
        let prompts = self.prompts.clone();
        for i in over {
            if !self.probes.iter().any(|p| p.prompt == prompts[i].prompt && p.now.is_none() && p.before.is_none()) {
                self.probe(&prompts[i], None, None);
            }
        }
        let touched = |p: &Probe| self.opening(p.turn()) > 0.0 || self.merged(p.turn()) > 0.0;
        let nearness = |p: &Probe| self.gate.as_ref().map_or(0.0, |gate| gate.nearness(p.turn()));
        let (mut asked, rest): (Vec<usize>, Vec<usize>) =
            (0..self.probes.len()).partition(|&i| touched(&self.probes[i]));
        let mut rest: Vec<(f32, usize)> = rest.into_iter().map(|i| (nearness(&self.probes[i]), i)).collect();
        rest.sort_by(|a, b| b.0.total_cmp(&a.0));
        asked.extend(rest.into_iter().take(GUARDS).map(|(_, i)| i));
        self.asked = asked;
        self.go(Phase::Answering)
    }

    fn answer(&mut self, before: &mut Session, learner: &Learner) -> Result<Outcome, Error> {
        let unanswered = self.asked.iter().copied().filter(|&i| self.probes[i].answer.is_none());
        let next: Vec<usize> = unanswered.take(ANSWERS).collect();
        for &i in &next {
            self.probes[i].answer = Some(self.probes[i].ask(before, &learner.sampler)?);
        }
        match next.is_empty() {
            true => self.plan(learner),
            false => Ok(self.going(self.asked.len().div_ceil(ANSWERS))),
        }
    }

    /// What is trained, and what is asked in the end.
    fn plan(&mut self, learner: &Learner) -> Result<Outcome, Error> {
        let mut order = self.asked.clone();
        shuffle(&mut order, &mut self.random);
        // What went wrong before comes first.
        order.sort_by_key(|i| !self.wrong.contains(i));
        self.checks.clear();
        let (mut frames, mut planned) = ([0; KEYS], Vec::new());
        for i in order {
            let probe = &self.probes[i];
            let (turn, own) = (probe.turn(), self.opening(probe.turn()));
            let merged = self.merged(turn);
            if own > 0.0 || merged > 0.0 {
                self.checks.push(i);
            }
            // What is answered together with others' sections cannot be learned from.
            if probe.turns.iter().any(|turn| self.foreign(turn)) {
                continue;
            }
            let frame = own > 0.0;
            if frame {
                let n = &mut frames[self.side(turn)];
                *n += 1;
                if *n > FRAMES {
                    continue;
                }
            }
            let least = match frame {
                true if own > 0.5 => FRAME_OPEN,
                true => 0.0,
                false => GUARD_OPEN,
            };
            let mut opens: Vec<f32> = probe.turns.iter().map(|turn| self.merged(turn)).collect();
            opens.iter_mut().rev().take(1).for_each(|open| *open = open.max(least));
            if opens.iter().all(|&open| open == 0.0) {
                continue;
            }
            planned.push(Planned { talk: probe.talk(learner.model.tokenizer())?, frame, opens });
        }
        let from = std::mem::take(&mut self.slabs);
        self.training = Some(Training::new(planned, Some(from)));
        Ok(self.go(Phase::Training))
    }

    fn train(&mut self, learner: &mut Learner) -> Result<Outcome, Error> {
        let (Some(training), Some(gate)) = (&mut self.training, &self.gate) else {
            return Err(Error::Memory("a merged section has nothing to train on".into()));
        };
        if let Some(share) = training.step(learner, &mut self.random)? {
            return Ok(Outcome::Going(Phase::Training, share));
        }
        let (first, last) = training.losses()?;
        (self.receipt.loss_before, self.receipt.loss_after, self.receipt.drift) =
            (first.frames, last.frames, last.guards);
        (self.receipt.frames, self.receipt.guards) = (training.frames(), training.guards());
        let written = training.written(learner, gate)?;
        self.training = None;
        self.slabs = written.slabs.clone();
        self.written = Some(written.clone());
        self.go(Phase::Checking);
        Ok(Outcome::Trained(written))
    }

    fn check(&mut self, after: &mut Session, learner: &Learner) -> Result<Outcome, Error> {
        let next: Vec<usize> = self.checks.iter().skip(self.done * ANSWERS).take(ANSWERS).copied().collect();
        if self.done == 0 {
            self.wrong.clear();
        }
        for &i in &next {
            let got = self.probes[i].ask(after, &learner.sampler)?;
            let same = Some(&got) == self.probes[i].answer.as_ref();
            self.receipt.checked += 1;
            self.receipt.passed += usize::from(same);
            if !same {
                self.wrong.push(i);
            }
        }
        if !next.is_empty() {
            return Ok(self.going(self.checks.len().div_ceil(ANSWERS)));
        }
        let Receipt { checked, passed, .. } = self.receipt;
        if passed < checked && self.round + 1 < ROUNDS {
            self.round += 1;
            (self.receipt.checked, self.receipt.passed) = (0, 0);
            // Where it stayed shut there is nothing to train.
            let shut = |p: &&Probe| self.opening(p.turn()) > 0.0 && self.merged(p.turn()) < WIDE;
            let least = self.least(self.wrong.iter().map(|&i| &self.probes[i]).filter(shut));
            return Ok(self.widen(least));
        }
        match self.written.take() {
            Some(written) if passed == checked => Ok(Outcome::Passed(written, self.receipt.clone())),
            _ => {
                let such = self.wrong.first().map_or("", |&i| &self.probes[i].prompt);
                let wrong = checked - passed;
                Ok(Outcome::Refused(format!("{wrong} of {checked} answers would be others, such as to: {such}")))
            }
        }
    }
}

/// Of each layer half of the neurons of each section: those that do most.
fn strongest(of: [&Written; KEYS]) -> Vec<Vec<f32>> {
    let norm = |row: &[f32]| row.iter().map(|x| x * x).sum::<f32>();
    let layer = |layer: usize| {
        let (mut up, mut down) = (Vec::new(), Vec::new());
        for written in of {
            let slab = &written.slabs[layer];
            let width = slab.len() / (2 * NEURONS);
            let rows: Vec<&[f32]> = slab.chunks(width).collect();
            let (ups, downs) = rows.split_at(NEURONS);
            let mut order: Vec<usize> = (0..NEURONS).collect();
            // What goes up is squared on its way.
            let strength: Vec<f32> = ups.iter().zip(downs).map(|(up, down)| norm(up) * norm(down).sqrt()).collect();
            order.sort_by(|&a, &b| strength[b].total_cmp(&strength[a]));
            order.iter().take(NEURONS / KEYS).for_each(|&i| {
                up.extend_from_slice(ups[i]);
                down.extend_from_slice(downs[i]);
            });
        }
        [up, down].concat()
    };
    (0..of[0].slabs.len()).map(layer).collect()
}
