
// Shared: half precision where the device may have none.

// Half number in the low 16 bits, by integers: a driver may flush small ones to zero.
fn half_value(bits: u32) -> f32 {
    let magnitude = bits & 0x7FFFu;
    let normal = bitcast<f32>((magnitude << 13u) + 0x38000000u);
    let small = f32(magnitude) * 5.9604644775390625e-8;
    let value = select(normal, small, magnitude < 0x400u);
    return select(value, -value, (bits & 0x8000u) != 0u);
}
