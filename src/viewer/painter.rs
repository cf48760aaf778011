//! The picture on a GPU: one quad a tile, coarse tiles first and finer ones over them. Textures are
//! kept by use, up to a number.

use std::collections::BTreeMap;

use super::RESULT_LAYERS;
use super::layers::{COLOURS, Layers};
use super::pyramid::{TEXTURE, TILE, TileKey};
use super::viewport::Viewport;

/// Textures of this many tiles are kept: at most about 160 MB.
const MAX_TILES: usize = 192;
/// Width of an outline on the screen, pixels.
const OUTLINE_PX: f64 = 1.4;
/// Bytes of a frame's and a tile's parameters, as `shaders/viewer.wgsl` lays them out.
const FRAME_BYTES: u64 = 64;
const TILE_BYTES: u64 = 32;
/// Distance between two tiles' parameters: WebGPU's alignment of dynamic offsets.
const TILE_STEP: u64 = 256;
/// Most tiles in one picture.
const MAX_DRAWN: usize = 512;

#[derive(Debug)]
struct TileTexture {
    image: Option<wgpu::Texture>,
    data: [Option<wgpu::Texture>; RESULT_LAYERS],
    group: Option<wgpu::BindGroup>,
    last_drawn: u64,
}

/// Draws a view's tiles.
#[derive(Debug)]
pub struct Painter {
    device: wgpu::Device,
    queue: wgpu::Queue,
    pipeline: wgpu::RenderPipeline,
    frame: wgpu::Buffer,
    frame_group: wgpu::BindGroup,
    tiles: wgpu::Buffer,
    tile_layout: wgpu::BindGroupLayout,
    /// Stands for data that is not there.
    empty: wgpu::TextureView,
    held: BTreeMap<TileKey, TileTexture>,
    image: (usize, usize),
    frames: u64,
}

