// One thread computes one output: the maximum or the mean of a square window; what lies outside
// takes no part. Dense: the window moves by one pixel and its taps lie `step` apart. Batch: patches
// side by side, `lanes` of them.

struct Pool {
    width: u32,
    height: u32,
    channels: u32,
    lanes: u32,
    source_row: u32,
    source_plane: u32,
    source_width: u32,
    source_height: u32,
    target_row: u32,
    target_plane: u32,
    target_base: u32,
    stride: u32,
    step_x: u32,
    step_y: u32,
    padding_x: u32,
    padding_y: u32,
}

@group(0) @binding(0) var<uniform> pool: Pool;
@group(0) @binding(2) var<storage, read> source: array<f32>;
@group(0) @binding(3) var<storage, read_write> output: array<f32>;

override KERNEL: u32 = 2;
override MEAN: bool = false;

@compute @workgroup_size(32, 4)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    if id.x >= pool.width || id.y >= pool.height {
        return;
    }
    let top = id.y * pool.stride;
    let left = id.x / pool.lanes * pool.stride * pool.lanes + id.x % pool.lanes;
    let plane = id.z * pool.source_plane;
    var largest = -3.4028234e38;
    var sum = 0.0;
    for (var r = 0u; r < KERNEL; r++) {
        for (var q = 0u; q < KERNEL; q++) {
            // Unsigned arithmetic wraps below zero, so one comparison tests both ends.
            let y = top + r * pool.step_y - pool.padding_y;
            let x = left + q * pool.step_x - pool.padding_x;
            if y < pool.source_height && x < pool.source_width {
                let v = source[plane + y * pool.source_row + x];
                largest = max(largest, v);
                sum += v;
            }
        }
    }
    var result = largest;
    if MEAN {
        result = sum / f32(KERNEL * KERNEL);
    }
    output[pool.target_base + id.z * pool.target_plane + id.y * pool.target_row + id.x] = result;
}
