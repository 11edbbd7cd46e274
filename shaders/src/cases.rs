//! Test cases of kernels: params, seeded inputs with outliers, and what the reference says of them.

use crate::kernel::{Access, Kernel, Kind, Params, Slot, Tolerance};
use std::marker::PhantomData;

/// Contents of one binding.
#[derive(Clone, Debug, PartialEq)]
pub enum Data<F> {
    /// Numbers.
    Real(Vec<F>),
    /// Ids.
    Index(Vec<u32>),
}
impl<F> Data<F> {
    /// Elements.
    pub fn len(&self) -> usize {
        match self {
            Data::Real(x) => x.len(),
            Data::Index(x) => x.len(),
        }
    }
    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
    fn slot(&mut self, access: Access) -> Slot<'_, F> {
        match (self, access) {
            (Data::Real(x), Access::Read) => Slot::Real(x),
            (Data::Real(x), _) => Slot::RealMut(x),
            (Data::Index(x), Access::Read) => Slot::Index(x),
            (Data::Index(x), _) => Slot::IndexMut(x),
        }
    }
}

/// What an id output holds before a kernel writes it; numbers hold NaN.
pub const UNWRITTEN: u32 = 0xDEAD_BEEF;

/// One test case: params and the contents of every binding before the run.
#[derive(Clone, Debug)]
pub struct Case {
    /// Short name, unique in the kernel.
    pub name: String,
    /// Params as bytes.
    pub params: Vec<u8>,
    /// Contents before the run; written bindings hold NaN or [`UNWRITTEN`].
    pub before: Vec<Data<f32>>,
    /// Small enough for finite differences.
    pub gradient: bool,
}

impl Case {
    /// Contents of every binding after the double-precision reference.
    pub fn truth(&self, kernel: &Kernel) -> Vec<Data<f64>> {
        let mut data: Vec<Data<f64>> = self
            .before
            .iter()
            .map(|d| match d {
                Data::Real(x) => Data::Real(x.iter().map(|&v| f64::from(v)).collect()),
                Data::Index(x) => Data::Index(x.clone()),
            })
            .collect();
        let slots = data.iter_mut().zip(kernel.bindings).map(|(d, b)| d.slot(b.access)).collect();
        (kernel.truth)(&self.params, slots);
        data
    }
}

/// A seeded stream of numbers (splitmix64): the same on every machine.
#[derive(Clone, Debug)]
pub struct Random(u64);
impl Random {
    /// A stream of its own for each seed.
    pub fn new(seed: u64) -> Self {
        Self(seed ^ 0x6C69_6368_656E)
    }
    /// 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }
    /// Uniform in `[0, 1)`.
    pub fn uniform(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1u64 << 53) as f64
    }
    /// Uniform in `0..n`; `n` must not be 0.
    pub fn below(&mut self, n: usize) -> usize {
        ((u128::from(self.bits()) * n as u128) >> 64) as usize
    }
    /// Standard normal (Box-Muller).
    pub fn normal(&mut self) -> f64 {
        let (u, v) = (1.0 - self.uniform(), self.uniform());
        (-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos()
    }
    /// A normal, about one in 97 thirty times larger.
    pub fn outlier(&mut self) -> f64 {
        self.normal() * if self.below(97) == 0 { 30.0 } else { 1.0 }
    }
}

/// Collects the cases of one kernel.
pub struct Cases<P> {
    kernel: &'static Kernel,
    list: Vec<Case>,
    params: PhantomData<P>,
}

impl<P: Params> Cases<P> {
    pub(crate) fn new(kernel: &'static Kernel) -> Self {
        Self { kernel, list: Vec::new(), params: PhantomData }
    }
    pub(crate) fn finish(self) -> Vec<Case> {
        self.list
    }

    /// Adds a case. Numbers that are read are filled with normals, about one in 97 of them thirty times
    /// larger; ids that are read are 0 until [`Draft::ids`] fills them.
    pub fn add(&mut self, name: &str, params: P) -> Draft<'_> {
        let bytes = bytemuck::bytes_of(&params).to_vec();
        let mut random = Random::new(seed(self.kernel.name, name));
        let before = (self.kernel.lengths)(&bytes)
            .into_iter()
            .zip(self.kernel.bindings)
            .map(|(len, b)| match (b.kind, b.access) {
                (Kind::Real, Access::Write) => Data::Real(vec![f32::NAN; len]),
                (Kind::Index, Access::Write) => Data::Index(vec![UNWRITTEN; len]),
                (Kind::Index, _) => Data::Index(vec![0; len]),
                (Kind::Real, _) => Data::Real((0..len).map(|_| random.outlier() as f32).collect()),
            })
            .collect();
        self.list.push(Case { name: name.to_string(), params: bytes, before, gradient: false });
        let case = self.list.last_mut().unwrap_or_else(|| unreachable!("a case was just pushed"));
        Draft { kernel: self.kernel, case, random }
    }
}

