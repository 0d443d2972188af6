//! What a person sees: results on standard output, and while work goes on, on standard error, a bar on a terminal and
//! plain lines elsewhere. The library prints here and nowhere else.

use crate::run::outcome::EpochLine;
use indicatif::{ProgressBar, ProgressStyle};
use msharp_train::{Progress, StepReport};
use std::io::IsTerminal;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

static IS_SILENT: AtomicBool = AtomicBool::new(false);

/// From now on only [`fail`] prints: of several processes one is seen.
pub fn silence() {
    IS_SILENT.store(true, Ordering::Relaxed);
}

fn is_silent() -> bool {
    IS_SILENT.load(Ordering::Relaxed)
}

/// Prints a result.
pub fn out(text: impl AsRef<str>) {
    if !is_silent() {
        println!("{}", text.as_ref());
    }
}

/// Prints what is happening.
pub fn say(text: impl AsRef<str>) {
    if !is_silent() {
        fail(text);
    }
}

/// Prints why this process ends.
pub fn fail(text: impl AsRef<str>) {
    eprintln!("{}", text.as_ref());
}

/// A bar with a title, where there is a terminal; otherwise the title as a line.
pub fn bar(title: &str) -> Option<ProgressBar> {
    if is_silent() || !std::io::stderr().is_terminal() {
        say(title);
        return None;
    }
    let style = ProgressStyle::with_template("{prefix} {bar:24} {percent} %");
    let style = style.unwrap_or_else(|_| ProgressStyle::default_bar());
    Some(ProgressBar::new(1).with_style(style).with_prefix(title.to_owned()))
}

/// The width of the terminal, within reason; 100 where there is none.
pub fn columns() -> usize {
    let terminal = console::Term::stdout().size_checked();
    terminal.map_or(100, |(_, columns)| usize::from(columns).clamp(60, 160))
}

/// The display of one run, on standard error.
pub struct Screen {
    name: String,
    tested_on: &'static str,
    bar: Option<ProgressBar>,
    started: Instant,
    shown: u64,
}

impl Screen {
    /// For a run of `steps` steps in all, of which `progress` are done, tested on images that are called so.
    pub fn new(name: &str, tested_on: &'static str, steps: usize, progress: &Progress) -> Self {
        let bar = (!is_silent() && std::io::stderr().is_terminal()).then(|| {
            let template = "{prefix} {bar:24} {pos}/{len} steps · {msg} · {elapsed} gone, {eta} to go";
            let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
            let bar = ProgressBar::new(steps as u64).with_style(style).with_prefix(name.to_owned());
            bar.set_position(progress.whole_run.steps as u64);
            bar.reset_eta();
            bar
        });
        Self { name: name.to_owned(), tested_on, bar, started: Instant::now(), shown: 0 }
    }

    /// After a step.
    pub fn step(&mut self, report: &StepReport) {
        self.shown += 1;
        if let Some(bar) = &self.bar {
            let speed = report.samples as f64 / report.seconds;
            let loss = report.loss.map_or("–".to_owned(), |loss| format!("{loss:.3}"));
            bar.set_message(format!("epoch {}/{} · loss {loss} · {speed:.0} img/s", report.epoch + 1, report.epochs));
            bar.inc(1);
        }
    }

    /// After an epoch.
    pub fn epoch(&mut self, progress: &Progress, line: &EpochLine, steps: usize) {
        let speed = progress.this_epoch.samples as f64 / progress.this_epoch.seconds;
        let left = (steps - progress.whole_run.steps.min(steps)) as f64;
        let eta = self.started.elapsed().as_secs_f64() / self.shown.max(1) as f64 * left;
        let loss = line.train_loss.map_or("–".to_owned(), |loss| format!("{loss:.3}"));
        let undefined = line.measures.get("test_not_finite").map_or(String::new(), |images| {
            format!(" ({images:.0} test images have logits that are not finite, and count as wrong)")
        });
        let text = format!(
            "{} · epoch {} · loss {loss} · {} {:.2} %{undefined} · {speed:.0} img/s · {} to go",
            self.name,
            line.epoch,
            self.tested_on,
            100. * line.test_accuracy,
            duration(eta)
        );
        match &self.bar {
            Some(bar) => bar.println(text),
            None => say(text),
        }
    }

    /// The run is over.
    pub fn done(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// `40 s`, `12 min`, `3.5 h`, `2.1 d`.
pub fn duration(seconds: f64) -> String {
    let seconds = Duration::try_from_secs_f64(seconds.max(0.)).unwrap_or(Duration::MAX).as_secs_f64();
    match seconds {
        s if s < 90. => format!("{s:.0} s"),
        s if s < 5400. => format!("{:.0} min", s / 60.),
        s if s < 129_600. => format!("{:.1} h", s / 3600.),
        s => format!("{:.1} d", s / 86_400.),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn durations_are_read_at_a_glance() {
        let texts = [0., 40.2, 720., 12_600., 200_000.].map(super::duration);
        assert_eq!(texts, ["0 s", "40 s", "12 min", "3.5 h", "2.3 d"]);
    }
}
