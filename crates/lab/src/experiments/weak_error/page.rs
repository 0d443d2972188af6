//! The page of the weak errors.

use super::runs::{BOTH, ETA, MATRIX, MOMENTS, PATHS, RHO, RHO_MOMENTS, RHO_PATHS};
use crate::page::markdown::{capital, table};
use crate::page::{Page, Picture, colophon};
use crate::plot::{self, Axis, Figure, Slope, Style};
use crate::series::{Point, Series, SeriesRow, of, settings};
use crate::statistics::slope::slope;
use anyhow::Result;

/// The series that holds paths against the grid.
pub const AGREEMENT: &str = "paths less grid";

const ABOUT: &str = "\
An equation is of weak order a if E g(x_k) − E g(X_{kη}) = O(ηᵃ) for every smooth g: then a line of errors over η has
slope a among logarithms. Nothing is random but in the last two tables: moments of affine chains follow a recursion
and those of their equations a linear ODE; elsewhere expectations solve Kolmogorov's backward equation on a Chebyshev
grid. Drift and diffusion are exact expectations over all batches.
";

fn name(row: &Series) -> (&str, &str) {
    row.series.rsplit_once(" · ").unwrap_or((&row.series, ""))
}

/// The algorithms of a figure, in order.
fn algorithms<'a>(rows: &[&'a Series]) -> Vec<&'a str> {
    let mut all: Vec<&str> = Vec::new();
    for row in rows {
        if !all.contains(&name(row).0) {
            all.push(name(row).0);
        }
    }
    all
}

/// A line for each algorithm, a column for each order: the slope, and the error at the smallest η or ρ.
fn slopes(rows: &[SeriesRow], figure: &str, orders: &[&str]) -> String {
    let rows = of(rows, figure);
    let cell = |algorithm: &str, order: &&str| {
        let row = rows.iter().find(|row| name(row) == (algorithm, *order));
        row.map_or("–".to_owned(), |row| show(&row.points))
    };
    let head: Vec<String> = orders.iter().map(|order| format!("order {order}")).collect();
    let head: Vec<&str> = ["algorithm"].into_iter().chain(head.iter().map(String::as_str)).collect();
    table(
        &head,
        algorithms(&rows).into_iter().map(|algorithm| {
            [algorithm.to_owned()].into_iter().chain(orders.iter().map(|order| cell(algorithm, order))).collect()
        }),
    )
}

fn show(points: &[Point]) -> String {
    let last = points.iter().min_by(|a, b| a.x.total_cmp(&b.x));
    let least = last.map_or(String::new(), |p| format!("{:.0e}", p.y));
    match slope(points) {
        Some((slope, error)) if error > 0. => format!("{slope:.2} ± {error:.2} ({least})"),
        Some((slope, _)) => format!("{slope:.2} ({least})"),
        None => format!("– ({least})"),
    }
}

/// The range of the slopes of one order, in words, and how many series have none.
fn spoken(rows: &[SeriesRow], figure: &str, order: &str) -> String {
    let of = of(rows, figure).into_iter().filter(|row| name(row).1 == order);
    let (found, none): (Vec<_>, Vec<_>) = of.map(|row| slope(&row.points)).partition(Option::is_some);
    let slopes = || found.iter().flatten().map(|(slope, _)| *slope);
    let (Some(low), Some(high)) = (slopes().min_by(f64::total_cmp), slopes().max_by(f64::total_cmp)) else {
        return "–".to_owned();
    };
    let missing = if none.is_empty() { String::new() } else { format!(" ({} series have none)", none.len()) };
    format!("{low:.2} to {high:.2}{missing}")
}

/// Errors over x for one figure, a colour for each algorithm: thin lines of the lowest order, lines with marks of the
/// highest, and guides of the slopes that the orders claim.
fn picture(rows: &[SeriesRow], figure: &str, orders: &[&str], title: &str, x: &str) -> Picture {
    let line = |row: &&Series| {
        let (algorithm, order) = name(row);
        let style = if order == orders[0] { Style::Thin } else { Style::Both };
        orders.contains(&order).then(|| plot::Series::new(algorithm, style, row.points.iter().copied()))
    };
    let claimed: Vec<f64> = orders.iter().filter_map(|order| claimed(figure, order)).collect();
    let guide = |order: &f64| Slope { order: *order, name: format!("slope {order}") };
    let ends = [claimed.first(), claimed.last().filter(|last| claimed.first() != Some(last))];
    let drawn = Figure {
        title: title.to_owned(),
        x: Axis::log2(x),
        y: Axis::log("weak error"),
        series: of(rows, figure).iter().filter_map(line).collect(),
        slopes: ends.into_iter().flatten().map(guide).collect(),
    };
    Picture { file: format!("{figure}.svg"), alt: title.to_owned(), figure: drawn }
}

