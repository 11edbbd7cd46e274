//!use activation
// What the scan reads of each key channel; per head, with q and k scaled to unit length,
// w = exp(-0.6065 * sigmoid(decay + decay_bias)) and b = sigmoid(beta): keys = [q, w, w*k, b*k, b*k].
// x [rows, x_stride] with q at 0 and k at heads*key, decay [rows, heads, key], decay_bias [heads, key],
// beta [rows, beta_stride], keys [rows, heads, 5, key]. One invocation a head.

struct Params {
    rows: u32,
    heads: u32,
    key: u32,
    x_stride: u32,
    beta_stride: u32,
    beta_offset: u32,
}

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> decay: array<f32>;
@group(0) @binding(2) var<storage, read> decay_bias: array<f32>;
@group(0) @binding(3) var<storage, read> beta: array<f32>;
@group(0) @binding(4) var<storage, read_write> keys: array<f32>;
@group(0) @binding(5) var<uniform> p: Params;

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let at = (wid.x + wid.y * groups.x) * 64u + lane;
    if (at >= p.rows * p.heads) {
        return;
    }
    let h = at % p.heads;
    let r = at / p.heads;
    let q = r * p.x_stride + h * p.key;
    let k = q + p.heads * p.key;
    var lengths = vec2(1e-6);
    for (var i = 0u; i < p.key; i++) {
        let pair = vec2(x[q + i], x[k + i]);
        lengths += pair * pair;
    }
    let scale = 1.0 / sqrt(lengths);
    let b = sigmoid(beta[r * p.beta_stride + p.beta_offset + h]);
    let first = at * 5u * p.key;
    for (var i = 0u; i < p.key; i++) {
        let kept = exp(-0.6065 * sigmoid(decay[at * p.key + i] + decay_bias[h * p.key + i]));
        let unit = x[k + i] * scale.y;
        keys[first + i] = x[q + i] * scale.x;
        keys[first + p.key + i] = kept;
        keys[first + 2u * p.key + i] = kept * unit;
        keys[first + 3u * p.key + i] = b * unit;
        keys[first + 4u * p.key + i] = b * unit;
    }
}
