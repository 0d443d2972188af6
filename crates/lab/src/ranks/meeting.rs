//! What ranks compare before their first step.

use crate::config::RunConfig;
use crate::host::revision;
use serde::{Deserialize, Serialize};

/// What must be the same on all ranks before the first step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Meeting {
    /// Version and revision of the program.
    pub program: String,
    /// The record of the configuration.
    pub config: String,
    /// The flags that are no part of it, and must be the same.
    pub flags: String,
    /// What the images are.
    pub images: String,
    /// Where the run stands.
    pub start: String,
}

impl Meeting {
    /// Before the jobs of an experiment that are missing.
    pub fn of_jobs(experiment: &str, missing: impl Iterator<Item = String>) -> Self {
        let [config, images] = [(); 2].map(|()| String::new());
        let start = missing.collect::<Vec<_>>().join(", ");
        Self { program: program(), config, flags: experiment.to_owned(), images, start }
    }
}

/// Version and revision of this program.
pub fn program() -> String {
    format!("{} {}", env!("CARGO_PKG_VERSION"), revision())
}

/// Why the ranks cannot begin.
pub(super) fn disagreement(all: &[Result<Meeting, String>]) -> Option<String> {
    if let Some((rank, error)) = all.iter().enumerate().find_map(|(rank, one)| Some((rank, one.as_ref().err()?))) {
        let is_of_all = all.iter().all(|one| one.as_ref().err() == Some(error));
        return Some(if is_of_all { error.clone() } else { format!("rank {rank}: {error}") });
    }
    let meetings: Vec<&Meeting> = all.iter().filter_map(|one| one.as_ref().ok()).collect();
    let (first, others) = meetings.split_first()?;
    let differs = |(rank, other): (usize, &&Meeting)| {
        let (what, here, there) = [
            ("another program", &other.program, &first.program),
            ("other flags", &other.flags, &first.flags),
            ("other images", &other.images, &first.images),
            ("another start", &other.start, &first.start),
        ]
        .into_iter()
        .find(|(_, here, there)| here != there)
        .or_else(|| Some(("another configuration", &other.config, &first.config)).filter(|(_, a, b)| a != b))?;
        let parsed = |text: &str| serde_json::from_str::<RunConfig>(text).ok();
        let detail = match (parsed(here), parsed(there)) {
            (Some(here), Some(there)) => {
                let all = here.differences(&there).into_iter();
                all.map(|d| format!("--{} is {} there and {} on rank 0", d.setting, d.was, d.is))
                    .collect::<Vec<_>>()
                    .join(", ")
            }
            _ => format!("{here} there and {there} on rank 0"),
        };
        Some(format!("rank {} has {what}: {detail}; expected the same on all ranks", rank + 1))
    };
    others.iter().enumerate().find_map(differs)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::config::tests::parse;

    pub fn meeting(flags: &str) -> Meeting {
        let (program, images, start) = ("0.1.0 abc".to_owned(), "synthetic".to_owned(), "epoch 0".to_owned());
        Meeting { program, config: parse(flags).json(), flags: "none".to_owned(), images, start }
    }

    #[test]
    fn what_differs_on_a_rank_is_named_once() {
        let same = || Ok(meeting(""));
        let said = |other| disagreement(&[same(), same(), other, Err("late".to_owned())][..3]).unwrap();
        let message = said(Ok(meeting("--lr 0.2")));
        assert!(
            message.starts_with("rank 2 has another configuration: --lr is 0.2 there and 0.1 on rank 0"),
            "{message}"
        );
        let message = said(Ok(Meeting { program: "0.2.0 abc".to_owned(), ..meeting("") }));
        assert!(message.contains("rank 2 has another program: 0.2.0 abc there and 0.1.0 abc"), "{message}");
        let message = said(Ok(Meeting { flags: "--sync-batch-norm".to_owned(), ..meeting("") }));
        assert!(message.contains("rank 2 has other flags: --sync-batch-norm there and none on rank 0"), "{message}");
        assert!(said(Ok(Meeting { start: "epoch 3".to_owned(), ..meeting("") })).contains("another start: epoch 3"));
        assert_eq!(said(Err("no such folder".to_owned())), "rank 2: no such folder");
        let all = vec![Err::<Meeting, _>("no such folder".to_owned()); 3];
        assert_eq!(disagreement(&all).unwrap(), "no such folder");
        assert_eq!(disagreement(&[same(), same()]), None);
    }
}