/// The slope that an equation of an order claims: order a in η leaves O(ηᵃ), b terms in ρ leave O(ρᵇ⁺¹).
fn claimed(figure: &str, order: &str) -> Option<f64> {
    match (figure, order) {
        (RHO_MOMENTS | RHO | RHO_PATHS, terms) => Some(terms.parse::<f64>().ok()? + 1.),
        (BOTH, "1, 1" | "1, 2") => Some(1.),
        (BOTH, _) => Some(2.),
        (_, order) => order.parse().ok(),
    }
}

/// The table, and the least ratio in a row of it of an error off the diagonal to the one on it.
fn matrix(rows: &[SeriesRow]) -> (String, Option<f64>) {
    let rows = of(rows, MATRIX);
    let names: Vec<&str> = rows.iter().map(|row| row.series.as_str()).collect();
    let mut least: Option<f64> = None;
    let lines = rows.iter().enumerate().map(|(i, row)| {
        let own = row.points[i].y;
        for (j, point) in row.points.iter().enumerate() {
            if i != j {
                // NaN is above all numbers, so it is looked for by itself.
                let ratio = point.y / own;
                least = Some(least.map_or(ratio, |least| if ratio.is_nan() { ratio } else { least.min(ratio) }));
            }
        }
        let cell = |(j, point): (usize, &Point)| {
            if i == j { format!("**{:.0e}**", point.y) } else { format!("{:.0e}", point.y) }
        };
        [row.series.clone()].into_iter().chain(row.points.iter().enumerate().map(cell)).collect::<Vec<_>>()
    });
    let lines: Vec<Vec<String>> = lines.collect();
    let head: Vec<&str> = ["algorithm \\ equation"].into_iter().chain(names).collect();
    (table(&head, lines), least)
}

