//! Size of a pixel in micrometres.

/// Size of a pixel, micrometres.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PixelSize {
    /// Width.
    pub x: f64,
    /// Height.
    pub y: f64,
}

impl PixelSize {
    /// Mean of width and height.
    #[must_use]
    pub fn mean(&self) -> f64 {
        f64::midpoint(self.x, self.y)
    }

    /// A sentence when width and height differ by more than 1 %.
    #[must_use]
    pub fn note(&self) -> Option<String> {
        if (self.x - self.y).abs() <= 0.01 * self.mean() {
            return None;
        }
        Some(format!(
            "The pixels are not square: {} µm wide and {} µm high; the mean, {} µm, is used",
            self.x,
            self.y,
            self.mean()
        ))
    }
}
