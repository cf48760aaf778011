// One thread computes up to sixteen filters of four outputs that lie one under another; the sum
// runs channel, column, row. A convolution (dense: taps `step` pixels apart; batch: patches side by
// side, taps `lanes` elements apart), with normalisation of its input, bias and ReLU in the same
// pass; or, with HEAD, both fully connected layers, whose hidden values stay in registers.

struct Layer {
    width: u32,
    height: u32,
    channels: u32,
    filters: u32,
    source_row: u32,
    source_plane: u32,
    source_width: u32,
    source_height: u32,
    target_row: u32,
    target_plane: u32,
    target_base: u32,
    groups: u32,
    step_x: u32,
    step_y: u32,
    padding_x: u32,
    padding_y: u32,
    weights_at: u32,
    bias_at: u32,
    norm_at: u32,
    head_at: u32,
}

@group(0) @binding(0) var<uniform> layer: Layer;
@group(0) @binding(1) var<storage, read> constants: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> source: array<f32>;
@group(0) @binding(3) var<storage, read_write> output: array<f32>;

override KERNEL: u32 = 1;
// Vectors of four filters that one thread holds: 1, 2 or 4.
override VECTORS: u32 = 4;
override PADDED: bool = false;
override NORMED: bool = false;
override RELU: bool = false;
override HEAD: bool = false;

fn value(channel: u32, row: u32, column: u32, norm: vec2<f32>) -> f32 {
    var v = 0.0;
    if PADDED {
        // Unsigned arithmetic wraps below zero, so one comparison tests both ends.
        let y = row - layer.padding_y;
        let x = column - layer.padding_x;
        if y >= layer.source_height || x >= layer.source_width {
            return 0.0;
        }
        v = source[channel * layer.source_plane + y * layer.source_row + x];
    } else {
        v = source[channel * layer.source_plane + row * layer.source_row + column];
    }
    if NORMED {
        v = max(fma(v, norm.x, norm.y), 0.0);
    }
    return v;
}

fn activated(v: vec4<f32>) -> vec4<f32> {
    if RELU {
        return max(v, vec4<f32>(0.0));
    }
    return v;
}

fn put(filter_index: u32, at: u32, value: f32) {
    if filter_index < layer.filters {
        output[at + filter_index * layer.target_plane] = value;
    }
}

fn store(first: u32, row: u32, column: u32, values: vec4<f32>) {
    if row < layer.height {
        let at = layer.target_base + row * layer.target_row + column;
        put(first, at, values.x);
        put(first + 1u, at, values.y);
        put(first + 2u, at, values.z);
        put(first + 3u, at, values.w);
    }
}

// What one vector of hidden units adds to the two logits.
fn share(unit: u32, hidden: vec4<f32>) -> vec2<f32> {
    let at = layer.head_at + 1u + 2u * unit;
    return vec2<f32>(dot(hidden, constants[at]), dot(hidden, constants[at + 1u]));
}

fn store_logits(row: u32, column: u32, logits: vec2<f32>) {
    if row < layer.height {
        let at = 2u * (row * layer.width + column);
        output[at] = logits.x;
        output[at + 1u] = logits.y;
    }
}

