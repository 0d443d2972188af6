//! Whole figures: what both ways of drawing them must have.

use super::*;

fn figure(x: Axis, y: Axis, series: Vec<Series>) -> Figure {
    Figure { title: "A title".to_owned(), x, y, series, slopes: Vec::new() }
}

fn linear(series: Vec<Series>) -> Figure {
    figure(Axis::linear("step"), Axis::linear("loss"), series)
}

fn both(name: &str, points: &[(f64, f64)]) -> Series {
    Series::new(name, Style::Both, points.iter().copied())
}

/// How often an element is in an SVG.
fn count(svg: &str, element: &str) -> usize {
    svg.matches(&format!("<{element} ")).count()
}

/// Every kind of series.
fn full() -> Figure {
    let mut series: Vec<Series> =
        (0..10).map(|k| both(&format!("series {k}"), &[1., 2., 4., 8.].map(|x| (x, x * f64::from(k + 1))))).collect();
    series[0].each = vec![vec![(1., 2.), (8., 9.)], vec![(f64::NAN, 1.), (2., -3.)]];
    series.push(Series::new("level", Style::Level, [(f64::NAN, 20., 2.)]));
    series.push(Series::new("bars", Style::Marks, [(1., 5., 1.), (2., 5., 9.)]));
    series.push(Series::new("series 0", Style::Thin, [(1., 3.), (8., 3.)]));
    let slopes = vec![Slope { order: 1., name: "order 1".to_owned() }, Slope { order: -2., name: String::new() }];
    Figure { slopes, ..figure(Axis::log("m"), Axis::log("error"), series) }
}

#[test]
fn the_same_figure_is_the_same_to_the_byte() {
    let (svg, text) = (full().svg().unwrap(), full().text(80));
    assert_eq!((svg.clone(), text), (full().svg().unwrap(), full().text(80)));
    assert!(svg.starts_with("<svg width=\"820\" height=\"460\" stroke-linejoin=\"round\" viewBox=\"0 0 8200 4600\""));
    assert!(svg.trim_end().ends_with("</svg>") && !svg.contains("NaN") && !svg.contains("inf"));
}

#[test]
fn ten_series_differ() {
    let figure = full();
    let mut looks: Vec<(usize, usize)> =
        figure.prepared().shown[..10].iter().map(|shown| (shown.look.colour, shown.look.dash)).collect();
    looks.sort();
    looks.dedup();
    assert_eq!(looks.len(), 10);
    let svg = figure.svg().unwrap();
    for k in 0..10 {
        assert_eq!(svg.matches(&format!("series {k}\n")).count(), 1, "{k}");
    }
    assert!(svg.contains("level\n") && svg.contains("order 1\n"));
}

#[test]
fn series_on_top_of_each_other_are_noted() {
    let points = [(1., 1.), (2., 4.)];
    let other = [(1., 1.), (2., 3.9)];
    let level = |name: &str| Series::new(name, Style::Level, [(0., 2.)]);
    let figure = linear(vec![
        both("a", &points),
        both("b", &other),
        both("c", &points),
        level("d"),
        level("e"),
        both("a", &points),
    ]);
    let notes: Vec<String> = figure.prepared().shown.iter().map(|shown| figure.prepared().note(shown)).collect();
    assert_eq!(notes, ["", "", " (same as a)", "", " (same as d)", " (same as c)"]);
    assert!(figure.svg().unwrap().contains("c (same as a)"));
    assert!(figure.text(60).contains("c 4 (same as a)"));
}

