//! Decoding speed against all weights, as a picture.

use super::report::digits;
use crate::failure::{Done, Failure};
use crate::output::short;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use serde_json::Value;

const SIZE: (u32, u32) = (960, 560);
const INK: RGBColor = RGBColor(38, 42, 48);
const FAINT: RGBColor = RGBColor(120, 126, 134);
const GRID: RGBColor = RGBColor(228, 231, 235);
/// A colour for each device, apart for the colour-blind too.
const COLORS: [RGBColor; 4] =
    [RGBColor(0, 114, 178), RGBColor(213, 94, 0), RGBColor(0, 158, 115), RGBColor(204, 121, 167)];

/// One device's points: all weights, tokens a second.
struct Series {
    device: String,
    points: Vec<(f64, f64)>,
}

fn series(rows: &[Value]) -> Vec<Series> {
    let mut all: Vec<Series> = Vec::new();
    for row in rows {
        let number = |key: &str| row[key].as_f64().unwrap_or(f64::NAN);
        let (device, point) =
            (row["device"].as_str().unwrap_or_default(), (number("total_params"), number("decode_tok_s")));
        match all.iter_mut().find(|s| s.device == device) {
            Some(found) => found.points.push(point),
            None => all.push(Series { device: device.into(), points: vec![point] }),
        }
    }
    all
}

/// An SVG of the rows of a report: speed from zero, weights on a logarithmic axis.
pub(super) fn draw(title: &str, machine: &str, rows: &[Value]) -> Done<String> {
    let mut svg = String::new();
    paint(&mut svg, title, machine, &series(rows)).map_err(|e| Failure::Failed(format!("cannot draw: {e}")))?;
    Ok(svg)
}

fn paint(svg: &mut String, title: &str, machine: &str, all: &[Series]) -> Result<(), Box<dyn std::error::Error>> {
    let points = || all.iter().flat_map(|s| s.points.iter().copied());
    let (low, high) = points().fold((f64::INFINITY, 0.0f64), |(l, h), (x, _)| (l.min(x), h.max(x)));
    let top = 1.25 * points().map(|(_, y)| y).fold(0.0, f64::max);
    let mut ticks: Vec<f64> = points().map(|(x, _)| x).collect();
    ticks.sort_by(f64::total_cmp);
    ticks.dedup();

    let mut about = machine.to_string();
    if all.iter().any(|s| s.points.len() > 1) {
        about.push_str("; dashed: the speed of the smallest");
    }
    let font = |size: u32, color: &RGBColor| ("sans-serif", size).into_font().color(color);
    let root = SVGBackend::with_string(svg, SIZE).into_drawing_area();
    root.fill(&WHITE)?;
    root.draw(&Text::new(title.to_string(), (24, 20), font(24, &INK)))?;
    root.draw(&Text::new(about, (24, 50), font(17, &FAINT)))?;
    // Names stand above the lines, where no line can cross them.
    let mut left = 24;
    for (series, color) in all.iter().zip(COLORS.iter().cycle()) {
        root.draw(&Circle::new((left + 4, 82), 4, color.filled()))?;
        root.draw(&Text::new(series.device.clone(), (left + 16, 75), font(16, &INK)))?;
        left += 48 + 8 * series.device.chars().count() as i32;
    }

    let mut chart = ChartBuilder::on(&root)
        .margin_top(108)
        .margin_right(40)
        .margin_bottom(16)
        .margin_left(16)
        .x_label_area_size(56)
        .y_label_area_size(78)
        .build_cartesian_2d((low / 1.15..high * 1.15).log_scale().with_key_points(ticks), 0.0..top)?;
    chart
        .configure_mesh()
        .x_desc("all weights, by the number of sections (logarithmic axis)")
        .y_desc("decoding, tokens per second")
        .axis_desc_style(font(18, &INK))
        .label_style(font(16, &FAINT))
        .axis_style(FAINT)
        .bold_line_style(GRID)
        .light_line_style(TRANSPARENT)
        .x_label_formatter(&|x| short(*x as u64))
        .y_label_formatter(&|y| if *y == 0.0 { "0".into() } else { digits(*y) })
        .draw()?;
    let above = Pos::new(HPos::Center, VPos::Bottom);
    for (series, color) in all.iter().zip(COLORS.iter().cycle()) {
        // Where a cost that follows the active weights alone would stay.
        if let Some(&(_, y)) = series.points.first() {
            let level = [(low / 1.15, y), (high * 1.15, y)];
            chart.draw_series(DashedLineSeries::new(level, 5, 5, color.mix(0.45).stroke_width(1)))?;
        }
        chart.draw_series(LineSeries::new(series.points.iter().copied(), color.stroke_width(2)))?;
        for &(x, y) in &series.points {
            let label = Text::new(digits(y), (0, -10), font(16, &INK).pos(above));
            let dot = Circle::new((0, 0), 4, color.filled());
            chart.draw_series([EmptyElement::at((x, y)) + dot + label])?;
        }
    }
    root.present()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn axes_have_titles_and_every_point_its_figure() {
        let row = |device: &str, total: u64, rate: f64| json!({ "device": device, "total_params": total, "decode_tok_s": rate });
        let rows = [
            row("cpu", 36_000_000, 2000.0),
            row("gpu", 36_000_000, 500.0),
            row("cpu", 360_000_000, 1800.0),
            row("gpu", 360_000_000, 490.0),
        ];
        let svg = draw("a title", "a machine", &rows).expect("draws");
        for says in [
            "<svg",
            "a title",
            "a machine; dashed",
            ">\ngpu\n",
            "all weights",
            "tokens per second",
            "36.0M",
            "1800",
            "490",
        ] {
            assert!(svg.contains(says), "{says} is missing");
        }
    }
}
