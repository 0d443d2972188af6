//! How this process was started: alone, or as one of several.

use candle_core::{Result, bail};
use std::fmt::{self, Display};

/// What a launcher says to each process that it starts, in variables of the environment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Launch {
    /// The variable that says how many processes there are: it tells which launcher it was.
    pub variable: &'static str,
    /// Which process this is, from 0.
    pub rank: usize,
    /// How many there are.
    pub size: usize,
    /// Which one on its machine, where the launcher says it.
    pub local_rank: Option<usize>,
    /// Where they can meet over TCP, where the launcher says it.
    pub place: Option<Place>,
}

/// Where processes meet over TCP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// `MASTER_ADDR`: a name or an IP address of the machine of rank 0.
    pub host: String,
    /// `MASTER_PORT`.
    pub port: u16,
    /// What the launcher calls this start of this run; empty where it gives no name.
    pub run: String,
    /// Whether torchrun's agent listens there, with PyTorch's `TCPStore`. Otherwise rank 0 does.
    pub has_agent: bool,
}

impl Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

/// The variable by which torchrun tells the number of processes; who starts them by hand sets it too.
const TORCHRUN: &str = "WORLD_SIZE";
/// That of MPICH and Intel MPI.
const PMI: &str = "PMI_SIZE";
/// That of `srun`.
const SLURM: &str = "SLURM_STEP_NUM_TASKS";

/// Size, rank and rank on the machine, by launcher; the first whose size is set is taken. A script of SLURM that is no
/// step of `srun` has no number of tasks of a step, and is one process.
const LAUNCHERS: [[&str; 3]; 4] = [
    [TORCHRUN, "RANK", "LOCAL_RANK"],
    ["OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_LOCAL_RANK"],
    [PMI, "PMI_RANK", "MPI_LOCALRANKID"],
    [SLURM, "SLURM_PROCID", "SLURM_LOCALID"],
];

impl Launch {
    /// What the environment says; `None` if no launcher has started this process.
    ///
    /// # Errors
    /// Names a variable that is missing beside another, is no number, or is not below the number of processes.
    pub fn from_env() -> Result<Option<Self>> {
        Self::from_variables(|name| std::env::var(name).ok())
    }

    /// As [`from_env`](Launch::from_env), with the values of variables by name.
    ///
    /// # Errors
    /// As those.
    pub fn from_variables(value: impl Fn(&str) -> Option<String>) -> Result<Option<Self>> {
        let number = |name: &str| match value(name).map(|text| (text.trim().parse::<usize>(), text)) {
            Some((Ok(number), _)) => Ok(Some(number)),
            Some((Err(_), text)) => bail!("the variable {name} is {text:?}; expected a whole number"),
            None => Ok(None),
        };
        for [of_size, of_rank, of_local] in LAUNCHERS {
            let Some(size) = number(of_size)? else { continue };
            // `srun --mpi=pmi2` sets these too, and tells the rank on the machine and the step by its own alone.
            if of_size == PMI && value(of_local).is_none() && number(SLURM)? == Some(size) {
                continue;
            }
            let Some(rank) = number(of_rank)? else {
                bail!("the variable {of_size} is {size}, and {of_rank} is not set; expected both, or neither")
            };
            if rank >= size {
                bail!("the variable {of_rank} is {rank} and {of_size} is {size}; expected a rank below that")
            }
            let (local_rank, place) = (number(of_local)?, Place::from_variables(of_size, &value)?);
            return Ok(Some(Self { variable: of_size, rank, size, local_rank, place }));
        }
        Ok(None)
    }

    /// The variable by which this launcher tells the rank on the machine.
    pub fn local_rank_variable(&self) -> &'static str {
        LAUNCHERS.iter().find(|[size, ..]| *size == self.variable).map_or("LOCAL_RANK", |[_, _, local]| local)
    }

    /// Whether processes were started as torchrun does it, which MPI cannot connect.
    pub fn is_torchrun(&self) -> bool {
        self.variable == TORCHRUN
    }
}