pub fn page(rows: &[SeriesRow]) -> Result<Page> {
    let (matrix, least) = matrix(rows);
    let agreement = of(rows, PATHS).into_iter().find(|row| row.series == AGREEMENT);
    let worst = agreement.and_then(|row| {
        let off = |p: &Point| Some((p.y / p.error?).abs());
        Some((row.points.iter().filter_map(off).max_by(f64::total_cmp)?, row.points.len()))
    });
    let number = |value: Option<f64>| value.map_or("–".to_owned(), |value| format!("{value:.0}"));
    let mut findings = vec![
        format!(
            "Order 1 in η: slopes {} by exact moments, {} on a grid; order 2: {} and {}; the logarithm of a step, \
             order 3: {}, order 4: {}.",
            spoken(rows, MOMENTS, "1"),
            spoken(rows, ETA, "1"),
            spoken(rows, MOMENTS, "2"),
            spoken(rows, ETA, "2"),
            spoken(rows, MOMENTS, "3"),
            spoken(rows, MOMENTS, "4"),
        ),
        format!(
            "In ρ: slopes {} without the ρ-term, {} with it, {} with the third derivative; on quadratics, by exact \
             moments, {} without it, and with it no error is above {:.0e}, at any ρ.",
            spoken(rows, RHO, "0"),
            spoken(rows, RHO, "1"),
            spoken(rows, RHO, "2"),
            spoken(rows, RHO_MOMENTS, "0"),
            of(rows, RHO_MOMENTS)
                .into_iter()
                .filter(|row| name(row).1 == "1")
                .flat_map(|row| row.points.iter().map(|p| p.y))
                .max_by(f64::total_cmp)
                .unwrap_or(f64::NAN),
        ),
        format!(
            "In both at once: slopes {}, {}, {} and {} for orders (1, 1), which is the paper's, (1, 2), (2, 1) and \
             (2, 2) in η and ρ.",
            spoken(rows, BOTH, "1, 1"),
            spoken(rows, BOTH, "1, 2"),
            spoken(rows, BOTH, "2, 1"),
            spoken(rows, BOTH, "2, 2"),
        ),
        format!(
            "At the small η and the ρ of the table, any other algorithm's equation is at least {} times as far from an \
             algorithm as its own.",
            number(least)
        ),
        format!(
            "By Monte Carlo: slopes {} and {} in η, algorithm and equation by paths; {}, {} and {} in ρ, the algorithm \
             by paths.",
            spoken(rows, PATHS, "1"),
            spoken(rows, PATHS, "2"),
            spoken(rows, RHO_PATHS, "0"),
            spoken(rows, RHO_PATHS, "1"),
            spoken(rows, RHO_PATHS, "2"),
        ),
    ];
    if let Some((worst, count)) = worst {
        findings.push(format!("Paths and grid: the largest of {count} differences is {worst:.1} standard errors."));
    }
    let mut text = "# Do the equations describe the algorithms?\n\n".to_owned();
    findings.iter().for_each(|line| text.push_str(&format!("- {line}\n")));
    text.push_str(&format!(
        "\n{ABOUT}\nA cell is the fitted slope and, in brackets, the error at the smallest η or ρ.\n"
    ));
    let mut pictures = Vec::new();
    let mut section = |title: &str, figure: &'static str, orders: &[&str], x: &str, remark: &str| {
        text.push_str(&format!("\n## {title}\n\n{}. {remark}\n\n", capital(&settings(rows, figure))));
        text.push_str(&slopes(rows, figure, orders));
        text.push_str(&format!("\n![{title}]({figure}.svg)\n"));
        pictures.push(picture(rows, figure, orders, title, x));
    };
    section(
        "In η, by exact moments",
        MOMENTS,
        &["1", "2", "3", "4"],
        "η",
        "Orders 1 and 2 are the equations, 3 and 4 the logarithm of a step, for which moments are all there is: see \
         `StepMoments::generator`.",
    );
    section("In η, where nothing is affine", ETA, &["1", "2"], "η", "All of ρ is kept, so that η alone is seen.");
    section(
        "In ρ, by exact moments",
        RHO_MOMENTS,
        &["0", "1"],
        "ρ",
        "On quadratics the paper's equation has all of ρ: what it leaves is of η, and does not fall with ρ.",
    );
    section(
        "In ρ, where nothing is affine",
        RHO,
        &["0", "1", "2"],
        "ρ",
        "Order 0 is SGD's equation, 1 the paper's, 2 has the third derivative; expected slopes are 1, 2, 3.",
    );
    section(
        "In η and ρ at once",
        BOTH,
        &["1, 1", "1, 2", "2, 1", "2, 2"],
        "η",
        "The orders are those in η and in ρ: the first is the paper's. Order a in η and b in ρ leaves O(ηᵃ + ρᵇ⁺¹), \
         so that the expected slopes are 1, 1, 2, 2.",
    );
    text.push_str(&format!("\n## Algorithm × equation\n\n{}.\n\n{matrix}", capital(&settings(rows, MATRIX))));
    text.push_str(
        "\n## By Monte Carlo\n\n± is the standard error that the paths give to a slope, and not its distance \
                   from the limit, which the largest η and ρ are far from; errors below two of theirs do not count.\n",
    );
    let by_paths: Vec<SeriesRow> =
        rows.iter().filter(|row| row.content.figure == PATHS && row.content.series != AGREEMENT).cloned().collect();
    for (rows, figure, orders, x) in
        [(&by_paths[..], PATHS, &["1", "2"][..], "η"), (rows, RHO_PATHS, &["0", "1", "2"], "ρ")]
    {
        let title = format!("By Monte Carlo, in {x}");
        text.push_str(&format!("\n{}.\n\n", capital(&settings(rows, figure))));
        text.push_str(&slopes(rows, figure, orders));
        text.push_str(&format!("\n![{title}]({figure}.svg)\n"));
        pictures.push(picture(rows, figure, orders, &title, x));
    }
    text.push_str(&colophon(rows));
    Ok(Page { table: matrix, text, pictures, findings })
}
