//! Graphs with a plastic pool: rows that are kept are those of their layer, whether layers share buffers or not.

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
fn kept_rows_are_those_of_their_layer() {
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
    let written = Written { theta: -1.5, keys: normal(KEYS * 12, 1.0), slabs };
    pool.write(device, 0, &written).expect("write");
    let mark = |name: &str| model.tokenizer().special(name).expect("special");
    let ids = [mark("<user>"), 70, 71, mark("<lichen>"), 72, 73];
    for keep in layers.start..=config.layers {
        let kept = |pool: Option<Plastic>, reuse: bool| -> Vec<f32> {
            let state = StateBuffers::declare(&config, 1);
            state.reset(device).expect("reset");
            let shape = Shape { keep: Some(keep), plastic: pool, reuse, ..Shape::new(1, ids.len(), Logits::Last) };
            let graph = build(&config, model.weights(), &state, device, &shape, None).expect("graph");
            device.write(&graph.ids.view(), &ids).expect("write");
            device.run(&graph.recording, 1).expect("run");
            now(device.read(graph.entering.as_ref().expect("kept"))).expect("read")
        };
        let (apart, shared) = (kept(Some(pool.clone()), false), kept(Some(pool.clone()), true));
        assert_eq!(apart, shared, "layer {keep}");
        assert_eq!(
            apart != kept(None, false),
            keep > layers.start,
            "layer {keep}: the pool adds from its first layer on"
        );
    }
}
