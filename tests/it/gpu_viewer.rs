//! The painter on the first graphics adapter against composition on the CPU.

use std::sync::Arc;

use prunella::raster::{Plane, phantom};
use prunella::viewer::{
    Layers, Painter, Pyramid, ResultPlanes, TILE_PX, TileKey, Viewport, compose, data_tile,
};

use crate::support::skip;

const FORMAT: wgpu::TextureFormat = wgpu::TextureFormat::Rgba8Unorm;

/// Largest difference of a channel: interpolation at pixel centres and rounding.
const TOLERANCE: u8 = 2;

/// A device and its queue; without an adapter the test is skipped.
fn open(test: &str) -> Option<(wgpu::Device, wgpu::Queue)> {
    let mut settings = wgpu::InstanceDescriptor::new_without_display_handle();
    settings.backends = wgpu::Backends::VULKAN | wgpu::Backends::METAL | wgpu::Backends::DX12;
    let instance = wgpu::Instance::new(settings);
    let Ok(adapter) =
        pollster::block_on(instance.request_adapter(&wgpu::RequestAdapterOptions::default()))
    else {
        skip(test, "there is no graphics adapter; 'cargo xtask setup' installs a software one");
        return None;
    };
    Some(
        pollster::block_on(adapter.request_device(&wgpu::DeviceDescriptor::default()))
            .expect("a device"),
    )
}

/// Draws a view and reads it back: RGBA, row by row.
fn draw(
    (device, queue): &(wgpu::Device, wgpu::Queue),
    painter: &mut Painter,
    view: &Viewport,
    layers: &Layers,
) -> Vec<u8> {
    let width = view.screen().0 as u32;
    let height = view.screen().1 as u32;
    let size = wgpu::Extent3d { width, height, depth_or_array_layers: 1 };
    let target = device.create_texture(&wgpu::TextureDescriptor {
        label: None,
        size,
        mip_level_count: 1,
        sample_count: 1,
        dimension: wgpu::TextureDimension::D2,
        format: FORMAT,
        usage: wgpu::TextureUsages::RENDER_ATTACHMENT | wgpu::TextureUsages::COPY_SRC,
        view_formats: &[],
    });
    painter.draw(
        view,
        layers,
        [0.0, 0.0, 0.0],
        &target.create_view(&wgpu::TextureViewDescriptor::default()),
    );
    let bytes = u64::from(width * height * 4);
    let buffer = device.create_buffer(&wgpu::BufferDescriptor {
        label: None,
        size: bytes,
        usage: wgpu::BufferUsages::COPY_DST | wgpu::BufferUsages::MAP_READ,
        mapped_at_creation: false,
    });
    let mut encoder = device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
    let layout = wgpu::TexelCopyBufferLayout {
        offset: 0,
        bytes_per_row: Some(width * 4),
        rows_per_image: None,
    };
    let into = wgpu::TexelCopyBufferInfo { buffer: &buffer, layout };
    encoder.copy_texture_to_buffer(target.as_image_copy(), into, size);
    queue.submit([encoder.finish()]);
    buffer.map_async(wgpu::MapMode::Read, .., |result| result.expect("mapped"));
    device.poll(wgpu::PollType::wait_indefinitely()).expect("done");
    buffer.get_mapped_range(..).expect("range").to_vec()
}

const KEY: TileKey = TileKey { level: 0, row: 0, column: 0 };

/// Procedural tissue as large as a tile.
struct TestTiles {
    image: Vec<u8>,
    /// Its true labels as results.
    data: Vec<u8>,
}

fn test_tiles() -> TestTiles {
    let (image, labels) = phantom(TILE_PX, TILE_PX, 3);
    let probabilities = labels.map(|l| if l > 0 { 0.9 } else { 0.1 });
    let known = Plane::filled(TILE_PX, TILE_PX, true);
    let results =
        ResultPlanes { probabilities: &probabilities, known: &known, labels: Some(&labels) };
    TestTiles {
        image: Pyramid::new(Arc::new(image)).tile(KEY).expect("tile"),
        data: data_tile((TILE_PX, TILE_PX), &results, KEY).expect("data"),
    }
}

#[test]
fn the_gpu_draws_what_the_cpu_composes() {
    let Some(gpu) = open("the_gpu_draws_what_the_cpu_composes") else { return };
    let TestTiles { image, data } = test_tiles();
    let mut painter = Painter::new(gpu.0.clone(), gpu.1.clone(), FORMAT);
    painter.start((TILE_PX, TILE_PX));
    let view = Viewport::new((TILE_PX, TILE_PX), (TILE_PX as f64, TILE_PX as f64));
    let empty = draw(&gpu, &mut painter, &view, &Layers::default());
    assert!(empty.chunks(4).all(|p| p == [0, 0, 0, 255]));
    painter.put_image(KEY, &image);
    let none = Layers::default();
    let cases = [
        (None, none),
        (Some(&data), none),
        (Some(&data), Layers { mask: 1.0, ..none }),
        (Some(&data), Layers { heat: 0.7, ..none }),
        (Some(&data), Layers { mask: 1.0, preview: Some(0.05), ..none }),
    ];
    for (data, layers) in cases {
        if let Some(data) = data {
            painter.put_data(KEY, 0, data);
        }
        let expected = compose(&image, data.map(Vec::as_slice), 0, &layers).expect("composed");
        let actual = draw(&gpu, &mut painter, &view, &layers);
        let worst = actual.iter().zip(&expected).map(|(a, b)| a.abs_diff(*b)).max();
        assert!(worst <= Some(TOLERANCE), "{worst:?} with {layers:?}");
    }
}

#[test]
fn results_lie_on_their_sides_of_the_divider() {
    let Some(gpu) = open("results_lie_on_their_sides_of_the_divider") else { return };
    let TestTiles { image, data } = test_tiles();
    let mut painter = Painter::new(gpu.0.clone(), gpu.1.clone(), FORMAT);
    painter.start((TILE_PX, TILE_PX));
    painter.put_image(KEY, &image);
    painter.put_data(KEY, 1, &data);
    let view = Viewport::new((TILE_PX, TILE_PX), (TILE_PX as f64, TILE_PX as f64));
    let layers = Layers { mask: 1.0, divider: Some(128.0), ..Layers::default() };
    let drawn = draw(&gpu, &mut painter, &view, &layers);
    let plain = draw(&gpu, &mut painter, &view, &Layers::default());
    let mut changed_left = 0;
    let mut changed_right = 0;
    for y in 0..TILE_PX {
        for x in 0..TILE_PX {
            let i = (y * TILE_PX + x) * 4;
            let is_changed = drawn[i..i + 3] != plain[i..i + 3];
            changed_left += usize::from(x < 126 && is_changed);
            changed_right += usize::from(x >= 130 && is_changed);
        }
    }
    assert_eq!(changed_left, 0, "result 0 is empty");
    assert!(changed_right > 1000, "result 1 is drawn");
    painter.clear_data(1);
    let cleared = draw(&gpu, &mut painter, &view, &Layers { divider: None, ..layers });
    assert_eq!(cleared, plain);
}
