//!use sections
//!use section_up_tiles
//!use sums
// Up half of the picked sections: h[t, k, e] = relu(up_e . z_t)^2.
// z [rows, width], ids [rows, picks], chunks of slabs [up | down | padding], h [rows, picks, neurons].
// main: one workgroup for four neurons of a slot. serial: one invocation for the same, no barrier.
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
}

@group(0) @binding(0) var<storage, read> z: array<f32>;
@group(0) @binding(1) var<storage, read> ids: array<u32>;
@group(0) @binding(2) var<storage, read> chunk0: array<f32>;
@group(0) @binding(3) var<storage, read> chunk1: array<f32>;
@group(0) @binding(4) var<storage, read> chunk2: array<f32>;
@group(0) @binding(5) var<storage, read> chunk3: array<f32>;
@group(0) @binding(6) var<storage, read_write> h: array<f32>;
@group(0) @binding(7) var<uniform> p: Params;

// Four neurons from `neuron` on; past the last they repeat it, which reads in bounds and is not written.
fn up_rows(neuron: u32) -> vec4<u32> {
    return min(neuron + vec4<u32>(0u, 1u, 2u, 3u), vec4<u32>(p.neurons - 1u)) * p.width;
}

fn write_four(slot: u32, neuron: u32, dot: vec4<f32>) {
    let firing = max(dot, vec4<f32>(0.0));
    let value = firing * firing;
    for (var k = 0u; k < min(4u, p.neurons - neuron); k++) {
        h[slot * p.neurons + neuron + k] = value[k];
    }
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
    let neuron = group % quads * 4u;
    let place = section_place(ids[slot]);
    if (place.x == 4u) {
        return;
    }
    let rows = up_rows(neuron);
    let row = slot / p.picks * p.width;
    var sum = vec4<f32>(0.0);
    for (var i = lane; i < p.width; i += 64u) {
        sum += z[row + i] * section_four(place.x, place.y + i, rows);
    }
    let all = sum_64(sum, lane);
    if (lane == 0u) {
        write_four(slot, neuron, all);
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
    let neuron = group % quads * 4u;
    let place = section_place(ids[slot]);
    if (place.x == 4u) {
        return;
    }
    let rows = up_rows(neuron);
    let row = slot / p.picks * p.width;
    var sum = vec4<f32>(0.0);
    for (var i = 0u; i < p.width; i++) {
        sum += z[row + i] * section_four(place.x, place.y + i, rows);
    }
    write_four(slot, neuron, sum);
}

fn tile_place(id: u32) -> vec2<u32> {
    return section_place(id);
}

fn tile_four(place: vec2<u32>, row: u32, i: u32) -> vec4<f32> {
    return section_four(place.x, place.y + row * p.width, min(i + vec4<u32>(0u, 1u, 2u, 3u), vec4<u32>(p.width - 1u)));
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
