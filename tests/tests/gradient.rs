//! Every `backward` is the derivative of its kernel's double-precision reference, and single precision follows it.

use lichen_host::{Buffer, Cpu, Device, Gradients, HostError, Recording, Role, View};
use lichen_shaders::ALL;
use lichen_shaders::cases::{Case, Data, Random};
use lichen_shaders::kernel::{Access, Binding, Call, Kernel, Kind};
use lichen_tests::{Wanted, arguments, backward, convert, relative, report};

/// Elements of one binding that are compared with differences.
const SAMPLE: usize = 200;
/// Largest relative error of a gradient.
const BOUND: f64 = 1e-5;
/// Step of a difference, relative to `1 + |x|`: near the cube root of double precision's epsilon.
const STEP: f64 = 4e-6;

/// A case with the cotangents of everything it writes.
struct Problem {
    kernel: &'static Kernel,
    case: Case,
    before: Vec<Data<f64>>,
    after: Vec<Data<f64>>,
    cotangents: Vec<Vec<f64>>,
}

impl Problem {
    fn new(kernel: &'static Kernel, case: Case) -> Self {
        let mut random = Random::new(case.params.iter().fold(7, |h, &b| h * 31 % 1_000_003 + u64::from(b)));
        let before = convert(&case.before);
        let after = case.truth(kernel);
        // Read bindings start from a sum that is already there, because gradients add to it.
        let numbers = |data: &Data<f64>| match data {
            Data::Real(x) => x.iter().map(|_| random.normal()).collect(),
            Data::Index(_) => Vec::new(),
        };
        let cotangents = before.iter().map(numbers).collect();
        Self { kernel, case, before, after, cotangents }
    }

    /// What a device hands to backward: outputs of the run, but the old values of updated bindings.
    fn values(&self) -> Vec<Data<f64>> {
        let pairs = self.kernel.bindings.iter().zip(&self.before).zip(&self.after);
        pairs.map(|((b, old), new)| if b.access == Access::ReadWrite { old.clone() } else { new.clone() }).collect()
    }

    /// The gradient of every real input, with what was there before taken off again.
    fn analytic(&self, wanted: Wanted) -> Vec<Vec<f64>> {
        let Some((_, run)) = self.kernel.backward else { return Vec::new() };
        let mut gradients = self.cotangents.clone();
        backward(self.kernel, run, &self.case, &self.values(), &mut gradients, wanted);
        self.deltas(gradients)
    }

    fn deltas(&self, mut gradients: Vec<Vec<f64>>) -> Vec<Vec<f64>> {
        for ((g, start), binding) in gradients.iter_mut().zip(&self.cotangents).zip(self.kernel.bindings) {
            if binding.access == Access::Read {
                g.iter_mut().zip(start).for_each(|(g, s)| *g -= s);
            }
        }
        gradients
    }

    fn run(&self, binding: usize, element: usize, value: f64) -> Vec<Data<f64>> {
        let mut data = self.before.clone();
        if let Data::Real(x) = &mut data[binding] {
            x[element] = value;
        }
        (self.kernel.truth)(&self.case.params, arguments(self.kernel.bindings, &mut data));
        data
    }

    /// `sum(cotangent * (high - low))` over what the kernel writes; elements it leaves alone have no part in it.
    fn pull(&self, high: &[Data<f64>], low: &[Data<f64>]) -> f64 {
        let written = self.kernel.bindings.iter().zip(&self.cotangents).zip(high.iter().zip(low));
        written
            .filter(|((b, _), _)| b.access != Access::Read)
            .map(|((_, c), pair)| match pair {
                (Data::Real(h), Data::Real(l)) => c
                    .iter()
                    .zip(h.iter().zip(l))
                    .filter(|(_, (h, l))| !(h.is_nan() && l.is_nan()))
                    .map(|(c, (h, l))| c * (h - l))
                    .sum(),
                _ => 0.0,
            })
            .sum()
    }

    /// The derivative by central differences, or `None` where the two sides disagree: a corner of the function.
    fn numeric(&self, binding: usize, element: usize, floor: f64) -> Option<f64> {
        let Data::Real(x) = &self.before[binding] else { return None };
        let (at, h) = (x[element], STEP * (1.0 + x[element].abs()));
        let (high, low) = (self.run(binding, element, at + h), self.run(binding, element, at - h));
        let up = self.pull(&high, &self.after) / h;
        let down = self.pull(&self.after, &low) / h;
        let corner = (up - down).abs() > 1e-2 * (up.abs() + down.abs() + floor);
        (!corner).then(|| self.pull(&high, &low) / (2.0 * h))
    }

