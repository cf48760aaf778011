// One fragment computes a pixel of the screen: the image and its results, one quad per tile.
// src/viewer/layers.rs defines the same for the CPU.

// FrameUniforms of src/viewer/painter.rs.
struct Frame {
    // Strengths of the layers, 0 to 1.
    mask: f32,
    heat: f32,
    // Threshold of the preview; negative for none.
    preview: f32,
    // Column of the screen where result 1 begins.
    divider: f32,
    // Of each result.
    colours: array<vec4f, 2>,
}

// TileUniforms of src/viewer/painter.rs.
struct Tile {
    // Upper-left corner and size in clip space, -1 to 1, y upwards.
    corner: vec2f,
    size: vec2f,
    // Pixels of the tile that the image fills.
    extent: vec2f,
    unused: vec2f,
}

@group(0) @binding(0) var<uniform> frame: Frame;
@group(0) @binding(1) var linear_sampler: sampler;
@group(1) @binding(0) var<uniform> tile: Tile;
@group(1) @binding(1) var image: texture_2d<f32>;
// Results: probability, label (low and high byte), 255 where the image is segmented.
@group(1) @binding(2) var result_0: texture_2d<u32>;
@group(1) @binding(3) var result_1: texture_2d<u32>;

// APRON_PX of src/viewer/tile.rs.
const APRON = 2.0;

struct Vertex {
    @builtin(position) position: vec4f,
    // Pixels of the tile without apron.
    @location(0) at: vec2f,
}

// Corners of a triangle strip: (0, 0), (1, 0), (0, 1), (1, 1).
@vertex
fn corner(@builtin(vertex_index) index: u32) -> Vertex {
    let unit = vec2f(f32(index & 1u), f32(index >> 1u));
    var out: Vertex;
    out.position = vec4f(tile.corner + unit * tile.size, 0.0, 1.0);
    out.at = unit * tile.extent;
    return out;
}

fn result_at(at: vec2f, is_second: bool) -> vec4u {
    if is_second {
        let last = vec2i(textureDimensions(result_1)) - 1;
        return textureLoad(result_1, clamp(vec2i(floor(at + APRON)), vec2i(0), last), 0);
    }
    let last = vec2i(textureDimensions(result_0)) - 1;
    return textureLoad(result_0, clamp(vec2i(floor(at + APRON)), vec2i(0), last), 0);
}

fn label_of(texel: vec4u) -> u32 {
    return texel.y | (texel.z << 8u);
}

// Colours of probability 0, 1/4, 1/2, 3/4, 1 after viridis.
fn heat_colour(probability: f32) -> vec3f {
    let stops = array<vec3f, 5>(
        vec3f(0.267, 0.005, 0.329),
        vec3f(0.230, 0.322, 0.546),
        vec3f(0.128, 0.567, 0.551),
        vec3f(0.369, 0.789, 0.383),
        vec3f(0.993, 0.906, 0.144),
    );
    let position = clamp(probability, 0.0, 1.0) * 4.0;
    let low = min(u32(position), 3u);
    return mix(stops[low], stops[low + 1u], position - f32(low));
}

@fragment
fn pixel(in: Vertex) -> @location(0) vec4f {
    let texture_at = (in.at + APRON) / vec2f(textureDimensions(image));
    var colour = textureSampleLevel(image, linear_sampler, texture_at, 0.0).rgb;
    let is_second = in.position.x >= frame.divider;
    if abs(in.position.x - frame.divider) < 1.0 {
        return vec4f(1.0, 1.0, 1.0, 1.0);
    }
    let texel = result_at(in.at, is_second);
    if texel.w == 0u {
        return vec4f(colour, 1.0);
    }
    let result_colour = frame.colours[select(0u, 1u, is_second)].rgb;
    let probability = f32(texel.x) / 255.0;
    colour = mix(colour, heat_colour(probability), frame.heat * max(probability, 0.25));
    let label = label_of(texel);
    let is_inside = select(label > 0u, probability > frame.preview, frame.preview >= 0.0);
    if is_inside {
        colour = mix(colour, result_colour, frame.mask * 0.6);
    }
    return vec4f(colour, 1.0);
}
