//! A figure of cells one below the other, for those that no number tells apart: a dot with its interval is what was found; below it lies what was
//! expected, a cross, and grey what passes.

use plotters::prelude::*;

use super::super::Error;
use super::super::expectation::Verdict;
use super::super::statistics::Interval;
use super::lines::{COLOURS, Drawn, Point, failed, font, mark, shortened};
use super::ticks::Axis;

/// A figure.
pub(super) struct Chart {
    pub(super) title: String,
    pub(super) x_label: String,
    pub(super) x: Axis,
    pub(super) rows: Vec<Row>,
}

/// A cell: points lie along `x`, and their `y` says nothing.
pub(super) struct Row {
    pub(super) label: String,
    pub(super) found: Option<Point>,
    pub(super) published: Option<Point>,
    /// What passes; an end may be infinite.
    pub(super) bounds: Option<Interval>,
    pub(super) verdict: Option<Verdict>,
}

/// How many rows a figure has at most.
pub(super) const MOST_ROWS: usize = 60;

const PLOT: u32 = 560;
const ROW: u32 = 26;
const LETTER: u32 = 7;
const LONGEST: usize = 60;
/// How wide a letter of the title is, nearly.
const TITLE_LETTER: u32 = 10;

/// Draws it, as SVG.
pub(super) fn draw(chart: &Chart) -> Result<String, Error> {
    let longest = chart.rows.iter().map(|row| row.label.chars().count()).max().unwrap_or_default();
    let beside = 30 + LETTER * longest.min(LONGEST) as u32;
    let height = 110 + ROW * chart.rows.len() as u32;
    let mut svg = String::new();
    {
        let root = SVGBackend::with_string(&mut svg, (beside + PLOT, height)).into_drawing_area();
        root.fill(&WHITE).map_err(failed)?;
        draw_on(chart, &root, beside).map_err(failed)?;
        root.present().map_err(failed)?;
    }
    Ok(svg)
}

fn draw_on(chart: &Chart, root: &super::lines::Area<'_>, beside: u32) -> Drawn {
    let x = &chart.x;
    let count = chart.rows.len() as f64;
    // The first row is on top.
    let places = (0..chart.rows.len()).map(|row| count - 1.0 - row as f64);
    let mut context = ChartBuilder::on(root)
        .caption(shortened(&chart.title, ((beside + PLOT) / TITLE_LETTER) as usize), font(18))
        .margin(12)
        .x_label_area_size(44)
        .y_label_area_size(beside - 12)
        .build_cartesian_2d(x.clone(), Axis::rows(chart.rows.len()))?;
    let label = |place: &f64| {
        let row = (count - 1.0 - place).round().max(0.0) as usize;
        chart.rows.get(row).map_or(String::new(), |row| shortened(&row.label, LONGEST))
    };
    context
        .configure_mesh()
        .bold_line_style(RGBColor(225, 225, 225))
        .light_line_style(TRANSPARENT)
        .axis_style(RGBColor(90, 90, 90))
        .x_desc(shortened(&chart.x_label, 90))
        .axis_desc_style(font(16))
        .label_style(font(14))
        .x_label_formatter(&|value| x.label(*value))
        .y_label_formatter(&label)
        .draw()?;
    let inside = |value: f64| value.max(x.low).min(x.high);
    for (row, place) in chart.rows.iter().zip(places) {
        // What was expected lies below the line of what was found, so that neither hides the other.
        let y = place - 0.22;
        if let Some(bounds) = row.bounds {
            let bar = vec![(inside(bounds.low), y), (inside(bounds.high), y)];
            context.draw_series([PathElement::new(bar, BLACK.mix(0.45).stroke_width(3))])?;
        }
        if let Some(point) = &row.published {
            context.draw_series([mark((point.x, y))])?;
        }
        let colour = match row.verdict {
            Some(Verdict::Deviates) => COLOURS[1],
            Some(Verdict::Known) => COLOURS[4],
            Some(Verdict::Pass) | None => COLOURS[0],
        };
        if let Some(point) = &row.found {
            if let Some(band) = point.band {
                let bar = vec![(inside(band.low), place), (inside(band.high), place)];
                context.draw_series([PathElement::new(bar, colour.stroke_width(3))])?;
            }
            context.draw_series([Circle::new((point.x, place), 4, colour.filled())])?;
        }
    }
    Ok(())
}
