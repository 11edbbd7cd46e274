//!use activation
// Gates: 1 for a shared section, scale * sigmoid(a[s]) for routed section s, 0 for no section.
// a [rows, sections], ids and gates [rows, always + picks]; one invocation a gate.

struct Params {
    rows: u32,
    sections: u32,
    picks: u32,
    always: u32,
    scale: f32,
}

@group(0) @binding(0) var<storage, read> a: array<f32>;
@group(0) @binding(1) var<storage, read> ids: array<u32>;
@group(0) @binding(2) var<storage, read_write> gates: array<f32>;
@group(0) @binding(3) var<uniform> params: Params;

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let slots = params.always + params.picks;
    let place = (wid.x + wid.y * groups.x) * 64u + lane;
    if (place >= params.rows * slots) {
        return;
    }
    let id = ids[place];
    if (id < params.always) {
        gates[place] = 1.0;
    } else if (id - params.always < params.sections) {
        gates[place] = params.scale * sigmoid(a[place / slots * params.sections + id - params.always]);
    } else {
        gates[place] = 0.0;
    }
}
