//! The machine: what it is, how fast it reads its memory, what energy it takes.

use serde::Serialize;
use std::collections::HashMap;
use std::fs;
use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::sync::Barrier;
use std::time::Instant;

const MIB: u64 = 1 << 20;

/// What figures were taken on.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Machine {
    /// The processor's name.
    pub(super) cpu: String,
    /// Threads that it runs at once.
    pub(super) threads: usize,
    /// Operating system.
    pub(super) os: String,
    /// Devices that were measured: the CPU with its instruction set, adapters by name.
    pub(super) devices: Vec<String>,
    /// Memory.
    pub(super) memory_bytes: Option<u64>,
    /// All caches of the last level together.
    pub(super) last_level_cache_bytes: Option<u64>,
    /// Programs that ran or waited in the minute before.
    pub(super) load_average: Option<f64>,
    /// Version of this program.
    pub(super) lichen: &'static str,
}

impl Machine {
    pub(super) fn here(devices: Vec<String>) -> Self {
        Self {
            cpu: cpu_name(),
            threads: std::thread::available_parallelism().map_or(1, usize::from),
            os: os_name(),
            devices,
            memory_bytes: meminfo("MemTotal"),
            last_level_cache_bytes: last_level_cache(),
            load_average: text("/proc/loadavg").and_then(|t| t.split(' ').next()?.parse().ok()),
            lichen: env!("CARGO_PKG_VERSION"),
        }
    }
}

fn text(path: impl AsRef<Path>) -> Option<String> {
    Some(fs::read_to_string(path).ok()?.trim().to_string())
}

fn number(path: impl AsRef<Path>) -> Option<u64> {
    text(path)?.parse().ok()
}

/// The value of a line `key : value`.
fn field<'a>(text: &'a str, key: &str, separator: char) -> Option<&'a str> {
    let mut lines = text.lines().filter_map(|line| line.split_once(separator));
    lines.find(|(k, _)| k.trim() == key).map(|(_, value)| value.trim().trim_matches('"'))
}

fn cpu_name() -> String {
    let linux = || text("/proc/cpuinfo").and_then(|t| field(&t, "model name", ':').map(str::to_string));
    let apple = || {
        let sysctl = std::process::Command::new("sysctl").args(["-n", "machdep.cpu.brand_string"]).output().ok()?;
        Some(String::from_utf8_lossy(&sysctl.stdout).trim().to_string()).filter(|name| !name.is_empty())
    };
    let found = match std::env::consts::OS {
        "linux" => linux(),
        "macos" => apple(),
        _ => std::env::var("PROCESSOR_IDENTIFIER").ok(),
    };
    found.unwrap_or_else(|| std::env::consts::ARCH.into())
}

fn os_name() -> String {
    let name = text("/etc/os-release").and_then(|t| field(&t, "PRETTY_NAME", '=').map(str::to_string));
    let name = name.unwrap_or_else(|| std::env::consts::OS.into());
    match text("/proc/sys/kernel/osrelease") {
        Some(kernel) => format!("{name}, {} {kernel}", std::env::consts::OS),
        None => name,
    }
}

