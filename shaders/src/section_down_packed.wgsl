//!use half
//!use packed
//!use packed_sections
//!use section_down_tiles
// Down half of the picked sections over packed weights: slots[t, k] = sum over e of h[t, k, e] * down_e, suppressed
// features skipped. h [rows, picks, neurons], ids [rows, picks], chunks of slabs [up | padding | down | padding],
// slots [rows, picks, width]; 4 divides the width.
// main: one workgroup for 64 columns of a slot, four to an invocation, its sixteenths share the neurons.
// serial: one invocation for four columns of a slot, no barrier.
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

@group(0) @binding(0) var<storage, read> h: array<f32>;
@group(0) @binding(1) var<storage, read> ids: array<u32>;
@group(0) @binding(2) var<storage, read> chunk0: array<u32>;
@group(0) @binding(3) var<storage, read> chunk1: array<u32>;
@group(0) @binding(4) var<storage, read> chunk2: array<u32>;
@group(0) @binding(5) var<storage, read> chunk3: array<u32>;
@group(0) @binding(6) var<storage, read_write> slots: array<f32>;
@group(0) @binding(7) var<uniform> p: Params;

var<workgroup> partial: array<vec4<f32>, 256>;

fn write_four(at: u32, value: vec4<f32>) {
    for (var k = 0u; k < 4u; k++) {
        slots[at + k] = value[k];
    }
}

@compute @workgroup_size(256)
fn main(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let blocks = (p.width + 63u) / 64u;
    let group = wid.x + wid.y * groups.x;
    if (group >= p.rows * p.picks * blocks) {
        return;
    }
    let slot = group / blocks;
    let place = packed_place(ids[slot]);
    if (place.x == 4u) {
        return;
    }
    let column = group % blocks * 64u + lane % 16u * 4u;
    let down = place.y + half_slab();
    let weights = p.neurons * p.width;
    var sum = vec4<f32>(0.0);
    if (column < p.width) {
        for (var e = lane / 16u; e < p.neurons; e += 16u) {
            let firing = h[slot * p.neurons + e];
            if (firing != 0.0) {
                sum += firing * packed_four(place.x, down, weights, e * p.width + column);
            }
        }
    }
    partial[lane] = sum;
    workgroupBarrier();
    for (var step = 128u; step > 8u; step /= 2u) {
        if (lane < step) {
            partial[lane] += partial[lane + step];
        }
        workgroupBarrier();
    }
    if (lane < 16u && column < p.width) {
        write_four(slot * p.width + column, partial[lane]);
    }
}

@compute @workgroup_size(8)
fn serial(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let quads = p.width / 4u;
    let group = (wid.x + wid.y * groups.x) * 8u + lane;
    if (group >= p.rows * p.picks * quads) {
        return;
    }
    let slot = group / quads;
    let place = packed_place(ids[slot]);
    if (place.x == 4u) {
        return;
    }
    let column = group % quads * 4u;
    let down = place.y + half_slab();
    let weights = p.neurons * p.width;
    var sum = vec4<f32>(0.0);
    for (var e = 0u; e < p.neurons; e++) {
        let firing = h[slot * p.neurons + e];
        if (firing != 0.0) {
            sum += firing * packed_four(place.x, down, weights, e * p.width + column);
        }
    }
    write_four(slot * p.width + column, sum);
}

fn tile_place(id: u32) -> vec2<u32> {
    let place = packed_place(id);
    return vec2<u32>(place.x, place.y + half_slab());
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
    down_tile(wid.x + wid.y * groups.x, lane);
}

@compute @workgroup_size(8)
fn block(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    down_block((wid.x + wid.y * groups.x) * 8u + lane);
}
