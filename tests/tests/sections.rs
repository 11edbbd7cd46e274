//! Sections, the router and sampling: cutting the weights into chunks and windows changes nothing, the layer is the
//! sum that it stands for, and tokens are drawn as often as they should be.

use lichen_shaders::cases::{Data, Random};
use lichen_shaders::kernel::{Grad, Kernel, Slot};
use lichen_shaders::sample::setting;
use lichen_shaders::{NONE, bytemuck, router, router_gate, sample, section_down, section_sum, section_up};
use lichen_tests::{close, normals, real, run};

const ROWS: usize = 6;
const PICKS: usize = 4;
const WIDTH: usize = 7;
const NEURONS: usize = 5;
const STRIDE: usize = 128;
const SECTIONS: usize = 13;

fn params(first: usize, per_chunk: usize, held: [usize; 4]) -> section_up::Params {
    let c = held.map(|n| (n * STRIDE).max(1) as u32);
    section_up::Params {
        rows: ROWS as u32,
        picks: PICKS as u32,
        width: WIDTH as u32,
        neurons: NEURONS as u32,
        stride: STRIDE as u32,
        first: first as u32,
        per_chunk: per_chunk as u32,
        chunks: held.iter().filter(|&&n| n > 0).count() as u32,
        c0: c[0],
        c1: c[1],
        c2: c[2],
        c3: c[3],
        tiles: 0,
    }
}

/// Windows of up to four chunks that together hold all sections.
fn windows(per_chunk: usize, chunks: usize) -> Vec<section_up::Params> {
    let window = |first: usize| {
        let held = |c: usize| SECTIONS.saturating_sub(first + c * per_chunk).min(per_chunk);
        params(first, per_chunk, [0, 1, 2, 3].map(|c| if c < chunks { held(c) } else { 0 }))
    };
    (0..SECTIONS).step_by(per_chunk * chunks).map(window).collect()
}

fn chunk_data(p: &section_up::Params, slabs: &[f32]) -> [Data<f32>; 4] {
    let mut at = p.first as usize * STRIDE;
    [p.c0, p.c1, p.c2, p.c3].map(|n| {
        let piece = if (n as usize) < STRIDE { vec![9.0] } else { slabs[at..][..n as usize].to_vec() };
        at += piece.len();
        Data::Real(piece)
    })
}

/// ids with distinct sections in each row and an empty slot here and there.
fn ids(random: &mut Random) -> Vec<u32> {
    let mut ids = Vec::new();
    for row in 0..ROWS {
        let mut picked: Vec<u32> = Vec::new();
        while picked.len() < PICKS {
            let id = random.below(SECTIONS) as u32;
            if !picked.contains(&id) {
                picked.push(id);
            }
        }
        picked.sort_unstable();
        if row % 3 == 1 {
            picked[PICKS - 1] = NONE;
        }
        ids.extend(picked);
    }
    ids
}

fn singles(random: &mut Random, n: usize) -> Vec<f32> {
    (0..n).map(|_| random.normal() as f32).collect()
}

/// Runs all windows in turn over one output and its gradients; gives the output, the input's gradient and the slabs'.
fn through(
    kernel: &Kernel,
    windows: &[section_up::Params],
    x: &[f32],
    ids: &[u32],
    slabs: &[f32],
    dy: &[f32],
) -> [Vec<f32>; 3] {
    let mut y = Data::Real(vec![f32::NAN; dy.len()]);
    for p in windows {
        let [c0, c1, c2, c3] = chunk_data(p, slabs);
        let before = [Data::Real(x.to_vec()), Data::Index(ids.to_vec()), c0, c1, c2, c3, y];
        y = run(kernel, kernel.reference, bytemuck::bytes_of(p), &before).remove(6);
    }
    let Data::Real(y) = y else { unreachable!("y is real") };
    let (mut dx, mut dslabs) = (vec![0.0; x.len()], Vec::new());
    let (backward, _) = kernel.backward.expect("sections learn");
    for p in windows {
        let chunks = chunk_data(p, slabs);
        let mut dchunks: Vec<Vec<f32>> = chunks.iter().map(|c| vec![0.0; c.len()]).collect();
        let mut values = vec![Slot::Real(x), Slot::Index(ids)];
        values.extend(chunks.iter().map(|c| match c {
            Data::Real(c) => Slot::Real(c.as_slice()),
            Data::Index(_) => unreachable!("chunks are real"),
        }));
        values.push(Slot::Real(&y));
        let mut grads = vec![Grad::Read(Some(dx.as_mut_slice())), Grad::None];
        grads.extend(dchunks.iter_mut().map(|d| Grad::Read(Some(d.as_mut_slice()))));
        grads.push(Grad::Write(dy));
        backward(bytemuck::bytes_of(p), values, grads);
        dslabs.extend(dchunks.into_iter().filter(|d| d.len() >= STRIDE).flatten());
    }
    [y, dx, dslabs]
}

