//! Every fast form against the double-precision reference: each case forward, and backward with a random
//! gradient both added to what is there and written to a fresh one.

use super::{Backward, Forward, Fresh, backward, forward};
use crate::pool::Pool;
use lichen_shaders::bytemuck::{bytes_of, pod_read_unaligned};
use lichen_shaders::cases::{Case, Data, Random, check, compare};
use lichen_shaders::kernel::{Access, Grad, Kernel, Kind, Real, Slot};
use lichen_shaders::packed::Format;
use lichen_shaders::{conv2d, scan, section_up, section_up_packed};

/// Relative error that a gradient may have; its sums are longer than those of the value.
const GRADIENT_BOUND: f64 = 1e-4;

fn slots<'a, F>(data: &'a mut [Data<F>], kernel: &Kernel, write: bool) -> Vec<Slot<'a, F>> {
    let slot =
        |(d, b): (&'a mut Data<F>, &lichen_shaders::kernel::Binding)| match (d, write && b.access != Access::Read) {
            (Data::Real(x), true) => Slot::RealMut(x),
            (Data::Real(x), false) => Slot::Real(x),
            (Data::Index(x), true) => Slot::IndexMut(x),
            (Data::Index(x), false) => Slot::Index(x),
        };
    data.iter_mut().zip(kernel.bindings).map(slot).collect()
}

/// Runs a fast form forward on every pool and checks it; how often it ran.
fn forward_case(pools: &[Pool], kernel: &'static Kernel, case: &Case) -> Result<usize, String> {
    let form @ Forward::Fast(_) = forward(kernel, false) else { return Ok(0) };
    let truth = case.truth(kernel);
    for pool in pools {
        let mut got = case.before.clone();
        form.run(pool, &case.params, slots(&mut got, kernel, true));
        check(kernel, kernel.tolerance, &got, &truth).map_err(|e| format!("{} threads: {e}", pool.threads()))?;
    }
    Ok(pools.len())
}

/// Values and gradients as a backward takes them.
struct Setting<F> {
    values: Vec<Data<F>>,
    grads: Vec<Vec<F>>,
}
impl<F: Real> Setting<F> {
    /// Inputs from the case, outputs from the truth, gradients from the seed.
    fn new(kernel: &Kernel, case: &Case, fresh: bool) -> Self {
        let truth = case.truth(kernel);
        let mut random = Random::new(17);
        let (mut values, mut grads) = (Vec::new(), Vec::new());
        for ((binding, before), after) in kernel.bindings.iter().zip(&case.before).zip(truth) {
            let data = match (before, after, binding.access) {
                (Data::Real(_), Data::Real(x), Access::Write) => Data::Real(x.iter().map(|&x| F::of(x)).collect()),
                (Data::Real(x), _, _) => Data::Real(x.iter().map(|&x| F::of(f64::from(x))).collect()),
                (_, Data::Index(x), _) => Data::Index(x),
                (Data::Index(x), _, _) => Data::Index(x.clone()),
            };
            let count = if binding.kind == Kind::Real { data.len() } else { 0 };
            let number = |_| {
                let x = F::of(f64::from(random.normal() as f32));
                if fresh && binding.access == Access::Read { F::zero() } else { x }
            };
            grads.push((0..count).map(number).collect());
            values.push(data);
        }
        Self { values, grads }
    }
    fn parts(&mut self, kernel: &Kernel) -> (Vec<Slot<'_, F>>, Vec<Grad<'_, F>>) {
        let grads = self
            .grads
            .iter_mut()
            .zip(kernel.bindings)
            .map(|(g, b)| match (b.kind, b.access) {
                (Kind::Index, _) => Grad::None,
                (_, Access::Read) => Grad::Read(Some(g.as_mut_slice())),
                (_, Access::Write) => Grad::Write(g.as_slice()),
                (_, Access::ReadWrite) => Grad::ReadWrite(g.as_mut_slice()),
            })
            .collect();
        (slots(&mut self.values, kernel, false), grads)
    }
}

