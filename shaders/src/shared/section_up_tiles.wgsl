
// Shared: the up half for many tokens, for kernels that bind z, ids and h, define tile_place(id) and
// tile_four(place, row, i): neighbours i to i + 3 of a row of a section, anything finite past the row's end.
// A tile is 16 slots of one section in the lists behind the ids; its section is read once for all of them.
const TILE = 16u;
const NOTHING = 0xFFFFFFFFu;

var<workgroup> tile_z: array<vec4<f32>, 64>;
var<workgroup> tile_up: array<vec4<f32>, 256>;

// Elements i to i + 3 of the row of z that starts at `row`; 0 past its end.
fn tile_z_four(row: u32, i: u32) -> vec4<f32> {
    let j = i + vec4<u32>(0u, 1u, 2u, 3u);
    let at = row + min(j, vec4<u32>(p.width - 1u));
    return select(vec4<f32>(), vec4<f32>(z[at.x], z[at.y], z[at.z], z[at.w]), j < vec4<u32>(p.width));
}

fn tile_write(slot: u32, neuron: u32, dot: f32) {
    if (slot != NOTHING && neuron < p.neurons) {
        let firing = max(dot, 0.0);
        h[slot * p.neurons + neuron] = firing * firing;
    }
}

// 64 invocations: 16 slots by 64 neurons, 16 inputs at a time. An invocation keeps 4 by 4 sums, of neurons that are 16
// apart: neighbours in a row of invocations then read neighbours in workgroup memory.
fn up_tile(group: u32, lane: u32) {
    let across = (p.neurons + 63u) / 64u;
    if (group / across >= p.tiles) {
        return;
    }
    let list = p.rows * p.picks + group / across * TILE;
    if (ids[list] == NOTHING) {
        return;
    }
    let place = tile_place(ids[ids[list]]);
    if (place.x == 4u) {
        return;
    }
    let first = group % across * 64u;
    // Loading: four consecutive invocations take 16 consecutive inputs of a slot and of four neurons.
    let quad = lane % 4u;
    let slot = ids[list + lane / 4u];
    let source = select(slot, ids[list], slot == NOTHING) / p.picks * p.width;
    let row = first + lane / 4u;
    let last = p.neurons - 1u;
    // Computing: 4 by 16 invocations.
    let slots = lane / 16u * 4u;
    let neuron = lane % 16u;
    var s0 = vec4<f32>();
    var s1 = vec4<f32>();
    var s2 = vec4<f32>();
    var s3 = vec4<f32>();
    for (var i = 0u; i < p.width; i += 16u) {
        let at = i + quad * 4u;
        tile_z[quad * 16u + lane / 4u] = tile_z_four(source, at);
        for (var n = 0u; n < 64u; n += 16u) {
            tile_up[quad * 64u + lane / 4u + n] = tile_four(place, min(row + n, last), at);
        }
        workgroupBarrier();
        for (var q = 0u; q < 4u; q++) {
            let w = q * 64u + neuron;
            let weights = mat4x4<f32>(tile_up[w], tile_up[w + 16u], tile_up[w + 32u], tile_up[w + 48u]);
            let v = q * 16u + slots;
            s0 += tile_z[v] * weights;
            s1 += tile_z[v + 1u] * weights;
            s2 += tile_z[v + 2u] * weights;
            s3 += tile_z[v + 3u] * weights;
        }
        workgroupBarrier();
    }
    for (var n = 0u; n < 4u; n++) {
        let out = first + neuron + n * 16u;
        tile_write(ids[list + slots], out, s0[n]);
        tile_write(ids[list + slots + 1u], out, s1[n]);
        tile_write(ids[list + slots + 2u], out, s2[n]);
        tile_write(ids[list + slots + 3u], out, s3[n]);
    }
}

// Four rows at the same four inputs.
fn tile_rows(place: vec2<u32>, rows: vec4<u32>, i: u32) -> mat4x4<f32> {
    return mat4x4<f32>(
        tile_four(place, rows.x, i),
        tile_four(place, rows.y, i),
        tile_four(place, rows.z, i),
        tile_four(place, rows.w, i),
    );
}

// One invocation, no barrier: half a tile's slots by 8 neurons. Loads are what software adapters are slow at, so
// that sums in registers beyond what a processor has still pay.
fn up_block(unit: u32) {
    let across = (p.neurons + 3u) / 4u;
    let list = p.rows * p.picks + unit / across * 8u;
    if (unit / across >= p.tiles * 2u || ids[list] == NOTHING) {
        return;
    }
    let place = tile_place(ids[ids[list]]);
    if (place.x == 4u) {
        return;
    }
    let first = unit % across * 4u;
    let low = min(first + vec4<u32>(0u, 1u, 2u, 3u), vec4<u32>(p.neurons - 1u));
    // No slot: the first one again, whose sums are then dropped.
    let t0 = ids[list];
    let t = vec4<u32>(ids[list + 1u], ids[list + 2u], ids[list + 3u], ids[list + 4u]);
    let u = vec3<u32>(ids[list + 5u], ids[list + 6u], ids[list + 7u]);
    let r0 = t0 / p.picks * p.width;
    let r = select(t, vec4<u32>(t0), t == vec4<u32>(NOTHING)) / p.picks * p.width;
    let q = select(u, vec3<u32>(t0), u == vec3<u32>(NOTHING)) / p.picks * p.width;
    var a0 = vec4<f32>();
    var a1 = vec4<f32>();
    var a2 = vec4<f32>();
    var a3 = vec4<f32>();
    var a4 = vec4<f32>();
    var a5 = vec4<f32>();
    var a6 = vec4<f32>();
    var a7 = vec4<f32>();
    for (var i = 0u; i < p.width; i += 4u) {
        let a = tile_rows(place, low, i);
        let v0 = tile_z_four(r0, i);
        a0 += v0 * a;
        let v1 = tile_z_four(r.x, i);
        a1 += v1 * a;
        let v2 = tile_z_four(r.y, i);
        a2 += v2 * a;
        let v3 = tile_z_four(r.z, i);
        a3 += v3 * a;
        let v4 = tile_z_four(r.w, i);
        a4 += v4 * a;
        let v5 = tile_z_four(q.x, i);
        a5 += v5 * a;
        let v6 = tile_z_four(q.y, i);
        a6 += v6 * a;
        let v7 = tile_z_four(q.z, i);
        a7 += v7 * a;
    }
    for (var n = 0u; n < 4u; n++) {
        tile_write(t0, first + n, a0[n]);
        tile_write(t.x, first + n, a1[n]);
        tile_write(t.y, first + n, a2[n]);
        tile_write(t.z, first + n, a3[n]);
        tile_write(t.w, first + n, a4[n]);
        tile_write(u.x, first + n, a5[n]);
        tile_write(u.y, first + n, a6[n]);
        tile_write(u.z, first + n, a7[n]);
    }
}
