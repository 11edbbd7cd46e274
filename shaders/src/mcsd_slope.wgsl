// Slope branch of MCSD: y = S if Z > 0, else x; Z = 1 + e^-beta * Z; S += (x - S) / Z.
// beta = 2^(-8 * (i + 1) / channels) for channel group i = c / (width / channels).
// x [batch, steps, x_stride], state [batch, 2, width] (S, then Z), y [batch, steps, width].
// One invocation a channel of a stream.

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
    let b = at / p.width;
    let i = c / (p.width / p.channels);
    let keep = exp(-exp2(-8.0 * f32(i + 1u) / f32(p.channels)));
    let place = b * 2u * p.width + c;
    var s = state[place];
    var z = state[place + p.width];
    for (var row = b * p.steps; row < (b + 1u) * p.steps; row++) {
        let now = x[row * p.x_stride + p.x_offset + c];
        y[row * p.width + c] = select(now, s, z > 0.0);
        z = 1.0 + keep * z;
        s += (now - s) / z;
    }
    if (live[0] != 0u) {
        state[place] = s;
        state[place + p.width] = z;
    }
}
