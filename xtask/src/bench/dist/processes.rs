//! Ranks that are processes of this program, over MPI or TCP.

use super::super::child;
use super::super::subject::SubjectArgs;
use super::rank::{self, Rule, Steps};
use super::{DistArgs, Over};
use anyhow::{Context, Result, bail};
use msharp_dist::Launch;
use msharp_lab::ranks::World;
use msharp_lab::resources::computing;
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};

/// Starts this program as `ranks` processes, of which rank 0 prints the steps.
pub fn steps(args: &DistArgs, rule: Rule, ranks: usize) -> Result<Steps> {
    let program = std::env::current_exe().context("cannot find this program, to run it as ranks")?;
    let mut flags = ["bench", "dist", "--here", "--rule", rule.name()].map(str::to_owned).to_vec();
    flags.extend(["--model".to_owned(), args.model.to_string(), "--norm".to_owned(), args.norm.to_string()]);
    for (flag, count) in [("--batch", args.batch), ("--threads", args.threads), ("--steps", args.steps)] {
        flags.extend([flag.to_owned(), count.to_string()]);
    }
    if args.over() == Over::Mpi {
        let mut command = Command::new("mpirun");
        command.args(["-n", &ranks.to_string()]).arg(program).args(flags).args(["--over", "mpi"]);
        // Open MPI's: more ranks than cores, and root's.
        let all = ["OMPI_MCA_rmaps_base_oversubscribe", "OMPI_ALLOW_RUN_AS_ROOT", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM"];
        command.envs(all.map(|variable| (variable, "1")));
        return printed(&mut command);
    }
    let port = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr())?.port();
    let of_rank = |rank: usize| {
        let mut command = Command::new(&program);
        command.args(&flags).args(["--over", "tcp"]).env("MASTER_ADDR", "127.0.0.1");
        let numbers = [("RANK", rank), ("WORLD_SIZE", ranks), ("MASTER_PORT", port.into())];
        command.envs(numbers.map(|(variable, number)| (variable, number.to_string())));
        command
    };
    let start = |rank| of_rank(rank).stdin(Stdio::null()).stdout(Stdio::null()).spawn();
    let others: Vec<Child> = (1..ranks).map(start).collect::<Result<_, _>>().context("cannot start a rank")?;
    let steps = printed(&mut of_rank(0));
    for mut other in others {
        other.wait().context("cannot wait for a rank")?; // which ends when rank 0 has ended
    }
    steps
}

/// What the process that is rank 0 prints.
fn printed(command: &mut Command) -> Result<Steps> {
    let mut steps = None;
    child::run(command, "", None, |line| {
        steps = Some(serde_json::from_str(line).with_context(|| format!("a rank printed {line:?}"))?);
        Ok(())
    })?;
    steps.context("rank 0 printed no steps")
}

/// Takes the steps of this rank; rank 0 prints them.
pub fn here(args: &DistArgs, subject: &SubjectArgs) -> Result<()> {
    let launch = Launch::from_env()?.context("--here is for a process that `bench dist` starts")?;
    let [rule] = args.rule[..] else { bail!("--here takes one --rule") };
    let world = World::start(&launch)?;
    let printed = computing(Some(args.threads), || rank::steps(world.engine(), subject, rule))
        .and_then(|steps| Ok(serde_json::to_string(&steps)?));
    match printed {
        Ok(line) if launch.rank == 0 => println!("{line}"),
        Ok(_) => {}
        Err(error) => world.fail(&error),
    }
    Ok(())
}
