//! Graphs with a plastic pool: what is kept is that of its layer, whether layers share buffers or not, and going on from
//! it is going on.

use super::*;
use crate::checkpoint::Checkpoint;
use crate::model::Model;
use crate::plastic::{self, KEYS, NEURONS, Written};
use crate::testing::{config, now};
use crate::tokenizer::Tokenizer;
use lichen_host::Cpu;
use lichen_shaders::cases::Random;
use std::sync::Arc;

#[test]
fn what_is_kept_is_that_of_its_layer() {
    let config = Config { layers: 4, turn: 12, ..config(Mixer::SlopeDelta) };
    let checkpoint = Checkpoint::random(&config, Tokenizer::bytes(), 9);
    let model = Model::new(checkpoint, Arc::new(Device::Cpu(Cpu::new(1)))).expect("model");
    let device = model.device();
    let pool = now(Plastic::new(&model, 2)).expect("pool");
    let mut random = Random::new(4);
    let mut normal = |len: usize, size: f64| (0..len).map(|_| (size * random.normal()) as f32).collect::<Vec<_>>();
    let layers = plastic::layers(&config);
    // Open for everything, so that the pool adds to the rows of each of its layers.
    let slabs = layers.clone().map(|_| normal(2 * NEURONS * 64, 0.3)).collect();
    let written = Written { phrase: None, fact: None, theta: -1.5, keys: normal(KEYS * 12, 1.0), slabs };
    pool.write(device, 0, &written).expect("write");
    let mark = |name: &str| model.tokenizer().special(name).expect("special");
    let ids = [mark("<user>"), 70, 71, mark("<lichen>"), 72, 73];
    for keep in layers.clone() {
        let run = |pool: Option<Plastic>, reuse: bool| -> (Graph, [Vec<f32>; 3]) {
            let state = StateBuffers::declare(&config, 1);
            state.reset(device).expect("reset");
            let shape = Shape { keep: Some(keep), plastic: pool, reuse, ..Shape::new(1, ids.len(), Logits::Last) };
            let graph = build(&config, model.weights(), &state, device, &shape, None).expect("graph");
            device.write(&graph.ids.view(), &ids).expect("write");
            device.run(&graph.recording, 1).expect("run");
            let kept = graph.entering.clone().expect("kept");
            let read = |view: &View| -> Vec<f32> { now(device.read(view)).expect("read") };
            let ends = [read(&kept.rows), read(&kept.normed), read(&graph.logits.view())];
            (graph, ends)
        };
        let ((graph, apart), (_, shared)) = (run(Some(pool.clone()), false), run(Some(pool.clone()), true));
        assert_eq!(apart, shared, "layer {keep}");
        assert_eq!(
            apart[..2] != run(None, false).1[..2],
            keep > layers.start,
            "layer {keep}: the pool adds from its first layer on"
        );
        // From there on again, with what had been opened.
        let state = StateBuffers::declare(&config, 1);
        state.reset(device).expect("reset");
        let shape = Shape { from: Some(keep), plastic: Some(pool.clone()), ..Shape::new(1, ids.len(), Logits::Last) };
        let again = build(&config, model.weights(), &state, device, &shape, None).expect("graph");
        let (entering, [rows, normed, logits]) = (again.entering.as_ref().expect("enters"), apart);
        device.write(&entering.rows, &rows).expect("write");
        device.write(&entering.normed, &normed).expect("write");
        let ((from_ids, from_open), (to_ids, to_open)) = (graph.opened.expect("opens"), again.opened.expect("opens"));
        device.write(&to_ids, &now(device.read::<u32>(&from_ids)).expect("read")).expect("write");
        device.write(&to_open, &now(device.read::<f32>(&from_open)).expect("read")).expect("write");
        device.run(&again.recording, 1).expect("run");
        let got: Vec<f32> = now(device.read(&again.logits.view())).expect("read");
        assert_eq!(got, logits, "layer {keep}: going on from what was kept");
    }
}
