//! Trains small models that differ in one thing and compares them: four mixers and three feed-forward layers, on
//! text (held-out loss) and on associative recall (8 key-value pairs, then 8 queries; share of right values).
//!
//! Each variant is first run at several learning rates with one seed; the best is repeated with other seeds. One
//! line of JSON a run, then a table.

use clap::Parser;
use lichen::data::{Dataset, Document, Example};
use lichen::train::{TrainOptions, Trainer};
use lichen::{Checkpoint, Config, Device, Error, Mixer, Tokenizer};
use std::sync::Arc;

/// Compare mixers and feed-forward layers at equal active size and equal tokens.
#[derive(Parser)]
struct Args {
    /// Text to train on.
    #[arg(long)]
    data: std::path::PathBuf,
    /// Held-out text.
    #[arg(long)]
    validation: std::path::PathBuf,
    /// Updates of a run on text.
    #[arg(long, default_value_t = 800)]
    steps: u64,
    /// Updates of a run on recall.
    #[arg(long, default_value_t = 1500)]
    recall_steps: u64,
    /// Learning rates to try.
    #[arg(long, value_delimiter = ',', default_value = "0.002,0.004,0.008")]
    lr: Vec<f32>,
    /// Seeds of the best learning rate, the first also of the search.
    #[arg(long, value_delimiter = ',', default_value = "1,2")]
    seeds: Vec<u64>,
    /// Only variants whose name contains this.
    #[arg(long)]
    only: Option<String>,
    /// Only this task: text or recall.
    #[arg(long)]
    task: Option<String>,
    /// Threads.
    #[arg(short, long, default_value_t = 0)]
    threads: usize,
}

/// The common size: about 0.3M active weights.
fn base() -> Config {
    Config {
        mixer: Mixer::SlopeDelta,
        vocab: 260,
        width: 128,
        layers: 4,
        heads: 2,
        key: 16,
        value: 32,
        rank: 16,
        sections: 48,
        picks: 3,
        neurons: 32,
        shared: 32,
        route: 32,
        ..Config::nano()
    }
}

/// Variants at (nearly) equal active weights; the table prints the exact numbers.
fn variants() -> Vec<(&'static str, Config)> {
    let base = base();
    vec![
        ("mixer: slope-delta", base.clone()),
        ("mixer: delta only", Config { mixer: Mixer::Delta, ..base.clone() }),
        ("mixer: slope only", Config { mixer: Mixer::Slope, value: 54, ..base.clone() }),
        // MCSD's two output maps weigh one section more; it wakes one less.
        ("mixer: mcsd", Config { mixer: Mixer::Mcsd, heads: 8, picks: 2, ..base.clone() }),
        ("ffn: dense, equal active", Config { sections: 0, picks: 0, shared: 128, ..base.clone() }),
        ("ffn: dense, equal total", Config { sections: 0, picks: 0, shared: 49 * 32, ..base }),
    ]
}

const PAIRS: usize = 8;
/// Keys and values are different tokens: keys 0..64, values 64..128.
const SYMBOLS: usize = 64;
/// Pairs, then queries each followed by its value.
const RECALL_LEN: usize = 4 * PAIRS;

/// One recall sequence; only the values after the queries count.
fn recall(random: &mut lichen::Random) -> Example {
    let mut keys: Vec<usize> = (0..SYMBOLS).collect();
    for i in 0..PAIRS {
        keys.swap(i, i + random.below(SYMBOLS - i));
    }
    let values: Vec<usize> = (0..PAIRS).map(|_| SYMBOLS + random.below(SYMBOLS)).collect();
    let mut order: Vec<usize> = (0..PAIRS).collect();
    for i in 0..PAIRS {
        order.swap(i, i + random.below(PAIRS - i));
    }
    let pairs = (0..PAIRS).chain(order).flat_map(|i| [keys[i] as u32, values[i] as u32]);
    let ids: Vec<u32> = pairs.chain([0]).collect();
    let asked = |i: usize| f32::from(u8::from(i > 2 * PAIRS && i % 2 == 1));
    Example { weights: (0..ids.len()).map(asked).collect(), ids, ..Example::default() }
}

struct Run {
    tokens: u64,
    score: f64,
}

fn text(
    config: &Config,
    lr: f32,
    seed: u64,
    args: &Args,
    data: &[Dataset; 2],
    device: &Arc<Device>,
) -> Result<Run, Error> {
    let options = TrainOptions { steps: args.steps, lr, seed, warmup: args.steps / 10, ..TrainOptions::default() };
    let checkpoint = Checkpoint::random(config, Tokenizer::bytes(), seed);
    let mut trainer = Trainer::new(checkpoint, options, device.clone())?;
    let mut tokens = 0;
    while !trainer.done() {
        tokens += trainer.step(&data[0])?.tokens;
    }
    let loss = pollster::block_on(trainer.evaluate(&data[1], usize::MAX))?;
    Ok(Run { tokens, score: loss.nats_per_byte })
}

