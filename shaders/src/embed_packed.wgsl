//!use half
//!use packed
// Rows of a table in few bits: x[r] = scale * table[ids[r] - first]; one invocation for four elements.
// ids [rows], table the words of a packed matrix [count, width], x [rows, width].

struct Params {
    rows: u32,
    width: u32,
    first: u32,
    count: u32,
    scale: f32,
    format: u32,
}

@group(0) @binding(0) var<storage, read> ids: array<u32>;
@group(0) @binding(1) var<storage, read> table: array<u32>;
@group(0) @binding(2) var<storage, read_write> x: array<f32>;
@group(0) @binding(3) var<uniform> p: Params;

fn word(part: u32, at: u32) -> u32 {
    return table[at];
}

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let at = ((wid.x + wid.y * groups.x) * 64u + lane) * 4u;
    if (at >= p.rows * p.width) {
        return;
    }
    let row = ids[at / p.width] - p.first;
    if (row >= p.count) {
        return;
    }
    let value = p.scale * packed_four(0u, 0u, p.count * p.width, row * p.width + at % p.width);
    for (var i = 0u; i < 4u; i++) {
        x[at + i] = value[i];
    }
}
