//! A study's figures as SVG: curves over sample size with error bars, and accuracy as a coloured
//! grid. The same numbers give the same bytes.

use plotters::prelude::*;

use super::svg::{Area, AxisRange, DrawResult, draw_svg, sorted_distinct};
use crate::error::Result;

/// One line of a figure.
#[derive(Debug, Clone)]
pub struct Curve {
    /// In the legend.
    pub name: String,
    /// In any order.
    pub points: Vec<CurvePoint>,
}

/// A point with its error bar.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CurvePoint {
    /// Positive: the axis is logarithmic.
    pub x: f64,
    /// Finite.
    pub y: f64,
    /// Half the length of the error bar; 0 draws none.
    pub std_dev: f64,
}

/// A field of [`study_grid`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct GridCell {
    pub pruning_ratio: f64,
    /// Sample size: patches, or relative to the network.
    pub size: f64,
    pub value: f64,
}

/// Size of a figure of curves, pixels.
const WIDTH_PX: u32 = 760;
const HEIGHT_PX: u32 = 420;
/// Share of the x axis, on its logarithmic scale, that is left free for the legend.
const LEGEND_SHARE: f64 = 0.25;
/// Most labels of the logarithmic axis.
const X_LABELS: usize = 6;

/// Curves over a logarithmic x axis (the paper's Figures 5 to 8). Points with x ≤ 0 or a y that is
/// not finite leave the axes unchanged.
///
/// # Errors
/// [`crate::error::Error::Malformed`] when plotters cannot draw the values.
pub fn study_curves(x_label: &str, y_label: &str, curves: &[Curve]) -> Result<String> {
    draw_svg(WIDTH_PX, HEIGHT_PX, |root| draw_curves(root, x_label, y_label, curves))
}

fn draw_curves(root: &Area<'_>, x_label: &str, y_label: &str, curves: &[Curve]) -> DrawResult {
    let (x, y) = axes(curves);
    let mut chart = ChartBuilder::on(root)
        .margin(12)
        .x_label_area_size(38)
        .y_label_area_size(52)
        .build_cartesian_2d((x.low..x.high).log_scale(), y.low..y.high)?;
    chart
        .configure_mesh()
        .x_desc(x_label)
        .y_desc(y_label)
        .light_line_style(WHITE)
        .x_labels(X_LABELS)
        .x_label_formatter(&|value| short(*value))
        .draw()?;
    for (index, curve) in curves.iter().enumerate() {
        let colour = colour(index, curves.len());
        let mut points = curve.points.clone();
        points.sort_by(|a, b| a.x.total_cmp(&b.x));

        let line = points.iter().map(|p| (p.x, p.y));
        chart
            .draw_series(LineSeries::new(line, colour.stroke_width(2)))?
            .label(curve.name.as_str())
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], colour.stroke_width(2)));

        let with_bars = points.iter().filter(|p| p.std_dev > 0.0);
        chart.draw_series(with_bars.map(|p| {
            let (bottom, top) = (p.y - p.std_dev, p.y + p.std_dev);
            ErrorBar::new_vertical(p.x, bottom, p.y, top, colour.stroke_width(1), 8)
        }))?;

        chart.draw_series(points.iter().map(|p| Circle::new((p.x, p.y), 3, colour.filled())))?;
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::LowerRight)
        .background_style(WHITE.mix(0.8))
        .draw()?;
    Ok(())
}

/// Ranges of x and y: all points with their error bars, a margin, and space for the legend to the
/// right of the last point.
fn axes(curves: &[Curve]) -> (AxisRange, AxisRange) {
    let mut x = AxisRange::EMPTY;
    let mut y = AxisRange::EMPTY;
    for curve in curves {
        for point in &curve.points {
            if point.y.is_finite() && point.x > 0.0 {
                x.include(point.x);
                y.include(point.y - point.std_dev);
                y.include(point.y + point.std_dev);
            }
        }
    }
    if x.is_empty() {
        x = AxisRange { low: 1.0, high: 10.0 };
        y = AxisRange { low: 0.0, high: 1.0 };
    } else {
        x = AxisRange { low: x.low / 1.3, high: x.high * 1.3 };
        y = AxisRange { low: y.low - 0.01, high: y.high + 0.01 };
    }
    x.high *= (x.high / x.low).powf(LEGEND_SHARE);
    (x, y)
}

/// A line's colour: from blue for the first to red for the last, as the ratio grows.
fn colour(index: usize, count: usize) -> RGBColor {
    let share = index as f64 / count.max(2).saturating_sub(1) as f64;
    let (r, g, b) = HSLColor(0.62 * (1.0 - share), 0.75, 0.42).rgb();
    RGBColor(r, g, b)
}

/// A number in few characters: 900, 4.6 k, 24.3 M, 2 G.
fn short(value: f64) -> String {
    for (size, unit) in [(1e9, "G"), (1e6, "M"), (1e3, "k")] {
        if value >= size {
            return format!("{} {unit}", (value / size * 10.0).round() / 10.0);
        }
    }
    format!("{}", (value * 100.0).round() / 100.0)
}

