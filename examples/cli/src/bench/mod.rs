//! `lichen bench`: how fast models are on this machine, and what a token costs.

pub(crate) mod machine;
mod measure;
mod plot;
mod report;

use crate::args::{BenchArgs, DeviceArgs, Format, SIZES};
use crate::failure::{Done, Failure};
use crate::output::{bytes, faint, note, print, warn};
use crate::{files, load, new};
use bytesize::ByteSize;
use lichen::{Checkpoint, Config, Device, Model, Storage};
use machine::Machine;
use measure::{Child, Plan};
use serde_json::Value;
use std::ffi::OsString;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A load average beyond this for each core is said: other programs take part of what is measured.
const BUSY: f64 = 0.5;
/// How often a size's sections are taken for the plot.
const FACTORS: [usize; 5] = [1, 2, 4, 7, 10];

pub(crate) fn bench(args: &BenchArgs) -> Done {
    let plan = Plan::of(args);
    let format = if args.json { Format::Json } else { args.format };
    let sources = sources(args)?;
    for path in [&args.out, &args.plot].into_iter().flatten() {
        files::check_writable(path)?;
        files::may_overwrite(path, args.yes)?;
    }
    // What does not fit is said before anything is measured.
    sources.iter().try_for_each(Source::check)?;
    if args.memory_budget.is_some() && sources.iter().any(|s| matches!(s, Source::Random { .. })) {
        return Err(Failure::Usage("--memory-budget is for model files; make one with 'lichen new'".into()));
    }
    let together = args.plot.is_some() || !args.paired.is_empty();
    let needs = sources.iter().map(Source::random_bytes);
    let need = if together { needs.sum() } else { needs.max().unwrap_or(0) };
    if let Some(free) = machine::available_memory().filter(|&free| free < need) {
        let (need, free) = (bytes(need), bytes(free));
        return Err(Failure::Failed(format!("that needs {need} of memory, {free} are free; choose a smaller size")));
    }
    let other = match &args.paired_binary {
        // The whole path: a bare name would be looked for elsewhere.
        Some(path) => Some(std::fs::canonicalize(path).map_err(|e| Failure::file("run", path, &e))?),
        None => None,
    };
    let mut devices = Vec::new();
    for name in wanted(args) {
        let device = load::device(&DeviceArgs { device: name.clone(), threads: args.threads })?;
        // Two words may mean one device.
        if devices.iter().all(|d: &Place| d.device.name() != device.name()) {
            devices.push(Place { name, threads: args.threads, device, budget: args.memory_budget });
        }
    }
    let machine = Machine::here(devices.iter().map(|d| d.device.name()).collect());
    if machine.load_average.is_some_and(|load| load > BUSY * machine.threads as f64) {
        warn("other programs are running: figures will be low");
    }
    if cfg!(debug_assertions) {
        warn("this is a debug build: figures will be low");
    }

    let (columns, rows) = match (&other, args.paired.is_empty()) {
        (Some(other), _) => (report::PAIR, pairs_of_binaries(other, &sources, &devices, &plan)?),
        (None, false) => (report::PAIR, pairs_of_models(&sources, &devices, &plan)?),
        (None, true) if args.plot.is_some() => (report::SINGLE, grown(&sources, &devices, &plan)?),
        (None, true) => (report::SINGLE, singles(&sources, &devices, &plan)?),
    };
    let text = report::render(format, &machine, columns, &rows);
    match &args.out {
        Some(path) => {
            files::write(path, |out| out.write_all(text.as_bytes()).map_err(|e| Failure::file("write", path, &e)))?
        }
        None => print(&text)?,
    }
    if let Some(path) = &args.plot {
        let svg = plot::draw(&plot_title(args)?, &machine.cpu, &rows)?;
        files::write(path, |out| out.write_all(svg.as_bytes()).map_err(|e| Failure::file("write", path, &e)))?;
        note(&format!("{}: written", path.display()));
    }
    Ok(())
}

/// A device under the name that it was asked for by.
struct Place {
    name: String,
    threads: Option<u16>,
    device: Arc<Device>,
    /// Memory that a model may take.
    budget: Option<ByteSize>,
}
impl Place {
    /// Threads that decode, on the CPU.
    fn cpu_threads(&self) -> Option<usize> {
        match &*self.device {
            Device::Cpu(cpu) => Some(cpu.pool().threads()),
            #[cfg(feature = "gpu")]
            Device::Gpu(_) => None,
        }
    }
    /// The same device for another process.
    fn flags(&self) -> Vec<OsString> {
        let mut flags: Vec<OsString> = vec!["--device".into(), self.name.clone().into()];
        if let Some(threads) = self.threads {
            flags.extend(["--threads".into(), threads.to_string().into()]);
        }
        if let Some(budget) = self.budget {
            flags.extend(["--memory-budget".into(), budget.as_u64().to_string().into()]);
        }
        flags
    }
}

