//! A study's figures as SVG: curves over sample size with error bars, and accuracy as a coloured
//! grid. The same numbers give the same bytes.

use plotters::prelude::*;

use crate::error::{Error, Result};

/// One line: a name and (x, y, deviation) of its points; a deviation of 0 has no bar.
#[derive(Debug, Clone)]
pub struct Curve {
    pub name: String,
    pub points: Vec<(f64, f64, f64)>,
}

/// Part of a figure's width, measured by its values, that is left to the names of lines.
const LEGEND_SHARE: f64 = 0.25;
/// Most numbers along an axis that grows by factors.
const X_LABELS: usize = 6;

/// A number in few characters.
fn short(value: f64) -> String {
    let units = [(1e9, "G"), (1e6, "M"), (1e3, "k")];
    let unit = units.into_iter().find(|(size, _)| value >= *size);
    unit.map_or_else(
        || format!("{}", (value * 100.0).round() / 100.0),
        |(size, name)| format!("{} {name}", (value / size * 10.0).round() / 10.0),
    )
}

type DrawnCurve = std::result::Result<(), Box<dyn std::error::Error>>;

fn svg(
    size: (u32, u32),
    draw: impl FnOnce(&DrawingArea<SVGBackend<'_>, plotters::coord::Shift>) -> DrawnCurve,
) -> Result<String> {
    let mut text = String::new();
    let done: DrawnCurve = (|| {
        let root = SVGBackend::with_string(&mut text, size).into_drawing_area();
        root.fill(&WHITE)?;
        draw(&root)?;
        root.present()?;
        Ok(())
    })();
    done.map_err(|e| Error::malformed(format!("The figure cannot be drawn: {e}")))?;
    Ok(text)
}

/// A line's colour: from blue for the first to red for the last, as the ratio grows.
fn colour(index: usize, count: usize) -> RGBColor {
    let share = index as f64 / count.max(2).saturating_sub(1) as f64;
    let (r, g, b) = HSLColor(0.62 * (1.0 - share), 0.75, 0.42).rgb();
    RGBColor(r, g, b)
}

/// Curves over a logarithmic axis (the paper's Figures 5 to 8).
///
/// # Errors
/// When the drawing library refuses.
pub fn study_curves(x: &str, y: &str, curves: &[Curve]) -> Result<String> {
    let points =
        || curves.iter().flat_map(|c| c.points.iter()).filter(|p| p.1.is_finite() && p.0 > 0.0);
    let (x0, x1) = points().fold((f64::MAX, f64::MIN), |(l, h), p| (l.min(p.0), h.max(p.0)));
    let (y0, y1) =
        points().fold((f64::MAX, f64::MIN), |(l, h), p| (l.min(p.1 - p.2), h.max(p.1 + p.2)));
    let (x0, x1, y0, y1) =
        if x0 > x1 { (1.0, 10.0, 0.0, 1.0) } else { (x0 / 1.3, x1 * 1.3, y0 - 0.01, y1 + 0.01) };
    // The names of the lines stand to the right of their ends.
    let x1 = x1 * (x1 / x0).powf(LEGEND_SHARE);
    svg((760, 420), |root| {
        let mut chart = ChartBuilder::on(root)
            .margin(12)
            .x_label_area_size(38)
            .y_label_area_size(52)
            .build_cartesian_2d((x0..x1).log_scale(), y0..y1)?;
        let mut mesh = chart.configure_mesh();
        mesh.x_desc(x)
            .y_desc(y)
            .light_line_style(WHITE)
            .x_labels(X_LABELS)
            .x_label_formatter(&|v| short(*v))
            .draw()?;
        for (i, curve) in curves.iter().enumerate() {
            let line = colour(i, curves.len());
            let mut sorted = curve.points.clone();
            sorted.sort_by(|a, b| a.0.total_cmp(&b.0));
            chart
                .draw_series(LineSeries::new(
                    sorted.iter().map(|p| (p.0, p.1)),
                    line.stroke_width(2),
                ))?
                .label(curve.name.as_str())
                .legend(move |(x, y)| {
                    PathElement::new(vec![(x, y), (x + 16, y)], line.stroke_width(2))
                });
            let bars = sorted.iter().filter(|p| p.2 > 0.0);
            chart.draw_series(bars.map(|p| {
                ErrorBar::new_vertical(p.0, p.1 - p.2, p.1, p.1 + p.2, line.stroke_width(1), 8)
            }))?;
            chart.draw_series(sorted.iter().map(|p| Circle::new((p.0, p.1), 3, line.filled())))?;
        }
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::LowerRight)
            .background_style(WHITE.mix(0.8))
            .draw()?;
        Ok(())
    })
}

