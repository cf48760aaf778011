//! Where the eye is: a centre in the image and a scale, both moving smoothly to where they were
//! sent.

use super::pyramid::{TILE, TileKey, level_count};

/// Largest magnification, screen pixels for one of the image.
const MAX_SCALE: f64 = 40.0;
/// The image may shrink to this share of the screen.
const MIN_FILL: f64 = 0.3;
/// Most tiles in one picture: fewer than are kept.
const MAX_VISIBLE: usize = 128;
/// Seconds in which two thirds of a movement are done.
const EASE_SECS: f64 = 0.08;
/// A movement closer to its end than this is over: screen pixels, and relative scale.
const SETTLED: (f64, f64) = (0.3, 1e-3);

/// Centre in image pixels, scale in screen pixels for one of the image.
#[derive(Debug, Clone, Copy, PartialEq)]
struct ScreenPoint {
    x: f64,
    y: f64,
    scale: f64,
}

/// A view of an image on a screen.
#[derive(Debug, Clone, PartialEq)]
pub struct Viewport {
    image: (f64, f64),
    screen: (f64, f64),
    now: ScreenPoint,
    /// Where the movement ends.
    goal: ScreenPoint,
}

impl Viewport {
    /// The whole image on a screen; sizes in pixels.
    #[must_use]
    pub fn new(image: (usize, usize), screen: (f64, f64)) -> Self {
        let place = ScreenPoint { x: 0.0, y: 0.0, scale: 1.0 };
        let image = (image.0.max(1) as f64, image.1.max(1) as f64);
        let mut view = Self { image, screen: sane(screen), now: place, goal: place };
        view.fit();
        view.now = view.goal;
        view
    }

    /// The screen changed its size; what was in the middle stays there.
    pub fn resize(&mut self, screen: (f64, f64)) {
        let whole = (self.goal.scale - self.fitting()).abs() < 1e-9;
        self.screen = sane(screen);
        if whole {
            self.fit();
        }
        self.settle();
    }

    /// Shows the whole image.
    pub fn fit(&mut self) {
        self.goal =
            ScreenPoint { x: self.image.0 / 2.0, y: self.image.1 / 2.0, scale: self.fitting() };
    }

    fn fitting(&self) -> f64 {
        (self.screen.0 / self.image.0).min(self.screen.1 / self.image.1).min(MAX_SCALE)
    }

    /// Moves the image by screen pixels, at once: it sticks to the finger.
    pub fn pan(&mut self, dx: f64, dy: f64) {
        self.goal.x -= dx / self.goal.scale;
        self.goal.y -= dy / self.goal.scale;
        self.settle();
    }

    /// Glides by a share of the screen.
    pub fn glide(&mut self, across: f64, down: f64) {
        self.goal.x += across * self.screen.0 / self.goal.scale;
        self.goal.y += down * self.screen.1 / self.goal.scale;
        self.goal = self.kept(self.goal);
    }

    /// Zooms about a point of the screen, which stays over the same place of the image.
    pub fn zoom(&mut self, at: (f64, f64), factor: f64) {
        let held = self.image_at_goal(at);
        self.goal.scale *= if factor.is_finite() && factor > 0.0 { factor } else { 1.0 };
        self.goal = self.kept(self.goal);
        let (dx, dy) = (at.0 - self.screen.0 / 2.0, at.1 - self.screen.1 / 2.0);
        self.goal.x = held.0 - dx / self.goal.scale;
        self.goal.y = held.1 - dy / self.goal.scale;
        self.goal = self.kept(self.goal);
    }

    /// Glides to a place of the image, at least at the scale given.
    pub fn go_to(&mut self, (x, y): (f64, f64), scale: f64) {
        self.goal = self.kept(ScreenPoint { x, y, scale: self.goal.scale.max(scale) });
    }

