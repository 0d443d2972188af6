//! The page of the exit times.

use super::runs::{TIMES, WAYS};
use crate::page::markdown::table;
use crate::page::{Page, Picture, colophon};
use crate::plot::{self, Axis, Figure, Style};
use crate::series::{Point, Series, SeriesRow, of, settings};
use anyhow::Result;

const ABOUT: &str = "\
Two wells of equal depth; the left one is noisy (tr V = s²(x − 1)²), the right one quiet. A path starts in the left
and is out when it is beyond the barrier. *algorithm*: its steps times η; *equation*: Euler–Maruyama; *quadrature*:
the exact mean of the equation's continuous exit, without paths. ± is a standard error.
";

fn find<'a>(rows: &[&'a Series], family: &str, way: &str) -> Option<&'a Series> {
    rows.iter().find(|row| row.series == format!("{family} · {way}")).copied()
}

fn families<'a>(rows: &[&'a Series]) -> Vec<&'a str> {
    let mut all: Vec<&str> = Vec::new();
    for row in rows {
        let family = row.series.split(" · ").next().unwrap_or_default();
        if !all.contains(&family) {
            all.push(family);
        }
    }
    all
}

fn show(point: &Point) -> String {
    match point.error {
        Some(error) => format!("{:.1} ± {error:.1}", point.y),
        None => format!("{:.1}", point.y),
    }
}

/// Whether every smaller m of a family is faster by more than 1.96 standard errors of the difference.
fn falls(row: &Series) -> bool {
    row.points.windows(2).all(|pair| {
        let error = pair[0].error.unwrap_or(0.).hypot(pair[1].error.unwrap_or(0.));
        pair[0].y + 1.96 * error < pair[1].y
    })
}

pub fn page(rows: &[SeriesRow]) -> Result<Page> {
    let all = of(rows, TIMES);
    let mut findings = Vec::new();
    for (family, full) in [("m-USAM", "n-USAM"), ("m-SAM", "n-SAM")] {
        let (Some(row), Some(n), Some(sgd)) =
            (find(&all, family, WAYS[0]), find(&all, full, WAYS[0]), find(&all, "SGD", WAYS[0]))
        else {
            continue;
        };
        let times: Vec<String> = row.points.iter().map(|p| format!("{} (m = {})", show(p), p.x)).collect();
        findings.push(format!(
            "{family} leaves the noisy well after a mean time, η times the steps, of {}; {full}, displaced by the gradient \
             of the whole set, after {}; SGD after {}. Smaller m is {}.",
            times.join(", "),
            n.points.first().map_or(String::new(), show),
            sgd.points.first().map_or(String::new(), show),
            if falls(row) {
                "faster at every step of m, each interval apart from 0"
            } else {
                "not faster at every step of m beyond the noise"
            },
        ));
    }
    // The mean that is furthest from another way's, among all rules: family, m, by what share, and its error.
    let furthest = |way: &str| {
        let both = families(&all)
            .into_iter()
            .filter_map(|family| Some((family, find(&all, family, WAYS[0])?, find(&all, family, way)?)));
        let pairs = both.flat_map(|(family, row, other)| {
            row.points.iter().zip(&other.points).map(move |(a, b)| {
                let error = (a.error.unwrap_or(0.) / a.y).hypot(b.error.unwrap_or(0.) / b.y);
                (family, a.x, a.y / b.y - 1., error * a.y / b.y)
            })
        });
        let (family, m, share, error) = pairs.max_by(|a, b| a.2.abs().total_cmp(&b.2.abs()))?;
        Some(format!("{:+.0} % (± {:.0}; {family}, m = {m})", 100. * share, 100. * error))
    };
    if let (Some(paths), Some(exact)) = (furthest(WAYS[1]), furthest(WAYS[2])) {
        findings.push(format!(
            "Where the algorithm's time is furthest from another's: {paths} of the simulated equation's, {exact} of \
             the quadrature's. Times grow exponentially with what is to be overcome, so that an error of η² in it is a \
             factor in them, for which a weak order promises nothing."
        ));
    }
    let mut text = "# Out of a noisy minimum\n\n".to_owned();
    findings.iter().for_each(|line| text.push_str(&format!("- {line}\n")));
    text.push_str(&format!("\n{ABOUT}\n{}.\n\n", settings(rows, TIMES)));
    let mut lines = Vec::new();
    for family in families(&all) {
        let found: Vec<Option<&Series>> = WAYS.iter().map(|way| find(&all, family, way)).collect();
        let count = found.iter().flatten().map(|row| row.points.len()).max().unwrap_or(0);
        for k in 0..count {
            let m = found.iter().flatten().find_map(|row| row.points.get(k)).map_or(0., |p| p.x);
            let name = if count > 1 { format!("{family}, m = {m}") } else { family.to_owned() };
            let cell = |row: &Option<&Series>| row.and_then(|row| row.points.get(k)).map_or("–".to_owned(), show);
            lines.push([name].into_iter().chain(found.iter().map(cell)).collect::<Vec<_>>());
        }
    }
    let table = table(&["rule", "algorithm", "equation", "quadrature"], lines);
    text.push_str(&table);
    text.push_str("\n![Mean exit time against m](times.svg)\n");
    text.push_str(&colophon(rows));
    let mut drawn = Vec::new();
    for family in ["m-USAM", "m-SAM"] {
        for (way, style) in [(WAYS[0], Style::Both), (WAYS[2], Style::Thin)] {
            if let Some(row) = find(&all, family, way) {
                drawn.push(plot::Series::new(&format!("{family}, {way}"), style, row.points.iter().copied()));
            }
        }
    }
    for family in ["SGD", "n-USAM", "n-SAM"] {
        if let Some(row) = find(&all, family, WAYS[0]) {
            drawn.push(plot::Series::new(family, Style::Level, row.points.iter().copied().take(1)));
        }
    }
    let title = "Mean exit time";
    let figure =
        Figure { title: title.to_owned(), x: Axis::log2("m"), y: Axis::log("time"), series: drawn, slopes: Vec::new() };
    let pictures = vec![Picture { file: "times.svg".to_owned(), alt: format!("{title} against m"), figure }];
    Ok(Page { table, text, pictures, findings })
}
