//! Draws the visible tiles on a GPU: one quad a tile, coarse levels first and finer ones over them.
//! Textures are kept until there are too many; the least recently drawn ones are dropped first.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use bytemuck::{Pod, Zeroable};

use super::RESULT_LAYERS;
use super::layers::{Layers, RESULT_COLOURS};
use super::tile::{TEXTURE_BYTES, TEXTURE_PX, TILE_PX, TileKey};
use super::viewport::{ScreenPoint, Viewport};
use crate::raster::Point;

/// Most tiles with textures: with two results each about 160 MB.
const MAX_TILES: usize = 192;
/// Distance between the uniforms of two tiles: WebGPU's alignment of dynamic offsets, bytes.
const TILE_UNIFORM_STRIDE: usize = 256;
/// Most tiles in one picture.
const MAX_DRAWN: usize = 512;

/// A part of the screen that shows the view.
struct Pane {
    /// Shares of the screen's width.
    left: f32,
    right: f32,
    /// From the place in the whole view, in clip space.
    shift: f32,
}

const WHOLE_PANE: Pane = Pane { left: 0.0, right: 1.0, shift: 0.0 };
/// Both halves show the middle half of the view.
const LINKED_PANES: [Pane; 2] =
    [Pane { left: 0.0, right: 0.5, shift: -0.5 }, Pane { left: 0.5, right: 1.0, shift: 0.5 }];

/// Parameters of a picture: `Frame` of `shaders/viewer.wgsl`.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct FrameUniforms {
    mask: f32,
    heat: f32,
    /// Threshold of the preview; negative for none.
    preview: f32,
    /// Column of the screen where result 1 begins.
    divider: f32,
    /// Red, green, blue and one unused value each.
    colours: [[f32; 4]; RESULT_LAYERS],
}

/// Parameters of a quad: `Tile` of `shaders/viewer.wgsl`.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct TileUniforms {
    /// Upper-left corner in clip space: −1 to 1, y upwards.
    corner: [f32; 2],
    /// Width and (negative) height in clip space.
    size: [f32; 2],
    /// Width and height that the image fills of the tile, pixels of the tile.
    extent: [f32; 2],
    unused: [f32; 2],
}

const FRAME_UNIFORM_BYTES: u64 = size_of::<FrameUniforms>() as u64;
const TILE_UNIFORM_BYTES: u64 = size_of::<TileUniforms>() as u64;

#[derive(Debug)]
struct TileTexture {
    /// RGBA with apron.
    image: Option<wgpu::Texture>,
    /// Results, as [`super::data_tile`] gives them.
    data: [Option<wgpu::Texture>; RESULT_LAYERS],
    /// Made when the tile is drawn; none after a change of its textures.
    bind_group: Option<wgpu::BindGroup>,
    /// Number of the frame.
    last_drawn: u64,
}

/// Draws images with their results.
#[derive(Debug)]
pub struct Painter {
    device: wgpu::Device,
    queue: wgpu::Queue,
    pipeline: wgpu::RenderPipeline,
    frame_buffer: wgpu::Buffer,
    frame_bind_group: wgpu::BindGroup,
    /// Uniforms of the tiles of a picture, [`TILE_UNIFORM_STRIDE`] apart.
    tile_buffer: wgpu::Buffer,
    tile_layout: wgpu::BindGroupLayout,
    /// One transparent pixel, bound where a tile has no results.
    empty: wgpu::TextureView,
    textures: BTreeMap<TileKey, TileTexture>,
    /// Width and height of the image, pixels of the finest level.
    image: (usize, usize),
    /// Number of the current frame.
    frame: u64,
}

