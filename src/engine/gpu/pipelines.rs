//! Shader sources and their compiled forms.

use std::collections::BTreeMap;

use super::context::Gpu;
use super::program::{Program, Variant};

/// Every shader by name; `cargo xtask shaders` checks the same files.
pub const SHADERS: [(&str, &str); 2] = [
    ("layer", include_str!("../../../shaders/layer.wgsl")),
    ("pool", include_str!("../../../shaders/pool.wgsl")),
];

/// Threads of a workgroup along x and y, as both shaders declare.
pub const WORKGROUP: [u32; 2] = [32, 4];

/// Pipelines of one program on one device.
#[derive(Debug)]
pub struct Pipelines {
    pub layout: wgpu::BindGroupLayout,
    compiled: BTreeMap<Variant, wgpu::ComputePipeline>,
}

impl Pipelines {
    pub fn new(gpu: &Gpu, program: &Program) -> Self {
        let storage = |binding, read_only| wgpu::BindGroupLayoutEntry {
            binding,
            visibility: wgpu::ShaderStages::COMPUTE,
            ty: wgpu::BindingType::Buffer {
                ty: wgpu::BufferBindingType::Storage { read_only },
                has_dynamic_offset: false,
                min_binding_size: None,
            },
            count: None,
        };
        let parameters = wgpu::BindGroupLayoutEntry {
            ty: wgpu::BindingType::Buffer {
                ty: wgpu::BufferBindingType::Uniform,
                has_dynamic_offset: true,
                min_binding_size: None,
            },
            ..storage(0, true)
        };
        let layout = gpu.device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor {
            label: Some("pass"),
            entries: &[parameters, storage(1, true), storage(2, true), storage(3, false)],
        });
        let pipeline_layout = gpu.device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
            label: Some("pass"),
            bind_group_layouts: &[Some(&layout)],
            ..wgpu::PipelineLayoutDescriptor::default()
        });
        let modules = SHADERS.map(|(name, text)| {
            gpu.device.create_shader_module(wgpu::ShaderModuleDescriptor {
                label: Some(name),
                source: wgpu::ShaderSource::Wgsl(text.into()),
            })
        });
        let compile = |variant: Variant| compile(gpu, &pipeline_layout, &modules, variant);
        let compiled = program.variants().map(|v| (v, compile(v))).collect();
        Self { layout, compiled }
    }

    pub fn get(&self, variant: Variant) -> Option<&wgpu::ComputePipeline> {
        self.compiled.get(&variant)
    }
}

fn compile(
    gpu: &Gpu,
    layout: &wgpu::PipelineLayout,
    [layer, pool]: &[wgpu::ShaderModule; 2],
    variant: Variant,
) -> wgpu::ComputePipeline {
    let flag = |on: bool| f64::from(u8::from(on));
    let (module, constants) = match variant {
        Variant::Layer { kernel, vectors, padded, normed, relu, head } => (
            layer,
            vec![
                ("KERNEL", f64::from(kernel)),
                ("VECTORS", f64::from(vectors)),
                ("PADDED", flag(padded)),
                ("NORMED", flag(normed)),
                ("RELU", flag(relu)),
                ("HEAD", flag(head)),
            ],
        ),
        Variant::Pool { kernel, mean } => {
            (pool, vec![("KERNEL", f64::from(kernel)), ("MEAN", flag(mean))])
        }
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
