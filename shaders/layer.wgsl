// One thread computes four outputs of a group of filters: a convolution with bias, with the
// normalisation and ReLU of its input and its own ReLU in the same pass; or, with HEAD, both fully
// connected layers, whose hidden values stay in registers.
//
// Planes are [channel][row][column][patch]; x counts `column * patch_batch + patch`, so that
// the taps of a window are step_x apart. The dense form has one patch and dilation step_y.
//
//   sum[filter] = bias[filter] + sum over channel, column, row of
//                 weights[filter][channel][row][column]
//                 * input[channel][y + row * step_y - padding_y][x + column * step_x - padding_x]
//
// A group is 4 * VECTORS filters; the four outputs of a thread lie step_y rows apart, so
// that walking down a column of taps loads one new input per tap:
//
//   row of tap      0    1    2   ...
//   output 0 (y)    v0   v1   v2            v0, v1, v2, v3: inputs at y, y + step_y, ...
//   output 1        v1   v2   v3            a<output><vector>: sums of four filters
//   output 2        v2   v3   v4
//   output 3        v3   v4   v5
//
// Constants are vectors of four filters:
//
//   weights [group][channel][column][row][VECTORS]     bias [group][VECTORS]
//   norm    [channel] (scale, shift, 0, 0)
//   head    biases of up to four classes, then [vector of units][class]

struct Layer {
    width: u32,
    height: u32,
    channels: u32,
    filters: u32,
    source_row_stride: u32,
    source_plane_stride: u32,
    source_width: u32,
    source_height: u32,
    target_row_stride: u32,
    target_plane_stride: u32,
    target_offset: u32,
    groups: u32,
    step_x: u32,
    step_y: u32,
    padding_x: u32,
    padding_y: u32,
    weights_offset: u32,
    bias_offset: u32,
    norm_offset: u32,
    head_offset: u32,
}

// Fields are described at `LayerParameters` in src/engine/gpu/program.rs.
@group(0) @binding(0) var<uniform> layer: Layer;
@group(0) @binding(1) var<storage, read> constants: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> source: array<f32>;
@group(0) @binding(3) var<storage, read_write> output: array<f32>;

// Taps along each side of the window.
override KERNEL: u32 = 1;
// Vectors of four filters that one thread computes: 1, 2 or 4.
override VECTORS: u32 = 4;
// Whether windows reach beyond the source; values there are zero.
override PADDED: bool = false;
// Whether inputs are normalised and rectified as they are read.
override NORMED: bool = false;
// Whether a ReLU follows.
override RELU: bool = false;
// Whether the last layer follows in the same pass.
override HEAD: bool = false;
// Outputs of the last layer, 2 to 4.
override CLASSES: u32 = 2;

// The input at a position of the padded source; `norm` is (scale, shift).
fn input_value(channel: u32, row: u32, column: u32, norm: vec2<f32>) -> f32 {
    var v = 0.0;
    if PADDED {
        // Unsigned arithmetic wraps below zero, so one comparison tests both ends.
        let y = row - layer.padding_y;
        let x = column - layer.padding_x;
        if y >= layer.source_height || x >= layer.source_width {
            return 0.0;
        }
        v = source[channel * layer.source_plane_stride + y * layer.source_row_stride + x];
    } else {
        v = source[channel * layer.source_plane_stride + row * layer.source_row_stride + column];
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

fn store_filter(filter_index: u32, at: u32, value: f32) {
    if filter_index < layer.filters {
        output[at + filter_index * layer.target_plane_stride] = value;
    }
}

// Four filters from `first` on, at one output.
fn store(first: u32, row: u32, column: u32, values: vec4<f32>) {
    if row < layer.height {
        let at = layer.target_offset + row * layer.target_row_stride + column;
        store_filter(first, at, values.x);
        store_filter(first + 1u, at, values.y);
        store_filter(first + 2u, at, values.z);
        store_filter(first + 3u, at, values.w);
    }
}

// What four hidden units, vector `unit` of them, add to the logits. Those of absent classes stay 0.
fn logit_terms(unit: u32, hidden: vec4<f32>) -> vec4<f32> {
    let at = layer.head_offset + 1u + CLASSES * unit;
    var terms = vec4<f32>(0.0);
    terms.x = dot(hidden, constants[at]);
    terms.y = dot(hidden, constants[at + 1u]);
    if CLASSES > 2u {
        terms.z = dot(hidden, constants[at + 2u]);
    }
    if CLASSES > 3u {
        terms.w = dot(hidden, constants[at + 3u]);
    }
    return terms;
}

fn store_logits(row: u32, column: u32, logits: vec4<f32>) {
    if row < layer.height {
        let at = CLASSES * (row * layer.width + column);
        output[at] = logits.x;
        output[at + 1u] = logits.y;
        if CLASSES > 2u {
            output[at + 2u] = logits.z;
        }
        if CLASSES > 3u {
            output[at + 3u] = logits.w;
        }
    }
}

@compute @workgroup_size(32, 4)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let x = id.x;
    let step = layer.step_y;
    // Rows come in sets of 4 * step; thread r of a set computes rows r, r + step, r + 2 * step and
    // r + 3 * step of it.
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
    // Logits of the four outputs.
    let start = constants[layer.head_offset];
    var z0 = start;
    var z1 = start;
    var z2 = start;
    var z3 = start;
    for (var group = first_group; group < last_group; group++) {
        // Sums are variables, not an array: an array indexed in a loop may be put in memory instead
        // of registers.
        let bias = layer.bias_offset + group * VECTORS;
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
        var at = layer.weights_offset + group * layer.channels * KERNEL * KERNEL * VECTORS;
        for (var c = 0u; c < layer.channels; c++) {
            var norm = vec2<f32>(1.0, 0.0);
            if NORMED {
                norm = constants[layer.norm_offset + c].xy;
            }
            for (var q = 0u; q < KERNEL; q++) {
                let column = x + q * layer.step_x;
                var v0 = input_value(c, y, column, norm);
                var v1 = input_value(c, y + step, column, norm);
                var v2 = input_value(c, y + 2u * step, column, norm);
                for (var r = 0u; r < KERNEL; r++) {
                    let v3 = input_value(c, y + (r + 3u) * step, column, norm);
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
        // First vector of this group, counted over all groups.
        let unit = group * VECTORS;
        if HEAD {
            z0 += logit_terms(unit, activated(a00));
            z1 += logit_terms(unit, activated(a10));
            z2 += logit_terms(unit, activated(a20));
            z3 += logit_terms(unit, activated(a30));
            if VECTORS > 1u {
                z0 += logit_terms(unit + 1u, activated(a01));
                z1 += logit_terms(unit + 1u, activated(a11));
                z2 += logit_terms(unit + 1u, activated(a21));
                z3 += logit_terms(unit + 1u, activated(a31));
            }
            if VECTORS > 2u {
                z0 += logit_terms(unit + 2u, activated(a02))
                    + logit_terms(unit + 3u, activated(a03));
                z1 += logit_terms(unit + 2u, activated(a12))
                    + logit_terms(unit + 3u, activated(a13));
                z2 += logit_terms(unit + 2u, activated(a22))
                    + logit_terms(unit + 3u, activated(a23));
                z3 += logit_terms(unit + 2u, activated(a32))
                    + logit_terms(unit + 3u, activated(a33));
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