#[test]
fn chunks_and_windows_change_nothing() {
    let mut random = Random::new(11);
    let (ids, slabs) = (ids(&mut random), singles(&mut random, SECTIONS * STRIDE));
    let (z, dh) = (singles(&mut random, ROWS * WIDTH), singles(&mut random, ROWS * PICKS * NEURONS));
    let (h, dslots) = (singles(&mut random, ROWS * PICKS * NEURONS), singles(&mut random, ROWS * PICKS * WIDTH));
    let h: Vec<f32> = h.iter().map(|v| v.max(0.0)).collect();
    for (kernel, x, dy) in [(&section_up::KERNEL, &z, &dh), (&section_down::KERNEL, &h, &dslots)] {
        let [y, dx, dslabs] = through(kernel, &windows(SECTIONS, 1), x, &ids, &slabs, dy);
        let empty = ids.iter().filter(|&&id| id == NONE).count();
        assert_eq!(
            y.iter().filter(|v| v.is_nan()).count(),
            empty * dy.len() / ids.len(),
            "only empty slots stay unwritten"
        );
        assert!(dslabs.len() == slabs.len() && dslabs.iter().any(|&v| v != 0.0) && dx.iter().any(|&v| v != 0.0));
        for (per_chunk, chunks) in [(4, 4), (2, 4), (3, 2), (1, 4), (1, 1), (5, 3)] {
            let cut = windows(per_chunk, chunks);
            let what = format!("{} in {} windows of {chunks} chunks of {per_chunk}", kernel.name, cut.len());
            let [cut_y, cut_dx, cut_dslabs] = through(kernel, &cut, x, &ids, &slabs, dy);
            let bits = |x: &[f32]| x.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
            assert_eq!(bits(&cut_y), bits(&y), "{what}");
            assert_eq!(bits(&cut_dslabs), bits(&dslabs), "{what}: the slabs' gradient");
            // The input's gradient is a sum over windows, in another order.
            let far = cut_dx.iter().zip(&dx).any(|(a, b)| (a - b).abs() > 1e-5 * (1.0 + b.abs()));
            assert!(!far, "{what}: {cut_dx:?} is not {dx:?}");
        }
    }
}

