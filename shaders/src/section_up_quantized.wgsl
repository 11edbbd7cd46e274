//!use half
//!use integers
//!use packed_sections
// Up half of the picked sections, weights in 8 or 4 bits and tokens in 8: h[t, k, e] = relu(up_e . z_t)^2.
// z [rows, width / 4 + width / 32] words, ids [rows, picks], chunks of slabs [up | padding | down | padding], h [rows,
// picks, neurons].
// main: one workgroup for eight neurons of a slot, 8 invocations each. serial: one invocation for four, no barrier.

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
    format: u32,
}

@group(0) @binding(0) var<storage, read> z: array<u32>;
@group(0) @binding(1) var<storage, read> ids: array<u32>;
@group(0) @binding(2) var<storage, read> chunk0: array<u32>;
@group(0) @binding(3) var<storage, read> chunk1: array<u32>;
@group(0) @binding(4) var<storage, read> chunk2: array<u32>;
@group(0) @binding(5) var<storage, read> chunk3: array<u32>;
@group(0) @binding(6) var<storage, read_write> h: array<f32>;
@group(0) @binding(7) var<uniform> p: Params;

var<workgroup> partial: array<f32, 64>;

fn x_word(at: u32) -> u32 {
    return z[at];
}

// A block of a neuron's row times the same block of the token whose words start at `row`.
fn product(place: vec2<u32>, neuron: u32, block: u32, row: u32) -> f32 {
    let of_all = neuron * (p.width / 32u) + block;
    return dot_block(place.x, place.y, p.neurons * p.width, of_all, row + block * 8u)
        * bitcast<f32>(z[row + p.width / 4u + block]);
}

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let eights = (p.neurons + 7u) / 8u;
    let group = wid.x + wid.y * groups.x;
    if (group >= p.rows * p.picks * eights) {
        return;
    }
    let slot = group / eights;
    let place = packed_place(ids[slot]);
    if (place.x == 4u) {
        return;
    }
    let neuron = group % eights * 8u + lane / 8u;
    let part = lane % 8u;
    let row = slot / p.picks * (p.width / 32u * 9u);
    var sum = 0.0;
    if (neuron < p.neurons) {
        for (var block = part; block < p.width / 32u; block += 8u) {
            sum += product(place, neuron, block, row);
        }
    }
    partial[lane] = sum;
    workgroupBarrier();
    for (var step = 4u; step > 0u; step /= 2u) {
        if (part < step) {
            partial[lane] += partial[lane + step];
        }
        workgroupBarrier();
    }
    if (part == 0u && neuron < p.neurons) {
        let firing = max(partial[lane], 0.0);
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
    let rows = min(neuron + vec4<u32>(0u, 1u, 2u, 3u), vec4<u32>(p.neurons - 1u));
    let row = slot / p.picks * (p.width / 32u * 9u);
    var sum = vec4<f32>(0.0);
    for (var block = 0u; block < p.width / 32u; block++) {
        sum += vec4<f32>(
            product(place, rows.x, block, row),
            product(place, rows.y, block, row),
            product(place, rows.z, block, row),
            product(place, rows.w, block, row),
        );
    }
    let firing = max(sum, vec4<f32>(0.0));
    let value = firing * firing;
    for (var k = 0u; k < min(4u, p.neurons - neuron); k++) {
        h[slot * p.neurons + neuron + k] = value[k];
    }
}
