//!use half
//!use integers
//!use sums
// Rows in 8 bits times a matrix in 8 or 4 bits: y[r, o] = sum over j of w[o, j] * x[r, j].
// x [rows, inputs / 4 + inputs / 32] words, w the words of a packed matrix [outputs, inputs], y [rows, outputs].

struct Params {
    rows: u32,
    inputs: u32,
    outputs: u32,
    format: u32,
}

@group(0) @binding(0) var<storage, read> x: array<u32>;
@group(0) @binding(1) var<storage, read> w: array<u32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;
@group(0) @binding(3) var<uniform> p: Params;

fn word(part: u32, at: u32) -> u32 {
    return w[at];
}

fn x_word(at: u32) -> u32 {
    return x[at];
}

// First word of a row of x.
fn x_row(r: u32) -> u32 {
    return r * (p.inputs / 32u * 9u);
}

fn x_scale(row: u32, block: u32) -> f32 {
    return bitcast<f32>(x[row + p.inputs / 4u + block]);
}

// A block of a row of W times the same block of a row of x.
fn product(out: u32, block: u32, row: u32) -> f32 {
    let of_all = out * (p.inputs / 32u) + block;
    return dot_block(0u, 0u, p.outputs * p.inputs, of_all, row + block * 8u) * x_scale(row, block);
}

// Few rows: a workgroup makes 8 outputs of 4 rows, 8 invocations along the blocks of each output.
@compute @workgroup_size(64)
fn row(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let across = (p.outputs + 7u) / 8u;
    let group = wid.x + wid.y * groups.x;
    let first_row = group / across * 4u;
    if (first_row >= p.rows) {
        return;
    }
    let out = group % across * 8u + lane / 8u;
    let part = lane % 8u;
    let row_count = min(4u, p.rows - first_row);
    var sum = vec4<f32>();
    if (out < p.outputs) {
        for (var block = part; block < p.inputs / 32u; block += 8u) {
            for (var i = 0u; i < row_count; i++) {
                sum[i] += product(out, block, x_row(first_row + i));
            }
        }
    }
    let all = sum_8(sum, lane);
    // 32 results: the first four invocations of each output store one row each.
    if (part < row_count && out < p.outputs) {
        y[(first_row + part) * p.outputs + out] = all[part];
    }
}