impl Painter {
    /// A painter without tiles, for targets of `format`.
    #[must_use]
    pub fn new(device: wgpu::Device, queue: wgpu::Queue, format: wgpu::TextureFormat) -> Self {
        let shader = device.create_shader_module(wgpu::include_wgsl!("../../shaders/viewer.wgsl"));
        let frame_layout = frame_layout(&device);
        let tile_layout = tile_layout(&device);
        let pipeline = pipeline(&device, &shader, [&frame_layout, &tile_layout], format);
        let frame_buffer = uniform_buffer(&device, "frame", FRAME_UNIFORM_BYTES);
        let tile_buffer =
            uniform_buffer(&device, "tiles", (TILE_UNIFORM_STRIDE * MAX_DRAWN) as u64);
        let sampler = device.create_sampler(&wgpu::SamplerDescriptor {
            mag_filter: wgpu::FilterMode::Linear,
            min_filter: wgpu::FilterMode::Linear,
            ..wgpu::SamplerDescriptor::default()
        });
        let frame_bind_group = device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: Some("frame"),
            layout: &frame_layout,
            entries: &[
                wgpu::BindGroupEntry { binding: 0, resource: frame_buffer.as_entire_binding() },
                wgpu::BindGroupEntry {
                    binding: 1,
                    resource: wgpu::BindingResource::Sampler(&sampler),
                },
            ],
        });
        let empty = default_view(&texture(&device, 1, wgpu::TextureFormat::Rgba8Uint));
        Self {
            device,
            queue,
            pipeline,
            frame_buffer,
            frame_bind_group,
            tile_buffer,
            tile_layout,
            empty,
            textures: BTreeMap::new(),
            image: (1, 1),
            frame: 0,
        }
    }

    /// Drops all tiles and begins with another image, width and height in pixels.
    pub fn start(&mut self, image: (usize, usize)) {
        self.textures.clear();
        self.image = image;
    }

    /// Drops all tiles.
    pub fn clear(&mut self) {
        self.textures.clear();
    }

    /// Whether the painter has the pixels of a tile.
    #[must_use]
    pub fn has_image(&self, key: TileKey) -> bool {
        self.textures.get(&key).is_some_and(|tile| tile.image.is_some())
    }

    /// Adds the pixels of a tile, as [`super::Pyramid::tile`] gives them. Tiles of another size are
    /// ignored.
    pub fn put_image(&mut self, key: TileKey, rgba: &[u8]) {
        if let Some(texture) = self.upload(rgba, wgpu::TextureFormat::Rgba8Unorm) {
            let tile = self.tile_mut(key);
            tile.image = Some(texture);
            tile.bind_group = None;
        }
    }

    /// Adds the results of a tile, as [`super::data_tile`] gives them, for result number `result`.
    /// Tiles of another size are ignored.
    pub fn put_data(&mut self, key: TileKey, result: usize, data: &[u8]) {
        if result >= RESULT_LAYERS {
            return;
        }
        if let Some(texture) = self.upload(data, wgpu::TextureFormat::Rgba8Uint) {
            let tile = self.tile_mut(key);
            tile.data[result] = Some(texture);
            tile.bind_group = None;
        }
    }

    /// Drops all tiles of a result.
    pub fn clear_data(&mut self, result: usize) {
        if result >= RESULT_LAYERS {
            return;
        }
        for tile in self.textures.values_mut() {
            tile.data[result] = None;
            tile.bind_group = None;
        }
    }

    fn tile_mut(&mut self, key: TileKey) -> &mut TileTexture {
        let frame = self.frame;
        self.textures.entry(key).or_insert_with(|| TileTexture {
            image: None,
            data: [None, None],
            bind_group: None,
            last_drawn: frame,
        })
    }

    fn upload(&self, texels: &[u8], format: wgpu::TextureFormat) -> Option<wgpu::Texture> {
        if texels.len() != TEXTURE_BYTES {
            return None;
        }
        let side = TEXTURE_PX as u32;
        let texture = texture(&self.device, side, format);
        let layout = wgpu::TexelCopyBufferLayout {
            offset: 0,
            bytes_per_row: Some(side * 4),
            rows_per_image: None,
        };
        self.queue.write_texture(texture.as_image_copy(), texels, layout, texture.size());
        Some(texture)
    }

    /// Draws the visible part of the tiles that the painter has, over the colour `clear` (red,
    /// green, blue, 0 to 1).
    pub fn draw(
        &mut self,
        view: &Viewport,
        layers: &Layers,
        clear: [f64; 3],
        target: &wgpu::TextureView,
    ) {
        self.frame += 1;
        let panes: &[Pane] = if layers.linked { &LINKED_PANES } else { &[WHOLE_PANE] };
        let mut keys = self.tiles_to_draw(view);
        keys.truncate(MAX_DRAWN / panes.len());
        // One buffer for all tiles of the picture; each draw call selects its part by a dynamic
        // offset.
        let mut tile_uniforms = vec![0u8; panes.len() * keys.len() * TILE_UNIFORM_STRIDE];
        let mut slots = tile_uniforms.chunks_exact_mut(TILE_UNIFORM_STRIDE);
        for pane in panes {
            for (key, slot) in keys.iter().zip(&mut slots) {
                let mut uniforms = self.tile_uniforms(view, *key);
                uniforms.corner[0] += pane.shift;
                slot[..size_of::<TileUniforms>()].copy_from_slice(bytemuck::bytes_of(&uniforms));
            }
        }
        let frame_uniforms = frame_uniforms(layers);
        self.queue.write_buffer(&self.tile_buffer, 0, &tile_uniforms);
        self.queue.write_buffer(&self.frame_buffer, 0, bytemuck::bytes_of(&frame_uniforms));
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
            // The target may be larger than the view: a panel lies beside it.
            let target_size = target.texture().size();
            let width = (view.screen().0 as f32).min(target_size.width as f32);
            let height = (view.screen().1 as f32).min(target_size.height as f32);
            pass.set_viewport(0.0, 0.0, width, height, 0.0, 1.0);
            pass.set_pipeline(&self.pipeline);
            pass.set_bind_group(0, &self.frame_bind_group, &[]);
            for (number, pane) in panes.iter().enumerate() {
                let column = |share: f32| (width * share).round() as u32;
                let (left, right) = (column(pane.left), column(pane.right));
                pass.set_scissor_rect(left, 0, right - left, height as u32);
                for (i, key) in keys.iter().enumerate() {
                    let tile = self.textures.get(key);
                    if let Some(bind_group) = tile.and_then(|tile| tile.bind_group.as_ref()) {
                        let slot = number * keys.len() + i;
                        pass.set_bind_group(1, bind_group, &[(slot * TILE_UNIFORM_STRIDE) as u32]);
                        pass.draw(0..4, 0..1);
                    }
                }
            }
        }
        self.queue.submit([encoder.finish()]);
        self.evict();
    }

    /// Tiles to draw, coarse ones first. Coarser levels fill the gaps of finer ones, up to the
    /// first level without a gap.
    fn tiles_to_draw(&mut self, view: &Viewport) -> Vec<TileKey> {
        let finest = view.level();
        let coarsest = self.textures.keys().map(|key| key.level).max().unwrap_or(0).max(finest);
        let mut keys = Vec::new();
        // From fine to coarse: a level that covers the view hides all coarser ones.
        for level in finest..=coarsest {
            let visible = view.visible(level);
            let mut has_gap = false;
            for key in visible {
                if self.has_image(key) {
                    keys.push(key);
                } else {
                    has_gap = true;
                }
            }
            if !has_gap {
                break;
            }
        }
        // Coarse first: finer tiles are drawn over them.
        keys.reverse();
        keys.truncate(MAX_DRAWN);
        for key in &keys {
            if let Some(tile) = self.textures.get_mut(key) {
                tile.last_drawn = self.frame;
            }
        }
        keys
    }

    fn tile_uniforms(&self, view: &Viewport, key: TileKey) -> TileUniforms {
        // Pixels of the finest level to one of the tile.
        let downsample = f64::from(1u32 << key.level);
        // The tile in pixels of its level, cut at the image's border.
        let left = f64::from(key.column) * TILE_PX as f64;
        let top = f64::from(key.row) * TILE_PX as f64;
        let width = tile_extent(left, self.image.0, downsample);
        let height = tile_extent(top, self.image.1, downsample);
        let first = view.to_screen(Point { x: left * downsample, y: top * downsample });
        let last = view
            .to_screen(Point { x: (left + width) * downsample, y: (top + height) * downsample });
        let first = to_clip_space(first, view.screen());
        let last = to_clip_space(last, view.screen());
        TileUniforms {
            corner: [first.x as f32, first.y as f32],
            size: [(last.x - first.x) as f32, (last.y - first.y) as f32],
            extent: [width as f32, height as f32],
            unused: [0.0; 2],
        }
    }

    /// Makes the bind group of a tile that has none.
    fn bind(&mut self, key: TileKey) {
        let Some(tile) = self.textures.get_mut(&key) else { return };
        let (None, Some(image)) = (&tile.bind_group, &tile.image) else { return };
        let image_view = default_view(image);
        let result_views: [wgpu::TextureView; RESULT_LAYERS] =
            tile.data.each_ref().map(|data| match data {
                Some(texture) => default_view(texture),
                None => self.empty.clone(),
            });
        let uniforms = wgpu::BindingResource::Buffer(wgpu::BufferBinding {
            buffer: &self.tile_buffer,
            offset: 0,
            size: std::num::NonZeroU64::new(TILE_UNIFORM_BYTES),
        });
        tile.bind_group = Some(self.device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: Some("tile"),
            layout: &self.tile_layout,
            entries: &[
                wgpu::BindGroupEntry { binding: 0, resource: uniforms },
                texture_entry(1, &image_view),
                texture_entry(2, &result_views[0]),
                texture_entry(3, &result_views[1]),
            ],
        }));
    }

    /// Drops the least recently drawn tiles; of those, the coarsest first.
    fn evict(&mut self) {
        while self.textures.len() > MAX_TILES {
            let oldest = self
                .textures
                .iter()
                .min_by_key(|(key, tile)| (tile.last_drawn, Reverse(key.level)));
            let Some(key) = oldest.map(|(key, _)| *key) else { return };
            self.textures.remove(&key);
        }
    }
}

