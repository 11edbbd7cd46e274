//!use activation
// Convolution over two axes: y[b, oy, ox, o] = act(bias[o] + sum over ky, kx, i of
// w[o, ky, kx, i] * x[b, oy * stride_h + ky - pad_h, ox * stride_w + kx - pad_w, i]), zeros outside of x.
// x [batch, in_h, in_w, in_c], w [out_c, kernel_h, kernel_w, in_c], bias [out_c], y [batch, out_h, out_w, out_c].
// One invocation an output.

struct Params {
    batch: u32,
    in_h: u32,
    in_w: u32,
    in_c: u32,
    out_h: u32,
    out_w: u32,
    out_c: u32,
    kernel_h: u32,
    kernel_w: u32,
    stride_h: u32,
    stride_w: u32,
    pad_h: u32,
    pad_w: u32,
    silu: u32,
}

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> w: array<f32>;
@group(0) @binding(2) var<storage, read> bias: array<f32>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;
@group(0) @binding(4) var<uniform> p: Params;

// Taps from .x up to .y of a filter that starts at `start`, which may be negative, meet an input of `length`.
fn inside(start: i32, taps: u32, length: u32) -> vec2<u32> {
    let end = clamp(i32(length) - start, 0, i32(taps));
    return vec2(u32(clamp(-start, 0, end)), u32(end));
}

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let at = (wid.x + wid.y * groups.x) * 64u + lane;
    if (at >= p.batch * p.out_h * p.out_w * p.out_c) {
        return;
    }
    let o = at % p.out_c;
    let place = at / p.out_c;
    let row = place / p.out_w;
    let left = i32((place % p.out_w) * p.stride_w) - i32(p.pad_w);
    let top = i32((row % p.out_h) * p.stride_h) - i32(p.pad_h);
    let rows = inside(top, p.kernel_h, p.in_h);
    let columns = inside(left, p.kernel_w, p.in_w);
    let first = (row / p.out_h) * p.in_h;
    // Neighbouring columns and their channels lie side by side in x and in w: one run for each row of the filter.
    let run = (columns.y - columns.x) * p.in_c;
    let column = u32(max(left, 0));
    var sum = bias[o];
    for (var ky = rows.x; ky < rows.y; ky++) {
        let start = ((first + u32(top + i32(ky))) * p.in_w + column) * p.in_c;
        let tap = ((o * p.kernel_h + ky) * p.kernel_w + columns.x) * p.in_c;
        for (var i = 0u; i < run; i++) {
            sum += w[tap + i] * x[start + i];
        }
    }
    if (p.silu != 0u) {
        sum = silu(sum);
    }
    y[at] = sum;
}
