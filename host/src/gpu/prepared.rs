//! A recording made ready for one device: bind groups, one uniform buffer for all params, and the dispatches.

use super::context::{Context, Flow};
use super::memory::GpuMemory;
use super::pipelines::Pipelines;
use crate::error::HostError;
use crate::recording::{Op, Recording, buffers};
use std::num::NonZeroU64;
use std::ops::Range;

/// Uniform bindings start at multiples of this.
const SLOT: usize = 256;
/// A submission ends after this many dispatches ..
const CHUNK_DISPATCHES: usize = 512;
/// .. or this many workgroups: watchdogs of small GPUs stop a submission that runs for seconds.
const CHUNK_WORKGROUPS: u64 = 1 << 18;

struct Dispatch {
    pipeline: wgpu::ComputePipeline,
    group: wgpu::BindGroup,
    workgroups: [u32; 3],
}

/// The dispatches of a recording.
pub(super) struct Prepared {
    label: String,
    dispatches: Vec<Dispatch>,
}

impl Prepared {
    pub(super) fn new(
        context: &Context,
        flow: &mut Flow,
        memory: &mut GpuMemory,
        pipelines: &mut Pipelines,
        recording: &Recording,
    ) -> Result<Self, HostError> {
        recording.fits_gpus()?;
        for buffer in buffers(recording) {
            memory.readable(context, flow, &buffer)?;
        }
        let ops = recording.ops();
        let (params, starts) = pack(ops);
        let usage = wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST;
        let uniform = context.allocate(&format!("{} params", recording.label()), params.len() as u64, usage)?;
        context.queue.write_buffer(&uniform, 0, &params);

        let traits = context.report.traits();
        let mut dispatches = Vec::new();
        for (op, start) in ops.iter().zip(starts) {
            let storage: Vec<wgpu::Buffer> =
                op.args.iter().map(|view| memory.storage(context, flow, &view.buffer)).collect::<Result<_, _>>()?;
            let views = storage.iter().zip(&op.args).map(|(b, view)| binding(b, view.offset * 4, view.len * 4));
            let uniform = binding(&uniform, start, op.params.len().next_multiple_of(16));
            let entries: Vec<wgpu::BindGroupEntry<'_>> = views
                .chain([uniform])
                .zip(0..)
                .map(|(resource, binding)| wgpu::BindGroupEntry { binding, resource })
                .collect();
            let layout = pipelines.group(context, op.kernel)?;
            let descriptor =
                wgpu::BindGroupDescriptor { label: Some(op.kernel.name), layout: &layout, entries: &entries };
            let group = context.device.create_bind_group(&descriptor);
            let variant = op.variant.unwrap_or_else(|| (op.kernel.choose)(&op.params, traits));
            let passes = op.kernel.variants.get(variant).map_or(&[][..], |v| v.passes);
            if passes.is_empty() {
                return Err(context.refused(format!("{} has no variant {variant}", op.kernel.name)));
            }
            for (pass, declared) in passes.iter().enumerate() {
                let pipeline = pipelines.pipeline(context, op.kernel, &op.params, variant, pass)?;
                dispatches.push(Dispatch {
                    pipeline,
                    group: group.clone(),
                    workgroups: (declared.workgroups)(&op.params),
                });
            }
        }
        context.check()?;
        Ok(Self { label: recording.label().to_string(), dispatches })
    }

    /// Submits the dispatches `times` times over, in bounded pieces.
    pub(super) fn submit(&self, context: &Context, flow: &mut Flow, times: usize) {
        let total = self.dispatches.len().saturating_mul(times);
        let mut from = 0;
        while from < total {
            let piece = self.piece(from, total);
            from = piece.end;
            let mut encoder =
                context.device.create_command_encoder(&wgpu::CommandEncoderDescriptor { label: Some(&self.label) });
            {
                let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor {
                    label: Some(&self.label),
                    timestamp_writes: None,
                });
                for i in piece {
                    let dispatch = &self.dispatches[i % self.dispatches.len()];
                    let [x, y, z] = dispatch.workgroups;
                    pass.set_pipeline(&dispatch.pipeline);
                    pass.set_bind_group(0, &dispatch.group, &[]);
                    pass.dispatch_workgroups(x, y, z);
                }
            }
            flow.submit(context, Some(encoder.finish()));
        }
    }

    fn piece(&self, from: usize, total: usize) -> Range<usize> {
        let (mut to, mut workgroups) = (from, 0);
        while to < total && to - from < CHUNK_DISPATCHES && workgroups < CHUNK_WORKGROUPS {
            workgroups +=
                self.dispatches[to % self.dispatches.len()].workgroups.iter().map(|&n| u64::from(n)).product::<u64>();
            to += 1;
        }
        from..to
    }
}

/// The params of all operations, each in slots of its own, and where they start.
fn pack(ops: &[Op]) -> (Vec<u8>, Vec<usize>) {
    let (mut bytes, mut starts) = (Vec::new(), Vec::with_capacity(ops.len()));
    for op in ops {
        starts.push(bytes.len());
        bytes.extend_from_slice(&op.params);
        bytes.resize(bytes.len().next_multiple_of(SLOT), 0);
    }
    bytes.resize(bytes.len().max(SLOT), 0);
    (bytes, starts)
}

fn binding(buffer: &wgpu::Buffer, offset: usize, bytes: usize) -> wgpu::BindingResource<'_> {
    wgpu::BindingResource::Buffer(wgpu::BufferBinding {
        buffer,
        offset: offset as u64,
        size: NonZeroU64::new(bytes as u64),
    })
}
