// Rows in 8 bits: q = round(x / d), d = 2^(e - 6) for a block of 32 whose largest magnitude lies in [2^e, 2^(e + 1)).
// x [rows, x_stride], a window of `inputs` of each row; q [rows, inputs / 4 + inputs / 32], quants and then scales.
// word: one invocation for four elements, each looking through the whole block. block: one for a block.

struct Params {
    rows: u32,
    inputs: u32,
    x_stride: u32,
    x_offset: u32,
}

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> q: array<u32>;
@group(0) @binding(2) var<uniform> p: Params;

// Bits of the largest magnitude of the block that starts there; those of NaN are above all others.
fn largest(start: u32) -> u32 {
    var most = 0u;
    for (var i = 0u; i < 32u; i++) {
        most = max(most, bitcast<u32>(x[start + i]) & 0x7FFFFFFFu);
    }
    return most;
}

fn scale_bits(most: u32) -> u32 {
    let e = most >> 23u;
    return select((max(e, 6u) - 6u) << 23u, 0x7F800000u, e == 255u);
}

// One over the scale; nothing for blocks whose quants mean nothing.
fn factor(most: u32) -> f32 {
    let e = most >> 23u;
    if (e < 7u || e == 255u) {
        return 0.0;
    }
    return bitcast<f32>((260u - e) << 23u);
}

fn four(start: u32, factor: f32) -> u32 {
    let value = vec4<f32>(x[start], x[start + 1u], x[start + 2u], x[start + 3u]);
    let whole = vec4<i32>(clamp(round(value * factor), vec4<f32>(-127.0), vec4<f32>(127.0)));
    let bytes = (vec4<u32>(whole) & vec4<u32>(255u)) << vec4<u32>(0u, 8u, 16u, 24u);
    return bytes.x | bytes.y | bytes.z | bytes.w;
}

@compute @workgroup_size(64)
fn word(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let quads = p.inputs / 4u;
    let at = (wid.x + wid.y * groups.x) * 64u + lane;
    if (at >= p.rows * quads) {
        return;
    }
    let row = at / quads;
    let quad = at % quads;
    let start = row * p.x_stride + p.x_offset;
    let most = largest(start + quad / 8u * 32u);
    let to = row * (quads + quads / 8u);
    q[to + quad] = four(start + quad * 4u, factor(most));
    if (quad % 8u == 0u) {
        q[to + quads + quad / 8u] = scale_bits(most);
    }
}

@compute @workgroup_size(8)
fn block(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let blocks = p.inputs / 32u;
    let at = (wid.x + wid.y * groups.x) * 8u + lane;
    if (at >= p.rows * blocks) {
        return;
    }
    let row = at / blocks;
    let block = at % blocks;
    let start = row * p.x_stride + p.x_offset + block * 32u;
    let most = largest(start);
    let by = factor(most);
    let to = row * blocks * 9u;
    for (var i = 0u; i < 8u; i++) {
        q[to + block * 8u + i] = four(start + i * 4u, by);
    }
    q[to + blocks * 8u + block] = scale_bits(most);
}
