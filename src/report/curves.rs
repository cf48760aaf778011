//! Curves of a training run as SVG.

use plotters::prelude::*;

use crate::error::{Error, Result};

/// One named line of (x, y) points.
struct Line {
    name: &'static str,
    points: Vec<(f64, f64)>,
}

const COLOURS: [RGBColor; 4] =
    [RGBColor(0, 90, 160), RGBColor(200, 80, 20), RGBColor(20, 130, 70), RGBColor(120, 60, 140)];

/// Two panels over epochs, losses left and scores right. A point is epoch, training loss,
/// validation loss, validation accuracy, validation Dice. The same numbers give the same bytes.
///
/// # Errors
/// When the drawing library refuses.
pub fn history_curves(history: &[[f64; 5]]) -> Result<String> {
    let line =
        |name, of: usize| Line { name, points: history.iter().map(|p| (p[0], p[of])).collect() };
    let losses = [line("training", 1), line("validation", 2)];
    let scores = [line("accuracy", 3), line("Dice", 4)];
    let mut svg = String::new();
    let draw = |svg: &mut String| -> std::result::Result<(), Box<dyn std::error::Error>> {
        let root = SVGBackend::with_string(svg, (880, 330)).into_drawing_area();
        root.fill(&WHITE)?;
        let (left, right) = root.split_horizontally(440);
        // Losses fall and scores rise: the corner that they leave free takes the names.
        panel(&left, "Cross-entropy", &losses, SeriesLabelPosition::UpperRight)?;
        panel(&right, "Validation", &scores, SeriesLabelPosition::LowerRight)?;
        root.present()?;
        Ok(())
    };
    draw(&mut svg).map_err(|e| Error::malformed(format!("The curves cannot be drawn: {e}")))?;
    Ok(svg)
}

type Area<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;

fn panel(
    area: &Area<'_>,
    title: &str,
    lines: &[Line],
    names: SeriesLabelPosition,
) -> std::result::Result<(), Box<dyn std::error::Error>> {
    let points = || lines.iter().flat_map(|l| l.points.iter().copied()).filter(|p| p.1.is_finite());
    let range = |values: &mut dyn Iterator<Item = f64>| {
        let (low, high) = values.fold((f64::MAX, f64::MIN), |(l, h), v| (l.min(v), h.max(v)));
        if low > high { (0.0, 1.0) } else { (low, high + (high - low).max(1e-3) * 0.05) }
    };
    let (x0, x1) = range(&mut points().map(|p| p.0));
    let (y0, y1) = range(&mut points().map(|p| p.1));
    let mut chart = ChartBuilder::on(area)
        .margin(10)
        .caption(title, ("sans-serif", 16))
        .x_label_area_size(32)
        .y_label_area_size(46)
        .build_cartesian_2d(x0..x1, y0..y1)?;
    chart
        .configure_mesh()
        .x_desc("Epoch")
        .x_labels(8)
        .y_labels(6)
        .light_line_style(WHITE)
        .draw()?;
    for (line, colour) in lines.iter().zip(COLOURS.iter().cycle()) {
        let series = LineSeries::new(line.points.iter().copied(), colour.stroke_width(2));
        chart.draw_series(series)?.label(line.name).legend(move |(x, y)| {
            PathElement::new(vec![(x, y), (x + 16, y)], colour.stroke_width(2))
        });
    }
    chart.configure_series_labels().position(names).background_style(WHITE.mix(0.8)).draw()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn curves_are_drawn_with_their_names_and_the_same_bytes_each_time() {
        let history = [[1.0, 0.5, 0.6, 0.8, 0.7], [2.0, 0.3, 0.5, 0.9, 0.8]];
        let svg = history_curves(&history).expect("svg");
        assert!(svg.starts_with("<svg") && svg.contains("training") && svg.contains("polyline"));
        assert_eq!(svg, history_curves(&history).expect("svg"));
        assert_ne!(svg, history_curves(&history[..1]).expect("svg"));
    }

    #[test]
    fn an_empty_history_and_values_that_are_not_finite_draw_an_empty_frame() {
        assert!(history_curves(&[]).is_ok());
        assert!(history_curves(&[[1.0, f64::NAN, f64::INFINITY, 0.5, 0.5]]).is_ok());
    }
}