    fn check(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let all = self.analytic(Wanted::All);
        let mut corners = 0;
        let mut compared = 0;
        let inputs =
            self.kernel.bindings.iter().enumerate().filter(|(_, b)| b.kind == Kind::Real && b.access != Access::Write);
        for (i, binding) in inputs {
            let place = format!("{}.{}: d{}", self.kernel.name, self.case.name, binding.name);
            // Asking for fewer gradients may not change those that are asked for.
            let alone = self.analytic(Wanted::One(i));
            if let Some(at) = (0..all[i].len()).find(|&e| alone[i][e] != all[i][e]) {
                problems.push(format!("{place}[{at}] is {} alone and {} with the others", alone[i][at], all[i][at]));
            }
            let size = (all[i].iter().map(|v| v * v).sum::<f64>() / all[i].len() as f64).sqrt();
            let floor = size + 1e-3;
            let length = all[i].len();
            let stride = length.div_ceil(SAMPLE);
            let mut worst = (0.0, 0, 0.0);
            for at in (0..length).map(|n| n * stride).take_while(|&at| at < length) {
                compared += 1;
                let Some(want) = self.numeric(i, at, floor) else {
                    corners += 1;
                    continue;
                };
                let error = relative(all[i][at], want, floor);
                if error > worst.0 {
                    worst = (error, at, want);
                }
            }
            if worst.0 > BOUND {
                let (error, at, want) = worst;
                problems.push(format!("{place}[{at}] is {}, differences say {want} (error {error:.1e})", all[i][at]));
            }
        }
        if corners * 5 > compared {
            problems.push(format!(
                "{}.{}: {corners} of {compared} elements lie at corners",
                self.kernel.name, self.case.name
            ));
        }
        if all
            .iter()
            .zip(self.kernel.bindings)
            .filter(|(_, b)| b.access == Access::Read)
            .flat_map(|(g, _)| g)
            .all(|&g| g == 0.0)
        {
            problems.push(format!("{}.{}: every gradient is zero", self.kernel.name, self.case.name));
        }
        problems
    }
}

fn problems_of(kernel: &'static Kernel) -> Vec<Problem> {
    let cases = (kernel.cases)(kernel).into_iter().filter(|c| c.gradient);
    cases.map(|case| Problem::new(kernel, case)).collect()
}

#[test]
fn backward_is_the_derivative() {
    let mut problems = Vec::new();
    for kernel in ALL {
        let cases = problems_of(kernel);
        if kernel.backward.is_some() && cases.is_empty() {
            problems.push(format!("{}: has a gradient and no case for it", kernel.name));
        }
        if kernel.backward.is_none() && !cases.is_empty() {
            problems.push(format!("{}: has gradient cases and no gradient", kernel.name));
        }
        if kernel.backward.is_some() {
            cases.iter().for_each(|p| problems.extend(p.check()));
        }
    }
    report(&problems);
}

/// Every case, not only the small ones: the gradient that learning uses, against the one proven above.
#[test]
fn single_precision_follows_double() {
    let mut problems = Vec::new();
    for kernel in ALL {
        let Some((run, _)) = kernel.backward else { continue };
        for case in (kernel.cases)(kernel) {
            let problem = Problem::new(kernel, case);
            let want = problem.analytic(Wanted::All);
            let mut got: Vec<Vec<f32>> =
                problem.cotangents.iter().map(|c| c.iter().map(|&v| v as f32).collect()).collect();
            for (g, binding) in got.iter_mut().zip(kernel.bindings) {
                if binding.access == Access::Read {
                    g.fill(0.0);
                }
            }
            backward(kernel, run, &problem.case, &convert(&problem.values()), &mut got, Wanted::All);
            for (i, binding) in kernel.bindings.iter().enumerate() {
                let bound = 20.0 * kernel.tolerance.bound.max(1e-6);
                if let Some(found) = far(&got[i], &want[i], bound) {
                    problems.push(format!("{}.{}: d{}{found}", kernel.name, problem.case.name, binding.name));
                }
            }
        }
    }
    report(&problems);
}

