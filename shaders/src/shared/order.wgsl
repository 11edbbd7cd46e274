
// Shared: an order of floats made of integers, because a compiler may assume that NaN never happens.
// NaN stands with -inf so that it never wins, -0 with 0, and 0 is below every key.
fn is_nan(x: f32) -> bool {
    return (bitcast<u32>(x) & 0x7FFFFFFFu) > 0x7F800000u;
}

fn order_key(x: f32) -> u32 {
    let bits = bitcast<u32>(x);
    if (is_nan(x)) {
        return 0x007FFFFFu;
    }
    if ((bits & 0x7FFFFFFFu) == 0u) {
        return 0x80000000u;
    }
    return select(bits | 0x80000000u, ~bits, bits >= 0x80000000u);
}

// The float of a key.
fn order_value(key: u32) -> f32 {
    return bitcast<f32>(select(~key, key & 0x7FFFFFFFu, key >= 0x80000000u));
}

// Whether (key, id) a goes before b: the higher key first, ties to the lower id.
fn goes_before(a: vec2<u32>, b: vec2<u32>) -> bool {
    return a.x > b.x || (a.x == b.x && a.y < b.y);
}
