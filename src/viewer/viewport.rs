//! What part of an image the screen shows: a camera that moves smoothly to its target.

use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

use super::tile::{TILE_PX, TileKey, level_count};
use crate::raster::Point;
use crate::slide::SlideBounds;

/// Largest magnification, screen pixels an image pixel.
const MAX_SCALE: f64 = 40.0;
/// The image may shrink to this share of the scale that fits it to the screen.
const MIN_FIT_SHARE: f64 = 0.3;
/// Most tiles of one picture; the painter keeps more.
const MAX_VISIBLE_TILES: usize = 128;
/// Time constant of the exponential easing, seconds: after it 63 % of a movement are done.
const EASE_SECS: f64 = 0.08;
/// A movement ends when the centre is closer to its target than this, screen pixels,
const SETTLED_PX: f64 = 0.3;
/// and the scale differs by less than this share.
const SETTLED_SCALE: f64 = 1e-3;
/// Allowed sides of a screen, pixels: a window may report 0.
const MIN_SCREEN_PX: f64 = 1.0;
const MAX_SCREEN_PX: f64 = 1e5;

/// A point of the screen: pixels from the upper-left corner of the image area, y downwards.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct ScreenPoint {
    /// Column.
    pub x: f64,
    /// Row.
    pub y: f64,
}

/// Which part of the image is shown.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Camera {
    /// Image pixels at the middle of the screen.
    x: f64,
    y: f64,
    /// Screen pixels an image pixel.
    scale: f64,
}

/// A view of an image on a screen. Panning, zooming and jumps set the target of the camera;
/// [`Self::step`] moves the camera towards it.
#[derive(Debug, Clone, PartialEq)]
pub struct Viewport {
    /// Width and height, pixels of the finest level.
    image: (f64, f64),
    /// Width and height, screen pixels.
    screen: (f64, f64),
    current: Camera,
    target: Camera,
}

impl Viewport {
    /// A view of the whole image; width and height of image and screen in pixels.
    #[must_use]
    pub fn new(image: (usize, usize), screen: (f64, f64)) -> Self {
        let camera = Camera { x: 0.0, y: 0.0, scale: 1.0 };
        let image = (image.0.max(1) as f64, image.1.max(1) as f64);
        let mut view =
            Self { image, screen: valid_screen(screen), current: camera, target: camera };
        view.fit();
        view.current = view.target;
        view
    }

    /// Sets the size of the screen. The centre is kept; a view of the whole image is fitted again.
    pub fn resize(&mut self, screen: (f64, f64)) {
        let shows_whole = (self.target.scale - self.fit_scale()).abs() < 1e-9;
        self.screen = valid_screen(screen);
        if shows_whole {
            self.fit();
        }
        self.settle();
    }

    /// Moves to a view of the whole image.
    pub fn fit(&mut self) {
        let scale = self.fit_scale();
        self.target = Camera { x: self.image.0 / 2.0, y: self.image.1 / 2.0, scale };
    }

    fn fit_scale(&self) -> f64 {
        (self.screen.0 / self.image.0).min(self.screen.1 / self.image.1).min(MAX_SCALE)
    }

    /// Moves the image by screen pixels, without animation: it follows the pointer.
    pub fn pan(&mut self, dx: f64, dy: f64) {
        self.target.x -= dx / self.target.scale;
        self.target.y -= dy / self.target.scale;
        self.settle();
    }

    /// Moves the camera by fractions of the screen, animated.
    pub fn glide(&mut self, across: f64, down: f64) {
        self.target.x += across * self.screen.0 / self.target.scale;
        self.target.y += down * self.screen.1 / self.target.scale;
        self.target = self.clamped(self.target);
    }

    /// Multiplies the scale by `factor`, animated. The image point under `fixed` stays there.
    pub fn zoom(&mut self, fixed: ScreenPoint, factor: f64) {
        // The point p under the pointer satisfies p = c + (fixed − screen / 2) / s before and
        // after.
        let held = self.unproject(self.target, fixed);
        self.target.scale *= if factor.is_finite() && factor > 0.0 { factor } else { 1.0 };
        self.target = self.clamped(self.target);
        self.target.x = held.x - (fixed.x - self.screen.0 / 2.0) / self.target.scale;
        self.target.y = held.y - (fixed.y - self.screen.1 / 2.0) / self.target.scale;
        self.target = self.clamped(self.target);
    }

    /// Moves to a point of the image, animated, and zooms in to `min_scale` if the scale is less.
    pub fn go_to(&mut self, point: Point, min_scale: f64) {
        let scale = self.target.scale.max(min_scale);
        self.target = self.clamped(Camera { x: point.x, y: point.y, scale });
    }

    /// Target of the camera, as links store it: centre x and y in image pixels, scale in screen
    /// pixels an image pixel.
    #[must_use]
    pub fn state(&self) -> [f64; 3] {
        [self.target.x, self.target.y, self.target.scale]
    }