/// A case under construction.
pub struct Draft<'a> {
    kernel: &'static Kernel,
    case: &'a mut Case,
    random: Random,
}
impl Draft<'_> {
    fn place(&self, name: &str) -> usize {
        self.kernel.binding(name).unwrap_or_else(|| panic!("{} has no binding {name}", self.kernel.name))
    }
    /// Fills a real binding: `f(random, i)` gives element i.
    pub fn reals(mut self, name: &str, mut f: impl FnMut(&mut Random, usize) -> f64) -> Self {
        let place = self.place(name);
        if let Data::Real(x) = &mut self.case.before[place] {
            x.iter_mut().enumerate().for_each(|(i, v)| *v = f(&mut self.random, i) as f32);
        }
        self
    }
    /// Fills an index binding: `f(random, i)` gives element i.
    pub fn ids(mut self, name: &str, mut f: impl FnMut(&mut Random, usize) -> u32) -> Self {
        let place = self.place(name);
        if let Data::Index(x) = &mut self.case.before[place] {
            x.iter_mut().enumerate().for_each(|(i, v)| *v = f(&mut self.random, i));
        }
        self
    }
    /// Fills an index binding as a whole: `f(random, length)` gives its elements.
    pub fn words(mut self, name: &str, f: impl FnOnce(&mut Random, usize) -> Vec<u32>) -> Self {
        let place = self.place(name);
        if let Data::Index(x) = &mut self.case.before[place] {
            let words = f(&mut self.random, x.len());
            assert_eq!(words.len(), x.len(), "{name} of {}", self.case.name);
            *x = words;
        }
        self
    }
    /// Marks the case for the finite-difference test: keep it small and free of outliers that drown the step.
    pub fn gradient(self) -> Self {
        for (d, b) in self.case.before.iter_mut().zip(self.kernel.bindings) {
            if let (Data::Real(x), true) = (d, b.access != Access::Write) {
                x.iter_mut().filter(|v| v.abs() > 5.0).for_each(|v| *v /= 30.0);
            }
        }
        self.case.gradient = true;
        self
    }
}

/// FNV-1a of the two names, so that a case keeps its numbers when others come or go.
fn seed(kernel: &str, case: &str) -> u64 {
    kernel
        .bytes()
        .chain([0])
        .chain(case.bytes())
        .fold(0xcbf2_9ce4_8422_2325, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3))
}

/// The worst element of a comparison.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Worst {
    /// `|got - want| / (|want| + rms(want))`; infinite where one is NaN and the other is not.
    pub error: f64,
    /// Element.
    pub at: usize,
    /// Device's value.
    pub got: f64,
    /// Reference's value.
    pub want: f64,
}

/// Compares numbers. Elements that the reference left unwritten (NaN) must be unwritten in `got` too.
pub fn compare(got: &[f32], want: &[f64]) -> Worst {
    let written = want.iter().filter(|w| w.is_finite());
    let rms = (written.clone().map(|w| w * w).sum::<f64>() / (written.count().max(1) as f64)).sqrt();
    let mut worst = Worst::default();
    if got.len() != want.len() {
        return Worst { error: f64::INFINITY, ..worst };
    }
    for (at, (&g, &w)) in got.iter().zip(want).enumerate() {
        let g = f64::from(g);
        let error = if w.is_nan() && g.is_nan() || g == w {
            0.0
        } else if g.is_finite() && w.is_finite() {
            (g - w).abs() / (w.abs() + rms).max(f64::MIN_POSITIVE)
        } else {
            f64::INFINITY
        };
        if error > worst.error {
            worst = Worst { error, at, got: g, want: w };
        }
    }
    worst
}

/// Compares what a device left in every binding with the truth; `Ok` is the worst error within tolerance.
pub fn check(kernel: &Kernel, tolerance: Tolerance, got: &[Data<f32>], want: &[Data<f64>]) -> Result<f64, String> {
    let mut all: f64 = 0.0;
    for ((binding, g), w) in kernel.bindings.iter().zip(got).zip(want) {
        match (g, w) {
            (Data::Real(g), Data::Real(w)) => {
                let worst = compare(g, w);
                let bound = if binding.access == Access::Read { 0.0 } else { tolerance.bound };
                if !(worst.error <= bound) {
                    return Err(format!(
                        "{}.{}[{}] is {}, should be {} (error {:.2e}, {} allows {:.0e})",
                        kernel.name, binding.name, worst.at, worst.got, worst.want, worst.error, tolerance.name, bound
                    ));
                }
                all = all.max(worst.error);
            }
            (Data::Index(g), Data::Index(w)) => {
                if let Some(at) = (0..w.len().max(g.len())).find(|&i| g.get(i) != w.get(i)) {
                    return Err(format!(
                        "{}.{}[{at}] is {:?}, should be {:?}",
                        kernel.name,
                        binding.name,
                        g.get(at),
                        w.get(at)
                    ));
                }
            }
            _ => return Err(format!("{}.{}: kinds differ", kernel.name, binding.name)),
        }
    }
    Ok(all)
}

/// A case is worth running only if its reference writes something that is not trivially zero.
pub fn vacuous(kernel: &Kernel, case: &Case, truth: &[Data<f64>]) -> bool {
    kernel.bindings.iter().zip(truth).zip(&case.before).filter(|((b, _), _)| b.access != Access::Read).all(
        |((_, t), before)| match (t, before) {
            (Data::Real(t), _) => t.iter().all(|v| v.is_nan() || v.abs() < 1e-6),
            (Data::Index(t), Data::Index(b)) => t == b,
            _ => true,
        },
    )
}
