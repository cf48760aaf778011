//! The viewer's picture on whatever adapter is here, against the one composed on the CPU.

use std::sync::Arc;

use prunella::raster::{Plane, RgbImage, phantom};
use prunella::viewer::{
    Layers, Painter, Pyramid, ResultPlanes, TILE_PX, TileKey, Viewport, compose, data_tile,
};

use crate::support::skip;

const FORMAT: wgpu::TextureFormat = wgpu::TextureFormat::Rgba8Unorm;

/// Largest difference of a channel: interpolation at pixel centres and rounding.
const TOLERANCE: u8 = 2;

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

/// What the painter draws of a view, RGBA row by row.
fn painted(
    (device, queue): &(wgpu::Device, wgpu::Queue),
    painter: &mut Painter,
    view: &Viewport,
    layers: &Layers,
) -> Vec<u8> {
    let (width, height) = (view.screen().0 as u32, view.screen().1 as u32);
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

/// One tile's worth of phantom, its true labels as an answer.
fn field() -> (Arc<RgbImage>, Vec<u8>, Vec<u8>) {
    let (image, labels) = phantom(TILE_PX, TILE_PX, 3);
    let image = Arc::new(image);
    let probabilities = labels.map(|l| if l > 0 { 0.9 } else { 0.1 });
    let known = Plane::filled(TILE_PX, TILE_PX, true);
    let key = TileKey { level: 0, row: 0, column: 0 };
    let answer =
        ResultPlanes { probabilities: &probabilities, known: &known, labels: Some(&labels) };
    let data = data_tile(&answer, key).expect("data");
    let tile = Pyramid::new(Arc::clone(&image)).tile(key).expect("tile");
    (image, tile, data)
}

#[test]
fn the_gpu_draws_what_the_cpu_composes() {
    let Some(gpu) = open("the_gpu_draws_what_the_cpu_composes") else { return };
    let (_, tile, data) = field();
    let key = TileKey { level: 0, row: 0, column: 0 };
    let mut painter = Painter::new(gpu.0.clone(), gpu.1.clone(), FORMAT);
    painter.start((TILE_PX, TILE_PX));
    let view = Viewport::new((TILE_PX, TILE_PX), (TILE_PX as f64, TILE_PX as f64));
    assert!(
        painted(&gpu, &mut painter, &view, &Layers::default())
            .chunks(4)
            .all(|p| p == [0, 0, 0, 255])
    );
    painter.put_image(key, &tile);
    let none = Layers { outline: 0.0, ..Layers::default() };
    let cases = [
        (None, none),
        (Some(&data), none),
        (Some(&data), Layers { mask: 1.0, ..none }),
        (Some(&data), Layers { heat: 0.7, ..none }),
        (Some(&data), Layers { mask: 1.0, preview: Some(0.05), ..none }),
    ];
    for (data, layers) in cases {
        if let Some(data) = data {
            painter.put_data(key, 0, data);
        }
        let want = compose(&tile, data.map(Vec::as_slice), 0, &layers).expect("composed");
        let got = painted(&gpu, &mut painter, &view, &layers);
        let worst = got.iter().zip(&want).map(|(a, b)| a.abs_diff(*b)).max();
        assert!(worst <= Some(TOLERANCE), "{worst:?} with {layers:?}");
    }
    // Outlines are as wide as the screen wants, so they are compared by what they mark.
    let outlined = painted(&gpu, &mut painter, &view, &Layers::default());
    let plain = painted(&gpu, &mut painter, &view, &none);
    let green = compose(&tile, Some(&data), 0, &Layers::default()).expect("composed");
    let marked =
        |a: &[u8]| a.chunks(4).zip(plain.chunks(4)).map(|(a, b)| a != b).collect::<Vec<_>>();
    let (here, there) = (marked(&outlined), marked(&green));
    let missing = there.iter().zip(&here).filter(|(t, h)| **t && !**h).count();
    assert!(
        missing * 50 < there.iter().filter(|t| **t).count(),
        "{missing} outline pixels are missing"
    );
}

#[test]
fn answers_lie_on_their_sides_of_the_divider() {
    let Some(gpu) = open("answers_lie_on_their_sides_of_the_divider") else { return };
    let (_, tile, data) = field();
    let key = TileKey { level: 0, row: 0, column: 0 };
    let mut painter = Painter::new(gpu.0.clone(), gpu.1.clone(), FORMAT);
    painter.start((TILE_PX, TILE_PX));
    painter.put_image(key, &tile);
    painter.put_data(key, 1, &data);
    let view = Viewport::new((TILE_PX, TILE_PX), (TILE_PX as f64, TILE_PX as f64));
    let layers = Layers { mask: 1.0, divider: Some(128.0), ..Layers::default() };
    let got = painted(&gpu, &mut painter, &view, &layers);
    let plain = painted(
        &gpu,
        &mut painter,
        &view,
        &Layers { mask: 0.0, outline: 0.0, ..Layers::default() },
    );
    let differ = |columns: std::ops::Range<usize>| {
        (0..TILE_PX)
            .flat_map(|y| columns.clone().map(move |x| (y * TILE_PX + x) * 4))
            .filter(|&i| got[i..i + 3] != plain[i..i + 3])
            .count()
    };
    assert_eq!(differ(0..126), 0, "answer 0 is empty");
    assert!(differ(130..TILE_PX) > 1000, "answer 1 is drawn");
    painter.clear_data(1);
    let cleared = painted(&gpu, &mut painter, &view, &Layers { divider: None, ..layers });
    assert_eq!(cleared, plain);
}
