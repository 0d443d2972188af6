//! What the rows say, in text.

use super::comparison::{Comparison, Entry, Figures};
use super::figures::Mean;
use super::measure::{EXACT, RADEMACHER};
use msharp_gradnorm::FiniteDifference;

/// The rank correlation that is asked for.
const GOOD: f64 = 0.7;

/// The error of a slope that is asked for: an eighth of the scatter of a single probe.
const SMALL: f64 = 0.1;

/// The default ‖δz‖/‖x‖.
const DEFAULT: f64 = FiniteDifference::DEFAULT_RATIO;

/// All answers, in order.
pub fn all(rows: &[Comparison]) -> Vec<String> {
    let all = [information(rows), probes(rows), step(rows), checks(rows), advice(rows)];
    all.into_iter().flatten().collect()
}

/// The one-sided Rademacher entries of a cell.
pub fn rademacher(row: &Comparison) -> impl Iterator<Item = &Entry> {
    row.estimators.iter().filter(|entry| entry.name == RADEMACHER)
}

fn with_probes(row: &Comparison, k: usize) -> Option<&Figures> {
    rademacher(row).find(|entry| entry.probes == Some(k))?.figures.as_ref()
}

/// In how many of `means` the interval lies above 0, below 0, and around it.
fn counts(means: &[Mean]) -> [usize; 3] {
    let mut counts = [0; 3];
    for mean in means {
        let which = match mean.interval() {
            Some((low, _)) if low > 0. => 0,
            Some((_, high)) if high < 0. => 1,
            _ => 2,
        };
        counts[which] += 1;
    }
    counts
}

fn average(values: impl Iterator<Item = f64>) -> f64 {
    let (sum, n) = values.fold((0., 0.), |(sum, n), value| (sum + value, n + 1.));
    sum / n
}

/// Whether one probe's weights are better than those of the controls.
fn information(rows: &[Comparison]) -> Option<String> {
    let one: Vec<(&Comparison, &Figures)> = rows.iter().filter_map(|row| Some((row, with_probes(row, 1)?))).collect();
    let n = (!one.is_empty()).then_some(one.len())?;
    let tally = |of: fn(&Figures) -> Mean| {
        let [above, below, around] = counts(&one.iter().map(|(_, figures)| of(figures)).collect::<Vec<_>>());
        format!("in {above} of {n} cells (below in {below}, not significant in {around})")
    };
    let shuffled = counts(&one.iter().map(|(_, f)| f.minus_shuffled).collect::<Vec<_>>());
    let random = counts(&one.iter().map(|(_, f)| f.minus_random).collect::<Vec<_>>());
    let verdict = match (shuffled[0].min(random[0]), shuffled[0].max(random[0])) {
        (all, _) if all == n => "Yes, in every cell",
        (0, 0) => "No cell shows it",
        (0, _) => "It depends on the control",
        _ => "In some cells",
    };
    let mean = |of: fn(&Figures) -> Mean| average(one.iter().map(|(_, figures)| of(figures).mean));
    let plain = average(one.iter().map(|(row, _)| row.plain.mean));
    Some(format!(
        "**Do one probe's weights carry information?** {verdict}. Their gradient is closer to the exactly weighted one \
         than with the same weights shuffled {}, than with random weights of equal m_eff {}, and than the plain mean \
         {}. The cosines, averaged over the cells: one probe {:.3}, shuffled {:.3}, random {:.3}, plain mean \
         {plain:.3}.",
        tally(|f| f.minus_shuffled),
        tally(|f| f.minus_random),
        tally(|f| f.minus_plain),
        mean(|f| f.cosine),
        mean(|f| f.shuffled),
        mean(|f| f.random),
    ))
}

/// The numbers of probes that every cell has, in order.
fn numbers(rows: &[Comparison]) -> Vec<usize> {
    let mut all: Vec<usize> = rows.iter().flat_map(rademacher).filter_map(|entry| entry.probes).collect();
    all.sort_unstable();
    all.dedup();
    all.retain(|k| rows.iter().all(|row| with_probes(row, *k).is_some()));
    all
}

