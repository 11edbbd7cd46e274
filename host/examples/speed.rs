//! How fast this machine's CPU trains and decodes a small model: tokens a second, the share of each kernel, and
//! the rate of its useful arithmetic next to that of a large GEMM. `speed [steps] [batch] [vocab] [threads] [repeats]`.

use lichen_host::cpu::Times;
use lichen_host::{Buffer, Cpu, Device, Gradients, HostError, Recording, Role, View};
use lichen_shaders::cases::Random;
use lichen_shaders::kernel::Kind;
use lichen_shaders::*;
use std::time::Instant;

const WIDTH: usize = 192;
const LAYERS: usize = 6;
const HEADS: usize = 3;
const KEY: usize = 16;
const VALUE: usize = 32;
const RANK: usize = 32;
const SECTIONS: usize = 64;
const PICKS: usize = 5;
const NEURONS: usize = 64;
const ROUTE: usize = 32;

struct Model<'a> {
    device: &'a Device,
    recording: Recording,
    random: Random,
    weights: Vec<Buffer>,
    rows: usize,
    /// Multiplications and additions of the products, forward.
    work: usize,
}

impl Model<'_> {
    fn weight(&mut self, len: usize, scale: f64) -> Result<View, HostError> {
        let buffer = Buffer::new("weight", Kind::Real, Role::Weight, len);
        let values: Vec<f32> = (0..len).map(|_| (self.random.normal() * scale) as f32).collect();
        self.device.write(&buffer.view(), &values)?;
        self.weights.push(buffer.clone());
        Ok(buffer.view())
    }
    fn scratch(&self, width: usize) -> View {
        Buffer::new("scratch", Kind::Real, Role::Scratch, self.rows * width).view()
    }
    fn product(&mut self, x: &View, offset: usize, inputs: usize, outputs: usize) -> Result<View, HostError> {
        let w = self.weight(inputs * outputs, (inputs as f64).powf(-0.5))?;
        let y = self.scratch(outputs);
        let (x_stride, x_offset) = ((x.len / self.rows) as u32, offset as u32);
        let (rows, inputs, outputs) = (self.rows as u32, inputs as u32, outputs as u32);
        self.work += 2 * self.rows * w.len;
        let call = matmul::call(matmul::Params { rows, inputs, outputs, groups: 1, x_stride, x_offset });
        self.recording.push(call, &[x.clone(), w, y.clone()])?;
        Ok(y)
    }
    fn norm(&mut self, x: &View, width: usize, gains: usize) -> Result<View, HostError> {
        let (gain, y) = (self.weight(width * gains, 1.0)?, self.scratch(x.len / self.rows));
        let (rows, width, gains) = ((x.len / width) as u32, width as u32, gains as u32);
        let call = rms_norm::call(rms_norm::Params { rows, width, gains, eps: 1e-6 });
        self.recording.push(call, &[x.clone(), gain, y.clone()])?;
        Ok(y)
    }

    fn mixer(&mut self, x: &View, batch: usize, live: &View) -> Result<View, HostError> {
        let state = |len: usize| Buffer::new("state", Kind::Real, Role::State, batch * len).view();
        let (steps, values, channels) = ((self.rows / batch) as u32, HEADS * VALUE, 2 * HEADS * KEY + HEADS * VALUE);
        let (batch, rows, heads, key, value) = (batch as u32, self.rows as u32, HEADS as u32, KEY as u32, VALUE as u32);
        let n = self.norm(x, WIDTH, 1)?;
        let stride = channels + 2 * RANK + 4;
        let proj = self.product(&n, 0, WIDTH, stride)?;
        let (conv_w, conv_y) = (self.weight(4 * channels, 0.5)?, self.scratch(channels));
        let width = channels as u32;
        let call = conv::call(conv::Params { batch, steps, width, x_stride: stride as u32, x_offset: 0, silu: 1 });
        self.recording.push(call, &[proj.clone(), conv_w, state(3 * channels), live.clone(), conv_y.clone()])?;
        let (rate, gain, v) = (self.weight(values, 0.5)?, self.weight(values, 0.5)?, self.scratch(values));
        let x_offset = (2 * HEADS * KEY) as u32;
        let call = slope::call(slope::Params { batch, steps, width: values as u32, x_stride: width, x_offset });
        self.recording.push(call, &[conv_y.clone(), rate, gain, state(values), live.clone(), v.clone()])?;
        let decay = self.product(&proj, channels, RANK, HEADS * KEY)?;
        let (bias, keys) = (self.weight(HEADS * KEY, 1.0)?, self.scratch(HEADS * 5 * KEY));
        let (beta_stride, beta_offset) = (stride as u32, (channels + 2 * RANK) as u32);
        let params = delta_inputs::Params { rows, heads, key, x_stride: width, beta_stride, beta_offset };
        self.recording.push(delta_inputs::call(params), &[conv_y, decay, bias, proj.clone(), keys.clone()])?;
        let o = self.scratch(values);
        let call = scan::call(scan::Params { batch, steps, heads, key, value });
        self.recording.push(call, &[keys, v, state(HEADS * KEY * VALUE), live.clone(), o.clone()])?;
        let (o, g) = (self.norm(&o, VALUE, HEADS)?, self.product(&proj, channels + RANK, RANK, values)?);
        let (y, width) = (self.scratch(values), values as u32);
        let params = gate::Params { rows, width, act: 1, a_stride: width, a_offset: 0, b_stride: width, b_offset: 0 };
        self.recording.push(gate::call(params), &[g, o, y.clone()])?;
        let y = self.product(&y, 0, values, WIDTH)?;
        let sum = self.scratch(WIDTH);
        self.recording.push(add::call(add::Params { len: sum.len as u32 }), &[x.clone(), y, sum.clone()])?;
        Ok(sum)
    }

    fn sections(&mut self, x: &View) -> Result<View, HostError> {
        let (rows, slots) = (self.rows as u32, PICKS + 1);
        let (sections, picks) = (SECTIONS as u32, PICKS as u32);
        let z = self.norm(x, WIDTH, 1)?;
        let p = self.product(&z, 0, WIDTH, ROUTE)?;
        let a = self.product(&p, 0, ROUTE, SECTIONS)?;
        let bias = self.weight(SECTIONS, 0.1)?;
        let ids = Buffer::new("ids", Kind::Index, Role::Scratch, self.rows * slots).view();
        let (scores, gates) = (self.scratch(SECTIONS), self.scratch(slots));
        let call = router::call(router::Params { rows, sections, picks, always: 1 });
        self.recording.push(call, &[a.clone(), bias, scores, ids.clone()])?;
        let call = router_gate::call(router_gate::Params { rows, sections, picks, always: 1, scale: 1.0 });
        self.recording.push(call, &[a, ids.clone(), gates.clone()])?;
        let stride = 2 * NEURONS * WIDTH;
        let chunk = self.weight((SECTIONS + 1) * stride, (WIDTH as f64).powf(-0.5))?;
        let none = || Buffer::new("none", Kind::Real, Role::State, 1).view();
        let params = section_up::Params {
            rows,
            picks: slots as u32,
            width: WIDTH as u32,
            neurons: NEURONS as u32,
            stride: stride as u32,
            first: 0,
            per_chunk: sections + 1,
            chunks: 1,
            c0: chunk.len as u32,
            c1: 1,
            c2: 1,
            c3: 1,
            tiles: 0,
        };
        let (h, out, y) = (self.scratch(slots * NEURONS), self.scratch(slots * WIDTH), self.scratch(WIDTH));
        let args = [z, ids.clone(), chunk.clone(), none(), none(), none(), h.clone()];
        self.recording.push(section_up::call(params), &args)?;
        let args = [h, ids.clone(), chunk, none(), none(), none(), out.clone()];
        self.recording.push(section_down::call(params), &args)?;
        self.work += 4 * self.rows * slots * NEURONS * WIDTH;
        let call = section_sum::call(section_sum::Params { rows, picks: slots as u32, width: WIDTH as u32 });
        self.recording.push(call, &[x.clone(), out, ids, gates, y.clone()])?;
        Ok(y)
    }
}

