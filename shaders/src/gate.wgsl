//!use activation
// One window gates another: y = act(a) * b, act 0 = sigmoid, 1 = SiLU.
// a [rows, a_stride], b [rows, b_stride], y [rows, width]. One invocation an element.

struct Params {
    rows: u32,
    width: u32,
    act: u32,
    a_stride: u32,
    a_offset: u32,
    b_stride: u32,
    b_offset: u32,
}

@group(0) @binding(0) var<storage, read> a: array<f32>;
@group(0) @binding(1) var<storage, read> b: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;
@group(0) @binding(3) var<uniform> p: Params;

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let at = (wid.x + wid.y * groups.x) * 64u + lane;
    if (at >= p.rows * p.width) {
        return;
    }
    let r = at / p.width;
    let c = at % p.width;
    let value = a[r * p.a_stride + p.a_offset + c];
    var factor = sigmoid(value);
    if (p.act == 1u) {
        factor *= value;
    }
    y[at] = factor * b[r * p.b_stride + p.b_offset + c];
}
