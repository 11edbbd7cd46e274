//!use order
//!use random
// Sampling of the next token: bias, grammar, penalty, top k, top p, draw, and the books of a decoding loop.
// logits [vocab], settings [18], grammar [grammar]: states, classes, tokens, the class of each token, the next state
// of each state and class; control [4]: live, position, emitted, state; history [256], token [1], out [capacity].
// One workgroup; the top k by a radix search for the last of them.

struct Params {
    vocab: u32,
    capacity: u32,
    grammar: u32,
}

@group(0) @binding(0) var<storage, read> logits: array<f32>;
@group(0) @binding(1) var<storage, read> settings: array<u32>;
@group(0) @binding(2) var<storage, read> grammar: array<u32>;
@group(0) @binding(3) var<storage, read_write> control: array<u32>;
@group(0) @binding(4) var<storage, read_write> history: array<u32>;
@group(0) @binding(5) var<storage, read_write> token: array<u32>;
@group(0) @binding(6) var<storage, read_write> out: array<u32>;
@group(0) @binding(7) var<uniform> p: Params;

// No candidate: a key of 0 is below that of every number. Forbidden tokens are none.
const NOTHING = vec2<u32>(0u, 0xFFFFFFFFu);
const FORBIDDEN = 0xFFFFFFFFu;

// Candidates as (key, id): best first in `top`, in any order in `found`.
var<workgroup> top: array<vec2<u32>, 256>;
var<workgroup> found: array<vec2<u32>, 256>;
var<workgroup> found_count: atomic<u32>;
var<workgroup> weight: array<f32, 256>;
var<workgroup> bins: array<atomic<u32>, 256>;
// Chosen bin, candidates still needed inside it, and whether it holds exactly those.
var<workgroup> choice: vec3<u32>;
var<workgroup> running: u32;
// How many tokens the grammar allows.
var<workgroup> allowed: atomic<u32>;
// One bit for each id modulo 65536 that the penalty may concern.
var<workgroup> marks: array<atomic<u32>, 2048>;

fn is_running() -> bool {
    return control[0] != 0u && control[2] < p.capacity && p.vocab > 0u;
}

// Where the row of the state begins in the grammar; 0 where everything is allowed.
fn grammar_row() -> u32 {
    if (control[3] >= grammar[0]) {
        return 0u;
    }
    return 3u + grammar[2] + control[3] * grammar[1];
}

fn next_state(id: u32, row: u32) -> u32 {
    return grammar[row + grammar[3u + id]];
}

fn is_allowed(id: u32, row: u32) -> bool {
    if (row == 0u) {
        return true;
    }
    if (id >= grammar[2]) {
        return false;
    }
    return next_state(id, row) != FORBIDDEN;
}

// How many tokens of the history the penalty looks back on.
fn look_back() -> u32 {
    if (bitcast<f32>(settings[3]) == 1.0) {
        return 0u;
    }
    return min(min(settings[6], control[1]), 256u);
}

fn mark(back: u32) {
    let id = history[(control[1] - 1u - back) % 256u];
    if (id < p.vocab) {
        atomicOr(&marks[id % 65536u / 32u], 1u << (id % 32u));
    }
}

// Marks are shared by ids that are equal modulo 65536: this is the exact answer.
fn is_recent(id: u32, recent: u32) -> bool {
    if (((atomicLoad(&marks[id % 65536u / 32u]) >> (id % 32u)) & 1u) == 0u) {
        return false;
    }
    if (p.vocab <= 65536u) {
        return true;
    }
    for (var back = 0u; back < recent; back++) {
        if (history[(control[1] - 1u - back) % 256u] == id) {
            return true;
        }
    }
    return false;
}

fn candidate(id: u32, recent: u32, row: u32) -> vec2<u32> {
    if (!is_allowed(id, row)) {
        return NOTHING;
    }
    var l = logits[id];
    if (id == settings[8] && !is_nan(l)) {
        l += bitcast<f32>(settings[9]);
    }
    if (recent > 0u && !is_nan(l)) {
        if (is_recent(id, recent)) {
            let penalty = bitcast<f32>(settings[3]);
            l = select(l * penalty, l / penalty, l > 0.0);
        }
    }
    return vec2<u32>(order_key(l), id);
}

fn candidate_count(most: u32) -> u32 {
    let k = select(settings[1], 256u, settings[1] == 0u);
    return min(min(k, 256u), most);
}

// Keys of the infinities; NaN has that of minus infinity.
fn weight_of(key: u32) -> f32 {
    if (key == top[0].x) {
        return 1.0;
    }
    if (key <= 0x007FFFFFu || top[0].x >= 0xFF800000u) {
        return 0.0;
    }
    return exp((order_value(key) - order_value(top[0].x)) / bitcast<f32>(settings[0]));
}