/// From screen pixels to clip space: −1 to 1, y upwards.
fn to_clip_space(point: ScreenPoint, screen: (f64, f64)) -> Point {
    Point { x: 2.0 * point.x / screen.0 - 1.0, y: 1.0 - 2.0 * point.y / screen.1 }
}

fn texture_entry(binding: u32, view: &wgpu::TextureView) -> wgpu::BindGroupEntry<'_> {
    wgpu::BindGroupEntry { binding, resource: wgpu::BindingResource::TextureView(view) }
}

/// How many pixels of a tile the image fills along one axis of `full` pixels; the tile begins at
/// `start`.
fn tile_extent(start: f64, full: usize, downsample: f64) -> f64 {
    ((full as f64 / downsample).ceil() - start).clamp(0.0, TILE_PX as f64)
}

fn frame_uniforms(layers: &Layers) -> FrameUniforms {
    FrameUniforms {
        mask: layers.mask,
        heat: layers.heat,
        preview: layers.preview.unwrap_or(-1.0),
        divider: layers.divider.unwrap_or(f32::MAX),
        colours: RESULT_COLOURS.map(|[r, g, b]| [r, g, b, 0.0]),
    }
}

fn uniform_buffer(device: &wgpu::Device, label: &str, size: u64) -> wgpu::Buffer {
    device.create_buffer(&wgpu::BufferDescriptor {
        label: Some(label),
        size,
        usage: wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST,
        mapped_at_creation: false,
    })
}