#[test]
fn points_without_a_place_are_left_out() {
    let points = [(1., 1.), (f64::NAN, 2.), (2., f64::INFINITY), (3., 1e301), (4., 0.), (0., 5.), (5., -1.), (10., 3.)];
    let shown =
        |figure: &Figure| -> Vec<f64> { figure.prepared().shown[0].points.iter().map(|point| point.value.x).collect() };
    assert_eq!(shown(&linear(vec![both("a", &points)])), [0., 1., 4., 5., 10.]);
    let log = figure(Axis::log("x"), Axis::log("y"), vec![both("a", &points)]);
    assert_eq!(shown(&log), [1., 10.]);
    let svg = log.svg().unwrap();
    assert!(!svg.contains("NaN") && !svg.contains("inf") && !svg.contains("no data"));
    // Bars that are no numbers are none, and one below 0 ends at the axis.
    let bars = [(1., 2., f64::NAN), (2., 2., f64::INFINITY), (3., 2., -1.), (4., 2., 5.)];
    let figure = figure(Axis::log("x"), Axis::log("y"), vec![Series::new("a", Style::Marks, bars)]);
    let errors: Vec<f64> = figure.prepared().shown[0].points.iter().map(|point| point.value.error).collect();
    assert_eq!(errors, [0., 0., 0., 5.]);
    assert!(figure.svg().is_ok());
}

#[test]
fn a_figure_without_data_says_so() {
    for series in [vec![], vec![both("a", &[])], vec![both("a", &[(f64::NAN, 1.)])]] {
        for scale in [Scale::Linear, Scale::Log, Scale::Log2] {
            let axis = || Axis { scale, ..Axis::linear("x") };
            let figure = figure(axis(), axis(), series.clone());
            let svg = figure.svg().unwrap();
            assert!(svg.contains("no data") && svg.trim_end().ends_with("</svg>"));
            assert!(figure.text(40).contains("no data"));
        }
    }
}

#[test]
fn names_cannot_break_the_picture() {
    let name = "a <b> & \"c\"\u{0}\n ".to_owned() + &"word ".repeat(60) + &"x".repeat(200);
    let mut figure = full();
    figure.title = name.clone();
    (figure.x.name, figure.y.name) = (name.clone(), name.clone());
    figure.series.iter_mut().for_each(|series| series.name = format!("{} {name}", series.points.len()));
    let svg = figure.svg().unwrap();
    assert!(!svg.contains('\u{0}') && !svg.contains("<b>") && svg.contains("…"));
    for columns in [0, 40, 200] {
        assert!(fits(&figure.text(columns), columns));
    }
}

#[test]
fn a_long_legend_makes_the_picture_higher() {
    let names: Vec<String> = (0..40).map(|k| format!("series {k}")).collect();
    let figure = linear(names.iter().map(|name| both(name, &[(0., 1.), (1., 2.)])).collect());
    let svg = figure.svg().unwrap();
    let height: f64 = svg.split('"').nth(3).unwrap().parse().unwrap();
    assert!(height > 800. && svg.contains(&format!("viewBox=\"0 0 8200 {:.0}\"", 10. * height)));
}

#[test]
fn marks_bars_and_bands_are_drawn() {
    let point = [(1., 1.), (2., 2.), (3., 1.)];
    let of = |style| linear(vec![Series::new("a", style, point)]).svg().unwrap();
    // Two circles make a mark; one more of them is in the legend.
    assert_eq!(
        [Style::Line, Style::Thin, Style::Marks, Style::Both].map(|style| count(&of(style), "circle")),
        [0, 0, 8, 8]
    );
    let one = linear(vec![Series::new("a", Style::Line, [(1., 1.)])]);
    assert_eq!(count(&one.svg().unwrap(), "circle"), 2);
    let level = |error| linear(vec![Series::new("a", Style::Level, [(0., 1., error)])]).svg().unwrap();
    assert_eq!((count(&level(0.), "polygon"), count(&level(0.5), "polygon")), (0, 1));
    let long = linear(vec![Series::new("a", Style::Both, (0..400).map(|k| (f64::from(k), 1.)))]);
    assert_eq!(count(&long.svg().unwrap(), "circle"), 2 * 41);
}

