//!use half
//!use integers
//!use packed_sections
//!use sums
// Up half of the picked sections, weights in 8 or 4 bits and tokens in 8: h[t, k, e] = relu(up_e . z_t)^2.
// z [rows, width / 4 + width / 32] words, ids [rows, picks], chunks of slabs [up | padding | down | padding], h [rows,
// picks, neurons].
// main: one workgroup for eight neurons of a slot, 8 invocations each. serial: one invocation for four, no barrier.
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

@group(0) @binding(0) var<storage, read> z: array<u32>;
@group(0) @binding(1) var<storage, read> ids: array<u32>;
@group(0) @binding(2) var<storage, read> chunk0: array<u32>;
@group(0) @binding(3) var<storage, read> chunk1: array<u32>;
@group(0) @binding(4) var<storage, read> chunk2: array<u32>;
@group(0) @binding(5) var<storage, read> chunk3: array<u32>;
@group(0) @binding(6) var<storage, read_write> h: array<f32>;
@group(0) @binding(7) var<uniform> p: Params;

fn x_word(at: u32) -> u32 {
    return z[at];
}

// A block of a neuron's row times the same block of the token whose words start at `row`.
fn product(place: vec2<u32>, neuron: u32, block: u32, row: u32) -> f32 {
    let of_all = neuron * (p.width / 32u) + block;
    return dot_block(place.x, place.y, p.neurons * p.width, of_all, row + block * 8u)
        * z_scale(row, block);
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
    let row = z_row(slot);
    var sum = 0.0;
    if (neuron < p.neurons) {
        for (var block = part; block < p.width / 32u; block += 8u) {
            sum += product(place, neuron, block, row);
        }
    }
    let all = sum_8(vec4<f32>(sum, 0.0, 0.0, 0.0), lane).x;
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
    let rows = min(neuron + vec4<u32>(0u, 1u, 2u, 3u), vec4<u32>(p.neurons - 1u));
    let row = z_row(slot);
    var sum = vec4<f32>(0.0);
    for (var k = 0u; k < 4u; k++) {
        for (var block = 0u; block < p.width / 32u; block++) {
            sum[k] += product(place, rows[k], block, row);
        }
    }
    let firing = max(sum, vec4<f32>(0.0));
    let value = firing * firing;
    for (var k = 0u; k < min(4u, p.neurons - neuron); k++) {
        h[slot * p.neurons + neuron + k] = value[k];
    }
}

// First word of the row of z that a slot takes.
fn z_row(slot: u32) -> u32 {
    return slot / p.picks * (p.width / 32u * 9u);
}

fn z_scale(row: u32, block: u32) -> f32 {
    return bitcast<f32>(z[row + p.width / 4u + block]);
}

fn dots(a: u32, b: vec4<u32>) -> vec4<i32> {
    return vec4<i32>(dot4I8Packed(a, b.x), dot4I8Packed(a, b.y), dot4I8Packed(a, b.z), dot4I8Packed(a, b.w));
}

fn write(slot: u32, neuron: u32, dot: f32) {
    if (slot != NOTHING && neuron < p.neurons) {
        let firing = max(dot, 0.0);
        h[slot * p.neurons + neuron] = firing * firing;
    }
}

// A tile is 16 slots of one section in the lists behind the ids.
const TILE = 16u;
const NOTHING = 0xFFFFFFFFu;

var<workgroup> tile_z: array<u32, 128>;
var<workgroup> tile_up: array<u32, 512>;
var<workgroup> scale_z: array<f32, 16>;
var<workgroup> scale_up: array<f32, 64>;

// 64 invocations: 16 slots by 64 neurons, a block of 32 inputs at a time, words slowest. An invocation keeps 4 by 4
// sums, of neurons that are 16 apart.
@compute @workgroup_size(64)
fn tile(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let group = wid.x + wid.y * groups.x;
    let across = (p.neurons + 63u) / 64u;
    if (group / across >= p.tiles) {
        return;
    }
    let list = p.rows * p.picks + group / across * TILE;
    if (ids[list] == NOTHING) {
        return;
    }
    let place = packed_place(ids[ids[list]]);
    if (place.x == 4u) {
        return;
    }
    let first = group % across * 64u;
    let weights = p.neurons * p.width;
    // Loading: an invocation takes two words of a slot and eight of one neuron.
    let listed = ids[list + lane % 16u];
    let source = z_row(select(listed, ids[list], listed == NOTHING));
    let row = min(first + lane, p.neurons - 1u);
    // Computing: 4 by 16 invocations.
    let slots = lane / 16u * 4u;
    let neuron = lane % 16u;
    var s0 = vec4<f32>();
    var s1 = vec4<f32>();
    var s2 = vec4<f32>();
    var s3 = vec4<f32>();
    for (var block = 0u; block < p.width / 32u; block++) {
        for (var i = lane / 16u; i < 8u; i += 4u) {
            tile_z[i * 16u + lane % 16u] = z[source + block * 8u + i];
        }
        if (lane < 16u) {
            scale_z[lane] = z_scale(source, block);
        }
        for (var i = 0u; i < 8u; i++) {
            tile_up[i * 64u + lane] = bytes_four(place.x, place.y, row * p.width + block * 32u + i * 4u);
        }
        scale_up[lane] = block_scale(place.x, place.y, weights, row * (p.width / 32u) + block);
        workgroupBarrier();
        var d0 = vec4<i32>();
        var d1 = vec4<i32>();
        var d2 = vec4<i32>();
        var d3 = vec4<i32>();
        for (var i = 0u; i < 8u; i++) {
            let w = i * 64u + neuron;
            let four = vec4<u32>(tile_up[w], tile_up[w + 16u], tile_up[w + 32u], tile_up[w + 48u]);
            let v = i * 16u + slots;
            d0 += dots(tile_z[v], four);
            d1 += dots(tile_z[v + 1u], four);
            d2 += dots(tile_z[v + 2u], four);
            d3 += dots(tile_z[v + 3u], four);
        }
        let scales =
            vec4<f32>(scale_up[neuron], scale_up[neuron + 16u], scale_up[neuron + 32u], scale_up[neuron + 48u]);
        s0 += scale_z[slots] * scales * vec4<f32>(d0);
        s1 += scale_z[slots + 1u] * scales * vec4<f32>(d1);
        s2 += scale_z[slots + 2u] * scales * vec4<f32>(d2);
        s3 += scale_z[slots + 3u] * scales * vec4<f32>(d3);
        workgroupBarrier();
    }
    for (var n = 0u; n < 4u; n++) {
        let out = first + neuron + n * 16u;
        write(ids[list + slots], out, s0[n]);
        write(ids[list + slots + 1u], out, s1[n]);
        write(ids[list + slots + 2u], out, s2[n]);
        write(ids[list + slots + 3u], out, s3[n]);
    }
}