/// A model's recording and its logits.
fn build<'a>(device: &'a Device, batch: usize, steps: usize, vocab: usize) -> Result<(Model<'a>, View), HostError> {
    let (recording, random) = (Recording::new("speed"), Random::new(1));
    let mut m = Model { device, recording, random, weights: Vec::new(), rows: batch * steps, work: 0 };
    let ids = Buffer::new("tokens", Kind::Index, Role::Scratch, m.rows);
    let tokens: Vec<u32> = (0..m.rows).map(|_| m.random.below(vocab) as u32).collect();
    device.write(&ids.view(), &tokens)?;
    let live = Buffer::new("live", Kind::Index, Role::Scratch, 1);
    device.write(&live.view(), &[1u32])?;
    let (table, mut x) = (m.weight(vocab * WIDTH, 1.0)?, m.scratch(WIDTH));
    let (rows, width, count) = (m.rows as u32, WIDTH as u32, vocab as u32);
    let call = embed::call(embed::Params { rows, width, first: 0, count, scale: 1.0 });
    m.recording.push(call, &[ids.view(), table, x.clone()])?;
    for _ in 0..LAYERS {
        x = m.mixer(&x, batch, &live.view())?;
        x = m.sections(&x)?;
    }
    let x = m.norm(&x, WIDTH, 1)?;
    let logits = m.product(&x, 0, WIDTH, vocab)?;
    Ok((m, logits))
}

