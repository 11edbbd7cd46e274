//! The contract of a kernel: what it binds, how long each binding is, how it is dispatched, its plain
//! reference, its gradient and its test cases. Everything here is data; nothing runs a GPU.
//!
//! A kernel is two files with one stem, `NAME.wgsl` and `NAME.rs`, and one word in [`crate::ALL`]'s list.
//! The Rust file declares [`params!`](crate::params) and [`kernel!`](macro@crate::kernel), which build the `KERNEL`
//! record, the typed argument structs `Args`, `Values` and `Grads`, and the constructor `call`.

use crate::cases::{Case, Cases};
use num_traits::Float;
use std::fmt::Debug;
use std::ops::{AddAssign, MulAssign, SubAssign};

/// The number type of a reference: `f32` when the CPU device runs it, `f64` when it is the truth of a test.
pub trait Real: Float + AddAssign + SubAssign + MulAssign + Debug + Default + Send + Sync + 'static {
    /// The nearest value of this type.
    fn of(x: f64) -> Self;
    /// This value in double precision.
    fn wide(self) -> f64;
}
impl Real for f32 {
    fn of(x: f64) -> Self {
        x as f32
    }
    fn wide(self) -> f64 {
        f64::from(self)
    }
}
impl Real for f64 {
    fn of(x: f64) -> Self {
        x
    }
    fn wide(self) -> f64 {
        self
    }
}

/// Element type of a binding; both are four bytes wide.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A number: `f32` on the device.
    Real,
    /// An id or a counter: `u32` on the device.
    Index,
}

/// How a kernel touches a binding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Access {
    /// Only read.
    Read,
    /// Read and updated in place; the old value is kept on the tape when gradients are wanted.
    ReadWrite,
    /// Only written; elements that the kernel leaves alone keep what they held.
    Write,
}

/// One storage binding; its `@binding` number is its place in [`Kernel::bindings`].
#[derive(Clone, Copy, Debug)]
pub struct Binding {
    /// Name of the WGSL variable.
    pub name: &'static str,
    /// Element type.
    pub kind: Kind,
    /// How it is touched.
    pub access: Access,
}

/// One member of a `Params` struct, all four bytes wide.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// Name of the member in Rust and WGSL.
    pub name: &'static str,
    /// `f32` or `u32`.
    pub kind: Kind,
}

/// A `Params` struct made by [`params!`](crate::params).
pub trait Params: bytemuck::Pod + Debug {
    /// Members in order.
    const FIELDS: &'static [Field];
}

/// What a kernel may assume of the adapter when it chooses a variant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traits {
    /// The adapter is a CPU in disguise: barriers are dear, lanes are few.
    pub software: bool,
    /// Least invocations of a subgroup; 0 where shaders cannot use them.
    pub subgroup: u32,
    /// A browser compiles the text: what it uses beyond the base language must be named.
    pub browser: bool,
}

/// One dispatch.
#[derive(Clone, Copy)]
pub struct Pass {
    /// Entry point in the WGSL.
    pub entry: &'static str,
    /// Workgroups for these params; no dimension may pass 65535.
    pub workgroups: fn(&[u8]) -> [u32; 3],
}

/// One way to lower an operation: one dispatch or several over the same bindings.
#[derive(Clone, Copy)]
pub struct Variant {
    /// Short name, unique in the kernel.
    pub name: &'static str,
    /// Dispatches in order.
    pub passes: &'static [Pass],
}

/// How far a device may be from the reference: `|got - want| <= bound * (|want| + rms(want))`, so NaN fails.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tolerance {
    /// Name shown in reports.
    pub name: &'static str,
    /// Largest relative error.
    pub bound: f64,
}
impl Tolerance {
    /// Bit-equal: copies, ids and counters.
    pub const EXACT: Self = Self { name: "exact", bound: 0.0 };
    /// Short sums of products in float32.
    pub const TIGHT: Self = Self { name: "tight", bound: 1e-5 };
    /// Long sums, recurrences, or functions that WGSL leaves a few units of slack (exp, tanh).
    pub const LOOSE: Self = Self { name: "loose", bound: 1e-4 };
}

