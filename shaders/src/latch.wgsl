//!use activation
//!use order
// Gate of the plastic pool: at the answer token u = mean of x since the user token, less the background, and
// open_s = max(0, tanh(24 (max over keys of cos(key, u) - theta_s))) of the most open sections, held to the end token.
// Where the first note names a section, the next answer token holds that one alone, fully open; where the second is not 0,
// what an answer token opens is not held, but muted from then on.
// x [batch, steps, dim], tokens [batch, steps], gate [dim + sections (1 + keys dim)]: background, then theta and keys,
// state [batch, dim + 3 + 2 picks + muted]: sum, count, ids + 1, open, muted ids + 1, named id + 1, whether to mute; ids and open [batch, steps, picks].
// One workgroup a stream, dim up to 1024, picks and muted up to 64.

struct Params {
    batch: u32,
    steps: u32,
    dim: u32,
    sections: u32,
    keys: u32,
    picks: u32,
    muted: u32,
    user: u32,
    answer: u32,
    end: u32,
}

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> tokens: array<u32>;
@group(0) @binding(2) var<storage, read> gate: array<f32>;
@group(0) @binding(3) var<storage, read_write> state: array<f32>;
@group(0) @binding(4) var<storage, read> live: array<u32>;
@group(0) @binding(5) var<storage, read_write> ids: array<u32>;
@group(0) @binding(6) var<storage, read_write> open: array<f32>;
@group(0) @binding(7) var<uniform> p: Params;

// (key, id) of the best sections so far, best first, then of the 64 at hand; key 0 is an empty place.
var<workgroup> pool: array<vec2<u32>, 128>;
// The sum of the turn's rows; each lane has its own elements until the mean is made.
var<workgroup> sum: array<f32, 1024>;
var<workgroup> held: array<u32, 64>;
var<workgroup> held_open: array<f32, 64>;
var<workgroup> muted: array<u32, 64>;
// The token of the row and its notes; what is muted is not named.
var<workgroup> row_now: vec3<u32>;

const EMPTY = vec2<u32>(0u, 0xFFFFFFFFu);

fn is_muted(section: u32) -> bool {
    for (var i = 0u; i < p.muted; i++) {
        if (muted[i] == section + 1u) {
            return true;
        }
    }
    return false;
}

// One invocation: what is held by the row is muted instead; the oldest make way.
fn mute_held() {
    for (var k = 0u; k < p.picks; k++) {
        let id = held[k];
        held[k] = 0u;
        held_open[k] = 0.0;
        if (id == 0u || p.muted == 0u) {
            continue;
        }
        var at = 0u;
        while (at < p.muted && muted[at] != 0u) {
            at++;
        }
        if (at == p.muted) {
            at = p.muted - 1u;
            for (var i = 0u; i < at; i++) {
                muted[i] = muted[i + 1u];
            }
        }
        muted[at] = id;
    }
}

// max over keys of cos(key, u) - theta, or -1 for a section that stays shut; u is `sum` by then.
fn margin_of(section: u32) -> f32 {
    let slab = p.dim + section * (1u + p.keys * p.dim);
    var closest = -2.0;
    for (var k = 0u; k < p.keys; k++) {
        let at = slab + 1u + k * p.dim;
        var dot = 0.0;
        var uu = 0.0;
        var kk = 0.0;
        for (var i = 0u; i < p.dim; i++) {
            let a = sum[i];
            let b = gate[at + i];
            dot += a * b;
            uu += a * a;
            kk += b * b;
        }
        let cosine = dot / max(sqrt(uu) * sqrt(kk), 1e-12);
        if (!is_nan(cosine) && cosine > closest) {
            closest = cosine;
        }
    }
    let margin = closest - gate[slab];
    return select(-1.0, margin, !is_nan(margin) && margin > 0.0);
}

// How many of the pool go before `c`.
fn rank_of(c: vec2<u32>) -> u32 {
    var rank = 0u;
    for (var i = 0u; i < 128u; i++) {
        rank += u32(goes_before(pool[i], c));
    }
    return rank;
}

