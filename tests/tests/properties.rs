//! What must hold whatever the numbers: a stream may be cut anywhere, a frozen state stays, and each recurrence is
//! the sum that it stands for, computed here in another way.

use lichen_shaders::cases::{Data, Random};
use lichen_shaders::kernel::{Access, Kernel};
use lichen_shaders::{ALL, bytemuck, delta_inputs, mcsd_decay, mcsd_slope, scan, slope};
use lichen_tests::{close, convert, normals, real, report, run};

/// Kernels that walk a stream: their params begin with batch and steps, and `live` guards their state.
fn recurrent() -> Vec<&'static Kernel> {
    let walks = |k: &&&Kernel| k.fields.len() > 1 && k.fields[0].name == "batch" && k.fields[1].name == "steps";
    let all: Vec<_> = ALL.iter().filter(walks).copied().collect();
    for name in ["conv", "slope", "scan", "mcsd_slope", "mcsd_decay"] {
        assert!(all.iter().any(|k| k.name == name), "{name} is not among the recurrent kernels");
    }
    all
}

fn word(params: &[u8], at: usize) -> usize {
    u32::from_le_bytes([params[at * 4], params[at * 4 + 1], params[at * 4 + 2], params[at * 4 + 3]]) as usize
}

/// With `live` set to this.
fn live(kernel: &Kernel, before: &[Data<f32>], value: u32) -> Vec<Data<f32>> {
    let at = kernel.binding("live").expect("recurrent kernels have one");
    let mut data = before.to_vec();
    data[at] = Data::Index(vec![value]);
    data
}

/// Rows `from..to` of every stream, for bindings that have a row a step; the others whole.
fn part(data: &Data<f32>, rows: bool, batch: usize, steps: usize, from: usize, to: usize) -> Data<f32> {
    fn of<T: Copy>(x: &[T], batch: usize, steps: usize, from: usize, to: usize) -> Vec<T> {
        let row = x.len() / (batch * steps);
        (0..batch).flat_map(|b| &x[(b * steps + from) * row..(b * steps + to) * row]).copied().collect()
    }
    match (data, rows) {
        (Data::Real(x), true) => Data::Real(of(x, batch, steps, from, to)),
        (Data::Index(x), true) => Data::Index(of(x, batch, steps, from, to)),
        (other, false) => other.clone(),
    }
}

/// Writes rows `from..from + n` of every stream back.
fn put<T: Copy>(all: &mut [T], done: &[T], batch: usize, steps: usize, from: usize, n: usize) {
    let row = done.len() / (batch * n);
    for b in 0..batch {
        all[(b * steps + from) * row..][..n * row].copy_from_slice(&done[b * n * row..][..n * row]);
    }
}

/// Runs the stream in pieces of these lengths, the state carried from each to the next; rows past them stay as they are.
fn in_pieces(kernel: &Kernel, params: &[u8], before: &[Data<f32>], pieces: &[usize]) -> Vec<Data<f32>> {
    let (batch, steps) = (word(params, 0), word(params, 1));
    let shorter = |n: usize| {
        let mut params = params.to_vec();
        params[4..8].copy_from_slice(&(n as u32).to_le_bytes());
        params
    };
    let (whole, double) = ((kernel.lengths)(params), (kernel.lengths)(&shorter(steps * 2)));
    let rows: Vec<bool> = whole.iter().zip(&double).map(|(a, b)| a != b).collect();
    let mut all = before.to_vec();
    let mut from = 0;
    for &n in pieces {
        let to = from + n;
        let piece: Vec<_> = all.iter().zip(&rows).map(|(d, &rows)| part(d, rows, batch, steps, from, to)).collect();
        let piece = run(kernel, kernel.reference, &shorter(n), &piece);
        for (i, done) in piece.into_iter().enumerate() {
            match (&mut all[i], done) {
                (Data::Real(all), Data::Real(done)) if rows[i] => put(all, &done, batch, steps, from, n),
                (Data::Index(all), Data::Index(done)) if rows[i] => put(all, &done, batch, steps, from, n),
                (all, done) => *all = done,
            }
        }
        from = to;
    }
    all
}