/// The CPU device's own backward, with its fast forms and its tape.
#[test]
fn the_cpu_device_follows_double() {
    let device = Device::Cpu(Cpu::new(2));
    let Device::Cpu(cpu) = &device else { unreachable!("it was made so") };
    let mut problems = Vec::new();
    for kernel in ALL.iter().filter(|k| k.backward.is_some()) {
        for case in (kernel.cases)(kernel) {
            let problem = Problem::new(kernel, case);
            match problem.on(&device, cpu) {
                Err(error) => problems.push(format!("{}.{}: {error}", kernel.name, problem.case.name)),
                Ok(found) => problems.extend(found),
            }
        }
    }
    report(&problems);
}

impl Problem {
    fn on(&self, device: &Device, cpu: &Cpu) -> Result<Vec<String>, HostError> {
        let kernel = self.kernel;
        let role = |access| match access {
            Access::Read => Role::Weight,
            Access::ReadWrite => Role::State,
            Access::Write => Role::Scratch,
        };
        let buffer = |(b, data): (&Binding, &Data<f32>)| Buffer::new(b.name, b.kind, role(b.access), data.len());
        let buffers: Vec<Buffer> = kernel.bindings.iter().zip(&self.case.before).map(buffer).collect();
        for (buffer, data) in buffers.iter().zip(&self.case.before) {
            match data {
                Data::Real(x) => device.write(&buffer.view(), x)?,
                Data::Index(x) => device.write(&buffer.view(), x)?,
            }
        }
        let mut recording = Recording::new(self.case.name.as_str());
        let views: Vec<View> = buffers.iter().map(Buffer::view).collect();
        recording.push(Call { kernel, params: self.case.params.clone() }, &views)?;

        let given: Vec<Vec<f32>> = self.cotangents.iter().map(|c| c.iter().map(|&v| v as f32).collect()).collect();
        let real = |access: fn(Access) -> bool| {
            let all = kernel.bindings.iter().enumerate();
            all.filter(move |(_, b)| b.kind == Kind::Real && access(b.access)).map(|(i, _)| i)
        };
        let seeds: Vec<(&Buffer, &[f32])> =
            real(|a| a != Access::Read).map(|i| (&buffers[i], given[i].as_slice())).collect();
        let mut gradients = Gradients::new(real(|a| a != Access::Write).map(|i| &buffers[i]));
        let tape = cpu.run_taped(&recording)?;
        cpu.backward(&recording, &tape, &seeds, &mut gradients)?;

        let want = self.analytic(Wanted::All);
        let bound = 20.0 * kernel.tolerance.bound.max(1e-6);
        let mut problems = Vec::new();
        for i in real(|a| a != Access::Write) {
            let found = gradients.get(&buffers[i]).map_or(Some(" is missing".into()), |got| far(got, &want[i], bound));
            let place = format!("{}.{}: d{}", kernel.name, self.case.name, kernel.bindings[i].name);
            problems.extend(found.map(|f| place + &f));
        }
        Ok(problems)
    }
}

/// The worst element beyond `bound`. Cotangents are of size one, so a gradient far below that is what is left of
/// numbers that cancel, and counts as zero.
fn far(got: &[f32], want: &[f64], bound: f64) -> Option<String> {
    let size = (want.iter().map(|v| v * v).sum::<f64>() / want.len().max(1) as f64).sqrt();
    let errors = got.iter().zip(want).map(|(&g, &w)| relative(f64::from(g), w, size + 1e-2));
    let (at, error) = errors.enumerate().max_by(|a, b| a.1.total_cmp(&b.1))?;
    (error > bound)
        .then(|| format!("[{at}] is {}, should be {} (error {error:.1e}, {bound:.0e} allowed)", got[at], want[at]))
}

/// The check above is worth something only if it sees a gradient that is slightly wrong.
#[test]
fn a_wrong_gradient_is_seen() {
    let right = &lichen_shaders::rms_norm::KERNEL;
    let wrong: &'static Kernel = Box::leak(Box::new(Kernel {
        backward: right.backward.map(|(single, _)| {
            let double: lichen_shaders::kernel::Backward<f64> = |params, values, mut grads| {
                if let Some(lichen_shaders::kernel::Grad::Read(Some(dx))) = grads.first_mut() {
                    dx[0] += 1e-3;
                }
                if let Some((_, run)) = lichen_shaders::rms_norm::KERNEL.backward {
                    run(params, values, grads);
                }
            };
            (single, double)
        }),
        ..*right
    }));
    let found: Vec<String> = problems_of(wrong).iter().flat_map(Problem::check).collect();
    assert!(!found.is_empty() && found.iter().all(|p| p.contains("dx[0]")), "{found:?}");
}
