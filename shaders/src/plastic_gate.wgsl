//!use activation
//!use order
// Gate of the plastic pool: open_s = max(0, tanh(24 (max over keys of cos(key, u) - theta_s))), the most open ones.
// u [rows, dim], key [sections, keys, dim], theta [sections], ids and open [rows, picks].
// One workgroup a row, picks up to 64.

struct Params {
    rows: u32,
    dim: u32,
    sections: u32,
    keys: u32,
    picks: u32,
}

@group(0) @binding(0) var<storage, read> u: array<f32>;
@group(0) @binding(1) var<storage, read> key: array<f32>;
@group(0) @binding(2) var<storage, read> theta: array<f32>;
@group(0) @binding(3) var<storage, read_write> ids: array<u32>;
@group(0) @binding(4) var<storage, read_write> open: array<f32>;
@group(0) @binding(5) var<uniform> p: Params;

// (key, id) of the best sections so far, best first, then of the 64 at hand; key 0 is an empty place.
var<workgroup> pool: array<vec2<u32>, 128>;

const EMPTY = vec2<u32>(0u, 0xFFFFFFFFu);

// max over keys of cos(key, u) - theta, or -1 for a section that stays shut.
fn margin_of(row: u32, section: u32) -> f32 {
    var closest = -2.0;
    for (var k = 0u; k < p.keys; k++) {
        let at = (section * p.keys + k) * p.dim;
        var dot = 0.0;
        var uu = 0.0;
        var kk = 0.0;
        for (var i = 0u; i < p.dim; i++) {
            let a = u[row * p.dim + i];
            let b = key[at + i];
            dot += a * b;
            uu += a * a;
            kk += b * b;
        }
        let cosine = dot / max(sqrt(uu) * sqrt(kk), 1e-12);
        if (!is_nan(cosine) && cosine > closest) {
            closest = cosine;
        }
    }
    let margin = closest - theta[section];
    return select(-1.0, margin, !is_nan(margin) && margin > 0.0);
}

// How many of the first `count` of the pool go before `c`.
fn rank_of(c: vec2<u32>, count: u32) -> u32 {
    var rank = 0u;
    for (var i = 0u; i < count; i++) {
        rank += u32(goes_before(pool[i], c));
    }
    return rank;
}

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let row = wid.x + wid.y * groups.x;
    if (row >= p.rows) {
        return;
    }
    pool[lane] = EMPTY;
    for (var base = 0u; base < p.sections; base += 64u) {
        var fresh = EMPTY;
        if (base + lane < p.sections) {
            let margin = margin_of(row, base + lane);
            if (margin > 0.0) {
                fresh = vec2<u32>(order_key(margin), base + lane);
            }
        }
        pool[64u + lane] = fresh;
        workgroupBarrier();
        let held = pool[lane];
        let held_rank = rank_of(held, 128u);
        let fresh_rank = rank_of(fresh, 128u);
        workgroupBarrier();
        pool[lane] = EMPTY;
        workgroupBarrier();
        if (held.x != 0u && held_rank < 64u) {
            pool[held_rank] = held;
        }
        if (fresh.x != 0u && fresh_rank < 64u) {
            pool[fresh_rank] = fresh;
        }
    }
    workgroupBarrier();
    if (lane >= p.picks) {
        return;
    }
    let mine = pool[lane];
    if (mine.x == 0u) {
        ids[row * p.picks + lane] = 0xFFFFFFFFu;
        open[row * p.picks + lane] = 0.0;
        return;
    }
    var place = 0u;
    for (var i = 0u; i < p.picks; i++) {
        place += u32(pool[i].x != 0u && pool[i].y < mine.y);
    }
    ids[row * p.picks + place] = mine.y;
    open[row * p.picks + place] = tanh_safe(24.0 * order_value(mine.x));
}
