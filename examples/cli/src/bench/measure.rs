//! What is measured, and how: warm-up first, then medians of repeats.

use super::machine::{self, Reading, Sensor};
use crate::args::BenchArgs;
use crate::failure::{Done, Failure, plain};
use crate::load;
use lichen::config::Init;
use lichen::{Config, Mixer, Model, Random, Sampler, Session};
use pollster::block_on;
use serde::Serialize;
use serde_json::Value;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Bytes of a GB, as rates of memory are given.
const GB: f64 = 1e9;

/// What a person asked for.
pub(super) struct Plan {
    /// Tokens of one repeat.
    pub(super) tokens: usize,
    /// Repeats, or rounds of pairs.
    pub(super) repeats: usize,
    /// Short and rough.
    pub(super) quick: bool,
    /// Nothing but decoding.
    pub(super) decode_only: bool,
    /// Lessons too.
    pub(super) lessons: bool,
}

impl Plan {
    pub(super) fn of(args: &BenchArgs) -> Self {
        let paired = !args.paired.is_empty() || args.paired_binary.is_some();
        let (tokens, repeats) = match args.quick {
            true => (8, 3),
            false => (128, if paired { 21 } else { 9 }),
        };
        Self {
            tokens: args.tokens.map_or(tokens, |n| n as usize),
            repeats: args.repeats.map_or(repeats, |n| n as usize),
            quick: args.quick,
            decode_only: args.decode_only || args.plot.is_some(),
            lessons: args.lessons,
        }
    }
    /// Repeats of what takes longer than decoding.
    fn few(&self) -> usize {
        self.repeats.min(if self.quick { 1 } else { 5 })
    }
}

/// One model on one device. Names are stable: scripts rely on them.
#[derive(Debug, Serialize)]
pub(super) struct Single {
    pub(super) model: String,
    pub(super) device: String,
    pub(super) storage: String,
    pub(super) total_params: u64,
    pub(super) active_params: u64,
    pub(super) decode_tok_s: f64,
    pub(super) decode_best_tok_s: f64,
    pub(super) prefill128_tok_s: Option<f64>,
    pub(super) prefill512_tok_s: Option<f64>,
    pub(super) first_token_ms: Option<f64>,
    /// Of teaching one fact, and the most memory that a process held which did; `None` where that was not asked for.
    pub(super) lesson_s: Option<f64>,
    pub(super) lesson_peak_rss_bytes: Option<u64>,
    pub(super) peak_rss_bytes: Option<u64>,
    pub(super) file_bytes: Option<u64>,
    pub(super) active_bytes_per_token: u64,
    pub(super) total_weight_bytes: u64,
    pub(super) active_multiply_adds_per_token: u64,
    pub(super) dense_multiply_adds_per_token: u64,
    pub(super) decode_read_gb_s: f64,
    /// What the machine reads at best, and the share of it that decoding reads.
    pub(super) read_bandwidth_gb_s: Option<f64>,
    pub(super) bandwidth_share: Option<f64>,
    /// Of sections that come and go; `None` where all are resident.
    pub(super) file_read_bytes_per_token: Option<u64>,
    pub(super) joules_per_token: Option<f64>,
    pub(super) energy_sensor: Option<&'static str>,
    pub(super) tokens: usize,
    pub(super) repeats: usize,
}

/// Two models or programs by turns. Ratios are times of a token, B over A.
#[derive(Debug, Serialize)]
pub(super) struct Pair {
    pub(super) a: String,
    pub(super) b: String,
    pub(super) device: String,
    pub(super) a_decode_tok_s: f64,
    pub(super) b_decode_tok_s: f64,
    pub(super) time_ratio_median: f64,
    pub(super) time_ratio_p10: f64,
    pub(super) time_ratio_p90: f64,
    pub(super) tokens: usize,
    pub(super) rounds: usize,
}

/// The value below which a share of the values lie, between neighbours in proportion; NaN of none.
pub(super) fn percentile(values: &[f64], share: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = share * sorted.len().saturating_sub(1) as f64;
    let (low, high) = (at.floor() as usize, at.ceil() as usize);
    match (sorted.get(low), sorted.get(high)) {
        (Some(a), Some(b)) => a + (b - a) * (at - low as f64),
        _ => f64::NAN,
    }
}

