//! Rust twins of `activation.wgsl`, with the derivatives that gradients need.

use crate::kernel::Real;

pub(crate) fn sigmoid<F: Real>(x: F) -> F {
    F::one() / (F::one() + (-x).exp())
}

pub(crate) fn silu<F: Real>(x: F) -> F {
    x * sigmoid(x)
}

pub(crate) fn sigmoid_slope<F: Real>(x: F) -> F {
    let s = sigmoid(x);
    s * (F::one() - s)
}

pub(crate) fn silu_slope<F: Real>(x: F) -> F {
    let s = sigmoid(x);
    s * (F::one() + x * (F::one() - s))
}
