//! The rows of shared jobs, each in a file of its own until all are done.

use crate::experiments::Job;
use crate::jsonl;
use crate::row::{self, Content, Row};
use anyhow::{Result, ensure};
use std::path::{Path, PathBuf};

/// The rows of an experiment's `folder`: those of `rows.jsonl`, and of the `jobs` that were shared and are not in it.
///
/// # Errors
/// Names the file that holds no row, or the row of another job.
pub fn rows<J: Job>(folder: &Path, jobs: &[J]) -> Result<Vec<Row<J::Content>>> {
    let mut all = row::read::<J::Content>(&folder.join("rows.jsonl"))?;
    for job in jobs {
        let path = row_file(folder, job);
        if all.iter().any(|row| job.is_of(&row.content)) || !path.exists() {
            continue;
        }
        let row: Row<J::Content> = row::single(&path)?;
        ensure!(job.is_of(&row.content), "{} is of another job; expected {}", path.display(), job.title());
        match all.iter_mut().find(|known| known.content.is_same(&row.content)) {
            Some(known) => *known = row,
            None => all.push(row),
        }
    }
    Ok(all)
}

/// Puts [`rows`] into `rows.jsonl`. All processes that do so write the same bytes.
///
/// # Errors
/// Those of [`rows`]; if the file cannot be written.
pub fn gather<J: Job>(folder: &Path, jobs: &[J]) -> Result<Vec<Row<J::Content>>> {
    let (path, all) = (folder.join("rows.jsonl"), rows(folder, jobs)?);
    if row::read(&path)? != all {
        jsonl::write(&path, &all)?;
    }
    Ok(all)
}

/// The file of the row of a job that is shared.
pub fn row_file<J: Job>(folder: &Path, job: &J) -> PathBuf {
    folder.join("shared").join(format!("{}.json", job.key()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::DeviceName;
    use crate::host::Host;
    use crate::series::{Point, Series, SeriesJob, SeriesRow};

    fn job(series: &str, setting: &str) -> SeriesJob {
        SeriesJob::new("figure", series, setting, |_| Ok(Vec::new()))
    }

    fn row_of(job: &SeriesJob, y: f64) -> SeriesRow {
        let (figure, series, setting) = (job.figure.to_owned(), job.series.clone(), job.setting.clone());
        let content = Series { figure, series, setting, points: vec![Point::exact(0., y)] };
        Row::new(Host::this(DeviceName::Cpu), 1., content)
    }

    fn share(folder: &Path, job: &SeriesJob, row: &SeriesRow) {
        jsonl::write(&row_file(folder, job), std::slice::from_ref(row)).unwrap();
    }

    #[test]
    fn rows_are_gathered_in_the_order_of_the_jobs_and_a_second_time_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        let jobs = ["c", "a", "b"].map(|series| job(series, "1"));
        let made: Vec<SeriesRow> = jobs.iter().zip([3., 1., 2.]).map(|(job, y)| row_of(job, y)).collect();
        share(folder, &jobs[2], &made[2]);
        share(folder, &jobs[0], &made[0]);
        assert_eq!(rows(folder, &jobs).unwrap(), [made[0].clone(), made[2].clone()]);
        assert!(!folder.join("rows.jsonl").exists(), "to read is not to write");
        share(folder, &jobs[1], &made[1]);
        assert_eq!(gather(folder, &jobs).unwrap(), made);
        let bytes = std::fs::read(folder.join("rows.jsonl")).unwrap();
        assert_eq!(gather(folder, &jobs).unwrap(), made);
        assert_eq!(std::fs::read(folder.join("rows.jsonl")).unwrap(), bytes);
        assert_eq!(row::read::<Series>(&folder.join("rows.jsonl")).unwrap(), made);
    }

    #[test]
    fn a_recorded_row_stays_and_one_of_another_setting_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let (folder, old, new, other) = (folder.path(), job("a", "1"), job("a", "2"), job("b", "1"));
        let recorded = [row_of(&old, 1.), row_of(&other, 2.)];
        jsonl::write(&folder.join("rows.jsonl"), &recorded).unwrap();
        share(folder, &new, &row_of(&new, 3.));
        share(folder, &other, &row_of(&other, 4.));
        let found = rows(folder, &[new, other]).unwrap();
        let values: Vec<f64> = found.iter().map(|row| row.content.points[0].y).collect();
        assert_eq!(values, [3., 2.]);
    }

    #[test]
    fn the_row_of_another_job_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let (one, other) = (job("a", "1"), job("b", "1"));
        share(folder.path(), &one, &row_of(&other, 1.));
        let error = rows(folder.path(), &[one]).unwrap_err().to_string();
        assert!(error.contains("figure-a-") && error.contains("expected figure · a"), "{error}");
    }
}