fn probes(rows: &[Comparison]) -> Option<String> {
    let numbers = numbers(rows);
    let lowest =
        |k: usize| rows.iter().filter_map(|row| with_probes(row, k)).map(|f| f.spearman.mean).fold(1., f64::min);
    let highest =
        |k: usize| rows.iter().filter_map(|row| with_probes(row, k)).map(|f| f.spearman.mean).fold(-1., f64::max);
    let ranges: Vec<String> =
        numbers.iter().map(|k| format!("{:.2} to {:.2} with K = {k}", lowest(*k), highest(*k))).collect();
    let beats = |k: usize| {
        let gains: Vec<Mean> = rows.iter().filter_map(|row| with_probes(row, k)).map(|f| f.minus_plain).collect();
        counts(&gains)[0] == rows.len()
    };
    let fewest = |fits: &dyn Fn(usize) -> bool| match numbers.iter().find(|k| fits(**k)) {
        Some(k) => format!("K = {k}"),
        None => "none that was measured".to_owned(),
    };
    (!numbers.is_empty()).then(|| {
        format!(
            "**K.** The rank correlation with the true norms is {}. The fewest probes that reach {GOOD} in every cell: \
             {}. The fewest whose weighted gradient is closer than the plain mean's in every cell: {}.",
            ranges.join(", "),
            fewest(&|k| lowest(k) >= GOOD),
            fewest(&beats)
        )
    })
}

fn step(rows: &[Comparison]) -> Option<String> {
    let (mut low, mut high) = (0f64, f64::INFINITY);
    for row in rows {
        let good = |point: &&super::comparison::Point| point.error.is_some_and(|error| error.mean < SMALL);
        let ratios: Vec<f64> = row.sweep.iter().filter(good).map(|point| point.ratio).collect();
        low = low.max(ratios.iter().copied().fold(f64::INFINITY, f64::min));
        high = high.min(ratios.iter().copied().fold(0., f64::max));
    }
    rows.iter().any(|row| !row.sweep.is_empty()).then(|| {
        let share = format!("{:.0} %", 100. * SMALL);
        match low <= high {
            true => {
                let lies = if (low..=high).contains(&DEFAULT) { "lies" } else { "does not lie" };
                format!(
                    "**δ.** Slopes err by less than {share} in every cell for ‖δz‖ from {low:.1e}·‖x‖ to \
                     {high:.1e}·‖x‖; the default, {DEFAULT:.0e}·‖x‖, {lies} among them."
                )
            }
            false => format!("**δ.** No step of the sweep keeps the error of the slopes below {share} in every cell."),
        }
    })
}

/// Whether the noise that a check measures is the error that there is.
fn checks(rows: &[Comparison]) -> Option<String> {
    let points: Vec<_> = rows.iter().flat_map(|row| &row.sweep).collect();
    let known = points.iter().filter_map(|point| Some((point.error?.mean, point.noise?)));
    let mut quotients: Vec<f64> = known.filter(|(error, _)| *error > 0.).map(|(error, noise)| noise / error).collect();
    quotients.sort_by(f64::total_cmp);
    let median = *quotients.get(quotients.len() / 2)?;
    let within = quotients.iter().filter(|q| (0.5..=2.).contains(*q)).count();
    let refused = |why: &'static str| points.iter().filter(move |point| point.refused.as_deref() == Some(why));
    let (small, large) = (refused("too small"), refused("too large"));
    let shortest = small.clone().map(|point| point.ratio).fold(0., f64::max);
    let longest = large.clone().map(|point| point.ratio).fold(f64::INFINITY, f64::min);
    let told = |count: usize, what: String| if count == 0 { "none".to_owned() } else { format!("{count}, {what}") };
    let wrong = points.iter().filter(|p| p.refused.is_none() && p.error.is_some_and(|error| error.mean > 1.)).count();
    Some(format!(
        "**Checks.** The noise that a check measures is {median:.2} times the true error in the median of {} steps, \
         and within a factor of 2 of it in {within}. Steps that are refused as too small: {}; as too large: {}. Of the \
         steps whose slopes err by more than 100 %, {wrong} pass.",
        quotients.len(),
        told(small.count(), format!("‖δz‖ = {shortest:.0e}·‖x‖ at most")),
        told(large.count(), format!("from ‖δz‖ = {longest:.0e}·‖x‖ on"))
    ))
}