    /// Centre and scale, as links carry them.
    #[must_use]
    pub fn state(&self) -> [f64; 3] {
        [self.goal.x, self.goal.y, self.goal.scale]
    }

    /// Goes at once where [`Self::state`] of another view was; nonsense is put right.
    pub fn set_state(&mut self, [x, y, scale]: [f64; 3]) {
        if [x, y, scale].iter().all(|v| v.is_finite()) && scale > 0.0 {
            self.goal = ScreenPoint { x, y, scale };
            self.settle();
        }
    }

    /// Ends the movement.
    pub fn settle(&mut self) {
        self.goal = self.kept(self.goal);
        self.now = self.goal;
    }

    /// Moves on by a time; false once at rest.
    pub fn step(&mut self, secs: f64) -> bool {
        let share = 1.0 - (-secs.max(0.0) / EASE_SECS).exp();
        let toward = |a: f64, b: f64| a + (b - a) * share;
        // Scale moves by ratios and the centre with it, so that a zoom keeps its fixed point.
        let before = self.now.scale;
        self.now.scale = (toward(before.ln(), self.goal.scale.ln())).exp();
        let whole = 1.0 / self.goal.scale - 1.0 / before;
        let along =
            if whole.abs() < 1e-12 { share } else { (1.0 / self.now.scale - 1.0 / before) / whole };
        self.now.x += (self.goal.x - self.now.x) * along;
        self.now.y += (self.goal.y - self.now.y) * along;
        let far = (self.goal.x - self.now.x).hypot(self.goal.y - self.now.y) * self.goal.scale;
        let moving = far > SETTLED.0 || (self.now.scale / self.goal.scale - 1.0).abs() > SETTLED.1;
        if !moving {
            self.now = self.goal;
        }
        moving
    }

    /// Screen pixels for one of the image, now.
    #[must_use]
    pub fn scale(&self) -> f64 {
        self.now.scale
    }

    /// Screen size, pixels.
    #[must_use]
    pub fn screen(&self) -> (f64, f64) {
        self.screen
    }

    /// Place of the image under a point of the screen.
    #[must_use]
    pub fn to_image(&self, at: (f64, f64)) -> (f64, f64) {
        image_at(self.now, self.screen, at)
    }

    /// Point of the screen over a place of the image.
    #[must_use]
    pub fn to_screen(&self, (x, y): (f64, f64)) -> (f64, f64) {
        let ScreenPoint { x: cx, y: cy, scale } = self.now;
        ((x - cx) * scale + self.screen.0 / 2.0, (y - cy) * scale + self.screen.1 / 2.0)
    }

    fn image_at_goal(&self, at: (f64, f64)) -> (f64, f64) {
        image_at(self.goal, self.screen, at)
    }

    fn kept(&self, place: ScreenPoint) -> ScreenPoint {
        let least = (self.fitting() * MIN_FILL).min(MAX_SCALE);
        ScreenPoint {
            x: place.x.clamp(0.0, self.image.0),
            y: place.y.clamp(0.0, self.image.1),
            scale: place.scale.clamp(least, MAX_SCALE),
        }
    }

    /// The level whose pixels are nearest to the screen's, not coarser than they, unless that takes
    /// too many tiles.
    #[must_use]
    pub fn level(&self) -> u32 {
        let deepest = self.deepest();
        let mut level = (1.0 / self.now.scale).log2().floor().clamp(0.0, f64::from(deepest)) as u32;
        while level < deepest && self.visible(level).len() > MAX_VISIBLE {
            level += 1;
        }
        level
    }

    /// The coarsest level: the whole in one tile.
    #[must_use]
    pub fn deepest(&self) -> u32 {
        level_count(self.image.0 as usize, self.image.1 as usize) - 1
    }

