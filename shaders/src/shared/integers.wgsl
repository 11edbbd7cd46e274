
// Shared: dots of rows in 8 bits (quantize.rs) with packed weights of 8 or 4 bits (packed.rs), for kernels that use
// half, define word(part, at) and x_word(at), and have the constant format.
override format: u32 = 1u;

// Four weights as signed bytes, from weight i of the packed matrix at `base`; 4 divides i.
fn bytes_four(part: u32, base: u32, i: u32) -> u32 {
    if (format == 1u) {
        return word(part, base + i / 4u);
    }
    let nibbles = (word(part, base + i / 32u * 4u + i % 16u / 4u) >> (i % 32u / 16u * 4u)) & 0x0F0F0F0Fu;
    // Eight less in each byte: no byte borrows from the next, for the top bits are set before.
    return ((nibbles | 0x80808080u) - 0x08080808u) ^ 0x80808080u;
}

// Scale of a block of a packed matrix of `weights` weights.
fn block_scale(part: u32, base: u32, weights: u32, block: u32) -> f32 {
    let quants = select(weights / 8u, weights / 4u, format == 1u);
    let scales = word(part, base + quants + block / 2u);
    return half_value((scales >> (block % 2u * 16u)) & 0xFFFFu);
}

// A block of x whose quants start at word `x` times a block of a packed matrix of `weights` weights: an exact integer
// and its scale. A loop, for some drivers take minutes over all that it would unroll to.
fn dot_block(part: u32, base: u32, weights: u32, block: u32, x: u32) -> f32 {
    var sum = 0;
    for (var i = 0u; i < 8u; i++) {
        sum += dot4I8Packed(bytes_four(part, base, block * 32u + i * 4u), x_word(x + i));
    }
    return block_scale(part, base, weights, block) * f32(sum);
}