/// Bits, so that NaN and -0 count.
fn bits(data: &[Data<f32>]) -> Vec<Vec<u32>> {
    let one = |data: &Data<f32>| match data {
        Data::Real(x) => x.iter().map(|v| v.to_bits()).collect(),
        Data::Index(x) => x.clone(),
    };
    data.iter().map(one).collect()
}

#[test]
fn a_stream_may_be_cut_anywhere() {
    let mut problems = Vec::new();
    let mut random = Random::new(1);
    for kernel in recurrent() {
        let mut cuts = 0;
        for case in (kernel.cases)(kernel) {
            let steps = word(&case.params, 1);
            let before = live(kernel, &case.before, 1);
            let whole = run(kernel, kernel.reference, &case.params, &before);
            let mut pieces = Vec::new();
            while pieces.iter().sum::<usize>() < steps {
                pieces.push(1 + random.below(steps - pieces.iter().sum::<usize>()));
            }
            for pieces in [vec![1; steps], pieces] {
                cuts += pieces.len() - 1;
                if bits(&in_pieces(kernel, &case.params, &before, &pieces)) != bits(&whole) {
                    problems.push(format!("{}.{}: in pieces of {pieces:?} it differs", kernel.name, case.name));
                }
            }
        }
        if cuts < 8 {
            problems.push(format!("{}: its cases have too few steps to cut", kernel.name));
        }
    }
    report(&problems);
}

#[test]
fn a_frozen_state_stays() {
    let mut problems = Vec::new();
    for kernel in recurrent() {
        for case in (kernel.cases)(kernel) {
            let frozen = run(kernel, kernel.reference, &case.params, &live(kernel, &case.before, 0));
            let before = live(kernel, &case.before, 1);
            let moving = run(kernel, kernel.reference, &case.params, &before);
            // A state may come back to rest with its stream's last step: it has to have moved on the way.
            let moved = |i: usize| {
                let until = |n| in_pieces(kernel, &case.params, &before, &[n]);
                (1..=word(&case.params, 1)).any(|n| bits(&until(n)[i..=i]) != bits(&before[i..=i]))
            };
            for (i, binding) in kernel.bindings.iter().enumerate() {
                let place = format!("{}.{}: {}", kernel.name, case.name, binding.name);
                let of = |data: &[Data<f32>]| bits(&data[i..=i]);
                match binding.access {
                    Access::ReadWrite if of(&frozen) != of(&case.before) => problems.push(format!("{place} moved")),
                    Access::ReadWrite if !moved(i) => problems.push(format!("{place} never moves")),
                    Access::Write if of(&frozen) != of(&moving) => problems.push(format!("{place} depends on live")),
                    _ => {}
                }
            }
        }
    }
    report(&problems);
}

/// Solves `a x = b` for each column of b by elimination with pivots: nothing here knows that a is triangular.
fn solve(mut a: Vec<Vec<f64>>, mut b: Vec<Vec<f64>>) -> Vec<Vec<f64>> {
    let n = a.len();
    for c in 0..n {
        let pivot = (c..n).max_by(|&x, &y| a[x][c].abs().total_cmp(&a[y][c].abs())).unwrap_or(c);
        a.swap(c, pivot);
        b.swap(c, pivot);
        for r in (0..n).filter(|&r| r != c) {
            let by = a[r][c] / a[c][c];
            let (row, from) = (a[c].clone(), b[c].clone());
            a[r].iter_mut().zip(&row).for_each(|(x, y)| *x -= by * y);
            b[r].iter_mut().zip(&from).for_each(|(x, y)| *x -= by * y);
        }
    }
    b.iter().zip(&a).enumerate().map(|(i, (b, a))| b.iter().map(|v| v / a[i]).collect()).collect()
}

