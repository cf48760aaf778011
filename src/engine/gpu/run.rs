//! A program on a device: weights uploaded once, buffers kept from block to block, one submission a
//! block, and the result of one block read while the next is computed.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use super::context::Gpu;
use super::pipelines::{Pipelines, WORKGROUP};
use super::program::{BufferLayout, Program};
use crate::error::{Error, Result};

/// Distance between two passes' parameters: WebGPU's alignment of dynamic offsets.
const PARAMETER_STEP: u64 = 256;
/// Blocks under way at a time.
const IN_FLIGHT: usize = 2;

/// A program whose weights lie on the device.
#[derive(Debug)]
pub(super) struct LoadedProgram {
    pub program: Program,
    pipelines: Pipelines,
    constants: wgpu::Buffer,
}

/// Buffers for blocks up to one size.
#[derive(Debug)]
pub(super) struct BlockBuffers {
    /// Input, intermediate planes and output of the passes.
    slots: Vec<wgpu::Buffer>,
    /// Room in each slot, values.
    slot_capacity: Vec<usize>,
    /// Parameters of all passes, [`PARAMETER_STEP`] bytes apart.
    parameters: wgpu::Buffer,
    /// Bindings of each pass.
    bindings: Vec<wgpu::BindGroup>,
    /// Results on their way to the host, in turn.
    staging: [wgpu::Buffer; IN_FLIGHT],
    /// Room in each staging buffer, values.
    result_capacity: usize,
    /// Blocks submitted so far.
    submitted: usize,
    /// Errors of the device when these buffers were taken for an image.
    errors_before: u64,
}

/// A submitted block whose result is on its way.
#[derive(Debug)]
pub(super) struct PendingResult {
    staging: wgpu::Buffer,
    len: usize,
    submission: wgpu::SubmissionIndex,
    mapped: Mapped,
    errors_before: u64,
}

impl LoadedProgram {
    /// Compiles the shaders and uploads the weights.
    ///
    /// # Errors
    /// [`Error::Gpu`] when the driver refuses.
    pub(super) fn new(gpu: &Gpu, program: Program) -> Result<Self> {
        let errors_before = gpu.error_count();
        let pipelines = Pipelines::new(gpu, &program);
        let values: &[u8] = bytemuck::cast_slice(&program.constants);
        let constants = gpu.device.create_buffer(&wgpu::BufferDescriptor {
            label: Some("constants"),
            size: values.len() as u64,
            usage: wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        });
        gpu.queue.write_buffer(&constants, 0, values);
        gpu.check_since(errors_before)?;
        Ok(Self { program, pipelines, constants })
    }

    /// Buffers for `layout` and anything smaller.
    ///
    /// # Errors
    /// [`Error::Gpu`] when there is not enough memory.
    pub(super) fn buffers(&self, gpu: &Gpu, layout: &BufferLayout) -> Result<BlockBuffers> {
        use wgpu::BufferUsages as Usage;
        let errors_before = gpu.error_count();
        let buffer = |label, bytes: u64, usage| {
            gpu.device.create_buffer(&wgpu::BufferDescriptor {
                label: Some(label),
                size: bytes,
                usage,
                mapped_at_creation: false,
            })
        };
        let mut slots = Vec::with_capacity(layout.slot_len.len());
        for len in &layout.slot_len {
            let usage = Usage::STORAGE | Usage::COPY_DST | Usage::COPY_SRC;
            slots.push(buffer("slot", (*len).max(4) as u64 * 4, usage));
        }
        let parameter_bytes = layout.dispatches.len() as u64 * PARAMETER_STEP;
        let parameters = buffer("parameters", parameter_bytes, Usage::UNIFORM | Usage::COPY_DST);
        let result_bytes = layout.result_len as u64 * 4;
        let staging = std::array::from_fn(|_| {
            buffer("staging", result_bytes, Usage::MAP_READ | Usage::COPY_DST)
        });
        let mut bindings = Vec::with_capacity(layout.dispatches.len());
        for pass in &layout.dispatches {
            bindings.push(self.bind(gpu, &parameters, &slots[pass.source], &slots[pass.target]));
        }
        gpu.check_since(errors_before)?;
        Ok(BlockBuffers {
            slots,
            slot_capacity: layout.slot_len.clone(),
            parameters,
            bindings,
            staging,
            result_capacity: layout.result_len,
            submitted: 0,
            errors_before,
        })
    }