// 64 rows by 64 outputs a workgroup, a block of 32 inputs at a time; an invocation keeps 4 by 4 sums.
// Quants with the words slowest, so that the four of an invocation lie side by side.
var<workgroup> tile_x: array<vec4<u32>, 128>;
var<workgroup> tile_w: array<vec4<u32>, 128>;
var<workgroup> scale_x: array<vec4<f32>, 16>;
var<workgroup> scale_w: array<vec4<f32>, 16>;

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
    let blocks = p.inputs / 32u;

    // Loading: two words of each matrix, one of eight of a row's or output's in either half of the invocations.
    let quad = lane % 16u;
    let slice = lane / 16u % 8u;
    // Computing: 16 by 16 invocations.
    let row_quad = lane / 16u;
    let out_quad = lane % 16u;
    var s0 = vec4<f32>();
    var s1 = vec4<f32>();
    var s2 = vec4<f32>();
    var s3 = vec4<f32>();
    for (var block = 0u; block < blocks; block++) {
        var words = vec4<u32>();
        var scales = vec4<f32>();
        if (lane < 128u) {
            for (var i = 0u; i < 4u; i++) {
                let r = first_row + quad * 4u + i;
                if (r < p.rows) {
                    words[i] = x[x_row(r) + block * 8u + slice];
                    if (slice == 0u) {
                        scales[i] = x_scale(x_row(r), block);
                    }
                }
            }
            tile_x[slice * 16u + quad] = words;
            if (slice == 0u) {
                scale_x[quad] = scales;
            }
        } else {
            for (var i = 0u; i < 4u; i++) {
                let o = first_out + quad * 4u + i;
                if (o < p.outputs) {
                    words[i] = bytes_four(0u, 0u, o * p.inputs + block * 32u + slice * 4u);
                    if (slice == 0u) {
                        scales[i] = block_scale(0u, 0u, p.outputs * p.inputs, o * blocks + block);
                    }
                }
            }
            tile_w[slice * 16u + quad] = words;
            if (slice == 0u) {
                scale_w[quad] = scales;
            }
        }
        workgroupBarrier();
        var d0 = vec4<i32>();
        var d1 = vec4<i32>();
        var d2 = vec4<i32>();
        var d3 = vec4<i32>();
        for (var i = 0u; i < 8u; i++) {
            let left = tile_x[i * 16u + row_quad];
            let right = tile_w[i * 16u + out_quad];
            d0 += dots(left.x, right);
            d1 += dots(left.y, right);
            d2 += dots(left.z, right);
            d3 += dots(left.w, right);
        }
        let left = scale_x[row_quad];
        let right = scale_w[out_quad];
        s0 += left.x * right * vec4<f32>(d0);
        s1 += left.y * right * vec4<f32>(d1);
        s2 += left.z * right * vec4<f32>(d2);
        s3 += left.w * right * vec4<f32>(d3);
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

fn dots(a: u32, b: vec4<u32>) -> vec4<i32> {
    return vec4<i32>(dot4I8Packed(a, b.x), dot4I8Packed(a, b.y), dot4I8Packed(a, b.z), dot4I8Packed(a, b.w));
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
    let row = x_row(r);
    var sum = vec4<f32>();
    for (var block = 0u; block < p.inputs / 32u; block++) {
        sum += vec4<f32>(
            product(outs.x, block, row),
            product(outs.y, block, row),
            product(outs.z, block, row),
            product(outs.w, block, row),
        );
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
    let rows = (first_row + min(vec4<u32>(0u, 1u, 2u, 3u), vec4<u32>(row_count - 1u))) * (p.inputs / 32u * 9u);
    let blocks = p.inputs / 32u;
    let weights = p.outputs * p.inputs;
    var s0 = vec4<f32>();
    var s1 = vec4<f32>();
    var s2 = vec4<f32>();
    var s3 = vec4<f32>();
    for (var block = 0u; block < blocks; block++) {
        var d0 = vec4<i32>();
        var d1 = vec4<i32>();
        var d2 = vec4<i32>();
        var d3 = vec4<i32>();
        for (var i = 0u; i < 8u; i++) {
            let at = outs * p.inputs + block * 32u + i * 4u;
            let four = vec4<u32>(
                bytes_four(0u, 0u, at.x),
                bytes_four(0u, 0u, at.y),
                bytes_four(0u, 0u, at.z),
                bytes_four(0u, 0u, at.w),
            );
            let words = rows + block * 8u + i;
            d0 += dots(x[words.x], four);
            d1 += dots(x[words.y], four);
            d2 += dots(x[words.z], four);
            d3 += dots(x[words.w], four);
        }
        let scales = vec4<f32>(
            block_scale(0u, 0u, weights, outs.x * blocks + block),
            block_scale(0u, 0u, weights, outs.y * blocks + block),
            block_scale(0u, 0u, weights, outs.z * blocks + block),
            block_scale(0u, 0u, weights, outs.w * blocks + block),
        );
        s0 += x_scale(rows.x, block) * scales * vec4<f32>(d0);
        s1 += x_scale(rows.y, block) * scales * vec4<f32>(d1);
        s2 += x_scale(rows.z, block) * scales * vec4<f32>(d2);
        s3 += x_scale(rows.w, block) * scales * vec4<f32>(d3);
    }
    var sums = array<vec4<f32>, 4>(s0, s1, s2, s3);
    for (var i = 0u; i < row_count; i++) {
        for (var n = 0u; n < count; n++) {
            y[(first_row + i) * p.outputs + quad * 4u + n] = sums[i][n];
        }
    }
}
