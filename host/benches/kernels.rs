//! Single kernels on the CPU at the shapes of the size `bench160`, one token: the rows of a matrix, a woken section's
//! two halves, the scan, the router. `cargo bench -p lichen-host --no-default-features`.

use divan::{Bencher, counter::BytesCount};
use lichen_host::{Buffer, Device, Recording, Role, View};
use lichen_shaders::cases::Random;
use lichen_shaders::kernel::{Call, Kind};
use lichen_shaders::{matmul, router, scan, section_down, section_up};

const WIDTH: usize = 512;
const VOCAB: usize = 32000;
const HEADS: usize = 4;
const KEY: usize = 32;
const VALUE: usize = 64;
const RANK: usize = 32;
const SECTIONS: usize = 128;
const PICKS: usize = 11;
/// Shared sections of a layer.
const ALWAYS: usize = 1;
const NEURONS: usize = 128;
const ROUTE: usize = 32;
/// Layers and routes of each that runs take by turns, so that sections come from memory as they do in a model.
const LAYERS: usize = 4;
const ROUTES: usize = 16;
/// Values that are drawn; longer buffers repeat them.
const DRAWN: usize = 1 << 16;

fn main() {
    divan::main();
}

/// A device and recordings of one operation that run by turns.
struct Bench {
    device: Device,
    recordings: Vec<Recording>,
    random: Random,
}

impl Bench {
    fn new(threads: usize) -> Self {
        Self { device: Device::cpu(threads), recordings: Vec::new(), random: Random::new(1) }
    }
    fn reals(&mut self, len: usize, scale: f32) -> View {
        let buffer = Buffer::new("reals", Kind::Real, Role::State, len);
        let drawn: Vec<f32> = (0..len.min(DRAWN)).map(|_| scale * (self.random.uniform() as f32 - 0.5)).collect();
        let values: Vec<f32> = drawn.iter().copied().cycle().take(len).collect();
        self.device.write(&buffer.view(), &values).expect("is written");
        buffer.view()
    }
    fn ids(&mut self, ids: &[u32]) -> View {
        let buffer = Buffer::new("ids", Kind::Index, Role::State, ids.len());
        self.device.write(&buffer.view(), ids).expect("is written");
        buffer.view()
    }
    fn add(&mut self, call: Call, args: &[View]) {
        let mut recording = Recording::new("bench");
        recording.push(call, args).expect("is well formed");
        self.recordings.push(recording);
    }
    /// Times a run; `bytes` of weights are read by each.
    fn run(self, bencher: Bencher, bytes: usize) {
        let mut turn = 0;
        bencher.counter(BytesCount::new(bytes)).bench_local(|| {
            turn = (turn + 1) % self.recordings.len();
            self.device.run(&self.recordings[turn], 1).expect("runs");
        });
    }
}

fn threads() -> Vec<usize> {
    let all = std::thread::available_parallelism().map_or(1, usize::from);
    if all > 1 { vec![1, all] } else { vec![1] }
}

fn row_times_matrix(bencher: Bencher, threads: usize, outputs: usize) {
    let mut b = Bench::new(threads);
    let (x, w, y) = (b.reals(WIDTH, 1.0), b.reals(WIDTH * outputs, 1.0), b.reals(outputs, 1.0));
    let (inputs, outputs) = (WIDTH as u32, outputs as u32);
    let params = matmul::Params { rows: 1, inputs, outputs, groups: 1, x_stride: inputs, x_offset: 0 };
    let bytes = 4 * w.len;
    b.add(matmul::call(params), &[x, w, y]);
    b.run(bencher, bytes);
}

/// The mixer's input projection.
#[divan::bench(args = threads())]
fn matmul_projection(bencher: Bencher, threads: usize) {
    row_times_matrix(bencher, threads, HEADS * (2 * KEY + VALUE) + 2 * RANK + HEADS);
}

/// The logits.
#[divan::bench(args = threads())]
fn matmul_head(bencher: Bencher, threads: usize) {
    row_times_matrix(bencher, threads, VOCAB);
}