/// Router, gates, sections and sum together are `y = x + E_0(z) + rho sum_s g_s E_s(z)`, written plainly.
#[test]
fn the_layer_is_its_formula() {
    // Section 0 is shared; the router scores the others, so that its row 0 is section 1.
    const ROUTED: usize = SECTIONS - 1;
    let (always, picks, space, scale) = (1, 3, 6, 2.5_f32);
    let mut random = Random::new(12);
    let (x, z) = (normals(&mut random, ROWS * WIDTH), normals(&mut random, ROWS * WIDTH));
    let (p, r) = (normals(&mut random, ROWS * space), normals(&mut random, ROUTED * space));
    let bias: Vec<f64> = normals(&mut random, ROUTED).iter().map(|b| b * 0.1).collect();
    let slabs: Vec<f64> = singles(&mut random, SECTIONS * STRIDE).into_iter().map(f64::from).collect();
    let whole = params(0, SECTIONS, [SECTIONS, 0, 0, 0]);
    let data = |x: &[f64]| Data::Real(x.to_vec());
    let empty = |n: usize| Data::Real(vec![f64::NAN; n]);
    let slots = ROWS * PICKS;

    // a = R p.
    let products: Vec<f64> = (0..ROWS * ROUTED)
        .map(|i| (0..space).map(|j| p[i / ROUTED * space + j] * r[i % ROUTED * space + j]).sum())
        .collect();
    let router_params = router::Params { rows: ROWS as u32, sections: ROUTED as u32, picks, always };
    let before = [data(&products), data(&bias), empty(ROWS * ROUTED), Data::Index(vec![0; slots])];
    let ids = run(&router::KERNEL, router::KERNEL.truth, bytemuck::bytes_of(&router_params), &before).remove(3);
    let gate_params = router_gate::Params { rows: ROWS as u32, sections: ROUTED as u32, picks, always, scale };
    let before = [data(&products), ids.clone(), empty(slots)];
    let gates =
        run(&router_gate::KERNEL, router_gate::KERNEL.truth, bytemuck::bytes_of(&gate_params), &before).remove(2);
    let unused = || Data::Real(vec![0.0]);
    let before = [data(&z), ids.clone(), data(&slabs), unused(), unused(), unused(), empty(slots * NEURONS)];
    let h = run(&section_up::KERNEL, section_up::KERNEL.truth, bytemuck::bytes_of(&whole), &before).remove(6);
    let before = [h, ids.clone(), data(&slabs), unused(), unused(), unused(), empty(slots * WIDTH)];
    let out = run(&section_down::KERNEL, section_down::KERNEL.truth, bytemuck::bytes_of(&whole), &before).remove(6);
    let sum = section_sum::Params { rows: ROWS as u32, picks: PICKS as u32, width: WIDTH as u32 };
    let before = [data(&x), out, ids.clone(), gates, empty(ROWS * WIDTH)];
    let y = run(&section_sum::KERNEL, section_sum::KERNEL.truth, bytemuck::bytes_of(&sum), &before).remove(4);

    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
    let mut want = x.clone();
    for row in 0..ROWS {
        let z = &z[row * WIDTH..][..WIDTH];
        let score = |s: usize| sigmoid(dot(&p[row * space..][..space], &r[(s - 1) * space..][..space]));
        let mut order: Vec<usize> = (1..SECTIONS).collect();
        order.sort_by(|&a, &b| (score(b) + bias[b - 1]).total_cmp(&(score(a) + bias[a - 1])).then(a.cmp(&b)));
        order.truncate(picks as usize);
        let mut chosen = vec![0];
        chosen.extend(&order);
        chosen.sort_unstable();
        let Data::Index(ids) = &ids else { unreachable!("ids are ids") };
        assert_eq!(ids[row * PICKS..][..PICKS], chosen.iter().map(|&s| s as u32).collect::<Vec<_>>());
        for s in chosen {
            let gate = if s == 0 { 1.0 } else { f64::from(scale) * score(s) };
            let slab = &slabs[s * STRIDE..];
            for e in 0..NEURONS {
                let active = dot(&slab[e * WIDTH..][..WIDTH], z).max(0.0).powi(2);
                for i in 0..WIDTH {
                    want[row * WIDTH + i] += gate * active * slab[(NEURONS + e) * WIDTH + i];
                }
            }
        }
    }
    close("y", real(&y), &want);
}

/// A run of the sampler: temperature, top k, top p, and the token drawn at each of `n` positions, one seed.
fn draws(logits: &[f32], temperature: f32, top_k: u32, top_p: f32, n: u32) -> Vec<u32> {
    let p = sample::Params { vocab: logits.len() as u32, capacity: n, grammar: 1 };
    let mut settings = vec![0; setting::LEN];
    settings[setting::BIAS_ID] = NONE;
    settings[..8].copy_from_slice(&[temperature.to_bits(), top_k, top_p.to_bits(), 1.0_f32.to_bits(), 77, 0, 0, 0]);
    let mut data = vec![
        Data::Real(logits.to_vec()),
        Data::Index(settings),
        Data::Index(vec![0]),
        Data::Index(vec![1, 0, 0, 0]),
        Data::Index(vec![0; 256]),
        Data::Index(vec![0]),
        Data::Index(vec![0; n as usize]),
    ];
    for _ in 0..n {
        data = run(&sample::KERNEL, sample::KERNEL.reference, bytemuck::bytes_of(&p), &data);
    }
    assert_eq!(data[3], Data::Index(vec![1, n, n, 0]));
    match data.remove(6) {
        Data::Index(out) => out,
        Data::Real(_) => unreachable!("tokens are ids"),
    }
}

#[test]
fn tokens_are_drawn_by_their_probability() {
    let logits = [0.3_f32, -1.0, 2.0, 0.0, 1.1, f32::NEG_INFINITY, -0.4, f32::NAN];
    let n = 20_000;
    for temperature in [0.5_f32, 1.0, 3.0] {
        let weights: Vec<f64> = logits
            .iter()
            .map(|l| f64::from(if l.is_nan() { f32::NEG_INFINITY } else { *l }))
            .map(|l| (l / f64::from(temperature)).exp())
            .collect();
        let total: f64 = weights.iter().sum();
        let mut counts = [0.0; 8];
        draws(&logits, temperature, 0, 1.0, n).into_iter().for_each(|id| counts[id as usize] += 1.0);
        assert!(counts[5] == 0.0 && counts[7] == 0.0, "what has no weight is never drawn: {counts:?}");
        let expected = weights.iter().map(|w| w / total * f64::from(n));
        let chi: f64 = counts.iter().zip(expected).filter(|(_, e)| *e > 0.0).map(|(c, e)| (c - e).powi(2) / e).sum();
        // Five degrees of freedom: 20.5 is passed by one in a thousand; the seed is fixed.
        assert!(chi < 20.5, "temperature {temperature}: chi square {chi}, {counts:?}");
    }
}