/// A value of `/proc/meminfo` or `/proc/PID/status`, which count in KiB.
pub(super) fn kib(text: &str, key: &str) -> Option<u64> {
    field(text, key, ':')?.strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// The most memory that this program held, as the system counts it.
pub(crate) fn peak_memory() -> Option<u64> {
    kib(&text("/proc/self/status")?, "VmHWM")
}

fn meminfo(key: &str) -> Option<u64> {
    kib(&text("/proc/meminfo")?, key)
}

/// Memory that a program can have without pushing another one out.
pub(super) fn available_memory() -> Option<u64> {
    meminfo("MemAvailable")
}

/// `32768K` as bytes.
fn cache_size(text: &str) -> Option<u64> {
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    let unit = match unit {
        "" => 1,
        "K" => 1024,
        "M" => MIB,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(unit)
}

/// Caches of the last level: each counts once, however many cores share it.
fn last_level_cache() -> Option<u64> {
    let mut found = HashMap::new();
    let cpus = fs::read_dir("/sys/devices/system/cpu").ok()?.flatten();
    for cache in cpus.filter_map(|cpu| fs::read_dir(cpu.path().join("cache")).ok()).flat_map(Iterator::flatten) {
        let part = |name: &str| text(cache.path().join(name));
        let (Some(level), Some(size), Some(cores)) = (part("level"), part("size"), part("shared_cpu_list")) else {
            continue;
        };
        if let (Ok(level), Some(size)) = (level.parse::<u32>(), cache_size(&size)) {
            found.insert((level, cores), size);
        }
    }
    let last = found.keys().map(|(level, _)| *level).max()?;
    Some(found.iter().filter(|((level, _), _)| *level == last).map(|(_, size)| size).sum())
}

/// Bytes a second that `threads` threads read together from a buffer much larger than the caches: the best of
/// several passes, each thread over its own part, which it wrote itself.
pub(super) fn read_bandwidth(threads: usize, quick: bool) -> f64 {
    let cache = last_level_cache().unwrap_or(32 * MIB);
    let (bytes, passes) = match quick {
        true => ((4 * cache).clamp(64 * MIB, 256 * MIB), 2),
        false => ((8 * cache).clamp(512 * MIB, 4096 * MIB), 8),
    };
    let bytes = available_memory().map_or(bytes, |free| bytes.min(free / 4)).max(MIB);
    let words = (bytes as usize / 8 / threads).max(1);
    let barrier = Barrier::new(threads + 1);
    let mut best = f64::INFINITY;
    std::thread::scope(|scope| {
        for i in 0..threads {
            let barrier = &barrier;
            scope.spawn(move || {
                let data = black_box(vec![i as u64 + 1; words]);
                barrier.wait();
                for _ in 0..passes {
                    barrier.wait();
                    black_box(sum(&data));
                    barrier.wait();
                }
            });
        }
        barrier.wait();
        for _ in 0..passes {
            let started = Instant::now();
            barrier.wait();
            barrier.wait();
            best = best.min(started.elapsed().as_secs_f64());
        }
    });
    (words * threads * 8) as f64 / best
}

/// Reads every word; many sums at once, so that loads and not additions set the pace.
fn sum(data: &[u64]) -> u64 {
    let mut sums = [0u64; 32];
    let (whole, rest) = data.as_chunks::<32>();
    for chunk in whole {
        sums.iter_mut().zip(chunk).for_each(|(sum, &x)| *sum = sum.wrapping_add(x));
    }
    sums.iter().chain(rest).fold(0, |a, &b| a.wrapping_add(b))
}

/// Where energy can be read.
#[derive(Debug)]
pub(super) enum Sensor {
    /// Counters in microjoules that start again at their range.
    Rapl(Vec<(PathBuf, u64)>),
    /// Power of discharging batteries in microwatts.
    Battery(Vec<PathBuf>),
    /// Nowhere.
    None,
}

/// One reading.
pub(super) struct Reading {
    at: Instant,
    values: Option<Vec<u64>>,
}

impl Sensor {
    /// The best sensor below `sys`, usually `/sys`. RAPL counts the processor alone: of no use for a GPU.
    pub(super) fn find(sys: &Path, cpu: bool) -> Self {
        let entries = |folder: &str| -> Vec<PathBuf> {
            let entries = fs::read_dir(sys.join(folder)).into_iter().flatten().flatten();
            entries.map(|e| e.path()).collect()
        };
        let zone = |path: &PathBuf| {
            let name = path.file_name()?.to_str()?;
            // Packages, and memory, which is counted beside them; other zones are parts of a package or hold it.
            let kind = text(path.join("name"))?;
            if !name.starts_with("intel-rapl:") || !(kind.starts_with("package") || kind == "dram") {
                return None;
            }
            number(path.join("energy_uj"))?;
            Some((path.join("energy_uj"), number(path.join("max_energy_range_uj"))?))
        };
        let zones: Vec<_> = entries("class/powercap").iter().filter_map(zone).collect();
        if cpu && !zones.is_empty() {
            return Sensor::Rapl(zones);
        }
        let battery = |path: PathBuf| {
            let power = path.join("power_now");
            let discharging = text(path.join("status"))? == "Discharging";
            (discharging && number(&power)? > 0).then_some(power)
        };
        let batteries: Vec<_> = entries("class/power_supply").into_iter().filter_map(battery).collect();
        if batteries.is_empty() { Sensor::None } else { Sensor::Battery(batteries) }
    }
    /// Its name in reports.
    pub(super) fn name(&self) -> Option<&'static str> {
        match self {
            Sensor::Rapl(_) => Some("rapl"),
            Sensor::Battery(_) => Some("battery"),
            Sensor::None => None,
        }
    }
    pub(super) fn read(&self) -> Reading {
        let values = match self {
            Sensor::Rapl(zones) => zones.iter().map(|(path, _)| number(path)).collect(),
            Sensor::Battery(paths) => paths.iter().map(number).collect(),
            Sensor::None => None,
        };
        Reading { at: Instant::now(), values }
    }
    /// Joules between two readings.
    pub(super) fn joules(&self, before: &Reading, after: &Reading) -> Option<f64> {
        let (a, b) = (before.values.as_ref()?, after.values.as_ref()?);
        let micro = match self {
            Sensor::Rapl(zones) => {
                let used = zones.iter().zip(a.iter().zip(b)).map(|((_, range), (&a, &b))| counted(a, b, *range));
                used.sum::<u64>() as f64
            }
            Sensor::Battery(_) => {
                let seconds = after.at.duration_since(before.at).as_secs_f64();
                a.iter().chain(b).sum::<u64>() as f64 / 2.0 * seconds
            }
            Sensor::None => return None,
        };
        (micro > 0.0).then_some(micro * 1e-6)
    }
}

/// What a counter went up by that may have started again at zero once, after `range`.
fn counted(before: u64, after: u64, range: u64) -> u64 {
    match after.checked_sub(before) {
        Some(used) => used,
        None => range.saturating_sub(before).saturating_add(after),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_wrap_around() {
        assert_eq!(counted(10, 25, 100), 15);
        assert_eq!(counted(90, 5, 100), 15);
        assert_eq!(counted(7, 7, 100), 0);
    }

    #[test]
    fn fields_of_the_system_are_read() {
        assert_eq!(kib("Name:\tlichen\nVmHWM:\t   2048 kB\n", "VmHWM"), Some(2 << 20));
        assert_eq!(kib("VmHWM:\tmany kB\n", "VmHWM"), None);
        assert_eq!(field("A=1\nPRETTY_NAME=\"An OS 1\"\n", "PRETTY_NAME", '='), Some("An OS 1"));
        assert_eq!([cache_size("32768K"), cache_size("4M"), cache_size("x")], [Some(32 << 20), Some(4 << 20), None]);
    }

    #[test]
    fn energy_is_read_where_there_is_a_sensor() {
        let sys = tempfile::tempdir().expect("a temporary folder");
        let zone = |name: &str, kind: &str, energy: &str| {
            let folder = sys.path().join("class/powercap").join(name);
            fs::create_dir_all(&folder).expect("is made");
            for (file, value) in [("name", kind), ("energy_uj", energy), ("max_energy_range_uj", "1000000")] {
                fs::write(folder.join(file), format!("{value}\n")).expect("writes");
            }
        };
        let before = |sensor: &Sensor| sensor.joules(&sensor.read(), &sensor.read());
        assert!(before(&Sensor::find(sys.path(), true)).is_none());
        zone("intel-rapl:0", "package-0", "900000");
        zone("intel-rapl:0:0", "core", "1");
        zone("intel-rapl:0:1", "dram", "100");
        let sensor = Sensor::find(sys.path(), true);
        assert!(matches!(&sensor, Sensor::Rapl(zones) if zones.len() == 2), "{sensor:?}");
        let first = sensor.read();
        zone("intel-rapl:0", "package-0", "400000");
        zone("intel-rapl:0:1", "dram", "200100");
        assert!((sensor.joules(&first, &sensor.read()).expect("was counted") - 0.7).abs() < 1e-9);
        assert!(matches!(Sensor::find(sys.path(), false), Sensor::None));

        let battery = sys.path().join("class/power_supply/BAT0");
        fs::create_dir_all(&battery).expect("is made");
        fs::write(battery.join("power_now"), "5000000\n").expect("writes");
        fs::write(battery.join("status"), "Full\n").expect("writes");
        assert!(matches!(Sensor::find(sys.path(), false), Sensor::None));
        fs::write(battery.join("status"), "Discharging\n").expect("writes");
        let sensor = Sensor::find(sys.path(), false);
        assert!(sensor.name() == Some("battery") && before(&sensor) > Some(0.0));
    }

    #[test]
    fn every_word_is_read() {
        let data: Vec<u64> = (0..1001).collect();
        assert_eq!(sum(&data), 500_500);
    }
}
