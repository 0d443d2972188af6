//! A figure for a terminal: lines of braille dots, and a letter for each series.

use super::canvas::cut;
use super::ticks::rounded;
use super::{Placed, Prepared, Shown, Style};

/// How high everything is, at most and with the legend.
const ROWS: usize = 20;
/// How high the plot is, without what is around it.
const PLOT: std::ops::RangeInclusive<usize> = 5..=12;
/// How high the legend is, at most.
const LEGEND: usize = 10;

/// The picture; every line ends in a line break.
pub fn draw(prepared: &Prepared, columns: usize) -> String {
    let figure = prepared.figure;
    let letters = letters(prepared);
    let legend = legend(prepared, &letters, columns);
    let heads = [&figure.title, &figure.y.name].into_iter().filter(|head| !head.is_empty());
    let mut lines: Vec<String> = heads.map(|head| clean(head)).collect();
    // The axis, its numbers and its name.
    let height = ROWS.saturating_sub(lines.len() + 3 + legend.len()).clamp(*PLOT.start(), *PLOT.end());

    let ticks = prepared.y.ticks(height.div_ceil(2));
    let left = ticks.iter().map(|tick| tick.label.chars().count()).max().unwrap_or(0).min(columns / 3);
    let mut grid = Grid::new(columns - left - 2, height);
    for guide in &prepared.guides {
        let [from, to] = guide.ends.map(|end| grid.dot(end));
        grid.line(from, to, 3);
    }
    for shown in &prepared.shown {
        grid.curve(shown);
    }
    for (k, shown) in prepared.shown.iter().enumerate() {
        grid.letters(shown, k, letters[k]);
    }
    let has_star = grid.letters.contains(&Some('*'));
    if prepared.is_empty() {
        grid.write("no data");
    }

    for (row, cells) in grid.rows().enumerate() {
        let tick = ticks.iter().find(|tick| grid.dot((0., tick.at)).1 / 4 == row);
        let (label, edge) = tick.map_or(("", '│'), |tick| (tick.label.as_str(), '┤'));
        lines.push(format!("{:>left$} {edge}{cells}", cut(label, left)));
    }
    let (axis, labels) = abscissas(prepared, &grid);
    let foot = clean(&figure.x.name) + if has_star { "  (* several)" } else { "" };
    let width = grid.width;
    lines.push(format!("{:left$} └{axis}", ""));
    lines.push(format!("{:left$}  {labels}", ""));
    lines.push(format!("{:left$}  {foot:^width$}", ""));
    lines.extend(legend);
    lines.iter().map(|line| cut(line, columns).trim_end().to_owned() + "\n").collect()
}

/// Without line breaks and other control characters.
fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// The letter of each series; series of one name share theirs.
fn letters(prepared: &Prepared) -> Vec<char> {
    let mut free = ('a'..='z').chain('A'..='Z');
    let mut letters: Vec<char> = Vec::new();
    for (k, shown) in prepared.shown.iter().enumerate() {
        let same = (0..k).find(|j| prepared.shown[*j].series.name == shown.series.name);
        letters.push(same.map_or_else(|| free.next().unwrap_or('#'), |j| letters[j]));
    }
    letters
}

/// Letters, names and last values, as many in a row as have room.
fn legend(prepared: &Prepared, letters: &[char], columns: usize) -> Vec<String> {
    let entry = |(shown, letter): (&Shown, &char)| {
        let value = shown.points.last().map_or(String::new(), |point| format!(" {}", rounded(point.value.y)));
        shown.heads_entry.then(|| clean(&format!("{letter} {}{value}{}", shown.series.name, prepared.note(shown))))
    };
    let mut entries: Vec<String> = prepared.shown.iter().zip(letters).filter_map(entry).collect();
    entries.extend(prepared.guides.iter().map(|guide| clean(&format!("⠁ {}", guide.slope.name))));
    let longest = entries.iter().map(|entry| entry.chars().count()).max().unwrap_or(0).min(columns);
    let in_row = ((columns + 2) / (longest + 2)).max(1);
    let mut rows: Vec<String> = Vec::new();
    for row in entries.chunks(in_row) {
        let row: Vec<String> = row.iter().map(|entry| format!("{:<longest$}", cut(entry, longest))).collect();
        rows.push(row.join("  "));
    }
    if rows.len() > LEGEND {
        rows.truncate(LEGEND - 1);
        rows.push(format!("… and {} more", entries.len() - in_row * (LEGEND - 1)));
    }
    rows
}