    /// Jumps to the [`Self::state`] of another view, clamped to this one; ignores values that are
    /// not finite.
    pub fn set_state(&mut self, [x, y, scale]: [f64; 3]) {
        if [x, y, scale].iter().all(|v| v.is_finite()) && scale > 0.0 {
            self.target = Camera { x, y, scale };
            self.settle();
        }
    }

    /// Ends the animation: the camera jumps to its target.
    pub fn settle(&mut self) {
        self.target = self.clamped(self.target);
        self.current = self.target;
    }

    /// Ends the animation where it is; true when the camera was moving.
    pub fn halt(&mut self) -> bool {
        let was_moving = self.current != self.target;
        self.target = self.current;
        was_moving
    }

    /// Continues the animation by a time; false when the camera has reached its target.
    ///
    /// The logarithm of the scale s eases exponentially. The centre c moves so that the fixed point
    /// of a zoom stays where it is on the screen, which means linearly in 1/s:
    /// `(c − c₀) / (c₁ − c₀) = (1/s − 1/s₀) / (1/s₁ − 1/s₀)`.
    pub fn step(&mut self, secs: f64) -> bool {
        let target = self.target;
        let eased = 1.0 - (-secs.max(0.0) / EASE_SECS).exp();
        let scale_before = self.current.scale;
        let log_before = scale_before.ln();
        self.current.scale = (log_before + (target.scale.ln() - log_before) * eased).exp();
        // Without a change of scale the formula is 0 / 0; the centre then eases by itself.
        let whole_way = 1.0 / target.scale - 1.0 / scale_before;
        let moved = if whole_way.abs() < 1e-12 {
            eased
        } else {
            (1.0 / self.current.scale - 1.0 / scale_before) / whole_way
        };
        self.current.x += (target.x - self.current.x) * moved;
        self.current.y += (target.y - self.current.y) * moved;
        let distance = (target.x - self.current.x).hypot(target.y - self.current.y);
        let is_moving = distance * target.scale > SETTLED_PX
            || (self.current.scale / target.scale - 1.0).abs() > SETTLED_SCALE;
        if !is_moving {
            self.current = target;
        }
        is_moving
    }

    /// Current scale, screen pixels an image pixel.
    #[must_use]
    pub fn scale(&self) -> f64 {
        self.current.scale
    }

    /// Width and height of the screen, pixels.
    #[must_use]
    pub fn screen(&self) -> (f64, f64) {
        self.screen
    }

    /// The image point at a point of the screen.
    #[must_use]
    pub fn to_image(&self, point: ScreenPoint) -> Point {
        self.unproject(self.current, point)
    }

    /// The screen point of a point of the image.
    #[must_use]
    pub fn to_screen(&self, point: Point) -> ScreenPoint {
        let Camera { x, y, scale } = self.current;
        ScreenPoint {
            x: (point.x - x) * scale + self.screen.0 / 2.0,
            y: (point.y - y) * scale + self.screen.1 / 2.0,
        }
    }

    fn unproject(&self, camera: Camera, point: ScreenPoint) -> Point {
        Point {
            x: camera.x + (point.x - self.screen.0 / 2.0) / camera.scale,
            y: camera.y + (point.y - self.screen.1 / 2.0) / camera.scale,
        }
    }

    /// The part of the image that the screen shows; it reaches beyond the image where the screen
    /// does.
    #[must_use]
    pub fn bounds(&self) -> SlideBounds {
        let first = self.to_image(ScreenPoint { x: 0.0, y: 0.0 });
        let last = self.to_image(ScreenPoint { x: self.screen.0, y: self.screen.1 });
        SlideBounds { left: first.x, top: first.y, right: last.x, bottom: last.y }
    }

    /// The camera with its centre inside the image and its scale in the allowed range.
    fn clamped(&self, camera: Camera) -> Camera {
        let min_scale = (self.fit_scale() * MIN_FIT_SHARE).min(MAX_SCALE);
        Camera {
            x: camera.x.clamp(0.0, self.image.0),
            y: camera.y.clamp(0.0, self.image.1),
            scale: camera.scale.clamp(min_scale, MAX_SCALE),
        }
    }

    /// The coarsest level that is at least as fine as the screen; a coarser one when that takes too
    /// many tiles.
    #[must_use]
    pub fn level(&self) -> u32 {
        let coarsest = self.coarsest_level();
        // A pixel of level l spans 2^l image pixels, a pixel of the screen 1 / scale.
        let exact = (1.0 / self.current.scale).log2().floor();
        let mut level = exact.clamp(0.0, f64::from(coarsest)) as u32;
        while level < coarsest && self.visible(level).len() > MAX_VISIBLE_TILES {
            level += 1;
        }
        level
    }

    /// The level that holds the whole image in one tile.
    #[must_use]
    pub fn coarsest_level(&self) -> u32 {
        level_count(self.image.0 as usize, self.image.1 as usize) - 1
    }

