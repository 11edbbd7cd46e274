// RMS norm of rows: y[i] = x[i] / sqrt(mean(x^2) + eps) * gain[i].
// x [rows, width], gain [gains, width], y [rows, width].
// main: one workgroup a row. serial: one invocation a row, no barrier.

struct Params {
    rows: u32,
    width: u32,
    gains: u32,
    eps: f32,
}

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> gain: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;
@group(0) @binding(3) var<uniform> p: Params;

var<workgroup> partial: array<f32, 64>;

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
    var sum = 0.0;
    for (var i = lane; i < p.width; i += 64u) {
        let v = x[row * p.width + i];
        sum += v * v;
    }
    partial[lane] = sum;
    workgroupBarrier();
    for (var step = 32u; step > 0u; step /= 2u) {
        if (lane < step) {
            partial[lane] += partial[lane + step];
        }
        workgroupBarrier();
    }
    let scale = 1.0 / sqrt(partial[0] / f32(p.width) + p.eps);
    let first_gain = (row % p.gains) * p.width;
    for (var i = lane; i < p.width; i += 64u) {
        y[row * p.width + i] = x[row * p.width + i] * scale * gain[first_gain + i];
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
    var sum = 0.0;
    for (var i = 0u; i < p.width; i++) {
        let v = x[row * p.width + i];
        sum += v * v;
    }
    let scale = 1.0 / sqrt(sum / f32(p.width) + p.eps);
    let first_gain = (row % p.gains) * p.width;
    for (var i = 0u; i < p.width; i++) {
        y[row * p.width + i] = x[row * p.width + i] * scale * gain[first_gain + i];
    }
}