/// The axis with its ticks, and their labels under them where these have room.
fn abscissas(prepared: &Prepared, grid: &Grid) -> (String, String) {
    let (mut axis, mut labels) = (vec!['─'; grid.width], vec![' '; grid.width]);
    let mut free = 0;
    for tick in prepared.x.ticks(grid.width / 8) {
        let column = grid.dot((tick.at, 0.)).0 / 2;
        let label: Vec<char> = tick.label.chars().collect();
        if label.len() > grid.width {
            continue;
        }
        let start = column.saturating_sub(label.len() / 2).min(grid.width - label.len());
        if start >= free {
            axis[column] = '┬';
            labels[start..start + label.len()].copy_from_slice(&label);
            free = start + label.len() + 1;
        }
    }
    (axis.into_iter().collect(), labels.into_iter().collect())
}

/// Cells of 2 × 4 dots each, with letters above them.
struct Grid {
    width: usize,
    height: usize,
    dots: Vec<u8>,
    letters: Vec<Option<char>>,
}

impl Grid {
    fn new(width: usize, height: usize) -> Self {
        Self { width, height, dots: vec![0; width * height], letters: vec![None; width * height] }
    }

    /// The dot at a place in the unit square, from the upper left.
    fn dot(&self, (x, y): (f64, f64)) -> (usize, usize) {
        let along = |place: f64, dots: usize| (place.clamp(0., 1.) * (dots - 1) as f64).round() as usize;
        (along(x, 2 * self.width), along(1. - y, 4 * self.height))
    }

    fn cell(&self, (x, y): (usize, usize)) -> usize {
        y / 4 * self.width + x / 2
    }

    /// Every so many dots of a line.
    fn line(&mut self, from: (usize, usize), to: (usize, usize), every: usize) {
        let steps = from.0.abs_diff(to.0).max(from.1.abs_diff(to.1));
        for step in (0..=steps).step_by(every) {
            let share = step as f64 / steps.max(1) as f64;
            let between = |a: usize, b: usize| (a as f64 + share * (b as f64 - a as f64)).round() as usize;
            let (x, y) = (between(from.0, to.0), between(from.1, to.1));
            let cell = self.cell((x, y));
            self.dots[cell] |= [[0x01, 0x08], [0x02, 0x10], [0x04, 0x20], [0x40, 0x80]][y % 4][x % 2];
        }
    }

    fn curve(&mut self, shown: &Shown) {
        let dot = |grid: &Self, point: &Placed| grid.dot((point.x, point.y));
        match shown.series.style {
            Style::Marks => {}
            Style::Level => {
                for point in &shown.points {
                    let [from, to] = [0., 1.].map(|x| self.dot((x, point.y)));
                    self.line(from, to, 2);
                }
            }
            Style::Line | Style::Thin | Style::Both => {
                let every = if shown.series.style == Style::Thin { 2 } else { 1 };
                for pair in shown.points.windows(2) {
                    let (from, to) = (dot(self, &pair[0]), dot(self, &pair[1]));
                    self.line(from, to, every);
                }
            }
        }
    }

    /// The letter of a series: at its last point and some others, or at all of them if they are not joined. Where two
    /// series would have theirs, there is a star.
    fn letters(&mut self, shown: &Shown, k: usize, letter: char) {
        let all = shown.points.len();
        let every = if shown.series.style == Style::Marks { 1 } else { (10 * all).div_ceil(self.width).max(1) };
        let places: Vec<(f64, f64)> = match shown.series.style {
            // At different places, for levels may be close to each other.
            Style::Level => shown.points.iter().map(|point| ((k % 10) as f64 / 10., point.y)).collect(),
            Style::Thin if !shown.heads_entry => Vec::new(),
            _ => {
                let picked = |index: &usize| index % every == k % every || index + 1 == all;
                (0..all).filter(picked).map(|index| (shown.points[index].x, shown.points[index].y)).collect()
            }
        };
        for place in places {
            let cell = self.cell(self.dot(place));
            let other = self.letters[cell].filter(|other| *other != letter);
            self.letters[cell] = Some(other.map_or(letter, |_| '*'));
        }
    }

    /// A text in the middle.
    fn write(&mut self, text: &str) {
        let start = self.height / 2 * self.width + self.width.saturating_sub(text.len()) / 2;
        for (cell, letter) in self.letters.iter_mut().skip(start).zip(text.chars()) {
            *cell = Some(letter);
        }
    }

    fn rows(&self) -> impl Iterator<Item = String> {
        let dots = |dots: u8| if dots == 0 { ' ' } else { char::from_u32(0x2800 + u32::from(dots)).unwrap_or(' ') };
        let cells = move |(letter, bits): (&Option<char>, &u8)| letter.unwrap_or_else(|| dots(*bits));
        let rows = self.letters.chunks(self.width).zip(self.dots.chunks(self.width));
        rows.map(move |(letters, bits)| letters.iter().zip(bits).map(cells).collect())
    }
}
