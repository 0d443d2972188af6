//! The page of the drift.

use super::runs::{
    ACROSS, BATCH, COMPONENTS, DIFFUSION, EXCESS, LAMBDAS, LARGE, NETWORK, NORMS, PROBLEMS, REWEIGHTED,
    REWEIGHTED_ACROSS, SAMPLES, STEPS,
};
use crate::page::markdown::table;
use crate::page::{Page, Picture, colophon};
use crate::plot::{self, Axis, Figure, Style};
use crate::series::{Point, Series, SeriesRow, of, settings};
use anyhow::Result;
use statrs::distribution::{ContinuousCDF, Normal};

/// What the theorem says of m with replacement, and without.
fn expected(series: &str, n: usize, m: f64) -> f64 {
    match series {
        s if s.ends_with("with replacement") => 1. / m,
        s if s.ends_with("without") => (n as f64 - m) / (n as f64 - 1.) / m,
        _ => 0., // n-USAM
    }
}

/// The largest of some numbers; NaN if one is, so that what is undefined is no agreement.
fn largest(numbers: impl Iterator<Item = f64>) -> f64 {
    numbers.map(f64::abs).max_by(f64::total_cmp).unwrap_or(0.)
}

/// The points of the series of a kind, each with its series.
fn points<'a>(rows: &'a [&Series], kind: &'a str) -> impl Iterator<Item = (&'a str, &'a Point)> {
    let of = move |row: &&&Series| row.series.ends_with(kind);
    rows.iter().filter(of).flat_map(|row| row.points.iter().map(|point| (row.series.as_str(), point)))
}

/// The largest difference of a coefficient from the theorem's.
fn worst(rows: &[&Series], n: usize, kind: &str) -> f64 {
    largest(points(rows, kind).map(|(series, p)| p.y - expected(series, n, p.x)))
}

/// The m of the first series.
fn sizes(rows: &[&Series]) -> String {
    let all = rows.first().map_or(Vec::new(), |row| row.points.iter().map(|p| p.x.to_string()).collect());
    all.join(", ")
}

/// The largest difference in standard errors, of those that have one, and of those without.
fn deviations(rows: &[&Series]) -> (f64, f64) {
    let off = |(series, p): (&str, &Point)| p.y - expected(series, LARGE, p.x);
    let noisy = points(rows, "").filter(|(_, p)| p.error.is_some());
    let exact = points(rows, "").filter(|(_, p)| p.error.is_none());
    (largest(noisy.map(|(series, p)| off((series, p)) / p.error.unwrap_or(0.))), largest(exact.map(off)))
}

/// What the largest of so many independent normal numbers is below, in 95 of 100 cases.
fn bound(count: usize) -> f64 {
    Normal::standard().inverse_cdf(1. - (1. - 0.95f64.powf(1. / count as f64)) / 2.)
}

fn by_x(rows: &[&Series], x_name: &str, show: impl Fn(&Series, &Point) -> String) -> String {
    let xs: Vec<f64> = rows.first().map_or(Vec::new(), |row| row.points.iter().map(|p| p.x).collect());
    let head: Vec<String> = [x_name.to_owned()].into_iter().chain(rows.iter().map(|row| row.series.clone())).collect();
    let head: Vec<&str> = head.iter().map(String::as_str).collect();
    table(
        &head,
        xs.iter().enumerate().map(|(k, x)| {
            [format!("{x}")]
                .into_iter()
                .chain(rows.iter().map(|row| row.points.get(k).map_or(String::new(), |p| show(row, p))))
                .collect()
        }),
    )
}

/// A line with marks for each series; of the coefficient also the theorem's value, thin, in the same colour.
fn lines(rows: &[&Series], with_theory: Option<usize>) -> Vec<plot::Series> {
    let mut all = Vec::new();
    for row in rows {
        let visible = row.points.iter().copied().filter(|p| p.y > 1e-12);
        all.push(plot::Series::new(&row.series, Style::Both, visible));
        if let Some(n) = with_theory {
            let theory = row.points.iter().map(|p| (p.x, expected(&row.series, n, p.x))).filter(|p| p.1 > 0.);
            all.push(plot::Series::new(&row.series, Style::Thin, theory));
        }
    }
    all
}