@compute @workgroup_size(32, 4)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let x = id.x;
    let step = layer.step_y;
    let y = (id.y / step) * 4u * step + id.y % step;
    if x >= layer.width || y >= layer.height {
        return;
    }
    var first_group = id.z;
    var last_group = id.z + 1u;
    if HEAD {
        first_group = 0u;
        last_group = layer.groups;
    }
    let start = constants[layer.head_at].xy;
    var z0 = start;
    var z1 = start;
    var z2 = start;
    var z3 = start;
    for (var group = first_group; group < last_group; group++) {
        let bias = layer.bias_at + group * VECTORS;
        let b0 = constants[bias];
        var a00 = b0;
        var a10 = b0;
        var a20 = b0;
        var a30 = b0;
        var b1 = vec4<f32>(0.0);
        var b2 = vec4<f32>(0.0);
        var b3 = vec4<f32>(0.0);
        if VECTORS > 1u {
            b1 = constants[bias + 1u];
        }
        if VECTORS > 2u {
            b2 = constants[bias + 2u];
            b3 = constants[bias + 3u];
        }
        var a01 = b1;
        var a11 = b1;
        var a21 = b1;
        var a31 = b1;
        var a02 = b2;
        var a12 = b2;
        var a22 = b2;
        var a32 = b2;
        var a03 = b3;
        var a13 = b3;
        var a23 = b3;
        var a33 = b3;
        var at = layer.weights_at + group * layer.channels * KERNEL * KERNEL * VECTORS;
        for (var c = 0u; c < layer.channels; c++) {
            var norm = vec2<f32>(1.0, 0.0);
            if NORMED {
                norm = constants[layer.norm_at + c].xy;
            }
            for (var q = 0u; q < KERNEL; q++) {
                let column = x + q * layer.step_x;
                var v0 = value(c, y, column, norm);
                var v1 = value(c, y + step, column, norm);
                var v2 = value(c, y + 2u * step, column, norm);
                for (var r = 0u; r < KERNEL; r++) {
                    let v3 = value(c, y + (r + 3u) * step, column, norm);
                    let w0 = constants[at];
                    a00 = fma(vec4<f32>(v0), w0, a00);
                    a10 = fma(vec4<f32>(v1), w0, a10);
                    a20 = fma(vec4<f32>(v2), w0, a20);
                    a30 = fma(vec4<f32>(v3), w0, a30);
                    if VECTORS > 1u {
                        let w1 = constants[at + 1u];
                        a01 = fma(vec4<f32>(v0), w1, a01);
                        a11 = fma(vec4<f32>(v1), w1, a11);
                        a21 = fma(vec4<f32>(v2), w1, a21);
                        a31 = fma(vec4<f32>(v3), w1, a31);
                    }
                    if VECTORS > 2u {
                        let w2 = constants[at + 2u];
                        a02 = fma(vec4<f32>(v0), w2, a02);
                        a12 = fma(vec4<f32>(v1), w2, a12);
                        a22 = fma(vec4<f32>(v2), w2, a22);
                        a32 = fma(vec4<f32>(v3), w2, a32);
                        let w3 = constants[at + 3u];
                        a03 = fma(vec4<f32>(v0), w3, a03);
                        a13 = fma(vec4<f32>(v1), w3, a13);
                        a23 = fma(vec4<f32>(v2), w3, a23);
                        a33 = fma(vec4<f32>(v3), w3, a33);
                    }
                    at += VECTORS;
                    v0 = v1;
                    v1 = v2;
                    v2 = v3;
                }
            }
        }
        let unit = group * VECTORS;
        if HEAD {
            z0 += share(unit, activated(a00));
            z1 += share(unit, activated(a10));
            z2 += share(unit, activated(a20));
            z3 += share(unit, activated(a30));
            if VECTORS > 1u {
                z0 += share(unit + 1u, activated(a01));
                z1 += share(unit + 1u, activated(a11));
                z2 += share(unit + 1u, activated(a21));
                z3 += share(unit + 1u, activated(a31));
            }
            if VECTORS > 2u {
                z0 += share(unit + 2u, activated(a02)) + share(unit + 3u, activated(a03));
                z1 += share(unit + 2u, activated(a12)) + share(unit + 3u, activated(a13));
                z2 += share(unit + 2u, activated(a22)) + share(unit + 3u, activated(a23));
                z3 += share(unit + 2u, activated(a32)) + share(unit + 3u, activated(a33));
            }
        } else {
            store(4u * unit, y, x, activated(a00));
            store(4u * unit, y + step, x, activated(a10));
            store(4u * unit, y + 2u * step, x, activated(a20));
            store(4u * unit, y + 3u * step, x, activated(a30));
            if VECTORS > 1u {
                store(4u * unit + 4u, y, x, activated(a01));
                store(4u * unit + 4u, y + step, x, activated(a11));
                store(4u * unit + 4u, y + 2u * step, x, activated(a21));
                store(4u * unit + 4u, y + 3u * step, x, activated(a31));
            }
            if VECTORS > 2u {
                store(4u * unit + 8u, y, x, activated(a02));
                store(4u * unit + 8u, y + step, x, activated(a12));
                store(4u * unit + 8u, y + 2u * step, x, activated(a22));
                store(4u * unit + 8u, y + 3u * step, x, activated(a32));
                store(4u * unit + 12u, y, x, activated(a03));
                store(4u * unit + 12u, y + step, x, activated(a13));
                store(4u * unit + 12u, y + 2u * step, x, activated(a23));
                store(4u * unit + 12u, y + 3u * step, x, activated(a33));
            }
        }
    }
    if HEAD {
        store_logits(y, x, z0);
        store_logits(y + step, x, z1);
        store_logits(y + 2u * step, x, z2);
        store_logits(y + 3u * step, x, z3);
    }
}
