//! Handles to memory: a buffer is a name, a kind and a length; each device keeps the bytes behind it.

use lichen_shaders::kernel::Kind;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// What a buffer is for; decides whether an unwritten one is an error and where gradients go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// Model parameters: must be written before a recording reads them; gradients only where selected.
    Weight,
    /// Carried from run to run: starts as zeros.
    State,
    /// Inputs, activations and outputs: starts as zeros, holds whatever the last run left.
    Scratch,
}

#[derive(Debug)]
struct Info {
    id: u64,
    label: String,
    kind: Kind,
    role: Role,
    len: usize,
}

/// A handle to `len` four-byte elements. Cloning it names the same memory; when the last clone goes, devices
/// give the memory back.
#[derive(Clone, Debug)]
pub struct Buffer(Arc<Info>);

impl Buffer {
    /// A new buffer. Nothing is allocated until a device first meets it.
    pub fn new(label: impl Into<String>, kind: Kind, role: Role, len: usize) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        Self(Arc::new(Info { id, label: label.into(), kind, role, len }))
    }
    /// Unique in the process.
    pub fn id(&self) -> u64 {
        self.0.id
    }
    /// What error messages and printed recordings call it.
    pub fn label(&self) -> &str {
        &self.0.label
    }
    /// Element type.
    pub fn kind(&self) -> Kind {
        self.0.kind
    }
    /// What it is for.
    pub fn role(&self) -> Role {
        self.0.role
    }
    /// Elements.
    pub fn len(&self) -> usize {
        self.0.len
    }
    /// Whether it has no elements.
    pub fn is_empty(&self) -> bool {
        self.0.len == 0
    }
    /// The whole buffer as a view.
    pub fn view(&self) -> View {
        View { buffer: self.clone(), offset: 0, len: self.len() }
    }
    /// Elements `offset .. offset + len`; checked when the view is pushed onto a recording or used by a device.
    pub fn slice(&self, offset: usize, len: usize) -> View {
        View { buffer: self.clone(), offset, len }
    }
    pub(crate) fn alive(&self) -> std::sync::Weak<dyn std::any::Any + Send + Sync> {
        let any: Arc<dyn std::any::Any + Send + Sync> = self.0.clone();
        Arc::downgrade(&any)
    }
}

/// A run of elements of a buffer.
#[derive(Clone, Debug)]
pub struct View {
    /// The buffer.
    pub buffer: Buffer,
    /// First element.
    pub offset: usize,
    /// Elements.
    pub len: usize,
}

impl From<&Buffer> for View {
    fn from(buffer: &Buffer) -> Self {
        buffer.view()
    }
}

impl fmt::Display for View {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.offset, self.len == self.buffer.len()) {
            (0, true) => write!(f, "{}", self.buffer.label()),
            (from, _) => write!(f, "{}[{from}..{}]", self.buffer.label(), from.saturating_add(self.len)),
        }
    }
}
