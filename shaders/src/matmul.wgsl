//!use sums
// Rows times a matrix: y[r, g*No + i] = sum over j of w[g*No + i, j] * x[r, x_offset + g*Ki + j],
// Ki = inputs / groups, No = outputs / groups.
// x [rows, x_stride], w [outputs, Ki], y [rows, outputs].

struct Params {
    rows: u32,
    inputs: u32,
    outputs: u32,
    groups: u32,
    x_stride: u32,
    x_offset: u32,
}

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> w: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;
@group(0) @binding(3) var<uniform> p: Params;

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
    let ki = p.inputs / p.groups;
    let out = group % across * 4u + lane / 16u;
    let part = lane % 16u;
    var sum = vec4<f32>();
    if (out < p.outputs) {
        let start = p.x_offset + out / (p.outputs / p.groups) * ki;
        // Rows past the end repeat the last one; their sums are dropped.
        let last = p.rows - 1u;
        let r0 = first_row * p.x_stride + start;
        let r1 = min(first_row + 1u, last) * p.x_stride + start;
        let r2 = min(first_row + 2u, last) * p.x_stride + start;
        let r3 = min(first_row + 3u, last) * p.x_stride + start;
        if (first_row == last) {
            for (var j = part; j < ki; j += 16u) {
                sum.x += w[out * ki + j] * x[r0 + j];
            }
        } else {
            for (var j = part; j < ki; j += 16u) {
                sum += w[out * ki + j] * vec4(x[r0 + j], x[r1 + j], x[r2 + j], x[r3 + j]);
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
// Stored with the inputs slowest, so that the four values of an invocation are one vector.
var<workgroup> tile_x: array<vec4<f32>, 256>;
var<workgroup> tile_w: array<vec4<f32>, 256>;

@compute @workgroup_size(256)
fn tile(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let ki = p.inputs / p.groups;
    let no = p.outputs / p.groups;
    let across = (no + 63u) / 64u;
    let group = wid.x + wid.y * groups.x;
    let block = group / across % p.groups;
    let first_row = group / (across * p.groups) * 64u;
    if (first_row >= p.rows) {
        return;
    }
    let first_out = group % across * 64u;
    let start = p.x_offset + block * ki;

    // Loading: consecutive invocations take consecutive inputs j of four rows and four outputs.
    let j = lane % 16u;
    let quad = lane / 16u;
    // Computing: 16 by 16 invocations.
    let row_quad = lane / 16u;
    let out_quad = lane % 16u;
    var s0 = vec4<f32>();
    var s1 = vec4<f32>();
    var s2 = vec4<f32>();
    var s3 = vec4<f32>();
    for (var k = 0u; k < ki; k += 16u) {
        var a = vec4<f32>();
        var b = vec4<f32>();
        if (k + j < ki) {
            for (var i = 0u; i < 4u; i++) {
                let r = first_row + quad * 4u + i;
                let o = first_out + quad * 4u + i;
                if (r < p.rows) {
                    a[i] = x[r * p.x_stride + start + k + j];
                }
                if (o < no) {
                    b[i] = w[(block * no + o) * ki + k + j];
                }
            }
        }
        tile_x[j * 16u + quad] = a;
        tile_w[j * 16u + quad] = b;
        workgroupBarrier();
        for (var i = 0u; i < 16u; i++) {
            let left = tile_x[i * 16u + row_quad];
            let right = tile_w[i * 16u + out_quad];
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
                if (o < no) {
                    y[r * p.outputs + block * no + o] = sums[i][n];
                }
            }
        }
    }
}

// Four neighbours at once: these variants wait for loads, which then hit the line that the first one fetched.
fn x_four(at: u32) -> vec4<f32> {
    return vec4(x[at], x[at + 1u], x[at + 2u], x[at + 3u]);
}

fn w_four(at: u32) -> vec4<f32> {
    return vec4(w[at], w[at + 1u], w[at + 2u], w[at + 3u]);
}

// No barrier: an invocation makes 4 outputs of a row, so that each load of x serves 4 sums.
@compute @workgroup_size(8)
fn serial(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let no = p.outputs / p.groups;
    let quads = (no + 3u) / 4u;
    let across = (quads * p.groups + 7u) / 8u;
    let group = wid.x + wid.y * groups.x;
    let quad = group % across * 8u + lane;
    let r = group / across;
    if (r >= p.rows || quad >= quads * p.groups) {
        return;
    }
    let ki = p.inputs / p.groups;
    let block = quad / quads;
    let first = quad % quads * 4u;
    let count = min(4u, no - first);
    let start = r * p.x_stride + p.x_offset + block * ki;
    let outs = block * no + first;
    // Outputs past the end repeat the last one; their sums are dropped.
    let rows = (outs + min(vec4(0u, 1u, 2u, 3u), vec4(count - 1u))) * ki;
    var sum = vec4<f32>();
    for (var j = 0u; j + 3u < ki; j += 4u) {
        let v = x_four(start + j);
        sum += v * mat4x4(w_four(rows.x + j), w_four(rows.y + j), w_four(rows.z + j), w_four(rows.w + j));
    }
    for (var j = ki / 4u * 4u; j < ki; j++) {
        sum += x[start + j] * vec4(w[rows.x + j], w[rows.y + j], w[rows.z + j], w[rows.w + j]);
    }
    for (var n = 0u; n < count; n++) {
        y[r * p.outputs + outs + n] = sum[n];
    }
}

// No barrier, many rows: an invocation makes 4 outputs of 4 rows.
@compute @workgroup_size(8)
fn block(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let no = p.outputs / p.groups;
    let quads = (no + 3u) / 4u;
    let across = (quads * p.groups + 7u) / 8u;
    let group = wid.x + wid.y * groups.x;
    let quad = group % across * 8u + lane;
    let first_row = group / across * 4u;
    if (first_row >= p.rows || quad >= quads * p.groups) {
        return;
    }
    let ki = p.inputs / p.groups;
    let part = quad / quads;
    let first = quad % quads * 4u;
    let count = min(4u, no - first);
    let row_count = min(4u, p.rows - first_row);
    let outs = part * no + first;
    // Outputs and rows past the end repeat the last one; their sums are dropped.
    let rows = (outs + min(vec4(0u, 1u, 2u, 3u), vec4(count - 1u))) * ki;
    let starts = (first_row + min(vec4(0u, 1u, 2u, 3u), vec4(row_count - 1u))) * p.x_stride + p.x_offset + part * ki;
    var s0 = vec4<f32>();
    var s1 = vec4<f32>();
    var s2 = vec4<f32>();
    var s3 = vec4<f32>();
    for (var j = 0u; j + 3u < ki; j += 4u) {
        let weights = mat4x4(w_four(rows.x + j), w_four(rows.y + j), w_four(rows.z + j), w_four(rows.w + j));
        s0 += x_four(starts.x + j) * weights;
        s1 += x_four(starts.y + j) * weights;
        s2 += x_four(starts.z + j) * weights;
        s3 += x_four(starts.w + j) * weights;
    }
    for (var j = ki / 4u * 4u; j < ki; j++) {
        let weights = vec4(w[rows.x + j], w[rows.y + j], w[rows.z + j], w[rows.w + j]);
        s0 += x[starts.x + j] * weights;
        s1 += x[starts.y + j] * weights;
        s2 += x[starts.z + j] * weights;
        s3 += x[starts.w + j] * weights;
    }
    var sums = array<vec4<f32>, 4>(s0, s1, s2, s3);
    for (var i = 0u; i < row_count; i++) {
        for (var n = 0u; n < count; n++) {
            y[(first_row + i) * p.outputs + outs + n] = sums[i][n];
        }
    }
}