/// What another figure has at the point of a series.
fn beside(rows: &[&Series], row: &Series, at: &Point) -> String {
    let other = rows.iter().find(|other| other.series == row.series);
    let found = other.and_then(|other| other.points.iter().find(|p| p.x == at.x));
    found.map_or("–".to_owned(), |p| if p.y < 0.01 { format!("{:.0e}", p.y) } else { format!("{:.2}", p.y) })
}

pub fn page(rows: &[SeriesRow]) -> Result<Page> {
    let (excess, steps, norms, diffusion) = (of(rows, EXCESS), of(rows, STEPS), of(rows, NORMS), of(rows, DIFFUSION));
    let (across, components) = (of(rows, ACROSS), of(rows, COMPONENTS));
    let grows = |row: &&Series| row.points.windows(2).all(|pair| pair[0].y > pair[1].y);
    let rising = norms.iter().filter(|row| grows(row)).count();
    let last = |name: &str| {
        let row = diffusion.iter().find(|row| row.series == name)?;
        Some((row.points.last()?.x, row.points.last()?.y / row.points.first()?.y))
    };
    let (noisy, exact) = deviations(&steps);
    let exact = if exact == 0. { "exactly".to_owned() } else { format!("to {exact:.0e}") };
    let compared = NETWORK.2 * points(&components, "").filter(|(_, p)| p.y > 0.).count();
    let mut findings = vec![
        format!(
            "What sampling adds to USAM's mean step is ½∇tr V times 1/m: off by {:.0e} at most with replacement and, \
             times (n − m)/(n − 1), by {:.0e} without, and {:.0e} of its length across; n-USAM has {:.0e} of it and \
             {:.0e} across ({} problems of {SAMPLES} samples, m = {}, by enumeration).",
            worst(&excess, SAMPLES, "with replacement"),
            worst(&excess, SAMPLES, "without"),
            largest(points(&across, "").filter(|(series, _)| !series.ends_with("n-USAM")).map(|(_, p)| p.y)),
            worst(&excess, SAMPLES, "n-USAM"),
            largest(points(&across, "n-USAM").map(|(_, p)| p.y)),
            PROBLEMS.len(),
            sizes(&excess)
        ),
        format!(
            "Measured on steps of a network: the theorem's coefficient to within {noisy:.1} standard errors, and \
             {exact} where a batch is the whole set and nothing is left to chance; of {compared} components of the \
             excess none is further from the theorem's than {:.1} (as many independent ones would stay below {:.1} in \
             95 of 100 cases).",
            largest(points(&components, "").map(|(_, p)| p.y)),
            bound(compared.max(1)),
        ),
        format!("Proposition 3.9: E‖∇f_γ‖ falls with every larger |γ| in {rising} of {} series.", norms.len()),
    ];
    let sgd = diffusion.first().and_then(|row| row.points.first()).map_or(f64::NAN, |p| p.y);
    let at_zero = diffusion.iter().filter_map(|row| Some(row.points.first()?.y / sgd - 1.));
    if let (Some((rho, n)), Some((_, b)), Some((_, one))) = (last("n-USAM"), last("USAM"), last("m-USAM (m = 1)")) {
        findings.push(format!(
            "At ρ = {rho} tr Σ is {n:.2} times SGD's for n-USAM, {b:.2} for USAM and {one:.2} for m = 1; at ρ = 0 that \
             of all variants is within {:.0e} of SGD's.",
            largest(at_zero)
        ));
    }
    let reweighted = of(rows, REWEIGHTED);
    let last: Vec<&Point> = reweighted.iter().filter_map(|row| row.points.last()).collect();
    if !last.is_empty() {
        let each: Vec<String> =
            last.iter().map(|p| format!("{:.2} at m_eff = {:.2} (1/m_eff = {:.2})", p.y, p.x, 1. / p.x)).collect();
        let sideways: Vec<String> =
            of(rows, REWEIGHTED_ACROSS).iter().filter_map(|row| Some(format!("{:.2}", row.points.last()?.y))).collect();
        findings.push(format!(
            "RW-USAM's share of ½∇tr V begins at 1/b = {:.2}, as USAM's, and at the largest λ is {}: weights \
             that knew nothing of the gradients would stay at the first. Across ½∇tr V it adds {} of its length.",
            1. / BATCH as f64,
            each.join(", "),
            sideways.join(", ")
        ));
    }
    let mut text = "# What m does to drift and diffusion\n\n".to_owned();
    findings.iter().for_each(|line| text.push_str(&format!("- {line}\n")));
    text.push_str(&format!(
        "\n## The excess of the mean step\n\nThe c for which (E∇f_γ(x + ρ∇f_γ) − ∇(f + (ρ/2)‖∇f‖²))/ρ is nearest to \
         c·½∇tr V; after it what lies across, for the length of ½∇tr V. {}.\n\n",
        settings(rows, EXCESS)
    ));
    let coefficients: Vec<&Series> = excess.iter().filter(|row| !row.series.ends_with("n-USAM")).copied().collect();
    text.push_str(&by_x(&coefficients, "m", |row, p| {
        format!("{:.5} ({:.5}), {}", p.y, expected(&row.series, SAMPLES, p.x), beside(&across, row, p))
    }));
    text.push_str("\nIn brackets: the theorem.\n");
    text.push_str(&format!("\n## The same, measured\n\n{}.\n\n", settings(rows, STEPS)));
    text.push_str(&by_x(&steps, "m", |row, p| {
        let error = p.error.map_or(String::new(), |error| format!(" ± {error:.5}"));
        let worst = components.iter().find(|other| other.series == row.series);
        let worst = worst.and_then(|row| row.points.iter().find(|other| other.x == p.x)).map_or(0., |p| p.y);
        format!("{:.5}{error} ({:.5}), {worst:.1}", p.y, expected(&row.series, LARGE, p.x))
    }));
    text.push_str("\nIn brackets: the theorem. After it the largest deviation of a component, in standard errors.\n");
    text.push_str("\n![The coefficient against m](steps.svg)\n\nThin lines are the theorem; bars are 95 %.\n");
    text.push_str(&format!(
        "\n## The same for RW-USAM\n\nThe coefficient against m_eff, the mean of 1/Σp² over batches, and what lies \
         across; λ is {} over the mean norm of a sample's gradient. Weights that knew nothing of the gradients would \
         leave it at 1/b for any m_eff: the descent takes the plain mean over the batch, and a sample meets its own \
         curvature with weight Σpᵢ/b. {}.\n\n",
        LAMBDAS.map(|size| size.to_string()).join(", "),
        settings(rows, REWEIGHTED)
    ));
    let sideways = of(rows, REWEIGHTED_ACROSS);
    let cells = |row: &&Series| {
        let all = row.points.iter().map(|p| format!("{:.3}, {} (m_eff = {:.2})", p.y, beside(&sideways, row, p), p.x));
        [row.series.clone()].into_iter().chain(all).collect::<Vec<_>>()
    };
    let head: Vec<String> =
        ["problem".to_owned()].into_iter().chain(LAMBDAS.map(|size| format!("λ = {size}"))).collect();
    text.push_str(&table(&head, reweighted.iter().map(cells)));
    text.push_str(&format!(
        "\n## Norms against the size of a batch (Proposition 3.9)\n\n{}.\n\n",
        settings(rows, NORMS)
    ));
    text.push_str(&by_x(&norms, "batch", |_, p| format!("{:.4}", p.y)));
    text.push_str("\n![E‖∇f_γ‖ against the size of the batch](norms.svg)\n");
    text.push_str(&format!("\n## The diffusion of the variants\n\ntr Σ. {}.\n\n", settings(rows, DIFFUSION)));
    text.push_str(&by_x(&diffusion, "ρ", |_, p| format!("{:.4}", p.y)));
    text.push_str("\n![tr Σ against ρ](diffusion.svg)\n");
    text.push_str(&colophon(rows));
    let picture = |file: &str, title: &str, x, y, series| Picture {
        file: file.to_owned(),
        alt: title.to_owned(),
        figure: Figure { title: title.to_owned(), x, y, series, slopes: Vec::new() },
    };
    let coefficient = "The coefficient of ½∇tr V, measured on a network";
    let pictures = vec![
        picture("steps.svg", coefficient, Axis::log2("m"), Axis::log("coefficient"), lines(&steps, Some(LARGE))),
        picture("norms.svg", "E‖∇f_γ‖", Axis::log2("|γ|"), Axis::linear("norm"), lines(&norms, None)),
        picture("diffusion.svg", "tr Σ by variant", Axis::linear("ρ"), Axis::linear("tr Σ"), lines(&diffusion, None)),
    ];
    let table = by_x(&diffusion, "ρ", |_, p| format!("{:.4}", p.y));
    Ok(Page { table, text, pictures, findings })
}
