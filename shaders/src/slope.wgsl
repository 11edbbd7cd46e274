// Slope branch, b = exp(log_rate): y_t = x_t + gain * u_{t-1}, u_t = e^-b * u_{t-1} + (1 - e^-b) * x_t.
// x [batch, steps, x_stride], log_rate and gain [width], state [batch, width], y [batch, steps, width].
// One invocation a channel of a stream.

struct Params {
    batch: u32,
    steps: u32,
    width: u32,
    x_stride: u32,
    x_offset: u32,
}

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> log_rate: array<f32>;
@group(0) @binding(2) var<storage, read> gain: array<f32>;
@group(0) @binding(3) var<storage, read_write> state: array<f32>;
@group(0) @binding(4) var<storage, read> live: array<u32>;
@group(0) @binding(5) var<storage, read_write> y: array<f32>;
@group(0) @binding(6) var<uniform> p: Params;

// 1 - e^-b without the cancellation that ruins it for small b.
fn fade(b: f32) -> f32 {
    if (b < 0.05) {
        return b * (1.0 - b / 2.0 * (1.0 - b / 3.0 * (1.0 - b / 4.0)));
    }
    return 1.0 - exp(-min(b, 80.0));
}

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
    let new_share = fade(exp(min(log_rate[c], 5.0)));
    let factor = gain[c];
    var u = state[at];
    for (var row = first; row < first + p.steps; row++) {
        let now = x[row * p.x_stride + p.x_offset + c];
        y[row * p.width + c] = now + factor * u;
        u += new_share * (now - u);
    }
    if (live[0] != 0u) {
        state[at] = u;
    }
}