fn wanted(args: &BenchArgs) -> Vec<String> {
    if args.device.is_empty() { vec!["auto".into()] } else { args.device.clone() }
}

/// Where a model comes from.
enum Source {
    BuiltIn,
    File(PathBuf),
    Random { name: String, size: String, config: Config, storage: Storage },
}

impl Source {
    /// A word of the command line: `built-in`, a size of the family (`small`, `small:q8`) unless there is such a file,
    /// else a file.
    fn of(word: &str) -> Self {
        match named(word) {
            _ if word == "built-in" => Source::BuiltIn,
            Ok((config, storage)) if !Path::new(word).exists() => {
                Source::Random { name: word.into(), size: word.into(), config, storage }
            }
            _ => Source::File(word.into()),
        }
    }
    fn name(&self) -> String {
        match self {
            Source::BuiltIn => "built-in".into(),
            Source::File(path) => path.display().to_string(),
            Source::Random { name, .. } => name.clone(),
        }
    }
    /// The model file, `None` for the built-in one.
    fn path(&self) -> Option<&Path> {
        match self {
            Source::File(path) => Some(path),
            _ => None,
        }
    }
    /// Finds out, before anything is measured, that the model cannot be had.
    fn check(&self) -> Done {
        match self {
            Source::Random { config, .. } => Ok(config.validate()?),
            _ => load::header(self.path(), &load::bytes(self.path())?).map(drop),
        }
    }
    /// Memory of random weights, which no file backs.
    fn random_bytes(&self) -> u64 {
        match self {
            Source::Random { config, storage, .. } => storage.resident_bytes(config),
            _ => 0,
        }
    }
    fn load(&self, place: &Place) -> Done<Arc<Model>> {
        let cannot = Failure::with(format!("cannot use {}", self.name()));
        let model = match self {
            Source::Random { config, storage, .. } => {
                let checkpoint = Checkpoint::random(config, new::tokenizer(config.vocab)?, 1);
                Model::new(checkpoint.stored(*storage), place.device.clone())
            }
            _ => return load::open(self.path(), &place.device, place.budget),
        };
        model.map(Arc::new).map_err(cannot)
    }
    /// The same model for `bench` in another process.
    fn flags(&self) -> Vec<OsString> {
        match self {
            Source::BuiltIn => Vec::new(),
            Source::File(path) => vec!["--model".into(), path.into()],
            Source::Random { size, .. } => vec!["--size".into(), size.into()],
        }
    }
}

fn sources(args: &BenchArgs) -> Done<Vec<Source>> {
    if args.plot.is_some() {
        let (size, config, storage) = base(args)?;
        let factors = &FACTORS[..if args.quick { 3 } else { FACTORS.len() }];
        let grown = |&n: &usize| Source::Random {
            name: format!("{size} x{n}"),
            size: size.clone(),
            config: Config { sections: config.sections * n, ..config.clone() },
            storage,
        };
        return Ok(factors.iter().map(grown).collect());
    }
    if !args.paired.is_empty() {
        return Ok(args.paired.iter().map(|word| Source::of(word)).collect());
    }
    let files = args.models.iter().chain(&args.model).map(|path| Source::File(path.clone()));
    let mut all: Vec<Source> = files.collect();
    for size in &args.size {
        let (config, storage) = named(size)?;
        all.push(Source::Random { name: size.clone(), size: size.clone(), config, storage });
    }
    if all.is_empty() {
        all.push(Source::BuiltIn);
    }
    Ok(all)
}

/// A size of the family, and how its weights are held: `small` (as f16), `small:q8`, `small:q4+embed=q8`.
fn named(word: &str) -> Done<(Config, Storage)> {
    let (size, storage) = word.split_once(':').unwrap_or((word, "f16"));
    let config = Config::named(size)
        .ok_or_else(|| Failure::Usage(format!("there is no size {size}; sizes are {}", SIZES.join(", "))))?;
    Ok((config, storage.parse().map_err(|e| Failure::Usage(format!("{word}: {e}")))?))
}

