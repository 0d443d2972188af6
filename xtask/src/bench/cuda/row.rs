//! What was measured, as rows; and the rows as tables.

use crate::bench::print_table;
use crate::bench::subject::Kind;
use msharp_lab::config::device::PrecisionName;
use msharp_lab::config::{EstimatorName, MicroPathName};
use serde::{Deserialize, Serialize};

/// What is timed: a rule, how its micro-batches go, and where RW-SAM takes its norms from.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Case {
    Sgd,
    Sam,
    /// Micro-batches of 32 samples, all at once.
    MSam,
    /// One after another.
    MSamApart,
    /// Micro-batches of one sample, all at once.
    OneSam,
    RwSam,
    RwSamExact,
    RwSamLastLayer,
}

impl Case {
    pub const ALL: [Case; 8] = [
        Case::Sgd,
        Case::Sam,
        Case::MSam,
        Case::MSamApart,
        Case::OneSam,
        Case::RwSam,
        Case::RwSamExact,
        Case::RwSamLastLayer,
    ];

    /// As a table calls it.
    pub fn label(self) -> &'static str {
        match self {
            Case::Sgd => "SGD",
            Case::Sam => "SAM",
            Case::MSam => "m-SAM (m = 32)",
            Case::MSamApart => "m-SAM (m = 32), one micro-batch after another",
            Case::OneSam => "m-SAM (m = 1)",
            Case::RwSam => "RW-SAM (finite difference in f32)",
            Case::RwSamExact => "RW-SAM (exact norms)",
            Case::RwSamLastLayer => "RW-SAM (last layer)",
        }
    }

    /// As PyTorch's script calls it, where that has the same.
    pub fn in_python(self) -> Option<&'static str> {
        match self {
            Case::Sgd => Some("sgd"),
            Case::Sam => Some("sam"),
            Case::MSam => Some("m_sam"),
            Case::RwSam => Some("rw_sam"),
            Case::RwSamLastLayer => Some("rw_sam_last_layer"),
            Case::MSamApart | Case::OneSam | Case::RwSamExact => None,
        }
    }

    /// The rule, and the size of its micro-batches.
    pub fn rule(self) -> (Kind, Option<usize>) {
        match self {
            Case::Sgd => (Kind::Sgd, None),
            Case::Sam => (Kind::Sam, None),
            Case::MSam | Case::MSamApart => (Kind::MSam, None),
            Case::OneSam => (Kind::MSam, Some(1)),
            Case::RwSam | Case::RwSamExact | Case::RwSamLastLayer => (Kind::RwSam, None),
        }
    }

    /// How micro-batches go: an error where they cannot go together.
    pub fn path(self) -> MicroPathName {
        match self {
            Case::MSam | Case::OneSam => MicroPathName::Parallel,
            Case::MSamApart => MicroPathName::Sequential,
            _ => MicroPathName::Auto,
        }
    }

    /// Where RW-SAM takes its norms from.
    pub fn estimator(self) -> Option<EstimatorName> {
        match self {
            Case::RwSam => Some(EstimatorName::FiniteDifference),
            Case::RwSamExact => Some(EstimatorName::Ghost),
            Case::RwSamLastLayer => Some(EstimatorName::LastLayer),
            _ => None,
        }
    }

    /// The work of a step in forward passes; a backward pass is two, and norms that a backward leaves are none.
    pub fn forwards(self) -> f64 {
        match self {
            Case::RwSamExact | Case::RwSamLastLayer => Kind::Sam.forwards(),
            _ => self.rule().0.forwards(),
        }
    }
}

/// Whose step it is.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Program {
    Msharp,
    Pytorch,
    PytorchCompile,
}

impl Program {
    pub fn label(self) -> &'static str {
        match self {
            Program::Msharp => "msharp",
            Program::Pytorch => "PyTorch",
            Program::PytorchCompile => "PyTorch, compiled",
        }
    }
}

/// A line of JSON: a step of a workload, or why there is none.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Row {
    pub workload: String,
    pub case: Case,
    pub program: Program,
    /// The revision, or PyTorch's version.
    pub version: String,
    pub precision: PrecisionName,
    pub gpu: Option<String>,
    #[serde(flatten)]
    pub figures: Option<Figures>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// The measurement.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Figures {
    pub median_ms: f64,
    pub min_ms: f64,
    pub img_per_s: f64,
    /// By the definition of the ops.
    pub tflop_per_s: Option<f64>,
    /// Of a large product in the same precision.
    pub share_of_peak: Option<f64>,
    /// Of the GPU's memory, in MB (2²⁰ bytes).
    pub peak_mb: Option<f64>,
}

impl Row {
    /// On one line, for a person who waits.
    pub fn sentence(&self) -> String {
        let begin = format!("{} · {} · {}", self.workload, self.program.label(), self.case.label());
        match (&self.figures, &self.error) {
            (Some(figures), _) => {
                let Figures { median_ms, img_per_s, .. } = figures;
                let share = figures.share_of_peak.map_or(String::new(), |share| format!(" · {share:.2} of the peak"));
                let memory = figures.peak_mb.map_or(String::new(), |mb| format!(" · {mb:.0} MB"));
                format!("{begin}: {median_ms:.2} ms · {img_per_s:.0} img/s{share}{memory}")
            }
            (None, error) => format!("{begin}: none: {}", error.as_deref().unwrap_or("not measured")),
        }
    }
}