// Leaves the best sections for u in the pool, best first.
fn rank_sections(lane: u32) {
    pool[lane] = EMPTY;
    for (var base = 0u; base < p.sections; base += 64u) {
        var fresh = EMPTY;
        if (base + lane < p.sections && !is_muted(base + lane)) {
            let margin = margin_of(base + lane);
            if (margin > 0.0) {
                fresh = vec2<u32>(order_key(margin), base + lane);
            }
        }
        pool[64u + lane] = fresh;
        workgroupBarrier();
        let before = pool[lane];
        let before_rank = rank_of(before);
        let fresh_rank = rank_of(fresh);
        workgroupBarrier();
        pool[lane] = EMPTY;
        workgroupBarrier();
        if (before.x != 0u && before_rank < 64u) {
            pool[before_rank] = before;
        }
        if (fresh.x != 0u && fresh_rank < 64u) {
            pool[fresh_rank] = fresh;
        }
    }
    workgroupBarrier();
}

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let stream = wid.x + wid.y * groups.x;
    if (stream >= p.batch) {
        return;
    }
    let at = stream * (p.dim + 3u + 2u * p.picks + p.muted);
    let notes = at + p.dim + 1u + 2u * p.picks + p.muted;
    for (var i = lane; i < p.dim; i += 64u) {
        sum[i] = state[at + i];
    }
    // Every lane keeps the same count, and the same named section.
    var count = state[at + p.dim];
    var named = u32(state[notes]);
    if (lane < p.picks) {
        held[lane] = u32(state[at + p.dim + 1u + lane]);
        held_open[lane] = state[at + p.dim + 1u + p.picks + lane];
    }
    if (lane < p.muted) {
        muted[lane] = u32(state[at + p.dim + 1u + 2u * p.picks + lane]);
    }
    workgroupBarrier();
    for (var row = stream * p.steps; row < (stream + 1u) * p.steps; row++) {
        if (lane == 0u) {
            let open_to = named != 0u && !is_muted(named - 1u);
            row_now = vec3<u32>(tokens[row], select(0u, named, open_to), u32(state[notes + 1u] != 0.0));
        }
        let now = workgroupUniformLoad(&row_now);
        let token = now.x;
        if (token == p.user) {
            for (var i = lane; i < p.dim; i += 64u) {
                sum[i] = 0.0;
            }
            count = 0.0;
        }
        if (token == p.user || (count > 0.0 && token != p.answer && token != p.end)) {
            for (var i = lane; i < p.dim; i += 64u) {
                sum[i] += x[row * p.dim + i];
            }
            count += 1.0;
        }
        if (token == p.user || token == p.answer || token == p.end) {
            if (lane < p.picks) {
                held[lane] = 0u;
                held_open[lane] = 0.0;
            }
        }
        if (token == p.answer && now.y != 0u) {
            if (lane == 0u && count > 0.0) {
                held[0] = now.y;
                held_open[0] = 1.0;
            }
            workgroupBarrier();
        } else if (token == p.answer) {
            for (var i = lane; i < p.dim; i += 64u) {
                sum[i] = sum[i] / max(count, 1.0) - gate[i];
            }
            workgroupBarrier();
            rank_sections(lane);
            let mine = pool[lane];
            if (lane < p.picks && mine.x != 0u && count > 0.0) {
                var place = 0u;
                for (var i = 0u; i < p.picks; i++) {
                    place += u32(pool[i].x != 0u && pool[i].y < mine.y);
                }
                held[place] = mine.y + 1u;
                held_open[place] = tanh_safe(24.0 * order_value(mine.x));
            }
            workgroupBarrier();
        }
        if (token == p.answer && now.z != 0u) {
            if (lane == 0u) {
                mute_held();
            }
            workgroupBarrier();
        }
        if (token == p.answer) {
            named = 0u;
        }
        if (token == p.answer || token == p.end) {
            for (var i = lane; i < p.dim; i += 64u) {
                sum[i] = 0.0;
            }
            count = 0.0;
        }
        if (lane < p.picks) {
            ids[row * p.picks + lane] = select(held[lane] - 1u, 0xFFFFFFFFu, held[lane] == 0u);
            open[row * p.picks + lane] = held_open[lane];
        }
        // Nobody reads the next token before all have read this one.
        workgroupBarrier();
    }
    if (live[0] == 0u) {
        return;
    }
    for (var i = lane; i < p.dim; i += 64u) {
        state[at + i] = sum[i];
    }
    if (lane == 0u) {
        state[at + p.dim] = count;
        state[notes] = f32(named);
    }
    if (lane < p.picks) {
        state[at + p.dim + 1u + lane] = f32(held[lane]);
        state[at + p.dim + 1u + p.picks + lane] = held_open[lane];
    }
    if (lane < p.muted) {
        state[at + p.dim + 1u + 2u * p.picks + lane] = f32(muted[lane]);
    }
}
