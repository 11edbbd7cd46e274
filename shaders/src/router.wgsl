//!use activation
//!use order
// Router: scores[s] = sigmoid(a[s]) + bias_s, then the ids of the shared sections and of the best routed ones.
// a and scores [rows, sections], bias [sections], ids [rows, always + picks].
// score: one invocation a score. pick: one workgroup a row. pick_serial: one invocation a row, no barrier.

struct Params {
    rows: u32,
    sections: u32,
    picks: u32,
    always: u32,
}

@group(0) @binding(0) var<storage, read> a: array<f32>;
@group(0) @binding(1) var<storage, read> bias: array<f32>;
@group(0) @binding(2) var<storage, read_write> scores: array<f32>;
@group(0) @binding(3) var<storage, read_write> ids: array<u32>;
@group(0) @binding(4) var<uniform> params: Params;

var<workgroup> leader: array<vec2<u32>, 64>;
var<workgroup> chosen: array<atomic<u32>, 2>;

// Written to scores in place of NaN: minus infinity, which no constant may spell.
fn score_of(product: f32, bias: f32) -> f32 {
    var lowest = 0xFF800000u;
    if (is_nan(product) || is_nan(bias)) {
        return bitcast<f32>(lowest);
    }
    return sigmoid(product) + bias;
}

@compute @workgroup_size(64)
fn score(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let place = (wid.x + wid.y * groups.x) * 64u + lane;
    if (place < params.rows * params.sections) {
        scores[place] = score_of(a[place], bias[place % params.sections]);
    }
}

// A section of a row as (key, id).
fn candidate(row: u32, section: u32) -> vec2<u32> {
    return vec2<u32>(order_key(scores[row * params.sections + section]), section);
}

// The best section of a row after `last`, among `begin`, `begin + step`, and so on.
fn next_best(row: u32, last: vec2<u32>, begin: u32, step: u32) -> vec2<u32> {
    var best = vec2<u32>(0u, 0xFFFFFFFFu);
    for (var s = begin; s < params.sections; s += step) {
        let c = candidate(row, s);
        if (goes_before(last, c) && goes_before(c, best)) {
            best = c;
        }
    }
    return best;
}

@compute @workgroup_size(64)
fn pick(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let row = wid.x + wid.y * groups.x;
    if (row >= params.rows) {
        return;
    }
    let first = row * (params.always + params.picks);
    for (var i = lane; i < params.always; i += 64u) {
        ids[first + i] = i;
    }
    // Each round finds the best section after the last winner: the last winner of all is the threshold.
    var last = vec2<u32>(0xFFFFFFFFu, 0u);
    for (var round = 0u; round < params.picks; round++) {
        leader[lane] = next_best(row, last, lane, 64u);
        workgroupBarrier();
        for (var step = 32u; step > 0u; step /= 2u) {
            if (lane < step && goes_before(leader[lane + step], leader[lane])) {
                leader[lane] = leader[lane + step];
            }
            workgroupBarrier();
        }
        last = leader[0];
        workgroupBarrier();
    }
    // Ids in ascending order: 64 sections at a time, each placed by the picked ones below it.
    var place = first + params.always;
    for (var base = 0u; base < params.sections; base += 64u) {
        if (lane < 2u) {
            atomicStore(&chosen[lane], 0u);
        }
        workgroupBarrier();
        let section = base + lane;
        var picked = false;
        if (section < params.sections) {
            picked = !goes_before(last, candidate(row, section));
        }
        let bit = 1u << (lane % 32u);
        if (picked) {
            atomicOr(&chosen[lane / 32u], bit);
        }
        workgroupBarrier();
        let low = atomicLoad(&chosen[0]);
        let high = atomicLoad(&chosen[1]);
        if (picked) {
            let in_low = countOneBits(low & (bit - 1u));
            let in_high = countOneBits(low) + countOneBits(high & (bit - 1u));
            ids[place + select(in_low, in_high, lane >= 32u)] = params.always + section;
        }
        place += countOneBits(low) + countOneBits(high);
        workgroupBarrier();
    }
}

@compute @workgroup_size(8)
fn pick_serial(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let row = (wid.x + wid.y * groups.x) * 8u + lane;
    if (row >= params.rows) {
        return;
    }
    var place = row * (params.always + params.picks);
    for (var i = 0u; i < params.always; i++) {
        ids[place] = i;
        place++;
    }
    var last = vec2<u32>(0xFFFFFFFFu, 0u);
    for (var round = 0u; round < params.picks; round++) {
        last = next_best(row, last, 0u, 1u);
    }
    for (var s = 0u; s < params.sections; s++) {
        if (!goes_before(last, candidate(row, s))) {
            ids[place] = params.always + s;
            place++;
        }
    }
}