/// One head of the delta rule as the paper's chunk-parallel (WY) form has it. With `P_t` the product of the decays
/// up to t, the state is `P_t S_0 + sum_s P_t/P_s beta_s k_s u_s^T`, where u solves the unit lower-triangular system
/// `u_t + sum_{s<t} beta_s (k_t P_t/P_s k_s) u_s = v_t - k_t P_t S_0`.
struct Head {
    q: Vec<Vec<f64>>,
    k: Vec<Vec<f64>>,
    w: Vec<Vec<f64>>,
    beta: Vec<f64>,
    v: Vec<Vec<f64>>,
}

impl Head {
    /// y [steps][value]; the state [key][value] is carried on.
    fn chunk(&self, steps: std::ops::Range<usize>, state: &mut [Vec<f64>]) -> Vec<Vec<f64>> {
        let (first, n, key, value) = (steps.start, steps.len(), state.len(), state[0].len());
        let mut running = vec![1.0; key];
        let product: Vec<Vec<f64>> = (0..n)
            .map(|t| {
                running.iter_mut().zip(&self.w[first + t]).for_each(|(p, w)| *p *= w);
                running.clone()
            })
            .collect();
        let from = |a: &[f64], t: usize, s: usize| -> f64 {
            (0..key).map(|i| a[i] * product[t][i] / product[s][i] * self.k[first + s][i]).sum::<f64>()
                * self.beta[first + s]
        };
        let old = |a: &[f64], t: usize, state: &[Vec<f64>], j: usize| -> f64 {
            (0..key).map(|i| a[i] * product[t][i] * state[i][j]).sum()
        };
        let mut system = vec![vec![0.0; n]; n];
        let mut right = vec![vec![0.0; value]; n];
        for t in 0..n {
            let k = &self.k[first + t];
            system[t][t] = 1.0;
            (0..t).for_each(|s| system[t][s] = from(k, t, s));
            (0..value).for_each(|j| right[t][j] = self.v[first + t][j] - old(k, t, state, j));
        }
        let u = solve(system, right);
        let y = (0..n).map(|t| {
            let q = &self.q[first + t];
            (0..value).map(|j| old(q, t, state, j) + (0..=t).map(|s| from(q, t, s) * u[s][j]).sum::<f64>()).collect()
        });
        let y: Vec<Vec<f64>> = y.collect();
        for (i, row) in state.iter_mut().enumerate() {
            for (j, x) in row.iter_mut().enumerate() {
                let added = |s: usize| {
                    product[n - 1][i] / product[s][i] * self.beta[first + s] * self.k[first + s][i] * u[s][j]
                };
                *x = product[n - 1][i] * *x + (0..n).map(added).sum::<f64>();
            }
        }
        y
    }
}

