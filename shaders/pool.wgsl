// One thread computes one output: the maximum or the mean of a square window. What lies outside the
// source takes no part in a maximum; a mean has no padding.
//
// Planes are [channel][row][column][patch]; x counts `column * patch_batch + patch`. The dense form
// has one patch, a stride of 1 and taps step_x = step_y pixels apart.

struct Pool {
    width: u32,
    height: u32,
    channels: u32,
    patch_batch: u32,
    source_row_stride: u32,
    source_plane_stride: u32,
    source_width: u32,
    source_height: u32,
    target_row_stride: u32,
    target_plane_stride: u32,
    target_offset: u32,
    stride: u32,
    step_x: u32,
    step_y: u32,
    padding_x: u32,
    padding_y: u32,
}

// Fields are described at `PoolParameters` in src/engine/gpu/program.rs.
@group(0) @binding(0) var<uniform> pool: Pool;
@group(0) @binding(2) var<storage, read> source: array<f32>;
@group(0) @binding(3) var<storage, read_write> output: array<f32>;

// Taps along each side of the window.
override KERNEL: u32 = 2;
// Whether the mean is computed instead of the maximum.
override MEAN: bool = false;

@compute @workgroup_size(32, 4)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    if id.x >= pool.width || id.y >= pool.height {
        return;
    }
    let column = id.x / pool.patch_batch;
    let patch_index = id.x % pool.patch_batch;
    // The window's first tap in the padded source.
    let top = id.y * pool.stride;
    let left = column * pool.stride * pool.patch_batch + patch_index;
    let plane = id.z * pool.source_plane_stride;
    var largest = -3.4028234e38;
    var sum = 0.0;
    for (var r = 0u; r < KERNEL; r++) {
        for (var q = 0u; q < KERNEL; q++) {
            // Unsigned arithmetic wraps below zero, so one comparison tests both ends.
            let y = top + r * pool.step_y - pool.padding_y;
            let x = left + q * pool.step_x - pool.padding_x;
            if y < pool.source_height && x < pool.source_width {
                let v = source[plane + y * pool.source_row_stride + x];
                largest = max(largest, v);
                sum += v;
            }
        }
    }
    var result = largest;
    if MEAN {
        result = sum / f32(KERNEL * KERNEL);
    }
    let target_plane = pool.target_offset + id.z * pool.target_plane_stride;
    output[target_plane + id.y * pool.target_row_stride + id.x] = result;
}
