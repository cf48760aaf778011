//! Curves of a training run as SVG.

use plotters::prelude::*;

use super::svg::{Area, AxisRange, DrawResult, draw_svg};
use crate::error::Result;

/// Size of the figure, pixels: two panels side by side.
const WIDTH_PX: u32 = 880;
const HEIGHT_PX: u32 = 330;
/// Colours of lines, reused when there are more lines.
const COLOURS: [RGBColor; 4] =
    [RGBColor(0, 90, 160), RGBColor(200, 80, 20), RGBColor(20, 130, 70), RGBColor(120, 60, 140)];

/// What is known after an epoch. Losses are cross-entropies in nats.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct EpochPoint {
    /// From 1.
    pub epoch: f64,
    pub train_loss: f64,
    pub validation_loss: f64,
    pub validation_accuracy: f64,
    /// NaN where it is not defined.
    pub validation_dice: f64,
}

/// A line of a panel over epochs.
struct EpochLine {
    name: &'static str,
    value: fn(&EpochPoint) -> f64,
}

const LOSSES: [EpochLine; 2] = [
    EpochLine { name: "training", value: |p| p.train_loss },
    EpochLine { name: "validation", value: |p| p.validation_loss },
];
const SCORES: [EpochLine; 2] = [
    EpochLine { name: "accuracy", value: |p| p.validation_accuracy },
    EpochLine { name: "Dice", value: |p| p.validation_dice },
];

/// Two panels over epochs: losses on the left, scores on the right. The same numbers give the same
/// bytes; values that are not finite leave the axes unchanged.
///
/// # Errors
/// [`crate::error::Error::Malformed`] when plotters cannot draw the values.
pub(crate) fn history_curves(history: &[EpochPoint]) -> Result<String> {
    draw_svg(WIDTH_PX, HEIGHT_PX, |root| {
        let (left, right) = root.split_horizontally(WIDTH_PX / 2);
        // Losses fall and scores rise, so the legends take the corner that stays empty.
        panel(&left, "Cross-entropy", history, &LOSSES, SeriesLabelPosition::UpperRight)?;
        panel(&right, "Validation", history, &SCORES, SeriesLabelPosition::LowerRight)
    })
}

fn panel(
    area: &Area<'_>,
    title: &str,
    history: &[EpochPoint],
    lines: &[EpochLine],
    legend: SeriesLabelPosition,
) -> DrawResult {
    let mut x = AxisRange::EMPTY;
    let mut y = AxisRange::EMPTY;
    for line in lines {
        for point in history {
            let value = (line.value)(point);
            if value.is_finite() {
                x.include(point.epoch);
                y.include(value);
            }
        }
    }
    let mut chart = ChartBuilder::on(area)
        .margin(10)
        .caption(title, ("sans-serif", 16))
        .x_label_area_size(32)
        .y_label_area_size(46)
        .build_cartesian_2d(with_margin(x), with_margin(y))?;
    chart
        .configure_mesh()
        .x_desc("Epoch")
        .x_labels(8)
        .y_labels(6)
        .light_line_style(WHITE)
        .draw()?;
    for (line, colour) in lines.iter().zip(COLOURS.iter().cycle()) {
        let points = history.iter().map(|point| (point.epoch, (line.value)(point)));
        let points = points.filter(|(_, value)| value.is_finite());
        chart
            .draw_series(LineSeries::new(points, colour.stroke_width(2)))?
            .label(line.name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], colour.stroke_width(2)));
    }
    chart.configure_series_labels().position(legend).background_style(WHITE.mix(0.8)).draw()?;
    Ok(())
}

/// The range with 5 % above it, so that the highest point is visible; 0 to 1 when it is empty.
fn with_margin(range: AxisRange) -> std::ops::Range<f64> {
    if range.is_empty() {
        return 0.0..1.0;
    }
    range.low..range.high + (range.high - range.low).max(1e-3) * 0.05
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(epoch: f64, values: [f64; 4]) -> EpochPoint {
        EpochPoint {
            epoch,
            train_loss: values[0],
            validation_loss: values[1],
            validation_accuracy: values[2],
            validation_dice: values[3],
        }
    }

    #[test]
    fn curves_are_drawn_with_their_names_and_the_same_bytes_each_time() {
        let history = [point(1.0, [0.5, 0.6, 0.8, 0.7]), point(2.0, [0.3, 0.5, 0.9, 0.8])];
        let svg = history_curves(&history).expect("svg");
        assert!(svg.starts_with("<svg") && svg.contains("training") && svg.contains("polyline"));
        assert_eq!(svg, history_curves(&history).expect("svg"));
        assert_ne!(svg, history_curves(&history[..1]).expect("svg"));
    }

    #[test]
    fn an_empty_history_and_values_that_are_not_finite_draw_an_empty_frame() {
        assert!(history_curves(&[]).is_ok());
        assert!(history_curves(&[point(1.0, [f64::NAN, f64::INFINITY, 0.5, 0.5])]).is_ok());
    }
}
