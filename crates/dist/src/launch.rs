//! How this process was started: alone, or as one of several.

use candle_core::{Result, bail};

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
}

/// Size, rank and rank on the machine, by launcher; the first whose size is set is taken. A script of SLURM that is no
/// step of `srun` has no number of tasks of a step, and is one process.
const LAUNCHERS: [[&str; 3]; 4] = [
    ["WORLD_SIZE", "RANK", "LOCAL_RANK"], // torchrun
    ["OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_LOCAL_RANK"],
    ["PMI_SIZE", "PMI_RANK", "MPI_LOCALRANKID"], // MPICH, Intel MPI
    ["SLURM_STEP_NUM_TASKS", "SLURM_PROCID", "SLURM_LOCALID"],
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
            let Some(rank) = number(of_rank)? else {
                bail!("the variable {of_size} is {size}, and {of_rank} is not set; expected both, or neither")
            };
            if rank >= size {
                bail!("the variable {of_rank} is {rank} and {of_size} is {size}; expected a rank below that")
            }
            return Ok(Some(Self { variable: of_size, rank, size, local_rank: number(of_local)? }));
        }
        Ok(None)
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
        let torchrun = [&ompi[..], &[("WORLD_SIZE", "2"), ("RANK", "1")]].concat();
        let launch = found(&torchrun).unwrap().unwrap();
        assert_eq!((launch.variable, launch.rank, launch.size, launch.local_rank), ("WORLD_SIZE", 1, 2, None));
        assert_eq!(found(&[("PMI_SIZE", "3"), ("PMI_RANK", "1")]).unwrap().unwrap().size, 3);
        assert_eq!(found(&[("SLURM_STEP_NUM_TASKS", "3"), ("SLURM_PROCID", "0")]).unwrap().unwrap().size, 3);
        for alone in [&[][..], &[("RANK", "3")], &[("SLURM_NTASKS", "8"), ("SLURM_PROCID", "0")]] {
            assert_eq!(found(alone).unwrap(), None, "{alone:?}");
        }
    }

    #[test]
    fn what_cannot_be_is_an_error_that_names_the_variable() {
        for (variables, parts) in [
            (&[("WORLD_SIZE", "2")][..], ["WORLD_SIZE is 2", "RANK is not set"]),
            (&[("WORLD_SIZE", "two"), ("RANK", "0")], ["WORLD_SIZE", "\"two\""]),
            (&[("PMI_SIZE", "2"), ("PMI_RANK", "2")], ["PMI_RANK is 2", "PMI_SIZE is 2"]),
            (&[("PMI_SIZE", "2"), ("PMI_RANK", "-1")], ["PMI_RANK", "whole number"]),
        ] {
            let error = found(variables).unwrap_err().to_string();
            assert!(parts.iter().all(|part| error.contains(part)), "{error}");
        }
    }
}