/// The same backward.
fn backward_case(pools: &[Pool], kernel: &'static Kernel, case: &Case, fresh: bool) -> Result<usize, String> {
    let Some(form @ Backward::Fast(_)) = backward(kernel, false) else { return Ok(0) };
    let Some((narrow, wide)) = kernel.backward else { return Ok(0) };
    let mut want = Setting::<f64>::new(kernel, case, fresh);
    let (values, grads) = want.parts(kernel);
    wide(&case.params, values, grads);
    let mut plain = Setting::<f32>::new(kernel, case, fresh);
    let (values, grads) = plain.parts(kernel);
    narrow(&case.params, values, grads);
    for pool in pools {
        let mut got = Setting::<f32>::new(kernel, case, fresh);
        let mut mask = Fresh::default();
        for (i, b) in kernel.bindings.iter().enumerate().filter(|(_, b)| fresh && b.access == Access::Read) {
            got.grads[i].fill(f32::NAN);
            mask.0 |= u32::from(b.kind == Kind::Real) << i;
        }
        let (values, grads) = got.parts(kernel);
        form.run(pool, &case.params, values, grads, mask);
        for (i, binding) in kernel.bindings.iter().enumerate() {
            let worst = compare(&got.grads[i], &want.grads[i]);
            // Where sums cancel, single precision cannot do better than the plain form does.
            let bound = GRADIENT_BOUND.max(4.0 * compare(&plain.grads[i], &want.grads[i]).error);
            if !(worst.error <= bound) {
                let (name, threads) = (binding.name, pool.threads());
                return Err(format!("gradient of {name} (fresh {fresh}, {threads} threads): {worst:?}"));
            }
        }
    }
    Ok(pools.len())
}

/// Sizes at which the wide tiles, the cuts among workers and the windows of the scan come into play.
fn large(kernel: &Kernel) -> Vec<Case> {
    let (rows, picks, width, neurons, sections) = (301, 3, 200, 70, 5);
    let stride = 2 * width * neurons + 64;
    let section = section_up::Params {
        rows,
        picks,
        width,
        neurons,
        stride,
        first: 1,
        per_chunk: 3,
        chunks: 2,
        c0: 3 * stride,
        c1: 2 * stride,
        c2: 1,
        c3: 1,
        tiles: 0,
    };
    let params = match kernel.name {
        "section_up" | "section_down" => vec![bytes_of(&section).to_vec()],
        "section_up_packed" | "section_down_packed" => {
            let packed = |(format, rows)| bytes_of(&packed(format, rows)).to_vec();
            Format::ALL.into_iter().flat_map(|format| [(format, 2), (format, 30), (format, rows)]).map(packed).collect()
        }
        "scan" => {
            let sizes = [(18, 52), (32, 32), (16, 20), (40, 16)];
            let params = |(key, value)| bytes_of(&scan::Params { batch: 2, steps: 37, heads: 3, key, value }).to_vec();
            sizes.into_iter().map(params).collect()
        }
        "conv2d" => vec![bytes_of(&MANY_WINDOWS).to_vec()],
        _ => return Vec::new(),
    };
    params.into_iter().map(|params| filled(kernel, params, sections)).collect()
}

/// More windows than a block holds and than a partial sum takes.
const MANY_WINDOWS: conv2d::Params = conv2d::Params {
    batch: 25,
    in_h: 9,
    in_w: 14,
    in_c: 7,
    out_h: 9,
    out_w: 14,
    out_c: 19,
    kernel_h: 3,
    kernel_w: 3,
    stride_h: 1,
    stride_w: 1,
    pad_h: 1,
    pad_w: 1,
    silu: 1,
};

/// Packed sections of the sizes above, in whole blocks; five of them from id 1 on.
fn packed(format: Format, rows: u32) -> section_up_packed::Params {
    let (width, neurons) = (224, 70);
    let stride = section_up_packed::slab_words(format, neurons, width) as u32;
    section_up_packed::Params {
        rows,
        picks: 3,
        width: width as u32,
        neurons: neurons as u32,
        stride,
        first: 1,
        per_chunk: 3,
        chunks: 2,
        c0: 3 * stride,
        c1: 2 * stride,
        c2: 1,
        c3: 1,
        tiles: 0,
        format: format.code(),
    }
}

