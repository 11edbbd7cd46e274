//!use half
//!use packed
//!use packed_sections
//!use section_up_tiles
//!use sums
// Up half of the picked sections over packed weights: h[t, k, e] = relu(up_e . z_t)^2.
// z [rows, width], ids [rows, picks], chunks of slabs [up | padding | down | padding], h [rows, picks, neurons].
// main: one workgroup for four neurons of a slot, 16 invocations each. serial: one invocation for four, no barrier.
// tile, block: the same for tiles of many slots of one section, with workgroup memory and without.

struct Params {
    rows: u32,
    picks: u32,
    width: u32,
    neurons: u32,
    stride: u32,
    first: u32,
    per_chunk: u32,
    chunks: u32,
    c0: u32,
    c1: u32,
    c2: u32,
    c3: u32,
    tiles: u32,
    format: u32,
}

@group(0) @binding(0) var<storage, read> z: array<f32>;
@group(0) @binding(1) var<storage, read> ids: array<u32>;
@group(0) @binding(2) var<storage, read> chunk0: array<u32>;
@group(0) @binding(3) var<storage, read> chunk1: array<u32>;
@group(0) @binding(4) var<storage, read> chunk2: array<u32>;
@group(0) @binding(5) var<storage, read> chunk3: array<u32>;
@group(0) @binding(6) var<storage, read_write> h: array<f32>;
@group(0) @binding(7) var<uniform> p: Params;

fn z_four(at: u32) -> vec4<f32> {
    return vec4<f32>(z[at], z[at + 1u], z[at + 2u], z[at + 3u]);
}

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let quads = (p.neurons + 3u) / 4u;
    let group = wid.x + wid.y * groups.x;
    if (group >= p.rows * p.picks * quads) {
        return;
    }
    let slot = group / quads;
    let place = packed_place(ids[slot]);
    if (place.x == 4u) {
        return;
    }
    let neuron = group % quads * 4u + lane / 16u;
    let part = lane % 16u;
    let row = slot / p.picks * p.width;
    let weights = p.neurons * p.width;
    var sum = 0.0;
    if (neuron < p.neurons) {
        for (var i = part * 4u; i < p.width; i += 64u) {
            sum += dot(z_four(row + i), packed_four(place.x, place.y, weights, neuron * p.width + i));
        }
    }
    let all = sum_16(vec4<f32>(sum, 0.0, 0.0, 0.0), lane).x;
    if (part == 0u && neuron < p.neurons) {
        let firing = max(all, 0.0);
        h[slot * p.neurons + neuron] = firing * firing;
    }
}

@compute @workgroup_size(8)
fn serial(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let quads = (p.neurons + 3u) / 4u;
    let group = (wid.x + wid.y * groups.x) * 8u + lane;
    if (group >= p.rows * p.picks * quads) {
        return;
    }
    let slot = group / quads;
    let place = packed_place(ids[slot]);
    if (place.x == 4u) {
        return;
    }
    let neuron = group % quads * 4u;
    // Past the last neuron they repeat it, which reads in bounds and is not written.
    let rows = min(neuron + vec4<u32>(0u, 1u, 2u, 3u), vec4<u32>(p.neurons - 1u)) * p.width;
    let row = slot / p.picks * p.width;
    let weights = p.neurons * p.width;
    var sum = vec4<f32>(0.0);
    for (var i = 0u; i < p.width; i += 4u) {
        sum += z_four(row + i) * mat4x4<f32>(
            packed_four(place.x, place.y, weights, rows.x + i),
            packed_four(place.x, place.y, weights, rows.y + i),
            packed_four(place.x, place.y, weights, rows.z + i),
            packed_four(place.x, place.y, weights, rows.w + i),
        );
    }
    let firing = max(sum, vec4<f32>(0.0));
    let value = firing * firing;
    for (var k = 0u; k < min(4u, p.neurons - neuron); k++) {
        h[slot * p.neurons + neuron + k] = value[k];
    }
}

fn tile_place(id: u32) -> vec2<u32> {
    return packed_place(id);
}

fn tile_four(place: vec2<u32>, row: u32, i: u32) -> vec4<f32> {
    return packed_four(place.x, place.y, p.neurons * p.width, row * p.width + min(i, p.width - 4u));
}

@compute @workgroup_size(64)
fn tile(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    up_tile(wid.x + wid.y * groups.x, lane);
}

@compute @workgroup_size(8)
fn block(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    up_block((wid.x + wid.y * groups.x) * 8u + lane);
}
