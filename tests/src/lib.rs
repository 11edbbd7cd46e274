//! Harness of the tests: kernels and their cases run by hand, without a device.

mod devices;

pub use devices::gpus;

use lichen_shaders::cases::{Case, Data, Random};
use lichen_shaders::kernel::{Access, Binding, Forward, Grad, Kernel, Real, Slot};

/// Arguments for a forward run over `data`, in binding order.
pub fn arguments<'a, F>(bindings: &[Binding], data: &'a mut [Data<F>]) -> Vec<Slot<'a, F>> {
    let slot = |(data, binding): (&'a mut Data<F>, &Binding)| match (data, binding.access) {
        (Data::Real(x), Access::Read) => Slot::Real(x.as_slice()),
        (Data::Real(x), _) => Slot::RealMut(x.as_mut_slice()),
        (Data::Index(x), Access::Read) => Slot::Index(x.as_slice()),
        (Data::Index(x), _) => Slot::IndexMut(x.as_mut_slice()),
    };
    data.iter_mut().zip(bindings).map(slot).collect()
}

/// The same data in another precision.
pub fn convert<A: Real, B: Real>(data: &[Data<A>]) -> Vec<Data<B>> {
    let one = |data: &Data<A>| match data {
        Data::Real(x) => Data::Real(x.iter().map(|v| B::of(v.wide())).collect()),
        Data::Index(x) => Data::Index(x.clone()),
    };
    data.iter().map(one).collect()
}

/// Which gradients of read bindings a backward run is asked for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Wanted {
    /// All of them.
    All,
    /// Only that of the binding with this number.
    One(usize),
}

/// Runs a backward form: `values` as a device hands them over (old values of updated bindings), `gradients` with
/// the cotangents of outputs already in them. Index bindings have no gradient: theirs may be empty.
pub fn backward<F: Real>(
    kernel: &Kernel,
    run: lichen_shaders::kernel::Backward<F>,
    case: &Case,
    values: &[Data<F>],
    gradients: &mut [Vec<F>],
    wanted: Wanted,
) {
    let slots = values
        .iter()
        .map(|data| match data {
            Data::Real(x) => Slot::Real(x.as_slice()),
            Data::Index(x) => Slot::Index(x.as_slice()),
        })
        .collect();
    let grads = gradients
        .iter_mut()
        .zip(values)
        .zip(kernel.bindings)
        .enumerate()
        .map(|(i, ((g, data), binding))| match (data, binding.access) {
            (Data::Index(_), _) => Grad::None,
            (_, Access::Read) => {
                Grad::Read((wanted == Wanted::All || wanted == Wanted::One(i)).then_some(g.as_mut_slice()))
            }
            (_, Access::Write) => Grad::Write(g.as_slice()),
            (_, Access::ReadWrite) => Grad::ReadWrite(g.as_mut_slice()),
        })
        .collect();
    run(&case.params, slots, grads);
}

/// The reference's error, for messages: `|got - want|` over `|want|` plus the size that counts as zero.
pub fn relative(got: f64, want: f64, floor: f64) -> f64 {
    if got.is_finite() && want.is_finite() { (got - want).abs() / (want.abs() + floor) } else { f64::INFINITY }
}

/// Fails with all problems at once, one a line.
pub fn report(problems: &[String]) {
    assert!(problems.is_empty(), "{} problems:\n  {}", problems.len(), problems.join("\n  "));
}

/// What a form of a kernel leaves in its bindings.
pub fn run<F: Real>(kernel: &Kernel, forward: Forward<F>, params: &[u8], before: &[Data<F>]) -> Vec<Data<F>> {
    let mut data = before.to_vec();
    forward(params, arguments(kernel.bindings, &mut data));
    data
}

/// Standard normals.
pub fn normals(random: &mut Random, n: usize) -> Vec<f64> {
    (0..n).map(|_| random.normal()).collect()
}

/// Fails where two lists of numbers of size one differ by more than what double precision loses.
pub fn close(what: &str, got: &[f64], want: &[f64]) {
    assert_eq!(got.len(), want.len(), "{what}");
    for (i, (&g, &w)) in got.iter().zip(want).enumerate() {
        assert!(relative(g, w, 1.0) < 1e-9, "{what}[{i}] is {g}, should be {w}");
    }
}

/// The numbers of a real binding.
pub fn real(data: &Data<f64>) -> &[f64] {
    match data {
        Data::Real(x) => x,
        Data::Index(_) => panic!("an index binding"),
    }
}