impl Place {
    fn from_variables(of_size: &str, value: impl Fn(&str) -> Option<String>) -> Result<Option<Self>> {
        let (host, port) = match (value("MASTER_ADDR"), value("MASTER_PORT")) {
            (Some(host), Some(port)) => (host, port),
            (None, None) => return Ok(None),
            (Some(host), None) => {
                bail!("MASTER_ADDR is {host:?}, and MASTER_PORT is not set; expected both, or neither")
            }
            (None, Some(port)) => {
                bail!("MASTER_PORT is {port:?}, and MASTER_ADDR is not set; expected both, or neither")
            }
        };
        let host = host.trim().trim_start_matches('[').trim_end_matches(']').to_owned();
        if host.is_empty() {
            bail!("the variable MASTER_ADDR is empty; expected a name or an address of the machine of rank 0")
        }
        let port = match port.trim().parse::<u16>() {
            Ok(port) if port > 0 => port,
            _ => bail!("the variable MASTER_PORT is {port:?}; expected a number from 1 to 65535"),
        };
        let names: &[&str] = match of_size {
            TORCHRUN => &["TORCHELASTIC_RUN_ID", "TORCHELASTIC_RESTART_COUNT"],
            SLURM => &["SLURM_JOB_ID", "SLURM_STEP_ID"],
            _ => &[],
        };
        let run = names.iter().filter_map(|name| value(name)).collect::<Vec<_>>().join("/");
        let has_agent =
            of_size == TORCHRUN && value("TORCHELASTIC_USE_AGENT_STORE").is_some_and(|text| text.trim() == "True");
        Ok(Some(Self { host, port, run, has_agent }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(variables: &[(&str, &str)]) -> Result<Option<Launch>> {
        let value = |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| value.to_string());
        Launch::from_variables(value)
    }

    #[test]
    fn the_first_launcher_that_states_a_size_is_taken() {
        let ompi = [("OMPI_COMM_WORLD_SIZE", "4"), ("OMPI_COMM_WORLD_RANK", "2"), ("OMPI_COMM_WORLD_LOCAL_RANK", "0")];
        let launch = found(&ompi).unwrap().unwrap();
        assert_eq!((launch.rank, launch.size, launch.local_rank), (2, 4, Some(0)));
        assert_eq!(launch.local_rank_variable(), "OMPI_COMM_WORLD_LOCAL_RANK");
        let torchrun = [&ompi[..], &[("WORLD_SIZE", "2"), ("RANK", "1")]].concat();
        let launch = found(&torchrun).unwrap().unwrap();
        assert_eq!((launch.variable, launch.rank, launch.size, launch.local_rank), ("WORLD_SIZE", 1, 2, None));
        assert_eq!(found(&[("PMI_SIZE", "3"), ("PMI_RANK", "1")]).unwrap().unwrap().size, 3);
        assert_eq!(found(&[("SLURM_STEP_NUM_TASKS", "3"), ("SLURM_PROCID", "0")]).unwrap().unwrap().size, 3);
        // srun --mpi=pmi2
        let both = [("PMI_SIZE", "3"), ("PMI_RANK", "1"), ("SLURM_STEP_NUM_TASKS", "3"), ("SLURM_PROCID", "1")];
        let launch = found(&[&both[..], &[("SLURM_LOCALID", "1")]].concat()).unwrap().unwrap();
        assert_eq!((launch.variable, launch.rank, launch.local_rank), ("SLURM_STEP_NUM_TASKS", 1, Some(1)));
        // MPICH's own mpiexec in one of its steps
        let within = found(&[&both[..], &[("MPI_LOCALRANKID", "0")]].concat()).unwrap().unwrap();
        assert_eq!((within.variable, within.local_rank), ("PMI_SIZE", Some(0)));
        for alone in [&[][..], &[("RANK", "3")], &[("SLURM_NTASKS", "8"), ("SLURM_PROCID", "0")]] {
            assert_eq!(found(alone).unwrap(), None, "{alone:?}");
        }
    }

    fn of_two<'a>(host: &'a str, port: &'a str) -> [(&'a str, &'a str); 4] {
        [("WORLD_SIZE", "2"), ("RANK", "1"), ("MASTER_ADDR", host), ("MASTER_PORT", port)]
    }

    #[test]
    fn the_place_to_meet_is_that_of_the_launcher() {
        let place = |more: &[(&str, &str)]| found(&[&of_two("[::1]", "29500"), more].concat()).unwrap().unwrap().place;
        let by_hand = Place { host: "::1".to_owned(), port: 29500, run: String::new(), has_agent: false };
        assert_eq!(by_hand.to_string(), "[::1]:29500");
        assert_eq!(place(&[("SLURM_JOB_ID", "7")]), Some(by_hand.clone()));
        let elastic = [("TORCHELASTIC_RUN_ID", "none"), ("TORCHELASTIC_RESTART_COUNT", "3")];
        let own = Place { run: "none/3".to_owned(), ..by_hand.clone() };
        assert_eq!(place(&[&elastic[..], &[("TORCHELASTIC_USE_AGENT_STORE", "False")]].concat()), Some(own.clone()));
        let with_agent = place(&[&elastic[..], &[("TORCHELASTIC_USE_AGENT_STORE", "True")]].concat());
        assert_eq!(with_agent, Some(Place { has_agent: true, ..own }));
        let slurm =
            [("SLURM_STEP_NUM_TASKS", "2"), ("SLURM_PROCID", "0"), ("SLURM_JOB_ID", "7"), ("SLURM_STEP_ID", "0")];
        let there = [("MASTER_ADDR", "node1"), ("MASTER_PORT", "4000")];
        let launch = found(&[&slurm[..], &there].concat()).unwrap().unwrap();
        assert!(!launch.is_torchrun());
        let place = launch.place.unwrap();
        assert_eq!((place.to_string(), place.run), ("node1:4000".to_owned(), "7/0".to_owned()));
        assert_eq!(found(&slurm).unwrap().unwrap().place, None);
    }

    #[test]
    fn what_cannot_be_is_an_error_that_names_the_variable() {
        for (variables, parts) in [
            (&[("WORLD_SIZE", "2")][..], ["WORLD_SIZE is 2", "RANK is not set"]),
            (&[("WORLD_SIZE", "two"), ("RANK", "0")], ["WORLD_SIZE", "\"two\""]),
            (&[("PMI_SIZE", "2"), ("PMI_RANK", "2")], ["PMI_RANK is 2", "PMI_SIZE is 2"]),
            (&[("PMI_SIZE", "2"), ("PMI_RANK", "-1")], ["PMI_RANK", "whole number"]),
            (&[("WORLD_SIZE", "2"), ("RANK", "0"), ("MASTER_ADDR", "a")], ["MASTER_ADDR", "MASTER_PORT is not set"]),
            (&[("WORLD_SIZE", "2"), ("RANK", "0"), ("MASTER_PORT", "1")], ["MASTER_PORT", "MASTER_ADDR is not set"]),
            (&of_two("a", "65536"), ["MASTER_PORT is \"65536\"", "1 to 65535"]),
            (&of_two("a", "0"), ["MASTER_PORT is \"0\"", "1 to 65535"]),
            (&of_two(" ", "1"), ["MASTER_ADDR is empty", "expected a name"]),
        ] {
            let error = found(variables).unwrap_err().to_string();
            assert!(parts.iter().all(|part| error.contains(part)), "{error}");
        }
    }
}
