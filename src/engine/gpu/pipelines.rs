//! Shader sources and their compiled forms.

use std::collections::BTreeMap;

use super::context::Gpu;
use super::program::{PoolKind, Program, Variant};

const LAYER_SHADER: &str = include_str!("../../../shaders/layer.wgsl");
const POOL_SHADER: &str = include_str!("../../../shaders/pool.wgsl");

/// Name and source of every shader; `cargo xtask shaders` checks the same files.
pub const SHADERS: [(&str, &str); 2] = [("layer", LAYER_SHADER), ("pool", POOL_SHADER)];

/// Threads of a workgroup along x and y, as both shaders declare.
pub(super) const WORKGROUP: [u32; 2] = [32, 4];

/// Pipelines of one program on one device.
#[derive(Debug)]
pub(super) struct Pipelines {
    /// Bindings of every pass: parameters, constants, source, target.
    pub layout: wgpu::BindGroupLayout,
    compiled: BTreeMap<Variant, wgpu::ComputePipeline>,
}

impl Pipelines {
    /// Compiles every variant that the program uses.
    pub(super) fn new(gpu: &Gpu, program: &Program) -> Self {
        let parameters = wgpu::BufferBindingType::Uniform;
        let read_only = wgpu::BufferBindingType::Storage { read_only: true };
        let writable = wgpu::BufferBindingType::Storage { read_only: false };
        let layout = gpu.device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor {
            label: Some("pass"),
            entries: &[
                binding(0, parameters),
                binding(1, read_only),
                binding(2, read_only),
                binding(3, writable),
            ],
        });
        let pipeline_layout = gpu.device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
            label: Some("pass"),
            bind_group_layouts: &[Some(&layout)],
            ..wgpu::PipelineLayoutDescriptor::default()
        });
        let layer = shader_module(gpu, "layer", LAYER_SHADER);
        let pool = shader_module(gpu, "pool", POOL_SHADER);
        let mut compiled = BTreeMap::new();
        for variant in program.variants() {
            let module = match variant {
                Variant::Layer { .. } => &layer,
                Variant::Pool { .. } => &pool,
            };
            compiled.insert(variant, compile(gpu, &pipeline_layout, module, variant));
        }
        Self { layout, compiled }
    }

    /// The pipeline of a variant of this program.
    pub(super) fn get(&self, variant: Variant) -> Option<&wgpu::ComputePipeline> {
        self.compiled.get(&variant)
    }
}

/// A buffer of a pass. All passes read their parameters from one buffer, at dynamic offsets.
fn binding(binding: u32, ty: wgpu::BufferBindingType) -> wgpu::BindGroupLayoutEntry {
    wgpu::BindGroupLayoutEntry {
        binding,
        visibility: wgpu::ShaderStages::COMPUTE,
        ty: wgpu::BindingType::Buffer {
            ty,
            has_dynamic_offset: ty == wgpu::BufferBindingType::Uniform,
            min_binding_size: None,
        },
        count: None,
    }
}

fn shader_module(gpu: &Gpu, name: &str, source: &str) -> wgpu::ShaderModule {
    gpu.device.create_shader_module(wgpu::ShaderModuleDescriptor {
        label: Some(name),
        source: wgpu::ShaderSource::Wgsl(source.into()),
    })
}

fn compile(
    gpu: &Gpu,
    layout: &wgpu::PipelineLayout,
    module: &wgpu::ShaderModule,
    variant: Variant,
) -> wgpu::ComputePipeline {
    let constants = match variant {
        Variant::Layer { kernel, vectors, padded, normed, relu, head_classes } => vec![
            ("KERNEL", f64::from(kernel)),
            ("VECTORS", f64::from(vectors)),
            ("PADDED", f64::from(u8::from(padded))),
            ("NORMED", f64::from(u8::from(normed))),
            ("RELU", f64::from(u8::from(relu))),
            ("HEAD", f64::from(u8::from(head_classes > 0))),
            ("CLASSES", f64::from(head_classes.max(2))),
        ],
        Variant::Pool { kernel, kind } => vec![
            ("KERNEL", f64::from(kernel)),
            ("MEAN", f64::from(u8::from(kind == PoolKind::Mean))),
        ],
    };
    gpu.device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
        label: Some("pass"),
        layout: Some(layout),
        module,
        entry_point: Some("main"),
        compilation_options: wgpu::PipelineCompilationOptions {
            constants: &constants,
            ..wgpu::PipelineCompilationOptions::default()
        },
        cache: None,
    })
}