fn best(times: usize, mut work: impl FnMut()) -> f64 {
    let one = |_| {
        let start = Instant::now();
        work();
        start.elapsed().as_secs_f64()
    };
    (0..times).map(one).fold(f64::INFINITY, f64::min)
}

fn gemm_rate(cpu: &Cpu) -> f64 {
    const N: usize = 2048;
    let (a, b) = (vec![0.5f32; N * N], vec![0.25f32; N * N]);
    let mut c = vec![0f32; N * N];
    let seconds = best(5, || {
        let parts = c.chunks_mut((N / cpu.pool().threads()) * N).zip(a.chunks((N / cpu.pool().threads()) * N));
        cpu.pool().each(parts.collect(), |(c, a)| {
            let n = N as isize;
            // SAFETY: some rows of a and as many of c, and all of b; all have N columns.
            unsafe {
                gemm::gemm(
                    c.len() / N,
                    N,
                    N,
                    c.as_mut_ptr(),
                    1,
                    n,
                    false,
                    a.as_ptr(),
                    1,
                    n,
                    b.as_ptr(),
                    1,
                    n,
                    0.0,
                    1.0,
                    false,
                    false,
                    false,
                    gemm::Parallelism::None,
                );
            }
        });
    });
    2e-9 * (N * N * N) as f64 / seconds
}

fn main() -> Result<(), HostError> {
    let given: Vec<usize> = std::env::args().skip(1).filter_map(|a| a.parse().ok()).collect();
    let argument = |i: usize, default: usize| given.get(i).copied().unwrap_or(default);
    let (steps, batch, vocab) = (argument(0, 128), argument(1, 16), argument(2, 2048));
    let (threads, repeats) = (argument(3, 0), argument(4, 12));
    let device = Device::cpu(threads);
    #[allow(irrefutable_let_patterns, reason = "builds without a GPU have no other device")]
    let Device::Cpu(cpu) = &device else { return Ok(()) };
    println!("{}", device.name());

    let (mut m, logits) = build(&device, batch, steps, vocab)?;
    let targets = Buffer::new("targets", Kind::Index, Role::Scratch, m.rows);
    let ones = Buffer::new("ones", Kind::Real, Role::Weight, m.rows);
    device.write(&ones.view(), &vec![1f32; m.rows])?;
    let loss = Buffer::new("loss", Kind::Real, Role::Scratch, m.rows);
    let call = cross_entropy::call(cross_entropy::Params { rows: m.rows as u32, classes: vocab as u32 });
    m.recording.push(call, &[logits, targets.view(), ones.view(), loss.view()])?;
    let mut gradients = Gradients::new(&m.weights);
    let seed = vec![1.0 / m.rows as f32; m.rows];
    // The least of each kernel's times and of the runs': a shared machine is only ever slower.
    let (mut least, mut whole) = (Times::new(), f64::INFINITY);
    for _ in 0..repeats {
        gradients.clear();
        cpu.time_kernels(true);
        let start = Instant::now();
        let tape = cpu.run_taped(&m.recording)?;
        cpu.backward(&m.recording, &tape, &[(&loss, &seed)], &mut gradients)?;
        whole = whole.min(start.elapsed().as_secs_f64());
        for (kernel, times) in cpu.time_kernels(false) {
            let kept = least.entry(kernel).or_insert([f64::INFINITY; 2]);
            kept.iter_mut().zip(times).for_each(|(kept, t)| *kept = kept.min(t));
        }
    }
    let sum: f64 = least.values().flatten().sum();
    for (kernel, [f, b]) in least {
        let share = 100.0 * (f + b) / sum;
        println!("  {kernel:14} {:8.2} ms forward {:8.2} ms backward {share:5.1} %", 1e3 * f, 1e3 * b);
    }
    let gemm = gemm_rate(cpu);
    for (what, seconds) in [("training", whole), ("training, least kernel times", sum)] {
        let (tokens, rate) = (m.rows as f64 / seconds, 3e-9 * m.work as f64 / seconds);
        let share = 100.0 * rate / gemm;
        println!(
            "{what}: {:.1} ms, {tokens:.0} tokens/s, {rate:.0} GFLOP/s, {share:.0} % of GEMM's {gemm:.0}",
            1e3 * seconds
        );
    }

    let (m, _) = build(&device, 1, 1, vocab)?;
    cpu.time_kernels(true);
    let mut failed = None;
    let second = best(200, || failed = device.run(&m.recording, 1).err().or(failed.take()));
    for (kernel, [f, _]) in cpu.time_kernels(false) {
        println!("  {kernel:14} {:8.2} us", 1e6 * f / 200.0);
    }
    println!("decode: {:.0} tokens/s, {:.1} GB/s of weights", 1.0 / second, 2e-9 * m.work as f64 / second);
    failed.map_or(Ok(()), Err)
}