    /// Tiles of a level that the screen shows, nearest to its middle first.
    #[must_use]
    pub fn visible(&self, level: u32) -> Vec<TileKey> {
        let bounds = self.bounds();
        if bounds.right < 0.0
            || bounds.bottom < 0.0
            || bounds.left > self.image.0
            || bounds.top > self.image.1
        {
            return Vec::new();
        }
        // Side of a tile in image pixels.
        let side = f64::from(1u32 << level) * TILE_PX as f64;
        let mut keys = Vec::new();
        for row in tile_span(bounds.top, bounds.bottom, self.image.1, side) {
            for column in tile_span(bounds.left, bounds.right, self.image.0, side) {
                keys.push(TileKey { level, row, column });
            }
        }
        let distance = |key: &TileKey| {
            let x = (f64::from(key.column) + 0.5) * side;
            let y = (f64::from(key.row) + 0.5) * side;
            (x - self.current.x).hypot(y - self.current.y)
        };
        keys.sort_by(|a, b| distance(a).total_cmp(&distance(b)));
        keys
    }
}

/// Indices of the tiles that cover `from..to` along one side of an image of `len` pixels.
fn tile_span(from: f64, to: f64, len: f64, side: f64) -> RangeInclusive<u32> {
    let last = (len / side).ceil().max(1.0) - 1.0;
    let first = (from / side).floor().clamp(0.0, last);
    let end = (to / side).floor().clamp(0.0, last);
    first as u32..=end as u32
}

fn valid_screen(screen: (f64, f64)) -> (f64, f64) {
    (screen.0.clamp(MIN_SCREEN_PX, MAX_SCREEN_PX), screen.1.clamp(MIN_SCREEN_PX, MAX_SCREEN_PX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_close(a: ScreenPoint, x: f64, y: f64) -> bool {
        (a.x - x).hypot(a.y - y) < 1e-6
    }

    /// A view's state, exactly.
    fn bits(view: &Viewport) -> [u64; 3] {
        view.state().map(f64::to_bits)
    }

    #[test]
    fn a_new_view_shows_the_whole_image() {
        let view = Viewport::new((2000, 1000), (500.0, 500.0));
        assert!(is_close(view.to_screen(Point { x: 0.0, y: 0.0 }), 0.0, 125.0));
        assert!(is_close(view.to_screen(Point { x: 2000.0, y: 1000.0 }), 500.0, 375.0));
        assert_eq!(view.level(), 2);
    }

    #[test]
    fn zooming_keeps_the_point_under_the_pointer_all_the_way() {
        let mut view = Viewport::new((2000, 1000), (500.0, 500.0));
        let pointer = ScreenPoint { x: 100.0, y: 200.0 };
        let held = view.to_image(pointer);
        view.zoom(pointer, 4.0);
        for _ in 0..200 {
            let moving = view.step(0.016);
            let now = view.to_screen(held);
            assert!(is_close(now, 100.0, 200.0), "{now:?}");
            if !moving {
                break;
            }
        }
        assert!(!view.step(0.016), "the movement ends");
    }

    #[test]
    fn panning_follows_the_pointer_and_stops_at_the_border() {
        let mut view = Viewport::new((1000, 1000), (100.0, 100.0));
        view.set_state([500.0, 500.0, 1.0]);
        view.pan(30.0, -20.0);
        assert_eq!(bits(&view), [470.0, 520.0, 1.0].map(f64::to_bits));
        view.pan(1e9, 1e9);
        assert_eq!(bits(&view), [0.0, 0.0, 1.0].map(f64::to_bits));
    }

    #[test]
    fn a_large_screen_takes_a_coarser_level_rather_than_too_many_tiles() {
        let mut view = Viewport::new((20_000, 20_000), (4000.0, 3000.0));
        view.set_state([10_000.0, 10_000.0, 0.55]);
        assert!(
            view.visible(0).len() > MAX_VISIBLE_TILES
                && view.visible(view.level()).len() <= MAX_VISIBLE_TILES
        );
        assert_eq!(view.level(), 2);
    }

    #[test]
    fn a_state_is_restored_and_invalid_values_change_nothing() {
        let mut view = Viewport::new((1000, 1000), (100.0, 100.0));
        view.set_state([12.5, 700.0, 2.5]);
        let state = bits(&view);
        assert_eq!(state, [12.5, 700.0, 2.5].map(f64::to_bits));
        for bad in [[f64::NAN, 1.0, 1.0], [1.0, 1.0, 0.0], [1.0, f64::INFINITY, 1.0]] {
            view.set_state(bad);
            assert_eq!(bits(&view), state);
        }
        view.set_state([1e9, -5.0, 1e9]);
        assert_eq!(bits(&view), [1000.0, 0.0, MAX_SCALE].map(f64::to_bits));
    }

    #[test]
    fn visible_tiles_cover_the_screen_and_nothing_else() {
        let mut view = Viewport::new((2000, 1000), (600.0, 300.0));
        view.set_state([300.0, 300.0, 1.0]);
        let all = view.visible(0);
        assert_eq!(all.len(), 6, "{all:?}");
        assert_eq!(all[0], TileKey { level: 0, row: 1, column: 1 });
        assert!(view.visible(2).iter().all(|k| (k.row, k.column) == (0, 0)));
        assert!(Viewport::new((1, 1), (1.0, 1.0)).visible(0).len() == 1);
    }
}
