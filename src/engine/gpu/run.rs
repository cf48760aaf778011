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
pub struct LoadedProgram {
    pub program: Program,
    pipelines: Pipelines,
    constants: wgpu::Buffer,
}

/// Buffers for blocks up to one size.
#[derive(Debug)]
pub struct BlockBuffers {
    slots: Vec<wgpu::Buffer>,
    capacity: Vec<usize>,
    parameters: wgpu::Buffer,
    groups: Vec<wgpu::BindGroup>,
    staging: [wgpu::Buffer; IN_FLIGHT],
    next: usize,
}

/// A submitted block whose result is on its way.
#[derive(Debug)]
pub struct PendingResult {
    staging: wgpu::Buffer,
    len: usize,
    submission: wgpu::SubmissionIndex,
    mapped: Mapped,
}

impl LoadedProgram {
    /// Compiles the shaders and uploads the weights.
    ///
    /// # Errors
    /// [`Error::Gpu`] when the driver refuses.
    pub fn new(gpu: &Gpu, program: Program) -> Result<Self> {
        let pipelines = Pipelines::new(gpu, &program);
        let values: &[u8] = bytemuck::cast_slice(&program.constants);
        let constants = gpu.device.create_buffer(&wgpu::BufferDescriptor {
            label: Some("constants"),
            size: values.len() as u64,
            usage: wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        });
        gpu.queue.write_buffer(&constants, 0, values);
        gpu.check()?;
        Ok(Self { program, pipelines, constants })
    }

    /// Buffers for `layout` and anything smaller.
    ///
    /// # Errors
    /// [`Error::Gpu`] when there is not enough memory.
    pub fn arena(&self, gpu: &Gpu, layout: &BufferLayout) -> Result<BlockBuffers> {
        use wgpu::BufferUsages as Usage;
        let buffer = |label, bytes: u64, usage| {
            gpu.device.create_buffer(&wgpu::BufferDescriptor {
                label: Some(label),
                size: bytes,
                usage,
                mapped_at_creation: false,
            })
        };
        let slot = |&len: &usize| {
            buffer(
                "slot",
                len.max(4) as u64 * 4,
                Usage::STORAGE | Usage::COPY_DST | Usage::COPY_SRC,
            )
        };
        let slots: Vec<wgpu::Buffer> = layout.slot_len.iter().map(slot).collect();
        let passes = layout.dispatches.len() as u64;
        let parameters =
            buffer("parameters", passes * PARAMETER_STEP, Usage::UNIFORM | Usage::COPY_DST);
        let result_bytes = layout.result_len as u64 * 4;
        let staging = std::array::from_fn(|_| {
            buffer("staging", result_bytes, Usage::MAP_READ | Usage::COPY_DST)
        });
        let groups = layout
            .dispatches
            .iter()
            .map(|d| self.bind(gpu, &parameters, &slots[d.source], &slots[d.target]))
            .collect();
        gpu.check()?;
        Ok(BlockBuffers {
            slots,
            capacity: layout.slot_len.clone(),
            parameters,
            groups,
            staging,
            next: 0,
        })
    }