pub(super) fn median(values: &[f64]) -> f64 {
    percentile(values, 0.5)
}

/// Multiply-adds of one token: matrices, convolutions and the scan, without what is done element by element.
/// `dense` wakes every section.
pub(super) fn multiply_adds(c: &Config, dense: bool) -> u64 {
    let sections = if dense { c.all_sections() } else { c.slots() };
    let of = |init: &Init, len: usize| match init {
        Init::Sections(..) => 2 * sections * c.neurons * c.width,
        Init::Normal(_) | Init::Conv => len,
        Init::Constant(_) | Init::Slopes | Init::Decays => 0,
    };
    let weights: usize = c.tensors().iter().map(|t| of(&t.init, t.len())).sum();
    // Each element of the state: read twice, decayed, and two products of ranks one added to it.
    let scan = match c.mixer {
        Mixer::Delta | Mixer::SlopeDelta => 5 * c.layers * c.heads * c.key * c.value,
        Mixer::Mcsd | Mixer::Slope => 0,
    };
    (weights + scan) as u64
}

/// A stream that is ready to be timed.
struct Stream {
    session: Session,
    seed: u64,
}

impl Stream {
    /// An empty stream with its first token fed.
    fn new(model: &Arc<Model>) -> Done<Self> {
        let mut session = load::session(model)?;
        block_on(session.prefill(&prompt(model.config(), 1)))?;
        Ok(Self { session, seed: 0 })
    }
    /// Seconds a token. Tokens are drawn, so that the route does not run in circles, and no token ends the stream.
    fn decode(&mut self, tokens: usize) -> Done<f64> {
        self.seed += 1;
        let sampler = Sampler { temperature: 1.0, top_p: 1.0, seed: self.seed, ..Sampler::default() };
        let started = Instant::now();
        block_on(self.session.generate(&sampler, tokens, |_| true))?;
        // The last token was fed when its logits can be read: a GPU may still be at it.
        block_on(self.session.logits())?;
        Ok(started.elapsed().as_secs_f64() / tokens as f64)
    }
    /// Seconds a token of a prompt, its logits included.
    fn prefill(&mut self, ids: &[u32]) -> Done<f64> {
        self.session.reset()?;
        let started = Instant::now();
        block_on(self.session.prefill(ids))?;
        block_on(self.session.logits())?;
        Ok(started.elapsed().as_secs_f64() / ids.len() as f64)
    }
}

/// Tokens of a prompt: any of the vocabulary.
fn prompt(config: &Config, len: usize) -> Vec<u32> {
    let mut random = Random::new(1);
    (0..len).map(|_| random.below(config.vocab) as u32).collect()
}

/// Measures one model on the device that it is on. `rate` is the machine's, `child` what another process took.
pub(super) fn single(
    model: &Arc<Model>,
    name: String,
    plan: &Plan,
    rate: Option<f64>,
    child: Option<Taken>,
    file_bytes: Option<u64>,
) -> Done<Single> {
    let mut stream = Stream::new(model)?;
    let sensor = Sensor::find(Path::new("/sys"), model.device().is_cpu());
    stream.decode(plan.tokens)?;
    let (before, paging): (Reading, _) = (sensor.read(), model.paging());
    let seconds: Vec<f64> = (0..plan.repeats).map(|_| stream.decode(plan.tokens)).collect::<Done<_>>()?;
    let joules = sensor.joules(&before, &sensor.read());
    let tokens = (plan.tokens * plan.repeats) as u64;
    let read = paging.zip(model.paging()).map(|(a, b)| (b.read - a.read) * b.section_bytes / tokens.max(1));
    let mut prefill = |len: usize| -> Done<Option<f64>> {
        if plan.decode_only {
            return Ok(None);
        }
        let ids = prompt(model.config(), len);
        stream.prefill(&ids)?;
        let seconds: Vec<f64> = (0..plan.few()).map(|_| stream.prefill(&ids)).collect::<Done<_>>()?;
        Ok(Some(1.0 / median(&seconds)))
    };
    let decoding = decoding(model, name, plan, &seconds);
    Ok(Single {
        prefill128_tok_s: prefill(128)?,
        prefill512_tok_s: prefill(512)?,
        first_token_ms: child.as_ref().map(|c| 1e3 * c.first_token_seconds),
        lesson_s: child.as_ref().and_then(|c| c.lesson_seconds),
        lesson_peak_rss_bytes: child.as_ref().and_then(|c| c.lesson_peak_rss_bytes),
        peak_rss_bytes: child.and_then(|c| c.peak_rss_bytes),
        file_bytes,
        read_bandwidth_gb_s: rate.map(|rate| rate / GB),
        bandwidth_share: rate.map(|rate| decoding.decode_read_gb_s * GB / rate),
        file_read_bytes_per_token: read,
        joules_per_token: joules.map(|j| j / tokens as f64),
        energy_sensor: joules.and(sensor.name()),
        ..decoding
    })
}

