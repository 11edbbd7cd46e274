//!use half
//!use packed
//!use sums
// Rows times a matrix in few bits: y[r, o] = sum over j of w[o, j] * x[r, x_offset + j].
// x [rows, x_stride], w the words of a packed matrix [outputs, inputs], y [rows, outputs].

struct Params {
    rows: u32,
    inputs: u32,
    outputs: u32,
    x_stride: u32,
    x_offset: u32,
    format: u32,
}

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> w: array<u32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;
@group(0) @binding(3) var<uniform> p: Params;

fn word(part: u32, at: u32) -> u32 {
    return w[at];
}

fn w_four(out: u32, j: u32) -> vec4<f32> {
    return packed_four(0u, 0u, p.outputs * p.inputs, out * p.inputs + j);
}

fn x_four(at: u32) -> vec4<f32> {
    return vec4(x[at], x[at + 1u], x[at + 2u], x[at + 3u]);
}

// Few rows: a workgroup makes 4 outputs of 4 rows, 16 invocations along the inputs of each output.
@compute @workgroup_size(64)
fn row(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let across = (p.outputs + 3u) / 4u;
    let group = wid.x + wid.y * groups.x;
    let first_row = group / across * 4u;
    if (first_row >= p.rows) {
        return;
    }
    let out = group % across * 4u + lane / 16u;
    let part = lane % 16u;
    var sum = vec4<f32>();
    if (out < p.outputs) {
        // Rows past the end repeat the last one; their sums are dropped.
        let last = p.rows - 1u;
        let r = min(first_row + vec4<u32>(0u, 1u, 2u, 3u), vec4<u32>(last)) * p.x_stride + p.x_offset;
        if (first_row == last) {
            for (var j = part * 4u; j < p.inputs; j += 64u) {
                sum.x += dot(w_four(out, j), x_four(r.x + j));
            }
        } else {
            for (var j = part * 4u; j < p.inputs; j += 64u) {
                sum += w_four(out, j)
                    * mat4x4(x_four(r.x + j), x_four(r.y + j), x_four(r.z + j), x_four(r.w + j));
            }
        }
    }
    let all = sum_16(sum, lane);
    // 16 results: the first four invocations of each output store one row each.
    if (part < 4u && out < p.outputs && first_row + part < p.rows) {
        y[(first_row + part) * p.outputs + out] = all[part];
    }
}

// 64 rows by 64 outputs a workgroup, 16 inputs at a time; an invocation keeps 4 by 4 sums.
// Stored with the inputs slowest.
var<workgroup> tile_x: array<vec4<f32>, 256>;
var<workgroup> tile_w: array<f32, 1024>;

@compute @workgroup_size(256)
fn tile(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let across = (p.outputs + 63u) / 64u;
    let group = wid.x + wid.y * groups.x;
    let first_row = group / across * 64u;
    if (first_row >= p.rows) {
        return;
    }
    let first_out = group % across * 64u;

    // Loading x: consecutive invocations take consecutive inputs j of four rows; w: four inputs of one output.
    let j = lane % 16u;
    let quad = lane / 16u;
    let w_out = lane / 4u;
    let w_j = lane % 4u * 4u;
    // Computing: 16 by 16 invocations.
    let row_quad = lane / 16u;
    let out_quad = lane % 16u;
    var s0 = vec4<f32>();
    var s1 = vec4<f32>();
    var s2 = vec4<f32>();
    var s3 = vec4<f32>();
    for (var k = 0u; k < p.inputs; k += 16u) {
        var a = vec4<f32>();
        if (k + j < p.inputs) {
            for (var i = 0u; i < 4u; i++) {
                let r = first_row + quad * 4u + i;
                if (r < p.rows) {
                    a[i] = x[r * p.x_stride + p.x_offset + k + j];
                }
            }
        }
        tile_x[j * 16u + quad] = a;
        var b = vec4<f32>();
        if (first_out + w_out < p.outputs && k + w_j < p.inputs) {
            b = w_four(first_out + w_out, k + w_j);
        }
        for (var i = 0u; i < 4u; i++) {
            tile_w[(w_j + i) * 64u + w_out] = b[i];
        }
        workgroupBarrier();
        for (var i = 0u; i < 16u; i++) {
            let left = tile_x[i * 16u + row_quad];
            let at = i * 64u + out_quad * 4u;
            let right = vec4(tile_w[at], tile_w[at + 1u], tile_w[at + 2u], tile_w[at + 3u]);
            s0 += left.x * right;
            s1 += left.y * right;
            s2 += left.z * right;
            s3 += left.w * right;
        }
        workgroupBarrier();
    }
    var sums = array<vec4<f32>, 4>(s0, s1, s2, s3);
    for (var i = 0u; i < 4u; i++) {
        let r = first_row + row_quad * 4u + i;
        if (r < p.rows) {
            for (var n = 0u; n < 4u; n++) {
                let o = first_out + out_quad * 4u + n;
                if (o < p.outputs) {
                    y[r * p.outputs + o] = sums[i][n];
                }
            }
        }
    }
}

