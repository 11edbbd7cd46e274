// Rows of a table: x[r] = scale * table[ids[r] - first].
// ids [rows], table [count, width], x [rows, width]; ids outside first..first+count leave x alone.
// One invocation an element.

struct Params {
    rows: u32,
    width: u32,
    first: u32,
    count: u32,
    scale: f32,
}

@group(0) @binding(0) var<storage, read> ids: array<u32>;
@group(0) @binding(1) var<storage, read> table: array<f32>;
@group(0) @binding(2) var<storage, read_write> x: array<f32>;
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
    // Wraps for ids below first, which then lie past count.
    let row = ids[at / p.width] - p.first;
    if (row >= p.count) {
        return;
    }
    x[at] = p.scale * table[row * p.width + at % p.width];
}