#[test]
fn the_scan_is_the_chunk_parallel_delta_rule() {
    let (batch, steps, heads, key, value) = (2, 37, 3, 8, 5);
    let rows = batch * steps;
    let mut random = Random::new(2);
    let x = normals(&mut random, rows * 2 * heads * key);
    let decay: Vec<f64> = normals(&mut random, rows * heads * key).iter().map(|v| 2.0 * v).collect();
    let bias = normals(&mut random, heads * key);
    let beta = normals(&mut random, rows * heads);
    let v = normals(&mut random, rows * heads * value);
    let start = normals(&mut random, batch * heads * key * value);

    let inputs = delta_inputs::Params {
        rows: rows as u32,
        heads: heads as u32,
        key: key as u32,
        x_stride: 2 * (heads * key) as u32,
        beta_stride: heads as u32,
        beta_offset: 0,
    };
    let keys = vec![f64::NAN; rows * heads * 5 * key];
    let before = [&x, &decay, &bias, &beta, &keys].map(|d| Data::Real(d.clone()));
    let keys = run(&delta_inputs::KERNEL, delta_inputs::KERNEL.truth, bytemuck::bytes_of(&inputs), &before).remove(4);
    let params = [batch, steps, heads, key, value].map(|n| n as u32);
    let params =
        scan::Params { batch: params[0], steps: params[1], heads: params[2], key: params[3], value: params[4] };
    let y = Data::Real(vec![f64::NAN; rows * heads * value]);
    let before = [keys, Data::Real(v.clone()), Data::Real(start.clone()), Data::Index(vec![1]), y];
    let got = run(&scan::KERNEL, scan::KERNEL.truth, bytemuck::bytes_of(&params), &before);

    let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
    let unit = |x: &[f64]| {
        let length = (x.iter().map(|v| v * v).sum::<f64>() + 1e-6).sqrt();
        x.iter().map(|v| v / length).collect::<Vec<f64>>()
    };
    let (mut want_y, mut want_state) = (vec![0.0; rows * heads * value], vec![0.0; start.len()]);
    for b in 0..batch {
        for h in 0..heads {
            let of = |t: usize, part: usize| &x[(b * steps + t) * 2 * heads * key + (part * heads + h) * key..][..key];
            let at = |t: usize| (b * steps + t) * heads + h;
            let w = |t: usize| {
                let sums = (0..key).map(|i| decay[at(t) * key + i] + bias[h * key + i]);
                sums.map(|s| (-0.6065 * sigmoid(s)).exp()).collect()
            };
            let head = Head {
                q: (0..steps).map(|t| unit(of(t, 0))).collect(),
                k: (0..steps).map(|t| unit(of(t, 1))).collect(),
                w: (0..steps).map(w).collect(),
                beta: (0..steps).map(|t| sigmoid(beta[at(t)])).collect(),
                v: (0..steps).map(|t| v[at(t) * value..][..value].to_vec()).collect(),
            };
            let place = (b * heads + h) * key * value;
            let mut state: Vec<Vec<f64>> = start[place..][..key * value].chunks(value).map(<[f64]>::to_vec).collect();
            for first in (0..steps).step_by(16) {
                let chunk = first..(first + 16).min(steps);
                for (t, row) in chunk.clone().zip(head.chunk(chunk, &mut state)) {
                    want_y[at(t) * value..][..value].copy_from_slice(&row);
                }
            }
            want_state[place..][..key * value].copy_from_slice(&state.concat());
        }
    }
    close("y", real(&got[4]), &want_y);
    close("state", real(&got[2]), &want_state);
}

/// Runs a channel-wise recurrence over one stream from the state that a new stream has.
fn channels(kernel: &'static Kernel, params: &[u8], x: &[f64]) -> (Vec<f64>, Vec<f64>) {
    let lengths = (kernel.lengths)(params);
    let state = Data::Real(vec![0.0; lengths[1]]);
    let before = [Data::Real(x.to_vec()), state, Data::Index(vec![1]), Data::Real(vec![f64::NAN; lengths[3]])];
    let got = run(kernel, kernel.truth, params, &before);
    (real(&got[3]).to_vec(), real(&got[1]).to_vec())
}

#[test]
fn mcsd_slope_is_a_softmax_over_the_past() {
    let (steps, width, groups) = (60, 12, 4);
    let x = normals(&mut Random::new(3), steps * width);
    let params = mcsd_slope::Params {
        batch: 1,
        steps: steps as u32,
        width: width as u32,
        channels: groups as u32,
        x_stride: width as u32,
        x_offset: 0,
    };
    let (got, _) = channels(&mcsd_slope::KERNEL, bytemuck::bytes_of(&params), &x);
    let mut want = x.clone();
    for n in 1..steps {
        for c in 0..width {
            let i = c / (width / groups);
            let beta = (2.0_f64).powf(-8.0 / groups as f64).powi(i as i32 + 1);
            // Row n of softmax(M), M[n][m] = -(n - m) beta for m < n.
            let row: Vec<f64> = (0..n).map(|m| (-((n - m) as f64) * beta).exp()).collect();
            let sum: f64 = row.iter().sum();
            want[n * width + c] = (0..n).map(|m| row[m] / sum * x[m * width + c]).sum();
        }
    }
    close("y", &got, &want);
}

