
// Shared: counter-based random bits. The same 32 bits for the same (seed, counter) on every device.
fn random_bits(seed: vec2<u32>, counter: u32) -> u32 {
    return mix_bits(mix_bits(seed.x ^ mix_bits(counter)) ^ seed.y);
}

fn mix_bits(value: u32) -> u32 {
    var x = value + 0x9E3779B9u;
    x = (x ^ (x >> 16u)) * 0x21F0AAADu;
    x = (x ^ (x >> 15u)) * 0x735A2D97u;
    return x ^ (x >> 15u);
}