/// Both halves of a token's sections; `up` says which one is timed.
fn sections(bencher: Bencher, threads: usize, up: bool) {
    let mut b = Bench::new(threads);
    let (slots, stride) = (ALWAYS + PICKS, 2 * NEURONS * WIDTH);
    let arenas: Vec<View> = (0..LAYERS).map(|_| b.reals((ALWAYS + SECTIONS) * stride, 1.0)).collect();
    let (z, out) = (b.reals(WIDTH, 1.0), b.reals(slots * WIDTH, 1.0));
    // What the up half leaves: half of the features are suppressed.
    let features: Vec<f32> = (0..slots * NEURONS).map(|_| (b.random.normal() as f32).max(0.0).powi(2)).collect();
    let h = b.reals(features.len(), 1.0);
    b.device.write(&h, &features).expect("is written");
    let none: [View; 3] = std::array::from_fn(|_| b.reals(1, 1.0));
    for route in 0..LAYERS * ROUTES {
        let arena = &arenas[route % LAYERS];
        let mut ids: Vec<u32> = (0..ALWAYS as u32).collect();
        while ids.len() < slots {
            let id = (ALWAYS + b.random.below(SECTIONS)) as u32;
            if !ids.contains(&id) {
                ids.push(id);
            }
        }
        ids.sort_unstable();
        let ids = b.ids(&ids);
        let params = section_up::Params {
            rows: 1,
            picks: slots as u32,
            width: WIDTH as u32,
            neurons: NEURONS as u32,
            stride: stride as u32,
            first: 0,
            per_chunk: (ALWAYS + SECTIONS) as u32,
            chunks: 1,
            c0: arena.len as u32,
            c1: 1,
            c2: 1,
            c3: 1,
            tiles: 0,
        };
        let [c1, c2, c3] = none.clone();
        let ends = |from: &View, to: &View| {
            [from.clone(), ids.clone(), arena.clone(), c1.clone(), c2.clone(), c3.clone(), to.clone()]
        };
        match up {
            true => b.add(section_up::call(params), &ends(&z, &h)),
            false => b.add(section_down::call(params), &ends(&h, &out)),
        }
    }
    let rows = if up { features.len() } else { features.iter().filter(|&&h| h > 0.0).count() };
    b.run(bencher, 4 * rows * WIDTH);
}

/// Up halves of a token's sections.
#[divan::bench(args = threads())]
fn section_up_token(bencher: Bencher, threads: usize) {
    sections(bencher, threads, true);
}

/// Down halves of a token's sections, half of the features suppressed (their rows are not read).
#[divan::bench(args = threads())]
fn section_down_token(bencher: Bencher, threads: usize) {
    sections(bencher, threads, false);
}

/// The delta rule's state over some steps.
#[divan::bench(args = [1, 64])]
fn scan_steps(bencher: Bencher, steps: usize) {
    let mut b = Bench::new(1);
    // Small keys keep the state bounded however often this runs.
    let (keys, v) = (b.reals(steps * HEADS * 5 * KEY, 0.1), b.reals(steps * HEADS * VALUE, 1.0));
    let (state, y) = (b.reals(HEADS * KEY * VALUE, 1.0), b.reals(steps * HEADS * VALUE, 1.0));
    let live = b.ids(&[1]);
    let (heads, key, value) = (HEADS as u32, KEY as u32, VALUE as u32);
    let params = scan::Params { batch: 1, steps: steps as u32, heads, key, value };
    let bytes = 4 * (state.len + keys.len);
    b.add(scan::call(params), &[keys, v, state, live, y]);
    b.run(bencher, bytes);
}

/// A token's scores and picks, among the sections of the size and among ten times as many.
#[divan::bench(args = [SECTIONS, 10 * SECTIONS])]
fn router_token(bencher: Bencher, sections: usize) {
    let mut b = Bench::new(1);
    let (p, r, bias) = (b.reals(ROUTE, 1.0), b.reals(sections * ROUTE, 1.0), b.reals(sections, 0.1));
    let (a, scores, ids) = (b.reals(sections, 1.0), b.reals(sections, 1.0), b.ids(&[0; ALWAYS + PICKS]));
    let (sections, inputs) = (sections as u32, ROUTE as u32);
    let bytes = 4 * r.len;
    let product = matmul::Params { rows: 1, inputs, outputs: sections, groups: 1, x_stride: inputs, x_offset: 0 };
    b.add(matmul::call(product), &[p, r, a.clone()]);
    let params = router::Params { rows: 1, sections, picks: PICKS as u32, always: ALWAYS as u32 };
    b.add(router::call(params), &[a, bias, scores, ids]);
    b.run(bencher, bytes);
}