fn default_view(texture: &wgpu::Texture) -> wgpu::TextureView {
    texture.create_view(&wgpu::TextureViewDescriptor::default())
}

/// A square texture for a tile.
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

/// Group 0: uniforms of the picture, sampler.
fn frame_layout(device: &wgpu::Device) -> wgpu::BindGroupLayout {
    let sampler = wgpu::BindingType::Sampler(wgpu::SamplerBindingType::Filtering);
    device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor {
        label: Some("frame"),
        entries: &[
            layout_entry(0, uniform_type(FRAME_UNIFORM_BYTES, DynamicOffset::No)),
            layout_entry(1, sampler),
        ],
    })
}

/// Group 1: uniforms of a tile at a dynamic offset, its image, and its two results.
fn tile_layout(device: &wgpu::Device) -> wgpu::BindGroupLayout {
    let image = wgpu::TextureSampleType::Float { filterable: true };
    device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor {
        label: Some("tile"),
        entries: &[
            layout_entry(0, uniform_type(TILE_UNIFORM_BYTES, DynamicOffset::Yes)),
            layout_entry(1, texture_type(image)),
            layout_entry(2, texture_type(wgpu::TextureSampleType::Uint)),
            layout_entry(3, texture_type(wgpu::TextureSampleType::Uint)),
        ],
    })
}

fn layout_entry(binding: u32, ty: wgpu::BindingType) -> wgpu::BindGroupLayoutEntry {
    wgpu::BindGroupLayoutEntry {
        binding,
        visibility: wgpu::ShaderStages::VERTEX_FRAGMENT,
        ty,
        count: None,
    }
}

/// Whether the offset of a binding is set with each draw.
#[derive(Clone, Copy, PartialEq, Eq)]
enum DynamicOffset {
    No,
    Yes,
}

fn uniform_type(bytes: u64, dynamic_offset: DynamicOffset) -> wgpu::BindingType {
    wgpu::BindingType::Buffer {
        ty: wgpu::BufferBindingType::Uniform,
        has_dynamic_offset: dynamic_offset == DynamicOffset::Yes,
        min_binding_size: std::num::NonZeroU64::new(bytes),
    }
}

fn texture_type(sample_type: wgpu::TextureSampleType) -> wgpu::BindingType {
    wgpu::BindingType::Texture {
        sample_type,
        view_dimension: wgpu::TextureViewDimension::D2,
        multisampled: false,
    }
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