#[test]
fn limits_of_sampling_hold() {
    let logits = [0.3_f32, -1.0, 2.0, 0.0, 1.1, 2.0, -0.4];
    let only = |drawn: Vec<u32>, allowed: &[u32]| {
        assert!(drawn.iter().all(|id| allowed.contains(id)), "{drawn:?} has more than {allowed:?}");
        assert!(allowed.iter().all(|id| drawn.contains(id)), "{drawn:?} lacks some of {allowed:?}");
    };
    only(draws(&logits, 0.0, 0, 1.0, 50), &[2]);
    only(draws(&logits, 5.0, 1, 1.0, 50), &[2]);
    only(draws(&logits, 5.0, 0, 0.0, 50), &[2]);
    only(draws(&logits, 5.0, 2, 1.0, 500), &[2, 5]);
    only(draws(&logits, 5.0, 3, 1.0, 500), &[2, 4, 5]);
    // At temperature 1 the best two have 0.33 of the weight each: 0.6 needs both, 0.7 the third as well.
    only(draws(&logits, 1.0, 0, 0.6, 500), &[2, 5]);
    only(draws(&logits, 1.0, 0, 0.7, 500), &[2, 4, 5]);
}

#[test]
fn a_grammar_decides_what_is_drawn() {
    // Six tokens of classes 0, 1, 1, 2, 2, 2; state 0 lets class 0 and 1 come, state 1 only class 2, state 2 nothing.
    let (no, vocab) = (sample::FORBIDDEN, 6);
    let grammar = vec![3, 3, vocab, 0, 1, 1, 2, 2, 2, 0, 1, no, no, no, 0, no, no, no];
    let p = sample::Params { vocab, capacity: 1, grammar: grammar.len() as u32 };
    let step = |logits: &[f32], temperature: f32, state: u32, live: u32, seed: u32| {
        let mut settings = vec![0; setting::LEN];
        settings[..8].copy_from_slice(&[temperature.to_bits(), 0, 1f32.to_bits(), 1f32.to_bits(), seed, 0, 0, 0]);
        settings[setting::BIAS_ID] = NONE;
        let index = |ids: &[u32]| Data::Index(ids.to_vec());
        let data = [
            Data::Real(logits.to_vec()),
            Data::Index(settings),
            Data::Index(grammar.clone()),
            index(&[live, 0, 0, state]),
            index(&[0; 256]),
            index(&[9]),
            index(&[9]),
        ];
        let after = run(&sample::KERNEL, sample::KERNEL.reference, bytemuck::bytes_of(&p), &data);
        match (&after[3], &after[5]) {
            (Data::Index(control), Data::Index(token)) => (token[0], control[3]),
            other => panic!("{other:?}"),
        }
    };
    let logits = [1.0, 0.5, 2.0, 8.0, 3.0, f32::NEG_INFINITY];
    // The best is forbidden; the best of what is allowed moves the state, and in the next one others are allowed.
    assert_eq!(step(&logits, 0.0, 0, 1, 0), (2, 1));
    assert_eq!(step(&logits, 0.0, 1, 1, 0), (3, 0));
    // A state that allows none and states outside of the table hold nobody up and stay.
    assert_eq!([2, 3, no].map(|state| step(&logits, 0.0, state, 1, 0)), [(3, 2), (3, 3), (3, no)]);
    // What is frozen stays as it is.
    assert_eq!(step(&logits, 0.0, 0, 0, 0), (9, 0));
    let drawn: Vec<_> = (0..300).map(|seed| step(&logits, 4.0, 0, 1, seed)).collect();
    assert!(drawn.iter().all(|(id, state)| *id < 3 && *state == u32::from(*id > 0)), "{drawn:?}");
    assert!((0..3).all(|id| drawn.iter().any(|(drawn, _)| *drawn == id)));
    // Even where everything allowed is impossible by its logit.
    let hopeless = [f32::NEG_INFINITY, f32::NAN, f32::NEG_INFINITY, 8.0, 3.0, 1.0];
    assert!((0..100).all(|seed| step(&hopeless, 1.0, 0, 1, seed).0 < 3));
}
