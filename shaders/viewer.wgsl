// One fragment shows one pixel of the screen: the image, and over it what an answer says of the
// place.

struct Frame {
    // Strengths of outline, mask and heat; the threshold of the preview, or below 0 for none.
    layers: vec4f,
    // Column of the screen that divides the two answers; label of the chosen nucleus; unused.
    divider: vec4f,
    // Colours of the two answers.
    colours: array<vec4f, 2>,
}

struct Tile {
    // Corner and size on the screen, -1 to 1, y upwards.
    place: vec4f,
    // Pixels shown of the tile in each direction; pixels of the tile to one of the screen; unused.
    extent: vec4f,
}

@group(0) @binding(0) var<uniform> frame: Frame;
@group(0) @binding(1) var smooth_sampler: sampler;
@group(1) @binding(0) var<uniform> tile: Tile;
@group(1) @binding(1) var image: texture_2d<f32>;
@group(1) @binding(2) var first: texture_2d<u32>;
@group(1) @binding(3) var second: texture_2d<u32>;

const APRON = 2.0;

struct Corner {
    @builtin(position) position: vec4f,
    // Pixels of the tile, from its corner.
    @location(0) at: vec2f,
}

@vertex
fn corner(@builtin(vertex_index) index: u32) -> Corner {
    let unit = vec2f(f32(index & 1u), f32(index >> 1u));
    var out: Corner;
    out.position = vec4f(tile.place.xy + unit * tile.place.zw, 0.0, 1.0);
    out.at = unit * tile.extent.xy;
    return out;
}

fn known_at(at: vec2f, other: bool) -> vec4u {
    if other {
        let last = vec2i(textureDimensions(second)) - 1;
        return textureLoad(second, clamp(vec2i(floor(at + APRON)), vec2i(0), last), 0);
    }
    let last = vec2i(textureDimensions(first)) - 1;
    return textureLoad(first, clamp(vec2i(floor(at + APRON)), vec2i(0), last), 0);
}

fn label_of(data: vec4u) -> u32 {
    return data.y | (data.z << 8u);
}

fn heat(probability: f32) -> vec3f {
    let stops = array<vec3f, 5>(
        vec3f(0.267, 0.005, 0.329),
        vec3f(0.230, 0.322, 0.546),
        vec3f(0.128, 0.567, 0.551),
        vec3f(0.369, 0.789, 0.383),
        vec3f(0.993, 0.906, 0.144),
    );
    let at = clamp(probability, 0.0, 1.0) * 4.0;
    let low = min(u32(at), 3u);
    return mix(stops[low], stops[low + 1u], at - f32(low));
}

@fragment
fn pixel(in: Corner) -> @location(0) vec4f {
    var shown = textureSampleLevel(image, smooth_sampler, (in.at + APRON) / vec2f(textureDimensions(image)), 0.0).rgb;
    let other = in.position.x >= frame.divider.x;
    if abs(in.position.x - frame.divider.x) < 1.0 {
        return vec4f(1.0, 1.0, 1.0, 1.0);
    }
    let data = known_at(in.at, other);
    if data.w == 0u {
        return vec4f(shown, 1.0);
    }
    let colour = frame.colours[select(0u, 1u, other)].rgb;
    let probability = f32(data.x) / 255.0;
    shown = mix(shown, heat(probability), frame.layers.z * max(probability, 0.25));
    let own = label_of(data);
    let inside = select(own > 0u, probability > frame.layers.w, frame.layers.w >= 0.0);
    if inside {
        shown = mix(shown, colour, frame.layers.y * 0.6);
    }
    // An outline is as wide on the screen at any magnification.
    let reach = clamp(tile.extent.z, 0.05, APRON);
    let differs = label_of(known_at(in.at + vec2f(reach, 0.0), other)) != own
        || label_of(known_at(in.at - vec2f(reach, 0.0), other)) != own
        || label_of(known_at(in.at + vec2f(0.0, reach), other)) != own
        || label_of(known_at(in.at - vec2f(0.0, reach), other)) != own;
    if own > 0u && differs {
        if f32(own) == frame.divider.y {
            shown = vec3f(1.0);
        } else {
            shown = mix(shown, colour, frame.layers.x);
        }
    }
    return vec4f(shown, 1.0);
}
