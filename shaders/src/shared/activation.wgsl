
// Shared: activations that stay finite for every finite input. exp is clamped where float32 saturates.
fn sigmoid(x: f32) -> f32 {
    return 1.0 / (1.0 + exp(-clamp(x, -80.0, 80.0)));
}

fn silu(x: f32) -> f32 {
    return x * sigmoid(x);
}

// tanh by exp, because a driver's own tanh may overflow to NaN for large inputs.
fn tanh_safe(x: f32) -> f32 {
    let e = exp(-2.0 * min(abs(x), 40.0));
    return sign(x) * (1.0 - e) / (1.0 + e);
}