#[test]
fn a_guide_has_its_slope_and_lies_below_its_series() {
    let quadratic = both("two", &[(1., 1.), (10., 100.)]);
    let linear = both("one", &[(1., 1.), (10., 10.)]);
    let slopes = vec![Slope { order: 2., name: "order 2".to_owned() }];
    let log = Figure { slopes, ..figure(Axis::log2("x"), Axis::log("y"), vec![linear, quadratic]) };
    let prepared = log.prepared();
    let [a, b] = prepared.guides[0].ends;
    let slope = (b.1 - a.1) * prepared.y.length() / (b.0 - a.0) / prepared.x.length();
    assert!((slope - 2.).abs() < 1e-12);
    let top = prepared.shown[1].points[1];
    assert!((b.0 - top.x).abs() < 1e-12 && (b.1 - (top.y - 0.08)).abs() < 1e-12);
    assert!(prepared.guides[0].ends.iter().all(|(x, y)| (-1e-12..=1.).contains(x) && (-1e-12..=1.).contains(y)));
    assert!(log.svg().unwrap().contains("order 2") && log.text(40).contains("order 2"));
    // Only where both axes are logarithmic.
    assert!(Figure { x: Axis::linear("x"), ..log.clone() }.prepared().guides.is_empty());
}

/// Whether all lines of a text have room, and are not too many.
fn fits(text: &str, columns: usize) -> bool {
    text.lines().count() <= 20 && text.lines().all(|line| line.chars().count() <= columns.max(40))
}

#[test]
fn a_small_figure_as_text() {
    let figure = figure(
        Axis::linear("epoch"),
        Axis::linear("accuracy, %").with(0., 100.),
        vec![both("SGD", &[(0., 0.), (10., 50.)]), both("SAM", &[(0., 0.), (10., 100.)])],
    );
    let text = figure.text(40);
    for part in
        ["A title\naccuracy, %\n", "100 ┤", " 80 ┤", "  0 ┤ *", "┬", "epoch", "(* several)", "a SGD 50", "b SAM 100"]
    {
        assert!(text.contains(part), "{part} in\n{text}");
    }
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 2 + 12 + 3 + 1, "{text}");
    assert!(lines[2].ends_with('b') && lines[14].starts_with("    └─┬"));
    assert_eq!(lines[15].split_whitespace().collect::<Vec<_>>(), ["0", "5", "10"]);
}

#[test]
fn no_text_is_wider_or_higher_than_it_may_be() {
    let values = [f64::NAN, f64::INFINITY, -1., 0., 1e-300, 5e-324, 1., 1. + 1e-15, 1e300, f64::MAX];
    let mut figures = vec![full(), linear(vec![]), linear(vec![both("", &[(1., 1.)])])];
    for (a, b) in values.iter().flat_map(|a| values.map(|b| (*a, b))) {
        for style in [Style::Line, Style::Thin, Style::Marks, Style::Both, Style::Level] {
            let series =
                Series { each: vec![vec![(a, b)]], ..Series::new("a", style, [(a, b, a), (b, a, b), (a, a, a)]) };
            for (x, y) in [(Scale::Linear, Scale::Linear), (Scale::Log, Scale::Log2), (Scale::Log2, Scale::Linear)] {
                let [x, y] = [x, y].map(|scale| Axis { scale, ..Axis::linear("").with(b, a) });
                let slopes = vec![Slope { order: a, name: "order".to_owned() }];
                figures.push(Figure { slopes, ..figure(x, y, vec![series.clone()]) });
            }
        }
    }
    for figure in &figures {
        for columns in [0, 1, 40, 57, 80, 200] {
            let text = figure.text(columns);
            assert!(fits(&text, columns), "{columns}\n{text}");
        }
    }
    for figure in figures.iter().step_by(7) {
        assert!(figure.svg().is_ok_and(|svg| !svg.contains("NaN") && svg.trim_end().ends_with("</svg>")));
    }
    let many: Vec<String> = (0..90).map(|k| format!("a long name, the {k}th")).collect();
    let many = linear(many.iter().map(|name| both(name, &[(0., 1.), (1., 2.)])).collect());
    assert!(fits(&many.text(40), 40) && many.text(40).contains("and 81 more"));
}
