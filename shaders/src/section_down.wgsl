//!use sections
//!use section_down_tiles
// Down half of the picked sections: slots[t, k] = sum over e of h[t, k, e] * down_e, suppressed features skipped.
// h [rows, picks, neurons], ids [rows, picks], chunks of slabs [up | down | padding], slots [rows, picks, width].
// main: one workgroup for 64 columns of a slot, its four quarters share the neurons.
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
}

@group(0) @binding(0) var<storage, read> h: array<f32>;
@group(0) @binding(1) var<storage, read> ids: array<u32>;
@group(0) @binding(2) var<storage, read> chunk0: array<f32>;
@group(0) @binding(3) var<storage, read> chunk1: array<f32>;
@group(0) @binding(4) var<storage, read> chunk2: array<f32>;
@group(0) @binding(5) var<storage, read> chunk3: array<f32>;
@group(0) @binding(6) var<storage, read_write> slots: array<f32>;
@group(0) @binding(7) var<uniform> p: Params;

var<workgroup> partial: array<f32, 256>;

fn weight(chunk: u32, at: u32) -> f32 {
    if (one_chunk) {
        return chunk0[at];
    }
    switch (chunk) {
        case 0u: {
            return chunk0[at];
        }
        case 1u: {
            return chunk1[at];
        }
        case 2u: {
            return chunk2[at];
        }
        default: {
            return chunk3[at];
        }
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
    let place = section_place(ids[slot]);
    if (place.x == 4u) {
        return;
    }
    let column = group % blocks * 64u + lane % 64u;
    var sum = 0.0;
    if (column < p.width) {
        let down = place.y + p.neurons * p.width + column;
        for (var e = lane / 64u; e < p.neurons; e += 4u) {
            let firing = h[slot * p.neurons + e];
            if (firing != 0.0) {
                sum += firing * weight(place.x, down + e * p.width);
            }
        }
    }
    partial[lane] = sum;
    workgroupBarrier();
    if (lane < 64u && column < p.width) {
        let front = partial[lane] + partial[lane + 64u];
        let back = partial[lane + 128u] + partial[lane + 192u];
        slots[slot * p.width + column] = front + back;
    }
}

@compute @workgroup_size(8)
fn serial(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let quads = (p.width + 3u) / 4u;
    let group = (wid.x + wid.y * groups.x) * 8u + lane;
    if (group >= p.rows * p.picks * quads) {
        return;
    }
    let slot = group / quads;
    let place = section_place(ids[slot]);
    if (place.x == 4u) {
        return;
    }
    let first = group % quads * 4u;
    // Past the last column the columns repeat it, which reads in bounds and is not written.
    let columns = min(first + vec4<u32>(0u, 1u, 2u, 3u), vec4<u32>(p.width - 1u));
    var sum = vec4<f32>(0.0);
    for (var e = 0u; e < p.neurons; e++) {
        let firing = h[slot * p.neurons + e];
        if (firing != 0.0) {
            sum += firing * section_four(place.x, place.y + (p.neurons + e) * p.width, columns);
        }
    }
    for (var k = 0u; k < min(4u, p.width - first); k++) {
        slots[slot * p.width + first + k] = sum[k];
    }
}

fn tile_place(id: u32) -> vec2<u32> {
    return section_place(id);
}

fn tile_four(place: vec2<u32>, row: u32, i: u32) -> vec4<f32> {
    return section_four(
        place.x,
        place.y + (p.neurons + row) * p.width,
        min(i + vec4<u32>(0u, 1u, 2u, 3u), vec4<u32>(p.width - 1u)),
    );
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