/// Layout of the grid, pixels: one field, and the labels left of and above the fields.
const FIELD_WIDTH_PX: i32 = 84;
const FIELD_HEIGHT_PX: i32 = 30;
const LEFT_PX: i32 = 70;
const TOP_PX: i32 = 26;

/// Values by ratio (down) and sample size (across), the paper's Figure 10: dark is low, bright is
/// high.
///
/// # Errors
/// [`crate::error::Error::Malformed`] when plotters cannot draw the values.
pub(crate) fn study_grid(cells: &[GridCell]) -> Result<String> {
    let ratios = sorted_distinct(cells.iter().map(|c| c.pruning_ratio).collect());
    let sizes = sorted_distinct(cells.iter().map(|c| c.size).collect());
    let width = field_left(sizes.len()) + 10;
    let height = field_top(ratios.len()) + 30;
    draw_svg(width.unsigned_abs(), height.unsigned_abs(), |root| {
        draw_grid(root, cells, &ratios, &sizes)
    })
}

fn draw_grid(root: &Area<'_>, cells: &[GridCell], ratios: &[f64], sizes: &[f64]) -> DrawResult {
    let font = ("sans-serif", 13);
    root.draw(&Text::new("δ  \\  size", (4, 6), font))?;
    for (column, size) in sizes.iter().enumerate() {
        root.draw(&Text::new(size.to_string(), (field_left(column) + 6, 6), font))?;
    }
    for (row, ratio) in ratios.iter().enumerate() {
        root.draw(&Text::new(ratio.to_string(), (20, field_top(row) + 8), font))?;
    }
    let mut range = AxisRange::EMPTY;
    for cell in cells {
        range.include(cell.value);
    }
    for cell in cells {
        let left = field_left(index_of(cell.size, sizes));
        let top = field_top(index_of(cell.pruning_ratio, ratios));
        // 0 for the lowest value, 1 for the highest.
        let share = if range.high > range.low {
            (cell.value - range.low) / (range.high - range.low)
        } else {
            1.0
        };
        let corners = [(left, top), (left + FIELD_WIDTH_PX - 2, top + FIELD_HEIGHT_PX - 2)];
        let fill = ViridisRGB.get_color(share);
        root.draw(&Rectangle::new(corners, fill.filled()))?;
        let ink = if share > 0.55 { BLACK } else { WHITE };
        let number = format!("{:.3}", cell.value);
        root.draw(&Text::new(number, (left + 6, top + 8), font.into_font().color(&ink)))?;
    }
    Ok(())
}

/// Left edge of a column of fields.
fn field_left(column: usize) -> i32 {
    LEFT_PX + FIELD_WIDTH_PX * i32::try_from(column).unwrap_or(0)
}

/// Upper edge of a row of fields.
fn field_top(row: usize) -> i32 {
    TOP_PX + FIELD_HEIGHT_PX * i32::try_from(row).unwrap_or(0)
}

/// Index of a value that is one of `values`.
fn index_of(value: f64, values: &[f64]) -> usize {
    values.iter().position(|v| v.to_bits() == value.to_bits()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_name_their_lines_and_are_the_same_each_time() {
        let point = |x, y, std_dev| CurvePoint { x, y, std_dev };
        let curves = [
            Curve {
                name: "δ = 0".into(),
                points: vec![point(100.0, 0.9, 0.01), point(1000.0, 0.95, 0.0)],
            },
            Curve { name: "δ = 0.9".into(), points: vec![point(100.0, 0.8, 0.0)] },
        ];
        let svg = study_curves("patches", "Accuracy", &curves).expect("svg");
        assert!(svg.contains("δ = 0.9") && svg.contains("polyline"));
        assert_eq!(svg, study_curves("patches", "Accuracy", &curves).expect("svg"));
        assert!(study_curves("patches", "Accuracy", &[]).is_ok());
    }

    #[test]
    fn numbers_are_short() {
        assert_eq!((short(0.1), short(1.0), short(64.0)), ("0.1".into(), "1".into(), "64".into()));
        assert_eq!(
            [900.0, 4580.0, 24_293_128.0, 2e9].map(short),
            ["900", "4.6 k", "24.3 M", "2 G"]
        );
    }

    #[test]
    fn a_grid_has_a_field_for_each_cell() {
        let cell = |pruning_ratio, size, value| GridCell { pruning_ratio, size, value };
        let cells = [cell(0.0, 100.0, 0.9), cell(0.5, 100.0, 0.8), cell(0.5, 1000.0, 0.85)];
        let svg = study_grid(&cells).expect("svg");
        assert_eq!(svg.matches("<rect").count(), 4, "three fields and the background");
        assert!(svg.contains("0.850") && study_grid(&[]).is_ok());
    }
}