/// Measures decoding alone, of several models by turns: whatever else the machine does hits all of them.
pub(super) fn by_turns_alone(models: &[Arc<Model>], names: Vec<String>, plan: &Plan) -> Done<Vec<Single>> {
    let mut streams: Vec<Stream> = models.iter().map(Stream::new).collect::<Done<_>>()?;
    let seconds = by_turns(models.len(), plan.repeats, |which| streams[which].decode(plan.tokens))?;
    let rows = models.iter().zip(names).zip(&seconds);
    Ok(rows.map(|((model, name), seconds)| decoding(model, name, plan, seconds)).collect())
}

/// The figures of decoding, from seconds a token.
fn decoding(model: &Model, name: String, plan: &Plan, seconds: &[f64]) -> Single {
    let c = model.config();
    let storage = model.header().storage;
    // An upper bound: of a suppressed neuron only the up half is read.
    let active = storage.active_bytes(c);
    let decode = 1.0 / median(seconds);
    Single {
        model: name,
        device: model.device().name(),
        storage: storage.to_string(),
        total_params: c.total_params(),
        active_params: c.active_params(),
        decode_tok_s: decode,
        decode_best_tok_s: 1.0 / percentile(seconds, 0.0),
        prefill128_tok_s: None,
        prefill512_tok_s: None,
        first_token_ms: None,
        lesson_s: None,
        lesson_peak_rss_bytes: None,
        peak_rss_bytes: None,
        file_bytes: None,
        active_bytes_per_token: active,
        total_weight_bytes: storage.resident_bytes(c),
        active_multiply_adds_per_token: multiply_adds(c, false),
        dense_multiply_adds_per_token: multiply_adds(c, true),
        decode_read_gb_s: active as f64 * decode / GB,
        read_bandwidth_gb_s: None,
        bandwidth_share: None,
        file_read_bytes_per_token: None,
        joules_per_token: None,
        energy_sensor: None,
        tokens: plan.tokens,
        repeats: plan.repeats,
    }
}

/// What a run in another process took.
pub(super) struct Taken {
    first_token_seconds: f64,
    peak_rss_bytes: Option<u64>,
    lesson_seconds: Option<f64>,
    lesson_peak_rss_bytes: Option<u64>,
}

/// What the lessons teach.
const LESSON: &str = "I take my coffee without sugar.";

/// `lichen run` in a process of its own.
pub(super) struct Child<'a> {
    /// Model file, `None` for the built-in model.
    pub(super) model: Option<&'a Path>,
    /// Flags of the device.
    pub(super) device: Vec<OsString>,
    /// Threads, if their number was given.
    pub(super) threads: Option<u16>,
}