/// A case of these params; ids are 1 to `sections`, and one past them.
fn filled(kernel: &Kernel, params: Vec<u8>, sections: usize) -> Case {
    let mut random = Random::new(5);
    let fill = |(len, b): (usize, &lichen_shaders::kernel::Binding)| match (b.kind, b.access) {
        (Kind::Real, Access::Write) => Data::Real(vec![f32::NAN; len]),
        (Kind::Real, _) => Data::Real((0..len).map(|_| (0.2 * random.normal()) as f32).collect()),
        (Kind::Index, _) if b.name.starts_with("chunk") => {
            let p = pod_read_unaligned::<section_up_packed::Params>(&params);
            let (width, neurons) = (p.width as usize, p.neurons as usize);
            let mut words = vec![0; len];
            for slab in words.chunks_exact_mut(p.stride as usize) {
                let weights: Vec<f32> = (0..2 * width * neurons).map(|_| (0.2 * random.normal()) as f32).collect();
                slab.copy_from_slice(&section_up_packed::pack_slab(p.packing(), neurons, width, &weights));
            }
            Data::Index(words)
        }
        // Ids on both sides of the window too; as a flag, anything but zero will do.
        (Kind::Index, _) => Data::Index((0..len).map(|_| 1 + random.below(sections + 1) as u32).collect()),
    };
    let before = (kernel.lengths)(&params).into_iter().zip(kernel.bindings).map(fill).collect();
    Case { name: "large".into(), params, before, gradient: false }
}

#[test]
fn fast_forms_match_the_reference() {
    // Under emulation threads only wait for each other, and how work is cut among them is tested without.
    let threads = std::env::var("LICHEN_TEST_THREADS").unwrap_or_else(|_| "1,3".into());
    let pools: Vec<Pool> = threads.split(',').map(|n| Pool::new(n.parse().expect("a number of threads"))).collect();
    let mut failures = Vec::new();
    for &kernel in lichen_shaders::ALL {
        let (mut forwards, mut backwards) = (0, 0);
        for case in (kernel.cases)(kernel).into_iter().chain(large(kernel)) {
            let checks = [
                forward_case(&pools, kernel, &case).inspect(|&ran| forwards += ran),
                backward_case(&pools, kernel, &case, false).inspect(|&ran| backwards += ran),
                backward_case(&pools, kernel, &case, true),
            ];
            let bad = checks.into_iter().filter_map(Result::err);
            failures.extend(bad.map(|e| format!("{} {}: {e}", kernel.name, case.name)));
        }
        println!("{}: {forwards} forward, {backwards} backward", kernel.name);
    }
    assert!(failures.is_empty(), "{} failures\n{}", failures.len(), failures.join("\n"));
}

/// Blocks and partial sums are cut by the params alone.
#[test]
fn convolutions_are_equal_on_any_number_of_threads() {
    let kernel = &conv2d::KERNEL;
    let case = filled(kernel, bytes_of(&MANY_WINDOWS).to_vec(), 0);
    let run = |threads| {
        let pool = Pool::new(threads);
        let mut after = case.before.clone();
        forward(kernel, false).run(&pool, &case.params, slots(&mut after, kernel, true));
        let mut setting = Setting::<f32>::new(kernel, &case, false);
        let (values, grads) = setting.parts(kernel);
        let form = backward(kernel, false).expect("it has a gradient");
        form.run(&pool, &case.params, values, grads, Fresh::default());
        (after, setting.grads)
    };
    let alone = run(1);
    assert!((2..6).all(|threads| run(threads) == alone));
}

/// Gradients that nobody wants change nothing in the others.
#[test]
fn a_convolution_s_gradients_are_independent() {
    let kernel = &conv2d::KERNEL;
    let case = filled(kernel, bytes_of(&MANY_WINDOWS).to_vec(), 0);
    let pool = Pool::new(2);
    let run = |wanted: [bool; 3]| {
        let mut setting = Setting::<f32>::new(kernel, &case, false);
        let (values, grads) = setting.parts(kernel);
        let grads = grads.into_iter().zip(wanted.into_iter().chain([true])).map(|(g, wanted)| match g {
            Grad::Read(_) if !wanted => Grad::Read(None),
            g => g,
        });
        let form = backward(kernel, false).expect("it has a gradient");
        form.run(&pool, &case.params, values, grads.collect(), Fresh::default());
        setting.grads
    };
    let (all, none) = (run([true; 3]), run([false; 3]));
    for i in 0..3 {
        assert_ne!(all[i], none[i]);
        let mut wanted = [false; 3];
        wanted[i] = true;
        let one = run(wanted);
        (0..3).for_each(|j| assert_eq!(one[j], if i == j { &all[j] } else { &none[j] }.clone()));
    }
}

#[test]
fn exp_is_accurate() {
    for i in -87_000..88_000 {
        let x = i as f32 * 1e-3;
        let (got, want) = (super::lanes::exp::<false>(x), f64::from(x).exp());
        let error = (f64::from(got) - want).abs() / want / f64::from(f32::EPSILON);
        assert!(error < 2.0, "exp({x}) = {got}, should be {want}: {error} units");
    }
    assert!(super::lanes::exp::<false>(f32::NAN).is_nan());
}