/// The cheapest estimator that ranks well everywhere.
fn advice(rows: &[Comparison]) -> Option<String> {
    let first = rows.first()?;
    let find = |row: &Comparison, of: &Entry| {
        row.estimators.iter().find(|entry| entry.name == of.name && entry.probes == of.probes).cloned()
    };
    let label = |entry: &Entry| match entry.probes {
        Some(k) => format!("{} with K = {k}", entry.name),
        None => entry.name.clone(),
    };
    let mut known: Vec<(f64, f64, String)> = Vec::new();
    for entry in first.estimators.iter().filter(|entry| entry.name != EXACT) {
        let same: Vec<Entry> = rows.iter().filter_map(|row| find(row, entry)).collect();
        let ranks: Vec<f64> = same.iter().filter_map(|e| Some(e.figures.as_ref()?.spearman.mean)).collect();
        if ranks.len() == rows.len() {
            let lowest = ranks.iter().copied().fold(1., f64::min);
            known.push((average(same.iter().map(|entry| entry.forwards)), lowest, label(entry)));
        }
    }
    known.sort_by(|a, b| a.0.total_cmp(&b.0));
    let best = known.iter().max_by(|a, b| a.1.total_cmp(&b.1))?.clone();
    let exact = average(rows.iter().filter_map(|row| Some(find(row, first.estimators.first()?)?.forwards)));
    let cheapest = match known.iter().find(|(_, lowest, _)| *lowest >= GOOD) {
        Some((cost, lowest, name)) => format!(
            "The cheapest estimator with a rank correlation of at least {GOOD} in every cell is *{name}*: {lowest:.2} \
             at worst, for {cost:.1} forwards"
        ),
        None => format!(
            "No estimator but Exact reaches a rank correlation of {GOOD} in every cell; the best at its worst is *{}*, \
             {:.2} for {:.1} forwards",
            best.2, best.1, best.0
        ),
    };
    Some(format!("**Which one?** {cheapest}; Exact costs {exact:.0} forwards."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_decides() {
        let mean = |mean, error| Mean { mean, error: Some(error), n: 20 };
        assert_eq!(counts(&[mean(0.2, 0.05), mean(-0.2, 0.05), mean(0.2, 0.2), mean(0.2, 0.01)]), [2, 1, 1]);
        assert_eq!(counts(&[Mean { mean: 1., error: None, n: 1 }]), [0, 0, 1]);
    }

    /// The sentences of the committed rows, with the numbers that they are about changed, say otherwise.
    #[test]
    fn answers_follow_the_rows() {
        let path = crate::paths::results().join("estimators-laptop/rows.jsonl");
        let rows = crate::row::read::<Comparison>(&path).unwrap();
        let mut rows: Vec<Comparison> = rows.into_iter().map(|row| row.content).collect();
        assert!(!rows.is_empty());
        let set = |rows: &mut Vec<Comparison>, gain: f64, spearman: f64| {
            for figures in rows.iter_mut().flat_map(|row| &mut row.estimators).filter_map(|e| e.figures.as_mut()) {
                let mean = Mean { mean: gain, error: Some(0.01), n: 20 };
                (figures.minus_shuffled, figures.minus_random, figures.minus_plain) = (mean, mean, mean);
                figures.spearman = Mean { mean: spearman, ..mean };
            }
        };
        set(&mut rows, 0.1, 0.9);
        assert!(information(&rows).unwrap().contains("Yes, in every cell"));
        assert!(probes(&rows).unwrap().contains(&format!("reach {GOOD} in every cell: K = 1.")));
        assert!(advice(&rows).unwrap().contains("The cheapest estimator"));
        set(&mut rows, -0.1, 0.1);
        assert!(information(&rows).unwrap().contains("No cell shows it"));
        assert!(probes(&rows).unwrap().contains("none that was measured"));
        assert!(advice(&rows).unwrap().contains("No estimator but Exact"));
        for point in rows.iter_mut().flat_map(|row| &mut row.sweep) {
            point.error = Some(Mean { mean: 5., error: None, n: 1 });
        }
        assert!(step(&rows).unwrap().contains("No step of the sweep"));
    }
}
