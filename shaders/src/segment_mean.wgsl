// Means of rows by segment: y[s] = mean of x[r] over r with segment[r] = s.
// x [rows, width], segment [rows], y [segments, width]; a segment without rows is zero. One invocation an element of y.

struct Params {
    rows: u32,
    width: u32,
    segments: u32,
}

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> segment: array<u32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;
@group(0) @binding(3) var<uniform> p: Params;

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let at = (wid.x + wid.y * groups.x) * 64u + lane;
    if (at >= p.segments * p.width) {
        return;
    }
    let s = at / p.width;
    let c = at % p.width;
    var sum = 0.0;
    var count = 0u;
    for (var r = 0u; r < p.rows; r++) {
        if (segment[r] == s) {
            sum += x[r * p.width + c];
            count += 1u;
        }
    }
    y[at] = sum / f32(max(count, 1u));
}
