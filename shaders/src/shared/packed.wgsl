
// Shared: weights in few bits (packed.rs), for kernels that use half, define word(part, at) and have the constant
// format: 0 half precision, 1 eight bits, 2 four bits. Software adapters would run all three at every weight.
override format: u32 = 0u;

fn half_pair(pair: u32) -> vec2<f32> {
    return vec2<f32>(half_value(pair & 0xFFFFu), half_value(pair >> 16u));
}

// Weights i to i + 3 of the packed matrix of `weights` weights that starts at `base`; 4 divides i.
fn packed_four(part: u32, base: u32, weights: u32, i: u32) -> vec4<f32> {
    if (format == 0u) {
        let at = base + i / 2u;
        return vec4<f32>(half_pair(word(part, at)), half_pair(word(part, at + 1u)));
    }
    let block = i / 32u;
    if (format == 1u) {
        let quants = vec4<i32>(bitcast<i32>(word(part, base + i / 4u)));
        let scales = word(part, base + weights / 4u + block / 2u);
        let scale = half_value((scales >> (block % 2u * 16u)) & 0xFFFFu);
        return scale * vec4<f32>((quants << vec4<u32>(24u, 16u, 8u, 0u)) >> vec4<u32>(24u));
    }
    let quants = vec4<u32>(word(part, base + block * 4u + i % 16u / 4u) >> (i % 32u / 16u * 4u));
    let scales = word(part, base + weights / 8u + block / 2u);
    let scale = half_value((scales >> (block % 2u * 16u)) & 0xFFFFu);
    return scale * (vec4<f32>((quants >> vec4<u32>(0u, 8u, 16u, 24u)) & vec4<u32>(15u)) - 8.0);
}
