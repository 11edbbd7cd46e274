//! Fast forms of kernels for the CPU device: SIMD chosen at run time, the worker pool, GEMM for many rows.
//! A kernel that is not listed here runs its plain reference.

use crate::pool::Pool;
use lichen_shaders::kernel::{self, Grad, Kernel, Slot};

/// How the CPU device runs an operation.
#[derive(Clone, Copy)]
pub(crate) enum Forward {
    /// The plain reference.
    Plain(kernel::Forward<f32>),
    /// A fast form.
    Fast(fn(&Pool, &[u8], Vec<Slot<'_, f32>>)),
}
impl Forward {
    pub(crate) fn run(self, pool: &Pool, params: &[u8], slots: Vec<Slot<'_, f32>>) {
        match self {
            Forward::Plain(f) => f(params, slots),
            Forward::Fast(f) => f(pool, params, slots),
        }
    }
}

/// How the CPU device takes the gradient of an operation.
#[derive(Clone, Copy)]
pub(crate) enum Backward {
    /// The plain gradient.
    Plain(kernel::Backward<f32>),
    /// A fast form.
    Fast(fn(&Pool, &[u8], Vec<Slot<'_, f32>>, Vec<Grad<'_, f32>>)),
}
impl Backward {
    pub(crate) fn run(self, pool: &Pool, params: &[u8], values: Vec<Slot<'_, f32>>, grads: Vec<Grad<'_, f32>>) {
        match self {
            Backward::Plain(f) => f(params, values, grads),
            Backward::Fast(f) => f(pool, params, values, grads),
        }
    }
}

/// The forward form of a kernel.
pub(crate) fn forward(kernel: &Kernel, plain: bool) -> Forward {
    let _ = plain;
    Forward::Plain(kernel.reference)
}

/// The backward form of a kernel, if it has a gradient.
pub(crate) fn backward(kernel: &Kernel, plain: bool) -> Option<Backward> {
    let _ = plain;
    kernel.backward.map(|(f, _)| Backward::Plain(f))
}

/// The vector instructions in use, for people.
pub(crate) fn instructions() -> &'static str {
    "scalar"
}