/// The size that grows in the plot.
fn base(args: &BenchArgs) -> Done<(String, Config, Storage)> {
    let size = args.size.first().map_or("small", String::as_str);
    if args.size.len() > 1 {
        return Err(Failure::Usage("--plot takes one --size".into()));
    }
    let (config, storage) = named(size)?;
    Ok((size.to_string(), config, storage))
}

fn plot_title(args: &BenchArgs) -> Done<String> {
    let (size, config, _) = base(args)?;
    let active = crate::output::short(config.active_params());
    Ok(format!("Decoding {size} with more and more sections, {} of them awake ({active} active weights)", config.picks))
}

/// Says on a terminal what is going on.
fn progress(text: &str) {
    if io::stderr().is_terminal() {
        note(&faint(text));
    }
}

fn singles(sources: &[Source], devices: &[Place], plan: &Plan) -> Done<Vec<Value>> {
    // The machine's own rate first: a model in memory leaves less room for it.
    let mut rates = Vec::new();
    for place in devices {
        rates.push(match place.cpu_threads() {
            Some(threads) if !plan.decode_only => Some(machine::read_bandwidth(threads, plan.quick)),
            _ => None,
        });
    }
    let mut rows = Vec::new();
    for source in sources {
        for (place, &rate) in devices.iter().zip(&rates) {
            progress(&format!("{} on {}", source.name(), place.device.name()));
            // Children run before this process holds the model as well.
            let child = match source {
                Source::Random { .. } => None,
                _ if plan.decode_only => None,
                _ => Some(Child { model: source.path(), device: place.flags(), threads: place.threads }.measure(plan)?),
            };
            let model = source.load(place)?;
            let file_bytes = source.path().is_some() || matches!(source, Source::BuiltIn);
            let file_bytes = file_bytes.then(|| model.header().file_len());
            let row = measure::single(&model, source.name(), plan, rate, child, file_bytes)?;
            rows.push(report::value(&row));
        }
    }
    Ok(rows)
}

/// One size with more and more sections, all of them in memory at once.
fn grown(sources: &[Source], devices: &[Place], plan: &Plan) -> Done<Vec<Value>> {
    let mut rows = Vec::new();
    for place in devices {
        progress(&format!("{} models by turns on {}", sources.len(), place.device.name()));
        let models: Vec<Arc<Model>> = sources.iter().map(|s| s.load(place)).collect::<Done<_>>()?;
        let names = sources.iter().map(Source::name).collect();
        rows.extend(measure::by_turns_alone(&models, names, plan)?.iter().map(report::value));
    }
    Ok(rows)
}

fn pairs_of_models(sources: &[Source], devices: &[Place], plan: &Plan) -> Done<Vec<Value>> {
    let [a, b] = sources else { return Err(Failure::Usage("--paired takes two models".into())) };
    let mut rows = Vec::new();
    for place in devices {
        progress(&format!("{} and {} by turns on {}", a.name(), b.name(), place.device.name()));
        let models = [a.load(place)?, b.load(place)?];
        let names = [a.name(), b.name()];
        rows.push(report::value(&measure::pair_of_models(&models, names, plan)?));
    }
    Ok(rows)
}

fn pairs_of_binaries(other: &Path, sources: &[Source], devices: &[Place], plan: &Plan) -> Done<Vec<Value>> {
    let here = measure::this_binary()?;
    let mut rows = Vec::new();
    for source in sources {
        for place in devices {
            progress(&format!("{} and {} by turns, {}", here.display(), other.display(), source.name()));
            let flags = [source.flags(), place.flags()].concat();
            let pair = measure::pair_of_binaries([&here, other], &flags, place.device.name(), plan)?;
            rows.push(report::value(&pair));
        }
    }
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::*;
    use lichen::Precision;

    #[test]
    fn words_name_models() {
        assert!(matches!(Source::of("built-in"), Source::BuiltIn));
        assert!(matches!(Source::of("bench160"), Source::Random { config, .. } if config == Config::bench160()));
        assert!(matches!(Source::of("some/file"), Source::File(_)));
        let mixed = Storage { embed: Precision::Q8, ..Storage::Q4 };
        let (config, storage) = named("small:q4+embed=q8").expect("a size and a storage");
        assert!(config == Config::small() && storage == mixed);
        for wrong in ["huge", "small:q5", "small:q4+head=q8"] {
            assert!(matches!(named(wrong), Err(Failure::Usage(_))), "{wrong}");
        }
    }
}
