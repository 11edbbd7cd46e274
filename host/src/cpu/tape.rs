//! Backward on the CPU: a taped forward run, then the recording walked in reverse.
//!
//! Input gradients flow everywhere; weight gradients are kept for the selected buffers only. Gradients of
//! activations live from the operation that consumes a value back to the one that produced it.

use super::{Cpu, fast};
use crate::buffer::{Buffer, Role, View};
use crate::error::HostError;
use crate::recording::Recording;
use lichen_shaders::kernel::{Access, Grad, Kind, Slot};
use std::collections::HashMap;

/// What a forward run overwrote: the old values of each operation's updated bindings.
pub struct Tape {
    old: Vec<Vec<Option<Vec<f32>>>>,
}

/// Gradients of the selected weights, summed over every backward since the last [`Gradients::clear`].
#[derive(Default)]
pub struct Gradients {
    selected: HashMap<u64, Vec<f32>>,
    flowing: HashMap<u64, Vec<f32>>,
    spare: HashMap<usize, Vec<Vec<f32>>>,
}

impl Gradients {
    /// Zero gradients for these weights.
    pub fn new<'a>(selected: impl IntoIterator<Item = &'a Buffer>) -> Self {
        let selected = selected.into_iter().map(|b| (b.id(), vec![0.0; b.len()])).collect();
        Self { selected, ..Self::default() }
    }
    /// The gradient of a selected weight.
    pub fn get(&self, buffer: &Buffer) -> Option<&[f32]> {
        self.selected.get(&buffer.id()).map(Vec::as_slice)
    }
    /// The same, writable: for clipping and scaling.
    pub fn get_mut(&mut self, buffer: &Buffer) -> Option<&mut [f32]> {
        self.selected.get_mut(&buffer.id()).map(Vec::as_mut_slice)
    }
    /// Sets all selected gradients to zero.
    pub fn clear(&mut self) {
        self.selected.values_mut().for_each(|g| g.fill(0.0));
    }

    fn wants(&self, buffer: &Buffer) -> bool {
        buffer.kind() == Kind::Real && (buffer.role() != Role::Weight || self.selected.contains_key(&buffer.id()))
    }
    /// Takes the gradient out to be worked on; a flowing one that nobody touched yet starts as zeros.
    fn take(&mut self, buffer: &Buffer) -> Vec<f32> {
        let (mut g, stale) = self.take_stale(buffer);
        if stale {
            g.fill(0.0);
        }
        g
    }
    /// The same, but one that nobody touched yet holds anything, and the flag is set.
    fn take_stale(&mut self, buffer: &Buffer) -> (Vec<f32>, bool) {
        if let Some(g) = self.selected.get_mut(&buffer.id()) {
            return (std::mem::take(g), false);
        }
        match self.flowing.remove(&buffer.id()) {
            Some(g) => (g, false),
            None => {
                let spare = self.spare.get_mut(&buffer.len()).and_then(Vec::pop);
                (spare.unwrap_or_else(|| vec![0.0; buffer.len()]), true)
            }
        }
    }
    fn put(&mut self, buffer: &Buffer, g: Vec<f32>) {
        match self.selected.get_mut(&buffer.id()) {
            Some(place) => *place = g,
            None => drop(self.flowing.insert(buffer.id(), g)),
        }
    }
    fn retire(&mut self, buffer: &Buffer) {
        if let Some(g) = self.flowing.remove(&buffer.id()) {
            self.spare.entry(g.len()).or_default().push(g);
        }
    }
}

impl Cpu {
    /// Runs the recording once and keeps what it overwrites.
    pub fn run_taped(&self, recording: &Recording) -> Result<Tape, HostError> {
        let mut inner = self.lock();
        let ops = self.prepared(&mut inner, recording)?;
        let mut tape = Tape { old: Vec::with_capacity(ops.len()) };
        for op in ops.iter() {
            // SAFETY: the lock is held.
            let slots = unsafe { op.slots() };
            let keep =
                |(slot, binding): (&Slot<'_, f32>, &lichen_shaders::kernel::Binding)| match (slot, binding.access) {
                    (Slot::RealMut(x), Access::ReadWrite) => Some(x.to_vec()),
                    _ => None,
                };
            tape.old.push(slots.iter().zip(op.op.kernel.bindings).map(keep).collect());
            inner.timed(op.op.kernel.name, 0, || op.forward.run(&self.pool, &op.op.params, slots));
        }
        Ok(tape)
    }

