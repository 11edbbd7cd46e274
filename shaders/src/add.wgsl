// Sum of two streams: y = a + b. a, b, y [len]. One invocation an element.

struct Params {
    len: u32,
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
    if (at >= p.len) {
        return;
    }
    y[at] = a[at] + b[at];
}
