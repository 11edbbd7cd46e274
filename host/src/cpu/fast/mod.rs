//! Fast forms of kernels for the CPU device: SIMD chosen at run time, the worker pool, GEMM for many rows.
//! A kernel that is not listed in [`FORMS`] runs its plain reference.

mod conv2d;
mod delta_inputs;
mod integers;
mod lanes;
mod loss;
mod matmul;
mod matmul_packed;
mod mixing;
mod packed;
mod product;
mod quantized;
mod routing;
mod rows;
mod sample;
mod scan;
mod sections;
mod sections_packed;
mod share;
mod sums;
#[cfg(test)]
mod tests;
mod transpose;

use crate::pool::Pool;
use lichen_shaders::bytemuck::pod_read_unaligned;
use lichen_shaders::kernel::{self, Grad, Kernel, Slot};

/// Gradients of read bindings, one bit each, that hold no sum yet: their old contents mean nothing and the form
/// must write every element of them.
#[derive(Clone, Copy, Default)]
pub(crate) struct Fresh(pub(crate) u32);
impl Fresh {
    /// Whether that of the binding at this place is fresh.
    fn at(self, place: usize) -> bool {
        self.0 >> place & 1 != 0
    }
}

type FastForward = fn(&Pool, &[u8], Vec<Slot<'_, f32>>);
type FastBackward = fn(&Pool, &[u8], Vec<Slot<'_, f32>>, Vec<Grad<'_, f32>>, Fresh);

struct Form {
    kernel: &'static Kernel,
    forward: FastForward,
    backward: Option<FastBackward>,
}

/// `kernel: module` has only a forward form; `kernel: module + backward` has both.
macro_rules! forms {
    ($($name:ident: $($module:ident)::+ $(+ $backward:ident)?),* $(,)?) => {
        &[$(Form {
            kernel: &lichen_shaders::$name::KERNEL,
            forward: |pool, params, slots| {
                use lichen_shaders::$name::{Args, Params};
                $($module)::+::forward(pool, &pod_read_unaligned::<Params>(params), Args::of(slots));
            },
            backward: forms!($name $($module)::+, $($backward)?),
        }),*]
    };
    ($name:ident $($module:ident)::+,) => { None };
    ($name:ident $($module:ident)::+, backward) => {
        Some(|pool, params, values, grads, fresh| {
            use lichen_shaders::$name::{Grads, Params, Values};
            let params = pod_read_unaligned::<Params>(params);
            $($module)::+::backward(pool, &params, Values::of(values), Grads::of(grads), fresh);
        })
    };
}

static FORMS: &[Form] = forms![
    embed: loss::embed + backward,
    rms_norm: rows::rms_norm + backward,
    matmul: matmul + backward,
    matmul_packed: matmul_packed::matmul,
    embed_packed: matmul_packed::embed,
    quantize: quantized::quantize,
    matmul_quantized: quantized::matmul,
    conv: mixing::conv + backward,
    conv2d: conv2d + backward,
    slope: mixing::slope + backward,
    delta_inputs: delta_inputs + backward,
    scan: scan + backward,
    gate: rows::gate + backward,
    add: rows::add + backward,
    router: routing::router,
    router_gate: routing::router_gate + backward,
    section_up: sections::up + backward,
    section_down: sections::down + backward,
    section_up_packed: sections_packed::up + backward,
    section_up_quantized: sections_packed::up_quantized,
    section_down_packed: sections_packed::down + backward,
    section_sum: rows::section_sum + backward,
    cross_entropy: loss::cross_entropy + backward,
    sample: sample,
];

fn form(kernel: &Kernel, plain: bool) -> Option<&'static Form> {
    FORMS.iter().find(|f| !plain && f.kernel.name == kernel.name)
}

/// How the CPU device runs an operation.
#[derive(Clone, Copy)]
pub(crate) enum Forward {
    /// The plain reference.
    Plain(kernel::Forward<f32>),
    /// A fast form.
    Fast(FastForward),
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
    /// The plain gradient: adds to what is there.
    Plain(kernel::Backward<f32>),
    /// A fast form: adds too, but takes fresh gradients as they are.
    Fast(FastBackward),
}
impl Backward {
    /// Whether gradients may come as [`Fresh`] instead of zeroed.
    pub(crate) fn takes_fresh(self) -> bool {
        matches!(self, Backward::Fast(_))
    }
    pub(crate) fn run(
        self,
        pool: &Pool,
        params: &[u8],
        values: Vec<Slot<'_, f32>>,
        grads: Vec<Grad<'_, f32>>,
        fresh: Fresh,
    ) {
        match self {
            Backward::Plain(f) => f(params, values, grads),
            Backward::Fast(f) => f(pool, params, values, grads, fresh),
        }
    }
}

/// The forward form of a kernel.
pub(crate) fn forward(kernel: &Kernel, plain: bool) -> Forward {
    form(kernel, plain).map_or(Forward::Plain(kernel.reference), |f| Forward::Fast(f.forward))
}

/// The backward form of a kernel, if it has a gradient.
pub(crate) fn backward(kernel: &Kernel, plain: bool) -> Option<Backward> {
    let (slow, _) = kernel.backward?;
    Some(form(kernel, plain).and_then(|f| f.backward).map_or(Backward::Plain(slow), Backward::Fast))
}

/// The vector instructions in use, for people.
pub(crate) fn instructions() -> &'static str {
    lanes::instructions()
}