/// Values by ratio (down) and sample size (across), the paper's Figure 10: dark is low, bright is
/// high.
///
/// # Errors
/// When the drawing library refuses.
pub fn study_grid(cells: &[(f64, f64, f64)]) -> Result<String> {
    let mut ratios: Vec<f64> = cells.iter().map(|c| c.0).collect();
    ratios.sort_by(f64::total_cmp);
    ratios.dedup();
    let mut sizes: Vec<f64> = cells.iter().map(|c| c.1).collect();
    sizes.sort_by(f64::total_cmp);
    sizes.dedup();
    let (low, high) = cells.iter().fold((f64::MAX, f64::MIN), |(l, h), c| (l.min(c.2), h.max(c.2)));
    let (left, top, w, h) = (70i32, 26i32, 84i32, 30i32);
    let place =
        |index: usize, from: i32, step: i32| from + step * i32::try_from(index).unwrap_or(0);
    let size = (place(sizes.len(), left + 10, w), place(ratios.len(), top + 30, h));
    svg((size.0.unsigned_abs(), size.1.unsigned_abs()), |root| {
        let label = |text: String, x: i32, y: i32| Text::new(text, (x, y), ("sans-serif", 13));
        root.draw(&label("δ  \\  size".to_owned(), 4, 6))?;
        for (i, n) in sizes.iter().enumerate() {
            root.draw(&label(n.to_string(), place(i, left + 6, w), 6))?;
        }
        for (j, ratio) in ratios.iter().enumerate() {
            root.draw(&label(ratio.to_string(), 20, place(j, top + 8, h)))?;
        }
        for &(ratio, n, value) in cells {
            let x =
                place(sizes.iter().position(|s| s.to_bits() == n.to_bits()).unwrap_or(0), left, w);
            let row = ratios.iter().position(|r| r.to_bits() == ratio.to_bits());
            let y = place(row.unwrap_or(0), top, h);
            let share = if high > low { (value - low) / (high - low) } else { 1.0 };
            let fill = ViridisRGB.get_color(share);
            root.draw(&Rectangle::new([(x, y), (x + w - 2, y + h - 2)], fill.filled()))?;
            let ink = if share > 0.55 { BLACK } else { WHITE };
            root.draw(&Text::new(
                format!("{value:.3}"),
                (x + 6, y + 8),
                ("sans-serif", 13).into_font().color(&ink),
            ))?;
        }
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_name_their_lines_and_are_the_same_each_time() {
        let curves = [
            Curve { name: "δ = 0".into(), points: vec![(100.0, 0.9, 0.01), (1000.0, 0.95, 0.0)] },
            Curve { name: "δ = 0.9".into(), points: vec![(100.0, 0.8, 0.0)] },
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
        let svg =
            study_grid(&[(0.0, 100.0, 0.9), (0.5, 100.0, 0.8), (0.5, 1000.0, 0.85)]).expect("svg");
        assert_eq!(svg.matches("<rect").count(), 4, "three fields and the background");
        assert!(svg.contains("0.850") && study_grid(&[]).is_ok());
    }
}