// One invocation, no barrier: half a tile's slots by 4 neurons.
@compute @workgroup_size(8)
fn block(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let unit = (wid.x + wid.y * groups.x) * 8u + lane;
    let across = (p.neurons + 3u) / 4u;
    let list = p.rows * p.picks + unit / across * 8u;
    if (unit / across >= p.tiles * 2u || ids[list] == NOTHING) {
        return;
    }
    let place = packed_place(ids[ids[list]]);
    if (place.x == 4u) {
        return;
    }
    let first = unit % across * 4u;
    let weights = p.neurons * p.width;
    let blocks = p.width / 32u;
    let neurons = min(first + vec4<u32>(0u, 1u, 2u, 3u), vec4<u32>(p.neurons - 1u));
    // No slot: the first one again, whose sums are then dropped.
    let t0 = ids[list];
    let t = vec4<u32>(ids[list], ids[list + 1u], ids[list + 2u], ids[list + 3u]);
    let u = vec4<u32>(ids[list + 4u], ids[list + 5u], ids[list + 6u], ids[list + 7u]);
    let r = select(t, vec4<u32>(t0), t == vec4<u32>(NOTHING)) / p.picks * (blocks * 9u);
    let q = select(u, vec4<u32>(t0), u == vec4<u32>(NOTHING)) / p.picks * (blocks * 9u);
    var s0 = vec4<f32>();
    var s1 = vec4<f32>();
    var s2 = vec4<f32>();
    var s3 = vec4<f32>();
    var s4 = vec4<f32>();
    var s5 = vec4<f32>();
    var s6 = vec4<f32>();
    var s7 = vec4<f32>();
    for (var block = 0u; block < blocks; block++) {
        var d0 = vec4<i32>();
        var d1 = vec4<i32>();
        var d2 = vec4<i32>();
        var d3 = vec4<i32>();
        var d4 = vec4<i32>();
        var d5 = vec4<i32>();
        var d6 = vec4<i32>();
        var d7 = vec4<i32>();
        for (var i = 0u; i < 8u; i++) {
            let at = neurons * p.width + block * 32u + i * 4u;
            let four = vec4<u32>(
                bytes_four(place.x, place.y, at.x),
                bytes_four(place.x, place.y, at.y),
                bytes_four(place.x, place.y, at.z),
                bytes_four(place.x, place.y, at.w),
            );
            let word = block * 8u + i;
            d0 += dots(z[r.x + word], four);
            d1 += dots(z[r.y + word], four);
            d2 += dots(z[r.z + word], four);
            d3 += dots(z[r.w + word], four);
            d4 += dots(z[q.x + word], four);
            d5 += dots(z[q.y + word], four);
            d6 += dots(z[q.z + word], four);
            d7 += dots(z[q.w + word], four);
        }
        let each = neurons * blocks + block;
        let scales = vec4<f32>(
            block_scale(place.x, place.y, weights, each.x),
            block_scale(place.x, place.y, weights, each.y),
            block_scale(place.x, place.y, weights, each.z),
            block_scale(place.x, place.y, weights, each.w),
        );
        s0 += z_scale(r.x, block) * scales * vec4<f32>(d0);
        s1 += z_scale(r.y, block) * scales * vec4<f32>(d1);
        s2 += z_scale(r.z, block) * scales * vec4<f32>(d2);
        s3 += z_scale(r.w, block) * scales * vec4<f32>(d3);
        s4 += z_scale(q.x, block) * scales * vec4<f32>(d4);
        s5 += z_scale(q.y, block) * scales * vec4<f32>(d5);
        s6 += z_scale(q.z, block) * scales * vec4<f32>(d6);
        s7 += z_scale(q.w, block) * scales * vec4<f32>(d7);
    }
    for (var n = 0u; n < 4u; n++) {
        write(t.x, first + n, s0[n]);
        write(t.y, first + n, s1[n]);
        write(t.z, first + n, s2[n]);
        write(t.w, first + n, s3[n]);
        write(u.x, first + n, s4[n]);
        write(u.y, first + n, s5[n]);
        write(u.z, first + n, s6[n]);
        write(u.w, first + n, s7[n]);
    }
}