// No barrier: an invocation makes 4 outputs of a row.
@compute @workgroup_size(8)
fn serial(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let quads = (p.outputs + 3u) / 4u;
    let across = (quads + 7u) / 8u;
    let group = wid.x + wid.y * groups.x;
    let quad = group % across * 8u + lane;
    let r = group / across;
    if (r >= p.rows || quad >= quads) {
        return;
    }
    let count = min(4u, p.outputs - quad * 4u);
    // Outputs past the end repeat the last one; their sums are dropped.
    let outs = quad * 4u + min(vec4<u32>(0u, 1u, 2u, 3u), vec4<u32>(count - 1u));
    let start = r * p.x_stride + p.x_offset;
    var sum = vec4<f32>();
    for (var j = 0u; j < p.inputs; j += 4u) {
        sum += x_four(start + j) * mat4x4(w_four(outs.x, j), w_four(outs.y, j), w_four(outs.z, j), w_four(outs.w, j));
    }
    for (var n = 0u; n < count; n++) {
        y[r * p.outputs + quad * 4u + n] = sum[n];
    }
}

// No barrier, many rows: an invocation makes 4 outputs of 4 rows.
@compute @workgroup_size(8)
fn block(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let quads = (p.outputs + 3u) / 4u;
    let across = (quads + 7u) / 8u;
    let group = wid.x + wid.y * groups.x;
    let quad = group % across * 8u + lane;
    let first_row = group / across * 4u;
    if (first_row >= p.rows || quad >= quads) {
        return;
    }
    let count = min(4u, p.outputs - quad * 4u);
    let row_count = min(4u, p.rows - first_row);
    // Outputs and rows past the end repeat the last one; their sums are dropped.
    let outs = quad * 4u + min(vec4<u32>(0u, 1u, 2u, 3u), vec4<u32>(count - 1u));
    let starts =
        (first_row + min(vec4<u32>(0u, 1u, 2u, 3u), vec4<u32>(row_count - 1u))) * p.x_stride + p.x_offset;
    var s0 = vec4<f32>();
    var s1 = vec4<f32>();
    var s2 = vec4<f32>();
    var s3 = vec4<f32>();
    for (var j = 0u; j < p.inputs; j += 4u) {
        let weights = mat4x4(w_four(outs.x, j), w_four(outs.y, j), w_four(outs.z, j), w_four(outs.w, j));
        s0 += x_four(starts.x + j) * weights;
        s1 += x_four(starts.y + j) * weights;
        s2 += x_four(starts.z + j) * weights;
        s3 += x_four(starts.w + j) * weights;
    }
    var sums = array<vec4<f32>, 4>(s0, s1, s2, s3);
    for (var i = 0u; i < row_count; i++) {
        for (var n = 0u; n < count; n++) {
            y[(first_row + i) * p.outputs + quad * 4u + n] = sums[i][n];
        }
    }
}