    fn bind(
        &self,
        gpu: &Gpu,
        parameters: &wgpu::Buffer,
        source: &wgpu::Buffer,
        target: &wgpu::Buffer,
    ) -> wgpu::BindGroup {
        let parameters = wgpu::BindingResource::Buffer(wgpu::BufferBinding {
            buffer: parameters,
            offset: 0,
            size: std::num::NonZeroU64::new(PARAMETER_STEP),
        });
        let entry = |binding, resource| wgpu::BindGroupEntry { binding, resource };
        gpu.device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: Some("pass"),
            layout: &self.pipelines.layout,
            entries: &[
                entry(0, parameters),
                entry(1, self.constants.as_entire_binding()),
                entry(2, source.as_entire_binding()),
                entry(3, target.as_entire_binding()),
            ],
        })
    }

    /// Starts one block or batch.
    ///
    /// # Errors
    /// [`Error::Mismatch`] when it does not fit the buffers.
    pub(super) fn submit(
        &self,
        gpu: &Gpu,
        buffers: &mut BlockBuffers,
        layout: &BufferLayout,
        input: &[f32],
    ) -> Result<PendingResult> {
        if !buffers.fit(layout) || input.len() > layout.slot_len[0] {
            return Err(Error::mismatch("The block is larger than the buffers made for it"));
        }
        gpu.queue.write_buffer(&buffers.slots[0], 0, bytemuck::cast_slice(input));
        let mut parameters = vec![0u8; layout.dispatches.len() * PARAMETER_STEP as usize];
        let places = parameters.chunks_exact_mut(PARAMETER_STEP as usize);
        for (place, pass) in places.zip(&layout.dispatches) {
            let bytes = pass.parameters.bytes();
            place[..bytes.len()].copy_from_slice(bytes);
        }
        gpu.queue.write_buffer(&buffers.parameters, 0, &parameters);
        let mut encoder = gpu
            .device
            .create_command_encoder(&wgpu::CommandEncoderDescriptor { label: Some("block") });
        {
            let mut compute = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
            for (index, pass) in layout.dispatches.iter().enumerate() {
                let Some(pipeline) = self.pipelines.get(pass.variant) else { continue };
                compute.set_pipeline(pipeline);
                let offset = index as u32 * PARAMETER_STEP as u32;
                compute.set_bind_group(0, &buffers.bindings[index], &[offset]);
                let [x, y, z] = pass.threads;
                compute.dispatch_workgroups(x.div_ceil(WORKGROUP[0]), y.div_ceil(WORKGROUP[1]), z);
            }
        }
        let staging = buffers.staging[buffers.submitted % IN_FLIGHT].clone();
        buffers.submitted += 1;
        let bytes = layout.result_len as u64 * 4;
        if let Some(result) = buffers.slots.last() {
            encoder.copy_buffer_to_buffer(result, 0, &staging, 0, bytes);
        }
        let submission = gpu.queue.submit([encoder.finish()]);
        let mapped = Mapped::of(&staging, bytes);
        let errors_before = buffers.errors_before;
        Ok(PendingResult { staging, len: layout.result_len, submission, mapped, errors_before })
    }
}

impl BlockBuffers {
    /// Errors of the device before now are not of the next image.
    pub(super) fn begin_image(&mut self, gpu: &Gpu) {
        self.errors_before = gpu.error_count();
    }

    /// Whether a block or batch of that layout fits.
    pub(super) fn fit(&self, layout: &BufferLayout) -> bool {
        layout.result_len <= self.result_capacity
            && layout.slot_len.iter().zip(&self.slot_capacity).all(|(len, room)| len <= room)
    }
}

impl PendingResult {
    /// Waits for the result.
    ///
    /// # Errors
    /// [`Error::Gpu`] when the device failed on the way.
    pub(super) async fn result(self, gpu: &Gpu) -> Result<Vec<f32>> {
        wait(gpu, self.submission, self.errors_before)?;
        let mapped = self.mapped.await;
        gpu.check_since(self.errors_before)?;
        if !mapped {
            return Err(Error::gpu(format!("{} gave no result", gpu.facts.name)));
        }
        let failed = |e: wgpu::MapRangeError| {
            Error::gpu(format!("The result cannot be read from {}", gpu.facts.name)).caused_by(e)
        };
        let values = {
            let view = self.staging.get_mapped_range(0..self.len as u64 * 4).map_err(failed)?;
            bytemuck::pod_collect_to_vec(&view)
        };
        self.staging.unmap();
        Ok(values)
    }
}

/// Natively the program itself must wait for the device; a browser calls back.
fn wait(gpu: &Gpu, submission: wgpu::SubmissionIndex, errors_before: u64) -> Result<()> {
    if cfg!(target_arch = "wasm32") {
        return Ok(());
    }
    let until = wgpu::PollType::Wait { submission_index: Some(submission), timeout: None };
    match gpu.device.poll(until) {
        Ok(_) => Ok(()),
        Err(e) => Err(gpu.check_since(errors_before).err().unwrap_or_else(|| {
            Error::gpu(format!("{} stopped answering", gpu.facts.name)).caused_by(e)
        })),
    }
}

/// Ready when a buffer can be read; false if it never will.
#[derive(Debug, Clone)]
struct Mapped(Arc<Mutex<MapState>>);

#[derive(Debug, Default)]
struct MapState {
    succeeded: Option<bool>,
    waker: Option<Waker>,
}

impl Mapped {
    fn of(buffer: &wgpu::Buffer, bytes: u64) -> Self {
        let state = Arc::new(Mutex::new(MapState::default()));
        let shared = Arc::clone(&state);
        buffer.map_async(wgpu::MapMode::Read, 0..bytes, move |result| {
            if let Ok(mut state) = shared.lock() {
                state.succeeded = Some(result.is_ok());
                if let Some(waker) = state.waker.take() {
                    waker.wake();
                }
            }
        });
        Self(state)
    }
}

impl Future for Mapped {
    type Output = bool;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<bool> {
        let Ok(mut state) = self.0.lock() else { return Poll::Ready(false) };
        if let Some(succeeded) = state.succeeded {
            return Poll::Ready(succeeded);
        }
        state.waker = Some(context.waker().clone());
        Poll::Pending
    }
}