    /// Walks the recording in reverse from `seeds`, the gradients of some of its outputs, and adds to
    /// `gradients`. The values must be those of the taped run: nothing may have run on these buffers since.
    pub fn backward(
        &self,
        recording: &Recording,
        tape: &Tape,
        seeds: &[(&Buffer, &[f32])],
        gradients: &mut Gradients,
    ) -> Result<(), HostError> {
        let mut inner = self.lock();
        let ops = self.prepared(&mut inner, recording)?;
        for (buffer, seed) in seeds {
            let mut g = gradients.take(buffer);
            if g.len() != seed.len() {
                return Err(HostError::Range {
                    label: buffer.label().into(),
                    offset: 0,
                    end: seed.len(),
                    len: g.len(),
                });
            }
            g.iter_mut().zip(*seed).for_each(|(g, s)| *g += s);
            gradients.put(buffer, g);
        }
        // A buffer that several operations write in parts (shards of a table, chunks of sections) keeps its gradient
        // until the first of them was passed. Nothing else may write an element twice in a taped recording.
        let mut first_writer: HashMap<u64, usize> = HashMap::new();
        for (i, op) in ops.iter().enumerate() {
            for (view, binding) in op.op.args.iter().zip(op.op.kernel.bindings) {
                if binding.access == Access::Write {
                    first_writer.entry(view.buffer.id()).or_insert(i);
                }
            }
        }
        for (at, (op, old)) in ops.iter().zip(&tape.old).enumerate().rev() {
            let bindings = op.op.kernel.bindings;
            let args: Vec<(&View, Access)> = op.op.args.iter().zip(bindings).map(|(v, b)| (v, b.access)).collect();
            let reached = |(view, access): &(&View, Access)| {
                *access != Access::Read && gradients.flowing.contains_key(&view.buffer.id())
            };
            if !args.iter().any(reached) {
                continue;
            }
            let Some(backward) = fast::backward(op.op.kernel, self.plain) else {
                return Err(HostError::NoGradient { kernel: op.op.kernel.name });
            };
            // One gradient may serve several views of a buffer: a read binding that shares a buffer with another
            // gets a spare copy that is added afterwards.
            let mut taken: Vec<Option<Vec<f32>>> = Vec::with_capacity(args.len());
            let mut copies: Vec<bool> = Vec::with_capacity(args.len());
            let mut fresh = fast::Fresh::default();
            for (i, (view, access)) in args.iter().enumerate() {
                let wanted =
                    gradients.wants(&view.buffer) || (*access != Access::Read && view.buffer.kind() == Kind::Real);
                let shared = args[..i].iter().any(|(other, _)| other.buffer.id() == view.buffer.id());
                // A form that writes the whole of a fresh gradient spares the pass over memory that zeroes it.
                let whole = *access == Access::Read && view.len == view.buffer.len() && backward.takes_fresh();
                copies.push(shared);
                taken.push(match (wanted, shared) {
                    (false, _) => None,
                    (true, false) if whole => {
                        let (g, stale) = gradients.take_stale(&view.buffer);
                        fresh.0 |= u32::from(stale) << i;
                        Some(g)
                    }
                    (true, false) => Some(gradients.take(&view.buffer)),
                    (true, true) => Some(vec![0.0; view.buffer.len()]),
                });
            }
            let grads = taken
                .iter_mut()
                .zip(&args)
                .map(|(g, (view, access))| {
                    let range = view.offset..view.offset + view.len;
                    match (g, access) {
                        (None, Access::Read) if view.buffer.kind() == Kind::Real => Grad::Read(None),
                        (None, _) => Grad::None,
                        (Some(g), Access::Read) => Grad::Read(Some(&mut g[range])),
                        (Some(g), Access::Write) => Grad::Write(&g[range]),
                        (Some(g), Access::ReadWrite) => Grad::ReadWrite(&mut g[range]),
                    }
                })
                .collect();
            // SAFETY: the lock is held.
            let values = unsafe { op.slots() };
            let values = values
                .into_iter()
                .zip(old)
                .map(|(slot, old)| match (slot, old) {
                    (_, Some(old)) => Slot::Real(old.as_slice()),
                    (Slot::RealMut(x), None) => Slot::Real(x),
                    (Slot::IndexMut(x), None) => Slot::Index(x),
                    (slot, None) => slot,
                })
                .collect();
            inner.timed(op.op.kernel.name, 1, || backward.run(&self.pool, &op.op.params, values, grads, fresh));
            for ((g, (view, access)), copy) in taken.into_iter().zip(&args).zip(copies) {
                let Some(g) = g else { continue };
                if copy {
                    let mut sum = gradients.take(&view.buffer);
                    sum.iter_mut().zip(&g).for_each(|(s, g)| *s += g);
                    gradients.put(&view.buffer, sum);
                    continue;
                }
                gradients.put(&view.buffer, g);
                if *access == Access::Write && first_writer.get(&view.buffer.id()) == Some(&at) {
                    gradients.retire(&view.buffer);
                }
            }
        }
        let left: Vec<u64> = gradients.flowing.keys().copied().collect();
        for id in left {
            if let Some(g) = gradients.flowing.remove(&id) {
                gradients.spare.entry(g.len()).or_default().push(g);
            }
        }
        Ok(())
    }
}
