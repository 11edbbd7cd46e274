//!use activation
// Causal convolution over four steps: y_t = act(sum over j of w[j] * x[t - 3 + j]), channel by channel.
// x [batch, steps, x_stride], w [4, width], state [batch, 3, width] oldest first, y [batch, steps, width].

struct Params {
    batch: u32,
    steps: u32,
    width: u32,
    x_stride: u32,
    x_offset: u32,
    silu: u32,
}

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> w: array<f32>;
@group(0) @binding(2) var<storage, read_write> state: array<f32>;
@group(0) @binding(3) var<storage, read> live: array<u32>;
@group(0) @binding(4) var<storage, read_write> y: array<f32>;
@group(0) @binding(5) var<uniform> p: Params;

fn activate(sum: f32) -> f32 {
    if (p.silu != 0u) {
        return silu(sum);
    }
    return sum;
}

// Input t of channel c in stream b, counted from the oldest one in the state.
fn input(b: u32, t: u32, c: u32) -> f32 {
    if (t < 3u) {
        return state[(b * 3u + t) * p.width + c];
    }
    return x[(b * p.steps + t - 3u) * p.x_stride + p.x_offset + c];
}

// One invocation a channel walks its stream.
@compute @workgroup_size(64)
fn walk(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let at = (wid.x + wid.y * groups.x) * 64u + lane;
    if (at >= p.batch * p.width) {
        return;
    }
    let b = at / p.width;
    let c = at % p.width;
    let first = b * 3u * p.width + c;
    let taps = vec4(w[c], w[p.width + c], w[2u * p.width + c], w[3u * p.width + c]);
    var past = vec3(state[first], state[first + p.width], state[first + 2u * p.width]);
    for (var t = 0u; t < p.steps; t++) {
        let row = b * p.steps + t;
        let now = x[row * p.x_stride + p.x_offset + c];
        y[row * p.width + c] = activate(dot(taps, vec4(past, now)));
        past = vec3(past.yz, now);
    }
    if (live[0] != 0u) {
        state[first] = past.x;
        state[first + p.width] = past.y;
        state[first + 2u * p.width] = past.z;
    }
}

// Many steps: one invocation an output, then `shift` moves the state on.
@compute @workgroup_size(64)
fn taps(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let at = (wid.x + wid.y * groups.x) * 64u + lane;
    if (at >= p.batch * p.steps * p.width) {
        return;
    }
    let c = at % p.width;
    let row = at / p.width;
    let b = row / p.steps;
    let t = row % p.steps;
    var sum = 0.0;
    for (var j = 0u; j < 4u; j++) {
        sum += w[j * p.width + c] * input(b, t + j, c);
    }
    y[at] = activate(sum);
}

@compute @workgroup_size(64)
fn shift(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let at = (wid.x + wid.y * groups.x) * 64u + lane;
    if (at >= p.batch * p.width || live[0] == 0u) {
        return;
    }
    let b = at / p.width;
    let c = at % p.width;
    let first = b * 3u * p.width + c;
    let past = vec3(input(b, p.steps, c), input(b, p.steps + 1u, c), input(b, p.steps + 2u, c));
    state[first] = past.x;
    state[first + p.width] = past.y;
    state[first + 2u * p.width] = past.z;
}