// The candidate that the random bits of (seed, position) point at, in `top` with the weights in `weight`.
fn draw(count: u32) -> u32 {
    var total = 0.0;
    for (var i = 0u; i < count; i++) {
        total += weight[i];
    }
    var kept = count;
    let top_p = bitcast<f32>(settings[2]);
    if (top_p < 1.0) {
        let wanted = top_p * total;
        total = 0.0;
        for (var i = 0u; i < count; i++) {
            total += weight[i];
            if (total >= wanted) {
                kept = i + 1u;
                break;
            }
        }
    }
    let bits = random_bits(vec2<u32>(settings[4], settings[5]), control[1]) >> 8u;
    let goal = f32(bits) * (1.0 / 16777216.0) * total;
    var cumulative = 0.0;
    for (var i = 0u; i < kept; i++) {
        cumulative += weight[i];
        if (cumulative > goal) {
            return top[i].y;
        }
    }
    return top[kept - 1u].y;
}

fn finish(id: u32, row: u32) {
    token[0] = id;
    out[control[2]] = id;
    history[control[1] % 256u] = id;
    control[1] += 1u;
    control[2] += 1u;
    if (row != 0u) {
        control[3] = next_state(id, row);
    }
    for (var i = 0u; i < min(settings[7], 8u); i++) {
        if (settings[10u + i] == id) {
            control[0] = 0u;
        }
    }
}

// Place of `c` among `found`.
fn rank_of(c: vec2<u32>, count: u32) -> u32 {
    var rank = 0u;
    for (var i = 0u; i < count; i++) {
        rank += u32(goes_before(found[i], c));
    }
    return rank;
}

@compute @workgroup_size(256)
fn main(@builtin(local_invocation_index) lane: u32) {
    if (lane == 0u) {
        running = u32(is_running());
    }
    if (workgroupUniformLoad(&running) == 0u) {
        return;
    }
    let recent = look_back();
    if (lane < recent) {
        mark(lane);
    }
    var row = grammar_row();
    if (row != 0u) {
        var count = 0u;
        for (var i = lane; i < p.vocab; i += 256u) {
            count += u32(is_allowed(i, row));
        }
        atomicAdd(&allowed, count);
    }
    workgroupBarrier();
    var most = p.vocab;
    if (row != 0u) {
        most = atomicLoad(&allowed);
        // A state without a way on holds nobody up.
        if (most == 0u) {
            most = p.vocab;
            row = 0u;
        }
    }

    // Each lane's best. The best of those is the best of all, and the k-th best of those is a floor for the top k,
    // which keeps nearly all logits out of the counting below.
    var best = NOTHING;
    for (var i = lane; i < p.vocab; i += 256u) {
        let c = candidate(i, recent, row);
        if (goes_before(c, best)) {
            best = c;
        }
    }
    found[lane] = best;
    workgroupBarrier();
    if (best.x != 0u) {
        top[rank_of(best, 256u)] = best;
    }
    workgroupBarrier();
    if (!(bitcast<f32>(settings[0]) > 0.0)) {
        if (lane == 0u) {
            finish(top[0].y, row);
        }
        return;
    }
    let count = candidate_count(most);
    // Where the allowed tokens lie in fewer lanes these are zeros: every candidate reaches them and NOTHING does not.
    let lowest = top[count - 1u];

    // The k-th candidate, digit by digit of (key, ~id): in each round the bin that it falls in.
    var prefix = vec2<u32>(0u);
    var known = vec2<u32>(0u);
    var needed = count;
    for (var digit = 0u; digit < 8u; digit++) {
        let shift = 24u - 8u * (digit % 4u);
        atomicStore(&bins[lane], 0u);
        workgroupBarrier();
        for (var i = lane; i < p.vocab; i += 256u) {
            let c = candidate(i, recent, row);
            let word = vec2<u32>(c.x, ~c.y);
            if (!goes_before(lowest, c) && all(((word ^ prefix) & known) == vec2<u32>(0u))) {
                atomicAdd(&bins[(select(word.y, word.x, digit < 4u) >> shift) & 255u], 1u);
            }
        }
        workgroupBarrier();
        var above = 0u;
        for (var b = lane + 1u; b < 256u; b++) {
            above += atomicLoad(&bins[b]);
        }
        let held = atomicLoad(&bins[lane]);
        if (above < needed && needed <= above + held) {
            choice = vec3<u32>(lane, needed - above, u32(needed == above + held));
        }
        let chosen = workgroupUniformLoad(&choice);
        if (digit < 4u) {
            prefix.x |= chosen.x << shift;
            known.x |= 255u << shift;
        } else {
            prefix.y |= chosen.x << shift;
            known.y |= 255u << shift;
        }
        needed = chosen.y;
        if (chosen.z == 1u) {
            break;
        }
    }

    // The prefix with zeros below, or the first floor where that is higher: exactly k candidates reach it.
    var last = vec2<u32>(prefix.x, ~prefix.y);
    if (goes_before(lowest, last)) {
        last = lowest;
    }
    for (var i = lane; i < p.vocab; i += 256u) {
        let c = candidate(i, recent, row);
        if (!goes_before(last, c)) {
            found[atomicAdd(&found_count, 1u)] = c;
        }
    }
    workgroupBarrier();
    if (lane < count) {
        let c = found[lane];
        top[rank_of(c, count)] = c;
    }
    workgroupBarrier();
    if (lane < count) {
        weight[lane] = weight_of(top[lane].x);
    }
    workgroupBarrier();
    if (lane == 0u) {
        finish(draw(count), row);
    }
}