    fn bind(
        &self,
        gpu: &Gpu,
        parameters: &wgpu::Buffer,
        source: &wgpu::Buffer,
        target: &wgpu::Buffer,
    ) -> wgpu::BindGroup {
        let window = wgpu::BindingResource::Buffer(wgpu::BufferBinding {
            buffer: parameters,
            offset: 0,
            size: std::num::NonZeroU64::new(PARAMETER_STEP),
        });
        let all = [
            window,
            self.constants.as_entire_binding(),
            source.as_entire_binding(),
            target.as_entire_binding(),
        ];
        let mut binding = 0..;
        gpu.device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: Some("pass"),
            layout: &self.pipelines.layout,
            entries: &all.map(|resource| wgpu::BindGroupEntry {
                binding: binding.next().unwrap_or(0),
                resource,
            }),
        })
    }

    /// Starts one block or batch.
    ///
    /// # Errors
    /// [`Error::Mismatch`] when it does not fit the arena.
    pub fn submit(
        &self,
        gpu: &Gpu,
        arena: &mut BlockBuffers,
        layout: &BufferLayout,
        input: &[f32],
    ) -> Result<PendingResult> {
        if layout.slot_len.iter().zip(&arena.capacity).any(|(len, room)| len > room)
            || input.len() > layout.slot_len[0]
        {
            return Err(Error::mismatch("The block is larger than the buffers made for it"));
        }
        gpu.queue.write_buffer(&arena.slots[0], 0, bytemuck::cast_slice(input));
        let mut parameters = vec![0u8; layout.dispatches.len() * PARAMETER_STEP as usize];
        for (place, dispatch) in
            parameters.chunks_exact_mut(PARAMETER_STEP as usize).zip(&layout.dispatches)
        {
            let bytes = dispatch.parameters.bytes();
            place[..bytes.len()].copy_from_slice(bytes);
        }
        gpu.queue.write_buffer(&arena.parameters, 0, &parameters);
        let mut encoder = gpu
            .device
            .create_command_encoder(&wgpu::CommandEncoderDescriptor { label: Some("block") });
        {
            let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
            for (i, (dispatch, group)) in layout.dispatches.iter().zip(&arena.groups).enumerate() {
                let Some(pipeline) = self.pipelines.get(dispatch.variant) else { continue };
                pass.set_pipeline(pipeline);
                pass.set_bind_group(0, group, &[i as u32 * PARAMETER_STEP as u32]);
                let [x, y, z] = dispatch.threads;
                pass.dispatch_workgroups(x.div_ceil(WORKGROUP[0]), y.div_ceil(WORKGROUP[1]), z);
            }
        }
        let staging = arena.staging[arena.next % IN_FLIGHT].clone();
        arena.next += 1;
        let bytes = layout.result_len as u64 * 4;
        if let Some(result) = arena.slots.last() {
            encoder.copy_buffer_to_buffer(result, 0, &staging, 0, bytes);
        }
        let submission = gpu.queue.submit([encoder.finish()]);
        let mapped = Mapped::of(&staging, bytes);
        Ok(PendingResult { staging, len: layout.result_len, submission, mapped })
    }
}

impl PendingResult {
    /// Waits for the result.
    ///
    /// # Errors
    /// [`Error::Gpu`] when the device failed on the way.
    pub async fn result(self, gpu: &Gpu) -> Result<Vec<f32>> {
        wait(gpu, self.submission)?;
        let mapped = self.mapped.await;
        gpu.check()?;
        if !mapped {
            return Err(Error::gpu(format!("{} gave no result", gpu.facts.name)));
        }
        let failed = |e: wgpu::MapRangeError| {
            Error::gpu(format!("The result cannot be read from {}: {e}", gpu.facts.name))
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
fn wait(gpu: &Gpu, submission: wgpu::SubmissionIndex) -> Result<()> {
    if cfg!(target_arch = "wasm32") {
        return Ok(());
    }
    let until = wgpu::PollType::Wait { submission_index: Some(submission), timeout: None };
    match gpu.device.poll(until) {
        Ok(_) => Ok(()),
        Err(e) => Err(gpu
            .check()
            .err()
            .unwrap_or_else(|| Error::gpu(format!("{} stopped answering: {e}", gpu.facts.name)))),
    }
}

/// Done when a buffer can be read; false if it never will.
#[derive(Debug, Clone)]
struct Mapped(Arc<Mutex<(Option<bool>, Option<Waker>)>>);

impl Mapped {
    fn of(buffer: &wgpu::Buffer, bytes: u64) -> Self {
        let state = Arc::new(Mutex::new((None, None::<Waker>)));
        let told = Arc::clone(&state);
        buffer.map_async(wgpu::MapMode::Read, 0..bytes, move |result| {
            if let Ok(mut state) = told.lock() {
                state.0 = Some(result.is_ok());
                if let Some(waker) = state.1.take() {
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
        if let Some(done) = state.0 {
            return Poll::Ready(done);
        }
        state.1 = Some(context.waker().clone());
        Poll::Pending
    }
}
