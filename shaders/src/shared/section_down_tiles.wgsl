
// Shared: the down half for many tokens, for kernels that bind h, ids and slots, define tile_place(id) and
// tile_four(place, row, i): neighbours i to i + 3 of a row of a section, anything finite past the row's end.
// A tile is 16 slots of one section in the lists behind the ids; its section is read once for all of them. A feature
// that one slot suppresses another may need: none is skipped.
const TILE = 16u;
const NOTHING = 0xFFFFFFFFu;

var<workgroup> tile_h: array<vec4<f32>, 64>;
var<workgroup> tile_down: array<vec4<f32>, 256>;

// Feature e of a slot; 0 past the last one and for no slot.
fn tile_feature(slot: u32, e: u32) -> f32 {
    if (slot == NOTHING || e >= p.neurons) {
        return 0.0;
    }
    return h[slot * p.neurons + e];
}

fn tile_write(slot: u32, column: u32, sum: vec4<f32>) {
    if (slot != NOTHING && column < p.width) {
        for (var k = 0u; k < min(4u, p.width - column); k++) {
            slots[slot * p.width + column + k] = sum[k];
        }
    }
}

// 64 invocations: 16 slots by 64 columns, 16 neurons at a time; an invocation keeps 4 by 4 sums.
fn down_tile(group: u32, lane: u32) {
    let across = (p.width + 63u) / 64u;
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
    let column = group % across * 64u + lane % 16u * 4u;
    let slot = ids[list + lane / 4u];
    let last = p.neurons - 1u;
    let four = lane / 16u * 4u;
    var s0 = vec4<f32>();
    var s1 = vec4<f32>();
    var s2 = vec4<f32>();
    var s3 = vec4<f32>();
    for (var e = 0u; e < p.neurons; e += 16u) {
        let at = e + lane % 4u * 4u;
        tile_h[lane] = vec4<f32>(
            tile_feature(slot, at),
            tile_feature(slot, at + 1u),
            tile_feature(slot, at + 2u),
            tile_feature(slot, at + 3u),
        );
        for (var n = 0u; n < 16u; n += 4u) {
            tile_down[n * 16u + lane] = tile_four(place, min(e + n + lane / 16u, last), column);
        }
        workgroupBarrier();
        for (var q = 0u; q < 4u; q++) {
            let w = q * 64u + lane % 16u;
            let weights = mat4x4<f32>(tile_down[w], tile_down[w + 16u], tile_down[w + 32u], tile_down[w + 48u]);
            let v = four * 4u + q;
            s0 += weights * tile_h[v];
            s1 += weights * tile_h[v + 4u];
            s2 += weights * tile_h[v + 8u];
            s3 += weights * tile_h[v + 12u];
        }
        workgroupBarrier();
    }
    tile_write(ids[list + four], column, s0);
    tile_write(ids[list + four + 1u], column, s1);
    tile_write(ids[list + four + 2u], column, s2);
    tile_write(ids[list + four + 3u], column, s3);
}

// One invocation, no barrier: half a tile's slots by 8 columns. Loads are what software adapters are slow at, so that
// sums in registers beyond what a processor has still pay.
fn down_block(unit: u32) {
    let across = (p.width + 7u) / 8u;
    let list = p.rows * p.picks + unit / across * 8u;
    if (unit / across >= p.tiles * 2u || ids[list] == NOTHING) {
        return;
    }
    let place = tile_place(ids[ids[list]]);
    if (place.x == 4u) {
        return;
    }
    let first = unit % across * 8u;
    // No slot: the first one again, whose sums are then dropped.
    let t0 = ids[list];
    let t = vec4<u32>(ids[list + 1u], ids[list + 2u], ids[list + 3u], ids[list + 4u]);
    let u = vec3<u32>(ids[list + 5u], ids[list + 6u], ids[list + 7u]);
    let r0 = t0 * p.neurons;
    let r = select(t, vec4<u32>(t0), t == vec4<u32>(NOTHING)) * p.neurons;
    let q = select(u, vec3<u32>(t0), u == vec3<u32>(NOTHING)) * p.neurons;
    var a0 = vec4<f32>();
    var a1 = vec4<f32>();
    var a2 = vec4<f32>();
    var a3 = vec4<f32>();
    var a4 = vec4<f32>();
    var a5 = vec4<f32>();
    var a6 = vec4<f32>();
    var a7 = vec4<f32>();
    var b0 = vec4<f32>();
    var b1 = vec4<f32>();
    var b2 = vec4<f32>();
    var b3 = vec4<f32>();
    var b4 = vec4<f32>();
    var b5 = vec4<f32>();
    var b6 = vec4<f32>();
    var b7 = vec4<f32>();
    for (var e = 0u; e < p.neurons; e++) {
        let a = tile_four(place, e, first);
        let b = tile_four(place, e, first + 4u);
        let h0 = h[r0 + e];
        a0 += h0 * a;
        b0 += h0 * b;
        let h1 = h[r.x + e];
        a1 += h1 * a;
        b1 += h1 * b;
        let h2 = h[r.y + e];
        a2 += h2 * a;
        b2 += h2 * b;
        let h3 = h[r.z + e];
        a3 += h3 * a;
        b3 += h3 * b;
        let h4 = h[r.w + e];
        a4 += h4 * a;
        b4 += h4 * b;
        let h5 = h[q.x + e];
        a5 += h5 * a;
        b5 += h5 * b;
        let h6 = h[q.y + e];
        a6 += h6 * a;
        b6 += h6 * b;
        let h7 = h[q.z + e];
        a7 += h7 * a;
        b7 += h7 * b;
    }
    tile_write(t0, first, a0);
    tile_write(t.x, first, a1);
    tile_write(t.y, first, a2);
    tile_write(t.z, first, a3);
    tile_write(t.w, first, a4);
    tile_write(u.x, first, a5);
    tile_write(u.y, first, a6);
    tile_write(u.z, first, a7);
    tile_write(t0, first + 4u, b0);
    tile_write(t.x, first + 4u, b1);
    tile_write(t.y, first + 4u, b2);
    tile_write(t.z, first + 4u, b3);
    tile_write(t.w, first + 4u, b4);
    tile_write(u.x, first + 4u, b5);
    tile_write(u.y, first + 4u, b6);
    tile_write(u.z, first + 4u, b7);
}
