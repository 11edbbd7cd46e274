// Decay branch of MCSD: y = s; s = alpha * (s + x).
// alpha = 1 - 2^(-5 - i) for channel group i = c / (width / channels).
// x [batch, steps, x_stride], state [batch, width], y [batch, steps, width]. One invocation a channel of a stream.

struct Params {
    batch: u32,
    steps: u32,
    width: u32,
    channels: u32,
    x_stride: u32,
    x_offset: u32,
}

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> state: array<f32>;
@group(0) @binding(2) var<storage, read> live: array<u32>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;
@group(0) @binding(4) var<uniform> p: Params;

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let at = (wid.x + wid.y * groups.x) * 64u + lane;
    if (at >= p.batch * p.width) {
        return;
    }
    let c = at % p.width;
    let first = at / p.width * p.steps;
    let i = c / (p.width / p.channels);
    let keep = 1.0 - exp2(-5.0 - f32(i));
    var s = state[at];
    for (var row = first; row < first + p.steps; row++) {
        y[row * p.width + c] = s;
        s = keep * (s + x[row * p.x_stride + p.x_offset + c]);
    }
    if (live[0] != 0u) {
        state[at] = s;
    }
}