#[test]
fn mcsd_decay_is_a_sum_of_powers() {
    let (steps, width, groups) = (60, 12, 3);
    let x = normals(&mut Random::new(4), steps * width);
    let params = mcsd_decay::Params {
        batch: 1,
        steps: steps as u32,
        width: width as u32,
        channels: groups as u32,
        x_stride: width as u32,
        x_offset: 0,
    };
    let (got, _) = channels(&mcsd_decay::KERNEL, bytemuck::bytes_of(&params), &x);
    let mut want = vec![0.0; x.len()];
    for n in 0..steps {
        for c in 0..width {
            let alpha = 1.0 - (2.0_f64).powi(-5 - (c / (width / groups)) as i32);
            want[n * width + c] = (0..n).map(|m| alpha.powi((n - m) as i32) * x[m * width + c]).sum();
        }
    }
    close("y", &got, &want);
}

#[test]
fn slope_is_a_weighted_sum_of_the_past() {
    let (steps, width) = (40, 6);
    let mut random = Random::new(5);
    let x = normals(&mut random, steps * width);
    let (log_rate, gain, start) =
        (normals(&mut random, width), normals(&mut random, width), normals(&mut random, width));
    let params =
        slope::Params { batch: 1, steps: steps as u32, width: width as u32, x_stride: width as u32, x_offset: 0 };
    let data = |x: &[f64]| Data::Real(x.to_vec());
    let before =
        [data(&x), data(&log_rate), data(&gain), data(&start), Data::Index(vec![1]), data(&vec![f64::NAN; x.len()])];
    let got = run(&slope::KERNEL, slope::KERNEL.truth, bytemuck::bytes_of(&params), &before);
    let past = |n: usize, c: usize| {
        let rate = log_rate[c].exp();
        let sum: f64 = (0..n).map(|m| (-rate * (n - 1 - m) as f64).exp() * x[m * width + c]).sum();
        (-rate * n as f64).exp() * start[c] + (1.0 - (-rate).exp()) * sum
    };
    let want: Vec<f64> = (0..steps * width).map(|i| x[i] + gain[i % width] * past(i / width, i % width)).collect();
    close("y", real(&got[5]), &want);
    close("state", real(&got[3]), &(0..width).map(|c| past(steps, c)).collect::<Vec<_>>());
}

/// Single precision is what runs: on the same stream it must stay near the truth to the end of a long one.
#[test]
fn long_streams_stay_accurate() {
    let params = scan::Params { batch: 1, steps: 2000, heads: 1, key: 16, value: 4 };
    let mut random = Random::new(6);
    let inputs = delta_inputs::Params { rows: 2000, heads: 1, key: 16, x_stride: 32, beta_stride: 1, beta_offset: 0 };
    let numbers = [2000 * 32, 2000 * 16, 16, 2000].map(|n| Data::Real(normals(&mut random, n)));
    let mut before = numbers.to_vec();
    before.push(Data::Real(vec![f64::NAN; 2000 * 80]));
    let keys = run(&delta_inputs::KERNEL, delta_inputs::KERNEL.truth, bytemuck::bytes_of(&inputs), &before).remove(4);
    let before = [
        convert::<f64, f32>(&[keys]).remove(0),
        Data::Real((0..8000).map(|_| random.normal() as f32).collect()),
        Data::Real(vec![0.0; 64]),
        Data::Index(vec![1]),
        Data::Real(vec![f32::NAN; 8000]),
    ];
    let single = run(&scan::KERNEL, scan::KERNEL.reference, bytemuck::bytes_of(&params), &before);
    let double = run(&scan::KERNEL, scan::KERNEL.truth, bytemuck::bytes_of(&params), &convert(&before));
    for (single, double) in single.iter().zip(&double).filter(|(s, _)| matches!(s, Data::Real(_))) {
        if let Data::Real(single) = single {
            let worst = lichen_shaders::cases::compare(single, real(double));
            assert!(worst.error < scan::KERNEL.tolerance.bound, "{worst:?}");
        }
    }
}