/// The milliseconds of a step, if it was measured.
pub fn median(rows: &[Row], workload: &str, case: Case, program: Program) -> Option<f64> {
    find(rows, workload, case, program).map(|figures| figures.median_ms)
}

fn find(rows: &[Row], workload: &str, case: Case, program: Program) -> Option<Figures> {
    let matches = |row: &&Row| row.workload == workload && row.case == case && row.program == program;
    rows.iter().filter(matches).find_map(|row| row.figures)
}

/// Ours by the faster of PyTorch's two.
pub fn ratio(rows: &[Row], workload: &str, case: Case) -> Option<f64> {
    let theirs = [Program::Pytorch, Program::PytorchCompile].map(|program| median(rows, workload, case, program));
    Some(median(rows, workload, case, Program::Msharp)? / theirs.into_iter().flatten().reduce(f64::min)?)
}

/// The table of a workload.
pub fn print(rows: &[Row], workload: &str) {
    let against = rows.iter().any(|row| row.workload == workload && row.program != Program::Msharp);
    let mut head = vec!["rule", "median ms", "min ms", "img/s", "TFLOP/s", "of peak", "peak MB"];
    if against {
        head.extend(["PyTorch ms", "compiled ms", "ratio", "PyTorch MB", "compiled MB"]);
    }
    let cell = |value: Option<f64>, digits: usize| value.map_or("–".to_owned(), |value| format!("{value:.digits$}"));
    let cells = |case: Case| {
        let ours = find(rows, workload, case, Program::Msharp);
        let mut cells = vec![
            case.label().to_owned(),
            cell(ours.map(|f| f.median_ms), 2),
            cell(ours.map(|f| f.min_ms), 2),
            cell(ours.map(|f| f.img_per_s), 0),
            cell(ours.and_then(|f| f.tflop_per_s), 1),
            cell(ours.and_then(|f| f.share_of_peak), 2),
            cell(ours.and_then(|f| f.peak_mb), 0),
        ];
        if against {
            let theirs = [Program::Pytorch, Program::PytorchCompile].map(|program| find(rows, workload, case, program));
            cells.extend(theirs.map(|figures| cell(figures.map(|f| f.median_ms), 2)));
            cells.push(cell(ratio(rows, workload, case), 2));
            cells.extend(theirs.map(|figures| cell(figures.and_then(|f| f.peak_mb), 0)));
        }
        cells
    };
    let is_asked_for = |case: &Case| rows.iter().any(|row| row.workload == workload && row.case == *case);
    println!("\n{workload}\n");
    print_table(&head, &Case::ALL.into_iter().filter(is_asked_for).map(cells).collect::<Vec<_>>());
    for (program, error, cases) in failures(rows, workload) {
        println!("{}, {}: none: {error}", program.label(), cases.join(", "));
    }
}

/// Why kinds of step have no figures, each reason once.
fn failures<'a>(rows: &'a [Row], workload: &str) -> Vec<(Program, &'a str, Vec<&'static str>)> {
    let mut failures: Vec<(Program, &str, Vec<&str>)> = Vec::new();
    for row in rows.iter().filter(|row| row.workload == workload) {
        let Some(error) = row.error.as_deref() else { continue };
        match failures.iter_mut().find(|known| (known.0, known.1) == (row.program, error)) {
            Some((.., cases)) => cases.push(row.case.label()),
            None => failures.push((row.program, error, vec![row.case.label()])),
        }
    }
    failures
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(case: Case, program: Program, median_ms: Option<f64>) -> Row {
        let error = median_ms.is_none().then(|| "out of memory".to_owned());
        let figures = median_ms.map(|median_ms| Figures {
            median_ms,
            min_ms: median_ms,
            img_per_s: 1.,
            tflop_per_s: None,
            share_of_peak: Some(0.5),
            peak_mb: None,
        });
        let (workload, version) = ("resnet18-128".to_owned(), "1".to_owned());
        Row { workload, case, program, version, precision: PrecisionName::Bf16, gpu: None, figures, error }
    }

    #[test]
    fn the_faster_one_counts_and_a_failure_does_not() {
        let [sgd, sam, ..] = Case::ALL;
        let mut rows = vec![row(sgd, Program::Msharp, Some(3.)), row(sgd, Program::Pytorch, Some(4.))];
        assert_eq!(ratio(&rows, "resnet18-128", sgd), Some(0.75));
        rows.push(row(sgd, Program::PytorchCompile, None));
        assert_eq!(ratio(&rows, "resnet18-128", sgd), Some(0.75));
        rows.push(row(sgd, Program::PytorchCompile, Some(2.)));
        assert_eq!(ratio(&rows, "resnet18-128", sgd), Some(1.5));
        assert_eq!(ratio(&rows, "resnet18-128", sam), None);
        rows.push(row(sam, Program::PytorchCompile, None));
        let expected = (Program::PytorchCompile, "out of memory", vec!["SGD", "SAM"]);
        assert_eq!(failures(&rows, "resnet18-128"), [expected]);
    }

    #[test]
    fn a_row_is_a_line_of_json_and_back() {
        for median in [Some(2.5), None] {
            for case in Case::ALL {
                let written = serde_json::to_string(&row(case, Program::PytorchCompile, median)).unwrap();
                let read: Row = serde_json::from_str(&written).unwrap();
                assert_eq!((read.case, read.program), (case, Program::PytorchCompile), "{written}");
                assert_eq!((read.figures.map(|f| f.median_ms), read.error.is_some()), (median, median.is_none()));
                assert!(!written.contains('\n') && read.sentence().contains(case.label()));
            }
        }
    }
}
