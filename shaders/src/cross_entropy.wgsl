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
    var top = logits[row * p.classes];
    for (var i = 1u; i < p.classes; i++) {
        top = max(top, logits[row * p.classes + i]);
    }
    // Two levels of sums, because a plain sum of many small terms loses digits.
    var sum = 0.0;
    for (var base = 0u; base < p.classes; base += 256u) {
        var part = 0.0;
        for (var i = base; i < min(base + 256u, p.classes); i++) {
            part += exp(logits[row * p.classes + i] - top);
        }
        sum += part;
    }
    loss[row] = loss_of(row, top, sum);
}