impl Painter {
    /// A painter for targets of `format`.
    #[must_use]
    pub fn new(device: wgpu::Device, queue: wgpu::Queue, format: wgpu::TextureFormat) -> Self {
        let shader = device.create_shader_module(wgpu::include_wgsl!("../../shaders/viewer.wgsl"));
        let (frame_layout, tile_layout) = layouts(&device);
        let pipeline = pipeline(&device, &shader, [&frame_layout, &tile_layout], format);
        let uniform = |label, size| {
            device.create_buffer(&wgpu::BufferDescriptor {
                label: Some(label),
                size,
                usage: wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST,
                mapped_at_creation: false,
            })
        };
        let (frame, tiles) =
            (uniform("frame", FRAME_BYTES), uniform("tiles", TILE_STEP * MAX_DRAWN as u64));
        let sampler = device.create_sampler(&wgpu::SamplerDescriptor {
            mag_filter: wgpu::FilterMode::Linear,
            min_filter: wgpu::FilterMode::Linear,
            ..wgpu::SamplerDescriptor::default()
        });
        let frame_group = device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: Some("frame"),
            layout: &frame_layout,
            entries: &[
                wgpu::BindGroupEntry { binding: 0, resource: frame.as_entire_binding() },
                wgpu::BindGroupEntry {
                    binding: 1,
                    resource: wgpu::BindingResource::Sampler(&sampler),
                },
            ],
        });
        let empty = texture(&device, 1, wgpu::TextureFormat::Rgba8Uint)
            .create_view(&wgpu::TextureViewDescriptor::default());
        let held = BTreeMap::new();
        Self {
            device,
            queue,
            pipeline,
            frame,
            frame_group,
            tiles,
            tile_layout,
            empty,
            held,
            image: (1, 1),
            frames: 0,
        }
    }

    /// Forgets all tiles; an image of another size follows.
    pub fn start(&mut self, image: (usize, usize)) {
        self.held.clear();
        self.image = image;
    }

    /// Whether the tile's image is here.
    #[must_use]
    pub fn has_image(&self, key: TileKey) -> bool {
        self.held.get(&key).is_some_and(|h| h.image.is_some())
    }

    /// Takes a tile of [`super::Pyramid::tile`]; a tile of another size is not taken.
    pub fn put_image(&mut self, key: TileKey, rgba: &[u8]) {
        if let Some(texture) = self.upload(rgba, wgpu::TextureFormat::Rgba8Unorm) {
            let held = self.entry(key);
            (held.image, held.group) = (Some(texture), None);
        }
    }

    /// Takes a tile of [`super::data_tile`] for one of the answers.
    pub fn put_data(&mut self, key: TileKey, answer: usize, data: &[u8]) {
        if let Some(texture) = self.upload(data, wgpu::TextureFormat::Rgba8Uint) {
            let held = self.entry(key);
            if let Some(place) = held.data.get_mut(answer) {
                (*place, held.group) = (Some(texture), None);
            }
        }
    }

    /// Forgets an answer.
    pub fn clear_data(&mut self, answer: usize) {
        for held in self.held.values_mut() {
            if let Some(place) = held.data.get_mut(answer) {
                (*place, held.group) = (None, None);
            }
        }
    }

    fn entry(&mut self, key: TileKey) -> &mut TileTexture {
        let frames = self.frames;
        self.held.entry(key).or_insert_with(|| TileTexture {
            image: None,
            data: [None, None],
            group: None,
            last_drawn: frames,
        })
    }

    fn upload(&self, texels: &[u8], format: wgpu::TextureFormat) -> Option<wgpu::Texture> {
        if texels.len() != TEXTURE * TEXTURE * 4 {
            return None;
        }
        let side = TEXTURE as u32;
        let made = texture(&self.device, side, format);
        let rows = wgpu::TexelCopyBufferLayout {
            offset: 0,
            bytes_per_row: Some(side * 4),
            rows_per_image: None,
        };
        self.queue.write_texture(made.as_image_copy(), texels, rows, made.size());
        Some(made)
    }

    /// Draws what the view shows of the tiles that are here, on `clear` (red, green, blue, 0 to 1).
    pub fn draw(
        &mut self,
        view: &Viewport,
        layers: &Layers,
        clear: [f64; 3],
        target: &wgpu::TextureView,
    ) {
        self.frames += 1;
        let keys = self.drawn(view);
        let mut parameters = vec![0u8; keys.len() * TILE_STEP as usize];
        for (place, key) in parameters.chunks_exact_mut(TILE_STEP as usize).zip(&keys) {
            place[..TILE_BYTES as usize]
                .copy_from_slice(bytemuck::cast_slice(&self.quad(view, *key)));
        }
        self.queue.write_buffer(&self.tiles, 0, &parameters);
        self.queue.write_buffer(&self.frame, 0, bytemuck::cast_slice(&frame_parameters(layers)));
        for key in &keys {
            self.bind(*key);
        }
        let mut encoder = self
            .device
            .create_command_encoder(&wgpu::CommandEncoderDescriptor { label: Some("view") });
        {
            let [r, g, b] = clear;
            let mut pass = encoder.begin_render_pass(&wgpu::RenderPassDescriptor {
                label: Some("view"),
                color_attachments: &[Some(wgpu::RenderPassColorAttachment {
                    view: target,
                    depth_slice: None,
                    resolve_target: None,
                    ops: wgpu::Operations {
                        load: wgpu::LoadOp::Clear(wgpu::Color { r, g, b, a: 1.0 }),
                        store: wgpu::StoreOp::Store,
                    },
                })],
                ..wgpu::RenderPassDescriptor::default()
            });
            // What is beside the view on the target belongs to others.
            let ((w, h), whole) = (view.screen(), target.texture().size());
            let (w, h) = ((w as f32).min(whole.width as f32), (h as f32).min(whole.height as f32));
            pass.set_viewport(0.0, 0.0, w, h, 0.0, 1.0);
            pass.set_pipeline(&self.pipeline);
            pass.set_bind_group(0, &self.frame_group, &[]);
            for (i, key) in keys.iter().enumerate() {
                if let Some(group) = self.held.get(key).and_then(|h| h.group.as_ref()) {
                    pass.set_bind_group(1, group, &[(i as u64 * TILE_STEP) as u32]);
                    pass.draw(0..4, 0..1);
                }
            }
        }
        self.queue.submit([encoder.finish()]);
        self.evict();
    }

    /// Tiles to draw, coarse ones first. Where every finer one is here, the coarser are not needed.
    fn drawn(&mut self, view: &Viewport) -> Vec<TileKey> {
        let frames = self.frames;
        let finest = view.level();
        let deepest = self.held.keys().map(|k| k.level).max().unwrap_or(0);
        let mut keys = Vec::new();
        for level in finest..=deepest.max(finest) {
            let visible = view.visible(level);
            let here: Vec<TileKey> =
                visible.iter().copied().filter(|k| self.has_image(*k)).collect();
            let complete = here.len() == visible.len();
            keys.extend(here);
            if complete {
                break;
            }
        }
        keys.reverse();
        keys.truncate(MAX_DRAWN);
        for key in &keys {
            if let Some(held) = self.held.get_mut(key) {
                held.last_drawn = frames;
            }
        }
        keys
    }

    /// Place and extent of a tile, as the shader reads them.
    fn quad(&self, view: &Viewport, key: TileKey) -> [f32; 8] {
        let step = f64::from(1u32 << key.level);
        let span = |at: u32, whole: usize| {
            let from = f64::from(at) * TILE as f64;
            (from, ((whole as f64 / step).ceil() - from).clamp(0.0, TILE as f64))
        };
        let ((left, width), (top, height)) =
            (span(key.column, self.image.0), span(key.row, self.image.1));
        let (x0, y0) = view.to_screen((left * step, top * step));
        let (x1, y1) = view.to_screen(((left + width) * step, (top + height) * step));
        let (w, h) = view.screen();
        let clip = |x: f64, y: f64| (2.0 * x / w - 1.0, 1.0 - 2.0 * y / h);
        let ((cx0, cy0), (cx1, cy1)) = (clip(x0, y0), clip(x1, y1));
        let reach = OUTLINE_PX / (view.scale() * step);
        [cx0, cy0, cx1 - cx0, cy1 - cy0, width, height, reach, 0.0].map(|v| v as f32)
    }

    fn bind(&mut self, key: TileKey) {
        let Some(held) = self.held.get_mut(&key) else { return };
        let (None, Some(image)) = (&held.group, &held.image) else { return };
        let view = |t: &wgpu::Texture| t.create_view(&wgpu::TextureViewDescriptor::default());
        let image = view(image);
        let [first, second] =
            held.data.each_ref().map(|d| d.as_ref().map_or_else(|| self.empty.clone(), view));
        let window = wgpu::BindingResource::Buffer(wgpu::BufferBinding {
            buffer: &self.tiles,
            offset: 0,
            size: std::num::NonZeroU64::new(TILE_BYTES),
        });
        let textures = [&image, &first, &second].map(wgpu::BindingResource::TextureView);
        let mut entries = vec![wgpu::BindGroupEntry { binding: 0, resource: window }];
        entries.extend(
            (1..)
                .zip(textures)
                .map(|(binding, resource)| wgpu::BindGroupEntry { binding, resource }),
        );
        held.group = Some(self.device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: Some("tile"),
            layout: &self.tile_layout,
            entries: &entries,
        }));
    }

    fn evict(&mut self) {
        while self.held.len() > MAX_TILES {
            let oldest =
                self.held.iter().min_by_key(|(k, h)| (h.last_drawn, std::cmp::Reverse(k.level)));
            let Some(key) = oldest.map(|(k, _)| *k) else { return };
            self.held.remove(&key);
        }
    }
}