impl Child<'_> {
    pub(super) fn measure(&self, plan: &Plan) -> Done<Taken> {
        let mut seconds = Vec::new();
        for _ in 0..plan.few() {
            let started = Instant::now();
            finish(self.command(1)?.output())?;
            seconds.push(started.elapsed().as_secs_f64());
        }
        let (_, peak_rss_bytes) = peak(self.command(16)?)?;
        let mut taken = Taken {
            first_token_seconds: median(&seconds),
            peak_rss_bytes,
            lesson_seconds: None,
            lesson_peak_rss_bytes: None,
        };
        if plan.lessons {
            self.learn(plan, &mut taken)?;
        }
        Ok(taken)
    }

    /// The same lesson several times, as a dry run, after a first one that leaves what is prepared once for a model.
    fn learn(&self, plan: &Plan, taken: &mut Taken) -> Done {
        let memory = std::env::temp_dir().join(format!("lichen-bench-{}.memory", std::process::id()));
        let lesson = |check: bool| -> Done<(f64, Option<u64>)> {
            let mut command = Command::new(this_binary()?);
            command.args(["learn", "--json", LESSON, "--memory"]).arg(&memory).stdin(Stdio::null());
            command.args(check.then_some("--check"));
            if let Some(threads) = self.threads {
                command.args(["--threads", &threads.to_string()]);
            }
            if let Some(path) = self.model {
                command.arg("--model").arg(path);
            }
            let (output, peak) = peak(command)?;
            let told: Value = serde_json::from_str(&output).map_err(|e| Failure::Failed(format!("a lesson: {e}")))?;
            let seconds = told["seconds"].as_f64();
            Ok((seconds.ok_or_else(|| Failure::Failed("a lesson says not how long it took".into()))?, peak))
        };
        let lessons = lesson(false).and_then(|_| (0..plan.few()).map(|_| lesson(true)).collect::<Done<Vec<_>>>());
        let _ = std::fs::remove_file(&memory);
        let lessons = lessons?;
        taken.lesson_seconds = Some(median(&lessons.iter().map(|(seconds, _)| *seconds).collect::<Vec<_>>()));
        taken.lesson_peak_rss_bytes = lessons.iter().filter_map(|(_, peak)| *peak).max();
        Ok(())
    }

    fn command(&self, tokens: usize) -> Done<Command> {
        let mut command = Command::new(this_binary()?);
        command.args(["run", "--prompt", "Once upon a time", "--n-predict"]).arg(tokens.to_string());
        command.args(&self.device).stdin(Stdio::null());
        if let Some(path) = self.model {
            command.arg("--model").arg(path);
        }
        Ok(command)
    }
}

