//! What all pictures share: colours, how far an axis reaches, and the look of the legend.

use anyhow::Result;
use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;

/// Colours that people with any colour vision tell apart (Okabe and Ito).
pub const COLOURS: [RGBColor; 7] = [
    RGBColor(0, 0, 0),
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
];

/// An axis on which all `ends` have room, with so large a share of their range beyond them; (0, 1) if there are none.
pub fn span(ends: impl IntoIterator<Item = (f64, f64)>, share: f64) -> (f64, f64) {
    let start = (f64::INFINITY, f64::NEG_INFINITY);
    let (low, high) = ends.into_iter().fold(start, |(low, high), (a, b)| (low.min(a), high.max(b)));
    let margin = share * (high - low).max(1e-3);
    if low.is_finite() { (low - margin, high + margin) } else { (0., 1.) }
}

/// Draws the names of the lines.
pub fn legend<'a>(
    chart: &mut ChartContext<'a, SVGBackend<'a>, Cartesian2d<RangedCoordf64, RangedCoordf64>>,
    position: SeriesLabelPosition,
) -> Result<()> {
    chart
        .configure_series_labels()
        .position(position)
        .background_style(WHITE.mix(0.85))
        .border_style(RGBColor(200, 200, 200))
        .draw()?;
    Ok(())
}