fn associative(config: &Config, lr: f32, seed: u64, args: &Args, device: &Arc<Device>) -> Result<Run, Error> {
    let steps = args.recall_steps;
    let options = TrainOptions {
        steps,
        lr,
        seed,
        warmup: steps / 10,
        batch: 64,
        micro: 64,
        context: RECALL_LEN,
        weight_decay: 0.0,
        ..TrainOptions::default()
    };
    // Two layers: recall is a matter of the state, not of depth.
    let config = Config { vocab: 260, layers: 2, ..config.clone() };
    let mut trainer = Trainer::new(Checkpoint::random(&config, Tokenizer::bytes(), seed), options, device.clone())?;
    let mut tokens = 0;
    while !trainer.done() {
        tokens += trainer.update(|random| Ok(recall(random)))?.tokens;
    }
    Ok(Run { tokens, score: pollster::block_on(right(&trainer, device))? })
}

/// Share of the values that the model ranks first, on sequences that no run has seen.
async fn right(trainer: &Trainer, device: &Arc<Device>) -> Result<f64, Error> {
    let model = Arc::new(lichen::Model::new(trainer.checkpoint().await?, device.clone())?);
    let mut session = lichen::Session::new(model)?;
    let mut random = lichen::Random::new(0xFEED);
    let (mut hits, mut all) = (0, 0);
    for _ in 0..64 {
        let example = recall(&mut random);
        session.reset()?;
        for i in 0..RECALL_LEN {
            let logits = session.step(example.ids[i]).await?;
            if example.weights[i + 1] > 0.0 {
                let best = (0..logits.len()).max_by(|&a, &b| logits[a].total_cmp(&logits[b]));
                hits += u64::from(best == Some(example.ids[i + 1] as usize));
                all += 1;
            }
        }
    }
    Ok(hits as f64 / f64::from(all))
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args = Args::parse();
    let device = Arc::new(Device::cpu(args.threads));
    let read = |path: &std::path::Path| -> Result<Dataset, Box<dyn std::error::Error>> {
        Ok(Dataset::new(&Tokenizer::bytes(), [Document::Text(std::fs::read_to_string(path)?)])?)
    };
    let data = [read(&args.data)?, read(&args.validation)?];
    let mut rows = Vec::new();
    for task in ["text", "recall"].into_iter().filter(|t| args.task.as_deref().is_none_or(|w| w == *t)) {
        let better = |a: f64, b: f64| if task == "text" { a < b } else { a > b };
        for (name, config) in variants().into_iter().filter(|(n, _)| args.only.as_deref().is_none_or(|w| n.contains(w)))
        {
            config.validate()?;
            if task == "recall" && !name.starts_with("mixer") {
                continue;
            }
            let run = |lr: f32, seed: u64| -> Result<Run, Error> {
                let started = std::time::Instant::now();
                let run = match task {
                    "text" => text(&config, lr, seed, &args, &data, &device)?,
                    _ => associative(&config, lr, seed, &args, &device)?,
                };
                let line = serde_json::json!({"task": task, "variant": name, "lr": lr, "seed": seed, "tokens": run.tokens,
                    "score": run.score, "seconds": started.elapsed().as_secs_f64()});
                println!("{line}");
                Ok(run)
            };
            let mut best: Option<(f32, Run)> = None;
            for &lr in &args.lr {
                let this = run(lr, args.seeds[0])?;
                if best.as_ref().is_none_or(|(_, b)| better(this.score, b.score)) {
                    best = Some((lr, this));
                }
            }
            let Some((lr, first)) = best else { continue };
            let tokens = first.tokens;
            let mut scores = vec![first.score];
            for &seed in &args.seeds[1..] {
                scores.push(run(lr, seed)?.score);
            }
            let mean = scores.iter().sum::<f64>() / scores.len() as f64;
            let each: Vec<String> = scores.iter().map(|s| format!("{s:.4}")).collect();
            rows.push(format!(
                "| {task} | {name} | {} | {} | {:.1}% | {lr} | {tokens} | {} | {mean:.4} |",
                config.total_params(),
                config.active_params(),
                100.0 * config.active_section_share(),
                each.join(" ")
            ));
        }
    }
    println!("| task | variant | weights | active | sections awake | best lr | tokens | each seed | mean |");
    println!("|---|---|---|---|---|---|---|---|---|");
    rows.iter().for_each(|r| println!("{r}"));
    Ok(())
}
