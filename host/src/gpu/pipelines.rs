//! Pipelines, made when an operation first needs them and kept: compiling a kernel costs milliseconds to seconds.

use super::cache::PipelineCache;
use super::context::Context;
use crate::error::HostError;
use lichen_shaders::kernel::{Access, Kernel};
use std::collections::HashMap;
use std::collections::hash_map::Entry;

struct Compiled {
    module: wgpu::ShaderModule,
    group: wgpu::BindGroupLayout,
    layout: wgpu::PipelineLayout,
    /// By variant, pass and values of the constants.
    passes: HashMap<(usize, usize, Vec<u32>), wgpu::ComputePipeline>,
}

/// Pipelines by kernel, variant and pass.
#[derive(Default)]
pub(super) struct Pipelines {
    /// By the address of the static record, so that two kernels of one name in a test stay apart.
    kernels: HashMap<usize, Compiled>,
}

impl Pipelines {
    /// The bind group layout of a kernel.
    pub(super) fn group(
        &mut self,
        context: &Context,
        kernel: &'static Kernel,
    ) -> Result<wgpu::BindGroupLayout, HostError> {
        Ok(self.compiled(context, kernel)?.group.clone())
    }

    /// The pipeline of one pass of a variant under these params.
    pub(super) fn pipeline(
        &mut self,
        context: &Context,
        kernel: &'static Kernel,
        params: &[u8],
        variant: usize,
        pass: usize,
    ) -> Result<wgpu::ComputePipeline, HostError> {
        let compiled = self.compiled(context, kernel)?;
        let constants = (kernel.constants)(params);
        let key = (variant, pass, constants.iter().map(|(_, value)| *value).collect());
        if let Some(pipeline) = compiled.passes.get(&key) {
            return Ok(pipeline.clone());
        }
        let entry = kernel.variants.get(variant).and_then(|v| v.passes.get(pass)).map(|p| p.entry);
        let entry = entry.ok_or_else(|| context.refused(format!("{} has no variant {variant}", kernel.name)))?;
        let label = format!("{}.{entry}", kernel.name);
        let constants: Vec<(&str, f64)> = constants.into_iter().map(|(name, value)| (name, value.into())).collect();
        let pipeline = context.device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: Some(&label),
            layout: Some(&compiled.layout),
            module: &compiled.module,
            entry_point: Some(entry),
            compilation_options: wgpu::PipelineCompilationOptions { constants: &constants, ..Default::default() },
            cache: context.cache.as_ref().map(PipelineCache::raw),
        });
        // Checked before it is kept, so that a pipeline that failed fails again instead of doing nothing.
        context.check()?;
        compiled.passes.insert(key, pipeline.clone());
        Ok(pipeline)
    }

    fn compiled(&mut self, context: &Context, kernel: &'static Kernel) -> Result<&mut Compiled, HostError> {
        Ok(match self.kernels.entry(std::ptr::from_ref(kernel) as usize) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(place) => place.insert(compile(context, kernel)?),
        })
    }
}

fn compile(context: &Context, kernel: &'static Kernel) -> Result<Compiled, HostError> {
    let device = &context.device;
    let module = device.create_shader_module(wgpu::ShaderModuleDescriptor {
        label: Some(kernel.name),
        source: wgpu::ShaderSource::Wgsl(kernel.source(context.report.traits()).into()),
    });
    let storage =
        kernel.bindings.iter().map(|b| wgpu::BufferBindingType::Storage { read_only: b.access == Access::Read });
    let entries: Vec<wgpu::BindGroupLayoutEntry> = storage
        .chain([wgpu::BufferBindingType::Uniform])
        .zip(0..)
        .map(|(ty, binding)| wgpu::BindGroupLayoutEntry {
            binding,
            visibility: wgpu::ShaderStages::COMPUTE,
            ty: wgpu::BindingType::Buffer { ty, has_dynamic_offset: false, min_binding_size: None },
            count: None,
        })
        .collect();
    let group = device
        .create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor { label: Some(kernel.name), entries: &entries });
    let layout = device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
        label: Some(kernel.name),
        bind_group_layouts: &[Some(&group)],
        immediate_size: 0,
    });
    context.check()?;
    Ok(Compiled { module, group, layout, passes: HashMap::new() })
}
