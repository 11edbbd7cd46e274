//!use activation
//!use order
// Router: scores[s] = sigmoid(p . r_s) + bias_s, then the ids of the shared sections and of the best routed ones.
// p [rows, width], r [sections, width], bias [sections], scores [rows, sections], ids [rows, always + picks].
// score: eight lanes a score. pick: one workgroup a row. *_serial: one invocation a score or row, no barrier.

struct Params {
    rows: u32,
    sections: u32,
    width: u32,
    picks: u32,
    always: u32,
}

@group(0) @binding(0) var<storage, read> p: array<f32>;
@group(0) @binding(1) var<storage, read> r: array<f32>;
@group(0) @binding(2) var<storage, read> bias: array<f32>;
@group(0) @binding(3) var<storage, read_write> scores: array<f32>;
@group(0) @binding(4) var<storage, read_write> ids: array<u32>;
@group(0) @binding(5) var<uniform> params: Params;

var<workgroup> partial: array<f32, 64>;
var<workgroup> leader: array<vec2<u32>, 64>;
var<workgroup> chosen: array<atomic<u32>, 2>;

// Written to scores in place of NaN: minus infinity, which no constant may spell.
fn score_of(dot: f32, bias: f32) -> f32 {
    var lowest = 0xFF800000u;
    if (is_nan(dot) || is_nan(bias)) {
        return bitcast<f32>(lowest);
    }
    return sigmoid(dot) + bias;
}

@compute @workgroup_size(64)
fn score(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let place = (wid.x + wid.y * groups.x) * 8u + lane / 8u;
    let live = place < params.rows * params.sections;
    let section = place % params.sections;
    var sum = 0.0;
    if (live) {
        let row = place / params.sections;
        for (var i = lane % 8u; i < params.width; i += 8u) {
            sum += p[row * params.width + i] * r[section * params.width + i];
        }
    }
    partial[lane] = sum;
    workgroupBarrier();
    for (var step = 4u; step > 0u; step /= 2u) {
        if (lane % 8u < step) {
            partial[lane] += partial[lane + step];
        }
        workgroupBarrier();
    }
    if (live && lane % 8u == 0u) {
        scores[place] = score_of(partial[lane], bias[section]);
    }
}

@compute @workgroup_size(8)
fn score_serial(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let place = (wid.x + wid.y * groups.x) * 8u + lane;
    if (place >= params.rows * params.sections) {
        return;
    }
    let row = place / params.sections;
    let section = place % params.sections;
    var sum = 0.0;
    for (var i = 0u; i < params.width; i++) {
        sum += p[row * params.width + i] * r[section * params.width + i];
    }
    scores[place] = score_of(sum, bias[section]);
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