fn frame_parameters(layers: &Layers) -> [f32; 16] {
    let mut out = [0.0; 16];
    out[..4].copy_from_slice(&[
        layers.outline,
        layers.mask,
        layers.heat,
        layers.preview.unwrap_or(-1.0),
    ]);
    out[4] = layers.divider.unwrap_or(f32::MAX);
    out[5] = layers.short_label() as f32;
    for (place, colour) in out[8..].chunks_exact_mut(4).zip(COLOURS) {
        place[..3].copy_from_slice(&colour);
    }
    out
}

fn texture(device: &wgpu::Device, side: u32, format: wgpu::TextureFormat) -> wgpu::Texture {
    device.create_texture(&wgpu::TextureDescriptor {
        label: Some("tile"),
        size: wgpu::Extent3d { width: side, height: side, depth_or_array_layers: 1 },
        mip_level_count: 1,
        sample_count: 1,
        dimension: wgpu::TextureDimension::D2,
        format,
        usage: wgpu::TextureUsages::TEXTURE_BINDING | wgpu::TextureUsages::COPY_DST,
        view_formats: &[],
    })
}

fn layouts(device: &wgpu::Device) -> (wgpu::BindGroupLayout, wgpu::BindGroupLayout) {
    let entry = |binding, ty| wgpu::BindGroupLayoutEntry {
        binding,
        visibility: wgpu::ShaderStages::VERTEX_FRAGMENT,
        ty,
        count: None,
    };
    let uniform = |moving, bytes| wgpu::BindingType::Buffer {
        ty: wgpu::BufferBindingType::Uniform,
        has_dynamic_offset: moving,
        min_binding_size: std::num::NonZeroU64::new(bytes),
    };
    let picture = |sample_type| wgpu::BindingType::Texture {
        sample_type,
        view_dimension: wgpu::TextureViewDimension::D2,
        multisampled: false,
    };
    let layout = |label, entries: &[wgpu::BindGroupLayoutEntry]| {
        device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor {
            label: Some(label),
            entries,
        })
    };
    let sampler = wgpu::BindingType::Sampler(wgpu::SamplerBindingType::Filtering);
    let frame = layout("frame", &[entry(0, uniform(false, FRAME_BYTES)), entry(1, sampler)]);
    let tile = layout(
        "tile",
        &[
            entry(0, uniform(true, TILE_BYTES)),
            entry(1, picture(wgpu::TextureSampleType::Float { filterable: true })),
            entry(2, picture(wgpu::TextureSampleType::Uint)),
            entry(3, picture(wgpu::TextureSampleType::Uint)),
        ],
    );
    (frame, tile)
}

fn pipeline(
    device: &wgpu::Device,
    shader: &wgpu::ShaderModule,
    layouts: [&wgpu::BindGroupLayout; 2],
    format: wgpu::TextureFormat,
) -> wgpu::RenderPipeline {
    let layout = device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
        label: Some("viewer"),
        bind_group_layouts: &layouts.map(Some),
        immediate_size: 0,
    });
    device.create_render_pipeline(&wgpu::RenderPipelineDescriptor {
        label: Some("viewer"),
        layout: Some(&layout),
        vertex: wgpu::VertexState {
            module: shader,
            entry_point: Some("corner"),
            compilation_options: wgpu::PipelineCompilationOptions::default(),
            buffers: &[],
        },
        primitive: wgpu::PrimitiveState {
            topology: wgpu::PrimitiveTopology::TriangleStrip,
            ..wgpu::PrimitiveState::default()
        },
        depth_stencil: None,
        multisample: wgpu::MultisampleState::default(),
        fragment: Some(wgpu::FragmentState {
            module: shader,
            entry_point: Some("pixel"),
            compilation_options: wgpu::PipelineCompilationOptions::default(),
            targets: &[Some(format.into())],
        }),
        multiview_mask: None,
        cache: None,
    })
}
