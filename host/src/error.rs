//! What can go wrong when a recording is built or run.

/// Errors of this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HostError {
    /// An operation was pushed with the wrong number of arguments.
    #[error("{kernel} takes {expected} arguments, got {got}")]
    ArgumentCount {
        /// Kernel.
        kernel: &'static str,
        /// Bindings it declares.
        expected: usize,
        /// Arguments given.
        got: usize,
    },
    /// An argument does not fit its binding.
    #[error("{kernel}.{binding}: expected {expected}, got {got}")]
    Argument {
        /// Kernel.
        kernel: &'static str,
        /// Binding.
        binding: &'static str,
        /// What the binding needs.
        expected: String,
        /// What was given.
        got: String,
    },
    /// A dispatch is larger than WebGPU's default limits allow.
    #[error("{kernel}: {what} is {got}, the limit is {limit}")]
    Limit {
        /// Kernel.
        kernel: &'static str,
        /// Which limit.
        what: &'static str,
        /// Wanted.
        got: u64,
        /// Allowed.
        limit: u64,
    },
    /// A recording reads a weight that was never written to this device.
    #[error("weight {label} was not written to {device} before it was read")]
    Unwritten {
        /// Buffer.
        label: String,
        /// Device.
        device: String,
    },
    /// A read or write outside a buffer.
    #[error("{label}: elements {offset}..{end} are outside its {len}")]
    Range {
        /// Buffer.
        label: String,
        /// First element.
        offset: usize,
        /// One past the last.
        end: usize,
        /// Elements it has.
        len: usize,
    },
    /// Backward met an operation that has no gradient on a path where one is wanted.
    #[error("{kernel} has no gradient")]
    NoGradient {
        /// Kernel.
        kernel: &'static str,
    },
    /// No adapter fits the request.
    #[error("no GPU adapter matches \"{wanted}\"; found: {found}")]
    NoAdapter {
        /// What was asked for.
        wanted: String,
        /// Adapters that exist.
        found: String,
    },
    /// The device ran out of memory.
    #[error("out of memory on {device}: {bytes} bytes for {label}")]
    OutOfMemory {
        /// Device.
        device: String,
        /// Buffer.
        label: String,
        /// Bytes wanted.
        bytes: u64,
    },
    /// The device was lost; everything on it is gone, the host's copies are not.
    #[error("the GPU device {device} was lost: {reason}")]
    DeviceLost {
        /// Device.
        device: String,
        /// The driver's words.
        reason: String,
    },
    /// The driver refused something that passed our own checks.
    #[error("{device}: {message}")]
    Driver {
        /// Device.
        device: String,
        /// The driver's words.
        message: String,
    },
}
