//! A recording: a checked list of operations. Plain data that any device runs and that prints as a listing.

use crate::buffer::{Buffer, View};
use crate::error::HostError;
use lichen_shaders::kernel::{Access, Call, Kernel, Kind};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Views start at multiples of this many elements (256 bytes: WebGPU's storage offset alignment).
pub(crate) const VIEW_ALIGN: usize = 64;
/// WebGPU's default limit on one storage binding, in bytes.
pub(crate) const MAX_BINDING_BYTES: u64 = 128 << 20;
/// WebGPU's default limit on workgroups in one dimension.
pub(crate) const MAX_WORKGROUPS: u32 = 65535;

/// One operation: a kernel, its params and its arguments in binding order.
#[derive(Clone, Debug)]
pub struct Op {
    /// The kernel.
    pub kernel: &'static Kernel,
    /// Its params as bytes.
    pub params: Vec<u8>,
    /// Its arguments.
    pub args: Vec<View>,
    /// A variant that must run, for tests; otherwise the device lets the kernel choose.
    pub variant: Option<usize>,
}

/// A list of operations that was checked as it was built. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Recording {
    id: Arc<u64>,
    label: String,
    ops: Vec<Op>,
}

impl Recording {
    /// An empty recording.
    pub fn new(label: impl Into<String>) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Self { id: Arc::new(NEXT.fetch_add(1, Ordering::Relaxed)), label: label.into(), ops: Vec::new() }
    }
    /// Name.
    pub fn label(&self) -> &str {
        &self.label
    }
    /// Operations in order.
    pub fn ops(&self) -> &[Op] {
        &self.ops
    }
    pub(crate) fn id(&self) -> u64 {
        *self.id
    }
    pub(crate) fn alive(&self) -> std::sync::Weak<u64> {
        Arc::downgrade(&self.id)
    }

    /// Appends an operation after checking the number, kinds, lengths, alignment and aliasing of its
    /// arguments.
    pub fn push(&mut self, call: Call, args: &[View]) -> Result<(), HostError> {
        check(&call, args)?;
        // A changed list is another recording: devices cache what they prepare under the id.
        if !self.ops.is_empty() && Arc::strong_count(&self.id) + Arc::weak_count(&self.id) > 1 {
            self.id = Recording::new("").id;
        }
        self.ops.push(Op { kernel: call.kernel, params: call.params, args: args.to_vec(), variant: None });
        Ok(())
    }

    /// Whether every operation stays within WebGPU's default limits: what a GPU demands before it runs anything.
    pub fn fits_gpus(&self) -> Result<(), HostError> {
        for op in &self.ops {
            let within = |what, got: u64, limit: u64| match got <= limit {
                true => Ok(()),
                false => Err(HostError::Limit { kernel: op.kernel.name, what, got, limit }),
            };
            for view in &op.args {
                within("a binding's bytes", view.len as u64 * 4, MAX_BINDING_BYTES)?;
            }
            for pass in op.kernel.variants.iter().flat_map(|v| v.passes) {
                let most = (pass.workgroups)(&op.params).into_iter().max().unwrap_or(0);
                within("workgroups in one dimension", most.into(), MAX_WORKGROUPS.into())?;
            }
        }
        Ok(())
    }
}

impl Recording {
    /// Makes every operation run this variant of its kernel, for tests. Kernels with fewer variants keep choosing.
    pub fn force_variant(&mut self, index: usize) {
        self.id = Recording::new("").id;
        for op in self.ops.iter_mut().filter(|op| index < op.kernel.variants.len()) {
            op.variant = Some(index);
        }
    }
}

fn check(call: &Call, args: &[View]) -> Result<(), HostError> {
    let kernel = call.kernel;
    if args.len() != kernel.bindings.len() {
        return Err(HostError::ArgumentCount { kernel: kernel.name, expected: kernel.bindings.len(), got: args.len() });
    }
    let lengths = (kernel.lengths)(&call.params);
    for (i, (binding, view)) in kernel.bindings.iter().zip(args).enumerate() {
        let wrong = |expected: String, got: String| HostError::Argument {
            kernel: kernel.name,
            binding: binding.name,
            expected,
            got,
        };
        if view.offset.checked_add(view.len).is_none_or(|end| end > view.buffer.len()) {
            return Err(wrong(
                format!("elements within {}'s {}", view.buffer.label(), view.buffer.len()),
                view.to_string(),
            ));
        }
        if view.buffer.kind() != binding.kind {
            return Err(wrong(format!("{:?} elements", binding.kind), format!("{:?} in {view}", view.buffer.kind())));
        }
        if view.len != lengths[i] || view.len == 0 {
            return Err(wrong(format!("{} elements", lengths[i].max(1)), format!("{} in {view}", view.len)));
        }
        if view.offset % VIEW_ALIGN != 0 {
            return Err(wrong(format!("an offset divisible by {VIEW_ALIGN}"), view.to_string()));
        }
        // WebGPU forbids one buffer both read and written in a dispatch, and two written views of one buffer race.
        let clash = args.iter().zip(kernel.bindings).enumerate().find(|(j, (other, b))| {
            *j != i
                && other.buffer.id() == view.buffer.id()
                && (b.access != Access::Read || binding.access != Access::Read)
        });
        if let Some((_, (_, other))) = clash {
            return Err(wrong("a buffer of its own".into(), format!("{view}, also bound as {}", other.name)));
        }
    }
    Ok(())
}

impl fmt::Display for Recording {
    /// One line an operation: `kernel(params) reads -> writes`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}: {} operations", self.label, self.ops.len())?;
        for (i, op) in self.ops.iter().enumerate() {
            let names = |wanted: &[Access]| {
                let args = op.kernel.bindings.iter().zip(&op.args).filter(|(b, _)| wanted.contains(&b.access));
                args.map(|(_, v)| v.to_string()).collect::<Vec<_>>().join(" ")
            };
            let params: Vec<String> = op
                .kernel
                .fields
                .iter()
                .zip(op.params.chunks_exact(4))
                .map(|(field, b)| {
                    let word = u32::from_le_bytes([b[0], b[1], b[2], b[3]]);
                    match field.kind {
                        Kind::Index => format!("{}={word}", field.name),
                        Kind::Real => format!("{}={}", field.name, f32::from_bits(word)),
                    }
                })
                .collect();
            writeln!(
                f,
                "{i:4}  {}({}) {} -> {}",
                op.kernel.name,
                params.join(" "),
                names(&[Access::Read]),
                names(&[Access::ReadWrite, Access::Write])
            )?;
        }
        Ok(())
    }
}

/// Buffers that a recording touches, each once.
pub(crate) fn buffers(recording: &Recording) -> Vec<Buffer> {
    let mut seen = std::collections::HashSet::new();
    let all = recording.ops.iter().flat_map(|op| &op.args).map(|view| &view.buffer);
    all.filter(|buffer| seen.insert(buffer.id())).cloned().collect()
}