/// What a process printed, and the most memory that it held, as the system counts it; it is asked until the process has
/// ended, and the count only ever rises.
fn peak(mut command: Command) -> Done<(String, Option<u64>)> {
    if !cfg!(target_os = "linux") {
        return Ok((finish(command.output())?, None));
    }
    // What it prints fits into a pipe, for it keeps no log.
    command.env_remove("RUST_LOG");
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().map_err(|e| cannot(&e))?;
    let status = format!("/proc/{}/status", child.id());
    let mut peak = None;
    while child.try_wait().map_err(|e| cannot(&e))?.is_none() {
        let now = std::fs::read_to_string(&status).ok().and_then(|text| machine::kib(&text, "VmHWM"));
        peak = peak.max(now);
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok((finish(child.wait_with_output())?, peak))
}

fn cannot(error: &std::io::Error) -> Failure {
    Failure::Failed(format!("cannot run another lichen: {}", plain(error)))
}

/// This program's file.
pub(super) fn this_binary() -> Done<PathBuf> {
    std::env::current_exe().map_err(|e| cannot(&e))
}

/// Standard output of a process that ended well.
fn finish(output: std::io::Result<Output>) -> Done<String> {
    let output = output.map_err(|e| cannot(&e))?;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr);
        let last = text.lines().last().unwrap_or_default().trim_start_matches("lichen: ");
        return Err(Failure::Failed(format!("another lichen failed ({}): {last}", output.status)));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Runs all by turns after a warm-up of each, the first of a round in turn as well: seconds a token of each.
fn by_turns(count: usize, rounds: usize, mut one: impl FnMut(usize) -> Done<f64>) -> Done<Vec<Vec<f64>>> {
    let mut seconds = vec![Vec::new(); count];
    for round in 0..=rounds {
        for turn in 0..count {
            let which = (round + turn) % count;
            let taken = one(which)?;
            if round > 0 {
                seconds[which].push(taken);
            }
        }
    }
    Ok(seconds)
}

fn pair(names: [String; 2], device: String, tokens: usize, seconds: &[Vec<f64>]) -> Pair {
    let ratios: Vec<f64> = seconds[1].iter().zip(&seconds[0]).map(|(b, a)| b / a).collect();
    let [a, b] = names;
    Pair {
        a,
        b,
        device,
        a_decode_tok_s: 1.0 / median(&seconds[0]),
        b_decode_tok_s: 1.0 / median(&seconds[1]),
        time_ratio_median: median(&ratios),
        time_ratio_p10: percentile(&ratios, 0.1),
        time_ratio_p90: percentile(&ratios, 0.9),
        tokens,
        rounds: ratios.len(),
    }
}

/// Compares two models on the device that they are on.
pub(super) fn pair_of_models(models: &[Arc<Model>; 2], names: [String; 2], plan: &Plan) -> Done<Pair> {
    let mut streams = [Stream::new(&models[0])?, Stream::new(&models[1])?];
    let seconds = by_turns(2, plan.repeats, |which| streams[which].decode(plan.tokens))?;
    Ok(pair(names, models[0].device().name(), plan.tokens, &seconds))
}

/// Compares two programs; `flags` name the model and the device.
pub(super) fn pair_of_binaries(binaries: [&Path; 2], flags: &[OsString], device: String, plan: &Plan) -> Done<Pair> {
    let seconds = by_turns(2, plan.repeats, |which| {
        let mut command = Command::new(binaries[which]);
        command.args(["bench", "--json", "--quick", "--decode-only", "--repeats", "3", "--tokens"]);
        command.arg(plan.tokens.to_string()).args(flags).stdin(Stdio::null());
        let text = finish(command.output())?;
        seconds_of(&text).ok_or_else(|| {
            Failure::Failed(format!("{} gave no figure; is it a lichen with bench?", binaries[which].display()))
        })
    })?;
    Ok(pair(binaries.map(|path| path.display().to_string()), device, plan.tokens, &seconds))
}

/// Seconds a token of a report in JSON.
fn seconds_of(report: &str) -> Option<f64> {
    let report: Value = serde_json::from_str(report).ok()?;
    let result = &report["results"][0];
    // Older builds, which this is there to compare with, had another name for it.
    let rate = ["decode_tok_s", "decode_tokens_per_second"].iter().find_map(|key| result[*key].as_f64())?;
    (rate > 0.0).then_some(1.0 / rate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_lie_between_neighbours() {
        let values = [5.0, 1.0, 4.0, 2.0, 3.0];
        assert_eq!([0.0, 0.1, 0.5, 0.9, 1.0].map(|p| percentile(&values, p)), [1.0, 1.4, 3.0, 4.6, 5.0]);
        assert_eq!(median(&[1.0, 2.0]), 1.5);
        assert_eq!(percentile(&[7.0], 0.9), 7.0);
        assert!(median(&[]).is_nan());
    }

    #[test]
    fn rounds_alternate_and_the_first_is_a_warm_up() {
        let mut order = Vec::new();
        let seconds = by_turns(2, 3, |which| {
            order.push(which);
            Ok(order.len() as f64)
        });
        let seconds = seconds.expect("is measured");
        assert_eq!(order, [0, 1, 1, 0, 0, 1, 1, 0]);
        assert_eq!(seconds, [vec![4.0, 5.0, 8.0], vec![3.0, 6.0, 7.0]]);
        let pair = pair(["a".into(), "b".into()], "cpu".into(), 1, &seconds);
        assert!(pair.time_ratio_median == 0.875 && pair.rounds == 3, "{pair:?}");
        assert!(pair.time_ratio_p10 < 0.875 && pair.time_ratio_p90 > 0.875, "{pair:?}");
    }

    #[test]
    fn a_token_multiplies_its_active_weights() {
        for config in [Config::nano(), Config::small(), Config::bench160(), Config::b3()] {
            // All but norms and the like are multiplied once; convolutions and the scan are small beside them.
            let (active, dense) = (multiply_adds(&config, false) as f64, multiply_adds(&config, true) as f64);
            assert!((active / config.active_params() as f64 - 1.0).abs() < 0.04, "{active}");
            assert!((dense / config.total_params() as f64 - 1.0).abs() < 0.01, "{dense}");
        }
        let dense = Config { sections: 0, picks: 0, ..Config::nano() };
        assert_eq!(multiply_adds(&dense, false), multiply_adds(&dense, true));
    }

    #[test]
    fn a_report_of_another_program_is_read_or_refused() {
        for key in ["decode_tok_s", "decode_tokens_per_second"] {
            assert_eq!(seconds_of(&format!(r#"{{"results": [{{"{key}": 4.0}}]}}"#)), Some(0.25));
        }
        for bad in ["", "{}", r#"{"results": []}"#, r#"{"results": [{"decode_tok_s": 0}]}"#] {
            assert_eq!(seconds_of(bad), None, "{bad}");
        }
    }
}