/// One bound argument of a reference.
#[derive(Debug)]
pub enum Slot<'a, F> {
    /// Numbers to read.
    Real(&'a [F]),
    /// Numbers to write.
    RealMut(&'a mut [F]),
    /// Ids to read.
    Index(&'a [u32]),
    /// Ids to write.
    IndexMut(&'a mut [u32]),
}

/// The gradient that goes with one bound argument.
#[derive(Debug)]
pub enum Grad<'a, F> {
    /// Of a read binding: add to it, or leave it out when nobody wants it.
    Read(Option<&'a mut [F]>),
    /// Of a written binding: given.
    Write(&'a [F]),
    /// Of an updated binding: comes in as the gradient of the new value, goes out as that of the old one.
    ReadWrite(&'a mut [F]),
    /// Ids have none.
    None,
}

/// A reference or a fast stand-in, with its arguments in binding order.
pub type Forward<F> = fn(&[u8], Vec<Slot<'_, F>>);
/// A gradient: params, the values of the forward run (updated bindings: the old ones), gradients.
pub type Backward<F> = fn(&[u8], Vec<Slot<'_, F>>, Vec<Grad<'_, F>>);

/// A kernel: everything that anyone needs to know about one operation.
pub struct Kernel {
    /// Its name and file stem.
    pub name: &'static str,
    /// The WGSL as written; [`Kernel::source`] joins the snippets it asks for.
    pub wgsl: &'static str,
    /// Members of the uniform `Params` at `@group(0)`, one binding after the last storage binding.
    pub fields: &'static [Field],
    /// Storage bindings at `@group(0)`, numbered from 0.
    pub bindings: &'static [Binding],
    /// Elements of each binding under these params.
    pub lengths: fn(&[u8]) -> Vec<usize>,
    /// Ways to lower it; the first is the general one.
    pub variants: &'static [Variant],
    /// Overrides of the WGSL with their values under these params, fixed when a pipeline is made: branches on them
    /// cost nothing, and calls with other values take other pipelines.
    pub constants: fn(&[u8]) -> Vec<(&'static str, u32)>,
    /// Index of the variant that suits these params on such an adapter.
    pub choose: fn(&[u8], Traits) -> usize,
    /// Plain reference in single precision: what the CPU device runs when it has nothing faster.
    pub reference: Forward<f32>,
    /// The same in double precision: the truth.
    pub truth: Forward<f64>,
    /// Gradient in single and double precision; `None` for operations that have none.
    pub backward: Option<(Backward<f32>, Backward<f64>)>,
    /// Bound on every device's error.
    pub tolerance: Tolerance,
    /// Test cases.
    pub cases: fn(&'static Kernel) -> Vec<Case>,
}

impl Debug for Kernel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Kernel({})", self.name)
    }
}
impl PartialEq for Kernel {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Kernel {
    /// The WGSL to compile: the file followed by each snippet that a `//!use NAME` line asks for.
    /// Snippets come after so that the line numbers of errors stay true.
    pub fn source(&self, t: Traits) -> String {
        let mut text = self.wgsl.to_string();
        let mut subgroups = false;
        for name in self.wgsl.lines().filter_map(|l| l.strip_prefix("//!use ")) {
            let find =
                |list: &[(&str, &'static str)]| list.iter().find(|(n, _)| *n == name.trim()).map(|(_, body)| *body);
            let special = find(crate::SUBGROUP_SNIPPETS).filter(|_| t.subgroup >= 8);
            subgroups |= special.is_some();
            // A missing snippet leaves the text unjoined; the contract test then names the unknown function.
            text.push_str(special.or_else(|| find(crate::SNIPPETS)).unwrap_or(""));
        }
        if subgroups && t.browser { format!("enable subgroups; {text}") } else { text }
    }

    /// Place of the binding called `name`.
    pub fn binding(&self, name: &str) -> Option<usize> {
        self.bindings.iter().position(|b| b.name == name)
    }
}

/// A kernel with its params: what a recording pushes.
#[derive(Clone, Debug)]
pub struct Call {
    /// The kernel.
    pub kernel: &'static Kernel,
    /// Its params as bytes.
    pub params: Vec<u8>,
}

/// Folds `n` workgroups into a grid whose sides stay within WebGPU's 65535; kernels unfold it with
/// `wid.x + wid.y * groups.x` and leave when that passes the end.
pub fn grid(n: u32) -> [u32; 3] {
    let n = n.max(1);
    let y = n.div_ceil(65535);
    [n.div_ceil(y), y, 1]
}

/// Typed access for the code that [`kernel!`](macro@crate::kernel) makes. A mismatch is a bug in this crate.
impl<'a, F> Slot<'a, F> {
    /// As numbers to read; a written slot is read back.
    pub fn real(self) -> &'a [F] {
        match self {
            Slot::Real(x) => x,
            Slot::RealMut(x) => x,
            _ => panic!("an index slot where the kernel declares a real one"),
        }
    }
    /// As numbers to write.
    pub fn real_mut(self) -> &'a mut [F] {
        match self {
            Slot::RealMut(x) => x,
            _ => panic!("the kernel declares a writable real slot here"),
        }
    }
    /// As ids to read; a written slot is read back.
    pub fn index(self) -> &'a [u32] {
        match self {
            Slot::Index(x) => x,
            Slot::IndexMut(x) => x,
            _ => panic!("a real slot where the kernel declares an index one"),
        }
    }
    /// As ids to write.
    pub fn index_mut(self) -> &'a mut [u32] {
        match self {
            Slot::IndexMut(x) => x,
            _ => panic!("the kernel declares a writable index slot here"),
        }
    }
}
impl<'a, F> Grad<'a, F> {
    /// Of a read binding.
    pub fn read(self) -> Option<&'a mut [F]> {
        match self {
            Grad::Read(x) => x,
            _ => panic!("the kernel declares a read binding here"),
        }
    }
    /// Of a written binding.
    pub fn write(self) -> &'a [F] {
        match self {
            Grad::Write(x) => x,
            _ => panic!("the kernel declares a written binding here"),
        }
    }
    /// Of an updated binding.
    pub fn read_write(self) -> &'a mut [F] {
        match self {
            Grad::ReadWrite(x) => x,
            _ => panic!("the kernel declares an updated binding here"),
        }
    }
}

#[doc(hidden)]
pub fn build_cases<P: Params>(kernel: &'static Kernel, fill: fn(&mut Cases<P>)) -> Vec<Case> {
    let mut cases = Cases::new(kernel);
    fill(&mut cases);
    cases.finish()
}

/// Declares the `Params` of a kernel: a `#[repr(C)]` struct of `u32` and `f32` members that the WGSL repeats.
#[macro_export]
macro_rules! params {
    ($($(#[$doc:meta])* $name:ident : $kind:ident),* $(,)?) => {
        /// Numbers that shape one call; the WGSL's `struct Params` has the same members in the same order.
        #[repr(C)]
        #[derive(Clone, Copy, Debug, Default, PartialEq, $crate::bytemuck::Pod, $crate::bytemuck::Zeroable)]
        #[bytemuck(crate = "bytemuck")]
        pub struct Params { $($(#[$doc])* pub $name: $kind),* }
        impl $crate::kernel::Params for Params {
            const FIELDS: &'static [$crate::kernel::Field] =
                &[$($crate::kernel::Field { name: stringify!($name), kind: $crate::field_kind!($kind) }),*];
        }
    };
}
#[doc(hidden)]
#[macro_export]
macro_rules! field_kind {
    (u32) => {
        $crate::kernel::Kind::Index
    };
    (f32) => {
        $crate::kernel::Kind::Real
    };
}
#[doc(hidden)]
#[macro_export]
macro_rules! slot {
    (kind real) => { $crate::kernel::Kind::Real };
    (kind index) => { $crate::kernel::Kind::Index };
    (access read) => { $crate::kernel::Access::Read };
    (access read_write) => { $crate::kernel::Access::ReadWrite };
    (access write) => { $crate::kernel::Access::Write };
    (args $a:lifetime $f:ident read real) => { &$a [$f] };
    (args $a:lifetime $f:ident read index) => { &$a [u32] };
    (args $a:lifetime $f:ident $w:ident real) => { &$a mut [$f] };
    (args $a:lifetime $f:ident $w:ident index) => { &$a mut [u32] };
    (take $s:ident read real) => { $s.real() };
    (take $s:ident read index) => { $s.index() };
    (take $s:ident $w:ident real) => { $s.real_mut() };
    (take $s:ident $w:ident index) => { $s.index_mut() };
    (values $a:lifetime $f:ident real) => { &$a [$f] };
    (values $a:lifetime $f:ident index) => { &$a [u32] };
    (value $s:ident real) => { $s.real() };
    (value $s:ident index) => { $s.index() };
    (grads $a:lifetime $f:ident read real) => { Option<&$a mut [$f]> };
    (grads $a:lifetime $f:ident write real) => { &$a [$f] };
    (grads $a:lifetime $f:ident read_write real) => { &$a mut [$f] };
    (grads $a:lifetime $f:ident $w:ident index) => { () };
    (grad $g:ident read real) => { $g.read() };
    (grad $g:ident write real) => { $g.write() };
    (grad $g:ident read_write real) => { $g.read_write() };
    (grad $g:ident $w:ident index) => {{ let _ = $g; }};
    (backward none) => { None };
    (backward $b:ident) => { Some((run_backward::<f32>, run_backward::<f64>)) };
    (run_backward none $p:ident $v:ident $g:ident) => { let _ = ($p, $v, $g); };
    (run_backward $b:ident $p:ident $v:ident $g:ident) => { $b($p, $v, $g) };
}

#[doc(hidden)]
#[macro_export]
macro_rules! kernel_constants {
    () => {
        |_| Vec::new()
    };
    ($p:ident $($name:ident: $value:expr),*) => {
        |bytes| {
            let $p = $crate::bytemuck::pod_read_unaligned::<Params>(bytes);
            vec![$((stringify!($name), ($value) as u32)),*]
        }
    };
}

/// Declares a kernel; see `rms_norm.rs` for a whole file.
///
/// `bindings(p)` lists `access name: kind [length]` in `@binding` order; `variants` lists
/// `name => [entry => workgroups, ..]`; `constants(p)`, which may be absent, lists `name: value` for the overrides of
/// the WGSL; `choose` picks one by params and adapter; `backward: none` for
/// operations without a gradient. Expects `fn reference<F: Real>(p: &Params, a: Args<F>)`,
/// `fn backward<F: Real>(p: &Params, a: Values<F>, g: Grads<F>)` and `fn cases(c: &mut Cases<Params>)`.
#[macro_export]
macro_rules! kernel {
    (
        name: $name:literal,
        bindings($p:ident) { $($access:ident $arg:ident : $kind:ident [$len:expr]),* $(,)? }
        variants { $($variant:ident => [$($entry:ident => $groups:expr),* $(,)?]),* $(,)? }
        $(constants($op:ident) { $($constant:ident: $value:expr),* $(,)? })?
        choose($cp:ident, $ct:ident): $choose:expr,
        backward: $backward:ident,
        tolerance: $tolerance:expr,
    ) => {
        /// The arguments of a forward run, in binding order.
        #[allow(missing_docs, reason = "the kernel's head documents its bindings")]
        pub struct Args<'a, F> { $(pub $arg: $crate::slot!(args 'a F $access $kind)),*, #[doc(hidden)] pub real: std::marker::PhantomData<&'a F> }
        /// The values that a gradient may read: inputs, old values of updated bindings, outputs.
        #[allow(missing_docs, reason = "the kernel's head documents its bindings")]
        pub struct Values<'a, F> { $(pub $arg: $crate::slot!(values 'a F $kind)),*, #[doc(hidden)] pub real: std::marker::PhantomData<&'a F> }
        /// Gradients, one for each binding.
        #[allow(missing_docs, reason = "the kernel's head documents its bindings")]
        pub struct Grads<'a, F> { $(pub $arg: $crate::slot!(grads 'a F $access $kind)),*, #[doc(hidden)] pub real: std::marker::PhantomData<&'a F> }

        impl<'a, F> Args<'a, F> {
            /// From slots in binding order.
            pub fn of(slots: Vec<$crate::kernel::Slot<'a, F>>) -> Self {
                let [$($arg),*] = <[_; BINDINGS.len()]>::try_from(slots).ok().expect("as many slots as bindings");
                Self { $($arg: $crate::slot!(take $arg $access $kind)),*, real: std::marker::PhantomData }
            }
        }
        impl<'a, F> Values<'a, F> {
            /// From slots in binding order.
            pub fn of(slots: Vec<$crate::kernel::Slot<'a, F>>) -> Self {
                let [$($arg),*] = <[_; BINDINGS.len()]>::try_from(slots).ok().expect("as many slots as bindings");
                Self { $($arg: $crate::slot!(value $arg $kind)),*, real: std::marker::PhantomData }
            }
        }
        impl<'a, F> Grads<'a, F> {
            /// From gradients in binding order.
            pub fn of(grads: Vec<$crate::kernel::Grad<'a, F>>) -> Self {
                let [$($arg),*] = <[_; BINDINGS.len()]>::try_from(grads).ok().expect("as many gradients as bindings");
                Self { $($arg: $crate::slot!(grad $arg $access $kind)),*, real: std::marker::PhantomData }
            }
        }

        const BINDINGS: &[$crate::kernel::Binding] = &[$($crate::kernel::Binding {
            name: stringify!($arg),
            kind: $crate::slot!(kind $kind),
            access: $crate::slot!(access $access),
        }),*];

        fn run_reference<F: $crate::kernel::Real>(params: &[u8], slots: Vec<$crate::kernel::Slot<'_, F>>) {
            reference(&$crate::bytemuck::pod_read_unaligned::<Params>(params), Args::of(slots));
        }
        #[allow(dead_code, reason = "kernels without a gradient share this macro")]
        fn run_backward<F: $crate::kernel::Real>(
            params: &[u8],
            values: Vec<$crate::kernel::Slot<'_, F>>,
            grads: Vec<$crate::kernel::Grad<'_, F>>,
        ) {
            let (p, v, g) = (&$crate::bytemuck::pod_read_unaligned::<Params>(params), Values::of(values), Grads::of(grads));
            $crate::slot!(run_backward $backward p v g);
        }

        /// The record of this kernel.
        pub static KERNEL: $crate::kernel::Kernel = $crate::kernel::Kernel {
            name: $name,
            wgsl: include_str!(concat!($name, ".wgsl")),
            fields: <Params as $crate::kernel::Params>::FIELDS,
            bindings: BINDINGS,
            lengths: |bytes| {
                let $p = $crate::bytemuck::pod_read_unaligned::<Params>(bytes);
                let _ = &$p;
                vec![$(($len) as usize),*]
            },
            variants: &[$($crate::kernel::Variant {
                name: stringify!($variant),
                passes: &[$($crate::kernel::Pass {
                    entry: stringify!($entry),
                    workgroups: |bytes| {
                        let $p = $crate::bytemuck::pod_read_unaligned::<Params>(bytes);
                        let _ = &$p;
                        $groups
                    },
                }),*],
            }),*],
            constants: $crate::kernel_constants!($($op $($constant: $value),*)?),
            choose: |bytes, $ct| {
                let $cp = $crate::bytemuck::pod_read_unaligned::<Params>(bytes);
                let _ = (&$cp, &$ct);
                $choose
            },
            reference: run_reference::<f32>,
            truth: run_reference::<f64>,
            backward: $crate::slot!(backward $backward),
            tolerance: $tolerance,
            cases: |kernel| $crate::kernel::build_cases::<Params>(kernel, cases),
        };

        /// This kernel with these params, ready to be pushed onto a recording.
        pub fn call(params: Params) -> $crate::kernel::Call {
            $crate::kernel::Call { kernel: &KERNEL, params: $crate::bytemuck::bytes_of(&params).to_vec() }
        }
    };
}
