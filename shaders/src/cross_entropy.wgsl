// Cross-entropy of rows: loss = weight * (log(sum exp(logits)) - logits[target]); 0 where the target is no class.
// logits [rows, classes], targets, weight and loss [rows].
// main: one workgroup a row. serial: one invocation a row, no barrier.

struct Params {
    rows: u32,
    classes: u32,
}

@group(0) @binding(0) var<storage, read> logits: array<f32>;
@group(0) @binding(1) var<storage, read> targets: array<u32>;
@group(0) @binding(2) var<storage, read> weight: array<f32>;
@group(0) @binding(3) var<storage, read_write> loss: array<f32>;
@group(0) @binding(4) var<uniform> p: Params;

var<workgroup> partial: array<f32, 256>;

fn loss_of(row: u32, top: f32, sum: f32) -> f32 {
    return weight[row] * (log(sum) + (top - logits[row * p.classes + targets[row]]));
}

@compute @workgroup_size(256)
fn main(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let row = wid.x + wid.y * groups.x;
    if (row >= p.rows) {
        return;
    }
    if (targets[row] >= p.classes) {
        if (lane == 0u) {
            loss[row] = 0.0;
        }
        return;
    }
    // Lanes past the last class start from the first one, which changes no maximum.
    var top = logits[row * p.classes];
    for (var i = lane; i < p.classes; i += 256u) {
        top = max(top, logits[row * p.classes + i]);
    }
    partial[lane] = top;
    workgroupBarrier();
    for (var step = 128u; step > 0u; step /= 2u) {
        if (lane < step) {
            partial[lane] = max(partial[lane], partial[lane + step]);
        }
        workgroupBarrier();
    }
    top = partial[0];
    workgroupBarrier();
    var sum = 0.0;
    for (var i = lane; i < p.classes; i += 256u) {
        sum += exp(logits[row * p.classes + i] - top);
    }
    partial[lane] = sum;
    workgroupBarrier();
    for (var step = 128u; step > 0u; step /= 2u) {
        if (lane < step) {
            partial[lane] += partial[lane + step];
        }
        workgroupBarrier();
    }
    if (lane == 0u) {
        loss[row] = loss_of(row, top, partial[0]);
    }
}

fn four(first: u32, i: u32, end: u32) -> vec4<f32> {
    let at = first + min(vec4<u32>(i, i + 1u, i + 2u, i + 3u), vec4<u32>(end));
    return vec4<f32>(logits[at.x], logits[at.y], logits[at.z], logits[at.w]);
}

@compute @workgroup_size(8)
fn serial(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let row = (wid.x + wid.y * groups.x) * 8u + lane;
    if (row >= p.rows) {
        return;
    }
    if (targets[row] >= p.classes) {
        loss[row] = 0.0;
        return;
    }
    // Four at a time: fewer rounds, and four sums lose fewer digits than one. Past the end the last logit repeats,
    // which changes no maximum and is masked out of the sums.
    let first = row * p.classes;
    let end = p.classes - 1u;
    var tops = vec4<f32>(logits[first]);
    for (var i = 0u; i < p.classes; i += 4u) {
        tops = max(tops, four(first, i, end));
    }
    let top = max(max(tops.x, tops.y), max(tops.z, tops.w));
    var sums = vec4<f32>(0.0);
    for (var i = 0u; i < p.classes; i += 4u) {
        let inside = vec4<u32>(i, i + 1u, i + 2u, i + 3u) <= vec4<u32>(end);
        sums += select(vec4<f32>(0.0), exp(four(first, i, end) - top), inside);
    }
    let sum = (sums.x + sums.y) + (sums.z + sums.w);
    loss[row] = loss_of(row, top, sum);
}
