//!use activation
// Gates: 1 for a shared section, scale * sigmoid(p . r_s) for routed section s, 0 for no section.
// p [rows, width], r [sections, width], ids and gates [rows, always + picks].
// main: eight lanes a gate. serial: one invocation a gate, no barrier.

struct Params {
    rows: u32,
    sections: u32,
    width: u32,
    picks: u32,
    always: u32,
    scale: f32,
}

@group(0) @binding(0) var<storage, read> p: array<f32>;
@group(0) @binding(1) var<storage, read> r: array<f32>;
@group(0) @binding(2) var<storage, read> ids: array<u32>;
@group(0) @binding(3) var<storage, read_write> gates: array<f32>;
@group(0) @binding(4) var<uniform> params: Params;

var<workgroup> partial: array<f32, 64>;

fn is_routed(id: u32) -> bool {
    return id >= params.always && id - params.always < params.sections;
}

fn gate_of(id: u32, dot: f32) -> f32 {
    if (id < params.always) {
        return 1.0;
    }
    return select(0.0, params.scale * sigmoid(dot), is_routed(id));
}

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let slots = params.always + params.picks;
    let place = (wid.x + wid.y * groups.x) * 8u + lane / 8u;
    var id = 0xFFFFFFFFu;
    if (place < params.rows * slots) {
        id = ids[place];
    }
    var sum = 0.0;
    if (is_routed(id)) {
        let row = place / slots * params.width;
        let at = (id - params.always) * params.width;
        for (var i = lane % 8u; i < params.width; i += 8u) {
            sum += p[row + i] * r[at + i];
        }
    }
    partial[lane] = sum;
    workgroupBarrier();
    for (var step = 4u; step > 0u; step /= 2u) {
        if (lane % 8u < step) {
            partial[lane] += partial[lane + step];
        }
        workgroupBarrier();
    }
    if (place < params.rows * slots && lane % 8u == 0u) {
        gates[place] = gate_of(id, partial[lane]);
    }
}

@compute @workgroup_size(8)
fn serial(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let slots = params.always + params.picks;
    let place = (wid.x + wid.y * groups.x) * 8u + lane;
    if (place >= params.rows * slots) {
        return;
    }
    let id = ids[place];
    var sum = 0.0;
    if (is_routed(id)) {
        let row = place / slots * params.width;
        let at = (id - params.always) * params.width;
        for (var i = 0u; i < params.width; i++) {
            sum += p[row + i] * r[at + i];
        }
    }
    gates[place] = gate_of(id, sum);
}
