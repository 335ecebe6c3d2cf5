//! A figure of lines with bands around them.

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::super::Error;
use super::super::statistics::Interval;
use super::ticks::Axis;

/// A figure.
pub(super) struct Chart {
    pub(super) title: String,
    pub(super) x_label: String,
    pub(super) y_label: String,
    pub(super) x: Axis,
    pub(super) y: Axis,
    /// The names of 0, 1, 2 … along the axis, if it has no numbers.
    pub(super) x_names: Option<Vec<String>>,
    pub(super) lines: Vec<Line>,
}

/// A line.
pub(super) struct Line {
    pub(super) label: String,
    pub(super) points: Vec<Point>,
    pub(super) published: Vec<Point>,
    /// Whether each point is marked.
    pub(super) marked: bool,
}

/// A point with the interval around it.
#[derive(Clone, Copy)]
pub(super) struct Point {
    pub(super) x: f64,
    pub(super) y: f64,
    pub(super) band: Option<Interval>,
}

/// How many lines a figure has at most: as many colours can be told apart.
pub(super) const MOST_LINES: usize = 7;

/// Colours that people who see fewer of them can tell apart as well (Okabe and Ito).
pub(super) const COLOURS: [RGBColor; MOST_LINES] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
    RGBColor(40, 40, 40),
];

const HEIGHT: u32 = 480;
const PLOT: u32 = 720;
/// Beside the plot, for what the lines are.
const LEGEND: u32 = 60;
/// How wide a letter is, nearly.
const LETTER: u32 = 7;

/// Draws it, as SVG.
pub(super) fn draw(chart: &Chart) -> Result<String, Error> {
    let published = chart.lines.iter().any(|line| !line.published.is_empty());
    let longest = chart.lines.iter().map(|line| line.label.chars().count()).max().unwrap_or_default().min(60);
    let entries = chart.lines.len() > 1 || published;
    let beside = if entries { LEGEND + LETTER * longest.max(10) as u32 } else { 0 };
    let mut svg = String::new();
    {
        let root = SVGBackend::with_string(&mut svg, (PLOT + beside, HEIGHT)).into_drawing_area();
        root.fill(&WHITE).map_err(failed)?;
        let (plot, legend) = root.split_horizontally(PLOT);
        draw_plot(chart, &plot).map_err(failed)?;
        if entries {
            draw_legend(chart, &legend, published).map_err(failed)?;
        }
        root.present().map_err(failed)?;
    }
    Ok(svg)
}

pub(super) type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
pub(super) type Drawn = Result<(), DrawingAreaErrorKind<<SVGBackend<'static> as DrawingBackend>::ErrorType>>;

pub(super) fn failed(error: impl std::fmt::Display) -> Error {
    Error::Figure(error.to_string())
}

pub(super) fn font(size: u32) -> TextStyle<'static> {
    ("sans-serif", size).into_text_style(&(1, 1)).color(&BLACK)
}

/// What of a text has room.
pub(super) fn shortened(text: &str, letters: usize) -> String {
    if text.chars().count() <= letters {
        return text.to_owned();
    }
    text.chars().take(letters.saturating_sub(1)).chain(['…']).collect()
}

fn draw_plot(chart: &Chart, area: &Area<'_>) -> Drawn {
    let (x, y) = (&chart.x, &chart.y);
    let mut context = ChartBuilder::on(area)
        .caption(shortened(&chart.title, 80), font(18))
        .margin(12)
        .x_label_area_size(44)
        .y_label_area_size(70)
        .build_cartesian_2d(x.clone(), y.clone())?;
    let x_name = |value: &f64| match &chart.x_names {
        Some(names) => {
            names.get(value.round().max(0.0) as usize).map_or(String::new(), |name| shortened(name, 16))
        }
        None => x.label(*value),
    };
    context
        .configure_mesh()
        .bold_line_style(RGBColor(225, 225, 225))
        .light_line_style(TRANSPARENT)
        .axis_style(RGBColor(90, 90, 90))
        .x_desc(shortened(&chart.x_label, 90))
        .y_desc(shortened(&chart.y_label, 60))
        .axis_desc_style(font(16))
        .label_style(font(14))
        .x_label_formatter(&x_name)
        .y_label_formatter(&|value| y.label(*value))
        .draw()?;
    for (line, colour) in chart.lines.iter().zip(COLOURS) {
        let banded = line.points.iter().filter_map(|point| Some((point.x, point.band?)));
        let upper = banded.clone().map(|(x, band)| (x, band.high));
        let lower = banded.map(|(x, band)| (x, band.low)).collect::<Vec<_>>();
        let outline: Vec<_> = upper.chain(lower.into_iter().rev()).collect();
        if line.points.len() > 1 {
            context.draw_series([Polygon::new(outline, colour.mix(0.18))])?;
        } else {
            context.draw_series([PathElement::new(outline, colour.stroke_width(2))])?;
        }
    }
    for (line, colour) in chart.lines.iter().zip(COLOURS) {
        for point in &line.published {
            if let Some(Interval { low, high }) = point.band {
                // What has no end on the plot ends at its edge.
                let (low, high) = (low.max(y.low), high.min(y.high));
                let bar = vec![(point.x, low), (point.x, high)];
                context.draw_series([PathElement::new(bar, colour.stroke_width(1))])?;
            }
            context.draw_series([mark((point.x, point.y))])?;
        }
        let points = line.points.iter().map(|point| (point.x, point.y));
        context
            .draw_series([PathElement::new(points.clone().collect::<Vec<_>>(), colour.stroke_width(2))])?;
        if line.marked {
            context.draw_series(points.map(|point| Circle::new(point, 3, colour.filled())))?;
        }
    }
    Ok(())
}

fn draw_legend(chart: &Chart, area: &Area<'_>, published: bool) -> Drawn {
    let left = font(14).pos(Pos::new(HPos::Left, VPos::Center));
    let mut y = 50;
    for (line, colour) in chart.lines.iter().zip(COLOURS) {
        area.draw(&PathElement::new(vec![(4, y), (28, y)], colour.stroke_width(2)))?;
        area.draw(&Text::new(shortened(&line.label, 60), (36, y), left.clone()))?;
        y += 22;
    }
    if published {
        area.draw(&mark((16, y)))?;
        area.draw(&Text::new("expected", (36, y), left))?;
    }
    Ok(())
}

/// The mark of what was expected.
pub(super) fn mark<Coord>(at: Coord) -> Cross<Coord, i32> {
    Cross::new(at, 6, BLACK.stroke_width(2))
}
