// Sum of the sections' outputs: y[t] = x[t] + sum over k of gates[t, k] * slots[t, k], in the order of the slots.
// x and y [rows, width], slots [rows, picks, width], ids and gates [rows, picks].
// Slots without a section and those whose gate is 0 are not read.

struct Params {
    rows: u32,
    picks: u32,
    width: u32,
}

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> slots: array<f32>;
@group(0) @binding(2) var<storage, read> ids: array<u32>;
@group(0) @binding(3) var<storage, read> gates: array<f32>;
@group(0) @binding(4) var<storage, read_write> y: array<f32>;
@group(0) @binding(5) var<uniform> p: Params;

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = (wid.x + wid.y * groups.x) * 64u + lane;
    if (i >= p.rows * p.width) {
        return;
    }
    let row = i / p.width;
    let column = i % p.width;
    var sum = x[i];
    for (var k = row * p.picks; k < (row + 1u) * p.picks; k++) {
        let gate = gates[k];
        if (ids[k] != 0xFFFFFFFFu && gate != 0.0) {
            sum += gate * slots[k * p.width + column];
        }
    }
    y[i] = sum;
}