    /// Tiles of a level that the screen shows, middle first.
    #[must_use]
    pub fn visible(&self, level: u32) -> Vec<TileKey> {
        let side = f64::from(1u32 << level) * TILE as f64;
        let (left, top) = self.to_image((0.0, 0.0));
        let (right, bottom) = self.to_image(self.screen);
        let range = |from: f64, to: f64, whole: f64| {
            let last = (whole / side).ceil().max(1.0) - 1.0;
            (
                (from / side).floor().clamp(0.0, last) as u32,
                (to / side).floor().clamp(0.0, last) as u32,
            )
        };
        if right < 0.0 || bottom < 0.0 || left > self.image.0 || top > self.image.1 {
            return Vec::new();
        }
        let ((c0, c1), (r0, r1)) =
            (range(left, right, self.image.0), range(top, bottom, self.image.1));
        let mut keys: Vec<TileKey> = (r0..=r1)
            .flat_map(|row| (c0..=c1).map(move |column| TileKey { level, row, column }))
            .collect();
        let middle = |k: &TileKey| {
            let (x, y) = ((f64::from(k.column) + 0.5) * side, (f64::from(k.row) + 0.5) * side);
            (x - self.now.x).hypot(y - self.now.y)
        };
        keys.sort_by(|a, b| middle(a).total_cmp(&middle(b)));
        keys
    }
}

fn image_at(place: ScreenPoint, screen: (f64, f64), at: (f64, f64)) -> (f64, f64) {
    (
        place.x + (at.0 - screen.0 / 2.0) / place.scale,
        place.y + (at.1 - screen.1 / 2.0) / place.scale,
    )
}

fn sane(screen: (f64, f64)) -> (f64, f64) {
    (screen.0.clamp(1.0, 1e5), screen.1.clamp(1.0, 1e5))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(a: (f64, f64), b: (f64, f64)) -> bool {
        (a.0 - b.0).hypot(a.1 - b.1) < 1e-6
    }

    /// A view's state, exactly.
    fn bits(view: &Viewport) -> [u64; 3] {
        view.state().map(f64::to_bits)
    }

    #[test]
    fn a_new_view_shows_the_whole_image() {
        let view = Viewport::new((2000, 1000), (500.0, 500.0));
        assert!(close(view.to_screen((0.0, 0.0)), (0.0, 125.0)));
        assert!(close(view.to_screen((2000.0, 1000.0)), (500.0, 375.0)));
        assert_eq!(view.level(), 2);
    }

    #[test]
    fn zooming_keeps_the_point_under_the_pointer_all_the_way() {
        let mut view = Viewport::new((2000, 1000), (500.0, 500.0));
        let held = view.to_image((100.0, 200.0));
        view.zoom((100.0, 200.0), 4.0);
        for _ in 0..200 {
            let moving = view.step(0.016);
            assert!(close(view.to_screen(held), (100.0, 200.0)), "{:?}", view.to_screen(held));
            if !moving {
                break;
            }
        }
        assert!(!view.step(0.016), "the movement ends");
    }

    #[test]
    fn panning_follows_the_finger_and_stops_at_the_border() {
        let mut view = Viewport::new((1000, 1000), (100.0, 100.0));
        view.set_state([500.0, 500.0, 1.0]);
        view.pan(30.0, -20.0);
        assert_eq!(bits(&view), [470.0, 520.0, 1.0].map(f64::to_bits));
        view.pan(1e9, 1e9);
        assert_eq!(bits(&view), [0.0, 0.0, 1.0].map(f64::to_bits));
    }

    #[test]
    fn a_large_screen_takes_a_coarser_level_rather_than_more_tiles_than_are_kept() {
        let mut view = Viewport::new((20_000, 20_000), (4000.0, 3000.0));
        view.set_state([10_000.0, 10_000.0, 0.55]);
        assert!(
            view.visible(0).len() > MAX_VISIBLE && view.visible(view.level()).len() <= MAX_VISIBLE
        );
        assert_eq!(view.level(), 2);
    }

    #[test]
    fn a_linked_state_comes_back_and_nonsense_changes_nothing() {
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
