//! Whole runs of several processes over TCP: what they compute, how they meet, and how they end.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod store;
mod whole;

use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};
use store::Store;
use whole::{END, distance, pictures, signal, small, succeeds, text, wait_for_steps, weights};

/// The processes of a run, which a test that fails does not leave behind.
struct Ranks(Vec<Child>);

impl Ranks {
    /// `msharp train …` with the variables and the flags of each rank, on one thread.
    fn start(variables: &[Vec<(&str, String)>], flags: impl Fn(usize) -> Vec<String>) -> Self {
        let of_rank = |(rank, variables): (usize, &Vec<(&str, String)>)| {
            let mut command = Command::new(env!("CARGO_BIN_EXE_msharp"));
            command.args(["train", "--threads", "1"]).args(flags(rank)).envs(variables.iter().cloned());
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
        };
        Self(variables.iter().enumerate().map(of_rank).collect())
    }

    /// Started by hand: with the variables of torchrun.
    fn by_hand(size: usize, flags: &[&str]) -> Self {
        Self::start(&by_hand(size), |_| owned(flags))
    }

    fn signal(&self, name: &str, rank: usize) {
        signal(name, &self.0[rank].id().to_string());
    }

    /// What each has said, once all have ended.
    fn wait(mut self) -> Vec<Output> {
        let all: Vec<Child> = self.0.drain(..).collect();
        all.into_iter().map(|rank| rank.wait_with_output().unwrap()).collect()
    }

    #[track_caller]
    fn succeed(self) -> Vec<Output> {
        let all = self.wait();
        assert!(all.iter().all(|output| output.status.success()), "{}", errors(&all));
        all
    }

    /// All must fail within `END` of `since`; what they said together.
    #[track_caller]
    fn fail(self, since: Instant) -> String {
        let all = self.wait();
        let (took, said) = (since.elapsed(), errors(&all));
        assert!(all.iter().all(|output| !output.status.success()), "one succeeded: {said}");
        assert!(took < END, "they took {took:?} to end: {said}");
        said
    }
}

impl Drop for Ranks {
    fn drop(&mut self) {
        for rank in &mut self.0 {
            let _ = rank.kill();
        }
    }
}

fn errors(all: &[Output]) -> String {
    all.iter().map(|output| text(&output.stderr)).collect()
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn by_hand(size: usize) -> Vec<Vec<(&'static str, String)>> {
    let port = free_port();
    let of_rank = |rank: usize| {
        let numbers = [("RANK", rank), ("WORLD_SIZE", size), ("MASTER_PORT", port.into())];
        let numbers = numbers.map(|(name, number)| (name, number.to_string()));
        [&numbers[..], &[("MASTER_ADDR", "127.0.0.1".to_owned())]].concat()
    };
    (0..size).map(of_rank).collect()
}

fn owned(flags: &[&str]) -> Vec<String> {
    flags.iter().map(ToString::to_string).collect()
}

#[test]
fn processes_train_what_one_trains_and_repeat_to_the_bit() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: String| folder.path().join(name).to_str().unwrap().to_owned();
    for (i, flags) in
        [&["--lr", "0.01", "--rule", "sam"][..], &["--lr", "0.01", "--local-perturbation"]].iter().enumerate()
    {
        let [first, again] = ["first", "again"].map(|name| path(format!("{name}{i}")));
        for out in [&first, &again] {
            let all = Ranks::by_hand(2, &small(out, flags)).succeed();
            let said: String = all.iter().map(|output| text(&output.stdout)).collect();
            assert_eq!(said.matches("training loss").count(), 1, "rank 0 alone prints: {said}");
            assert!(!text(&all[1].stderr).contains("epoch"), "{}", errors(&all));
        }
        assert!(weights(&first) == weights(&again), "other bits when repeated");
        let row = std::fs::read_to_string(Path::new(&first).join("row.json")).unwrap();
        assert!(row.contains("\"ranks\":2"), "{row}");
        // one process; m-SAM with the samples of a rank
        let alone = path(format!("alone{i}"));
        let rule = if i == 0 { "sam" } else { "m-sam:m=8" };
        let mut one = Command::new(env!("CARGO_BIN_EXE_msharp"));
        one.arg("train").args(small(&alone, &["--lr", "0.01", "--rule", rule]));
        succeeds(one);
        let off = distance(&weights(&first), &weights(&alone));
        assert!(off < 3e-4, "{flags:?}: 2 ranks end {off:e} away");
    }
}

#[test]
fn a_rank_that_is_killed_ends_all_and_the_run_goes_on_with_other_ranks() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run").to_str().unwrap().to_owned();
    let flags = [&small(&out, &[])[..8], &["--epochs", "40", "--lr", "0.01", "--out", &out]].concat();
    let resumed = [&flags[..], &["--resume"]].concat();
    let lines = || std::fs::read_to_string(Path::new(&out).join("log.jsonl")).map_or(0, |text| text.lines().count());

    // One rank is interrupted: all stop after the same step, and a checkpoint is written.
    let ranks = Ranks::by_hand(3, &flags);
    wait_for_steps(&out, 0);
    ranks.signal("-INT", 1);
    let all = ranks.wait();
    let codes: Vec<_> = all.iter().map(|output| output.status.code()).collect();
    assert_eq!(codes, [Some(0), Some(130), Some(0)], "{}", errors(&all));
    assert_eq!(errors(&all).matches("stopped; the same command with --resume").count(), 1, "{}", errors(&all));
    let checkpoint = Path::new(&out).join("checkpoint.safetensors");
    let saved = std::fs::read(&checkpoint).unwrap();

    // One rank is killed: all end, and one says which.
    for killed in [2, 0] {
        let before = lines();
        let ranks = Ranks::by_hand(3, &resumed);
        wait_for_steps(&out, before);
        let since = Instant::now();
        ranks.signal("-KILL", killed);
        let said = ranks.fail(since);
        assert_eq!(said.matches("error").count(), 1, "{said}");
        assert!(said.contains(&format!("error: rank {killed} has ended: ")), "{said}");
        assert!(std::fs::read(&checkpoint).unwrap() == saved, "the checkpoint is what it was");
    }

    let all = Ranks::by_hand(2, &resumed).succeed();
    assert!(errors(&all).contains("made by 3 ranks, and 2 go on: bits differ"), "{}", errors(&all));
}

#[test]
fn ranks_that_differ_or_fail_say_so_once() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run").to_str().unwrap().to_owned();
    for (other, parts) in [
        (&["--lr", "0.2"][..], ["rank 2", "--lr is 0.2 there and 0.1 on rank 0"]),
        (&["--data", "folder:/none/such"], ["rank 2", "/none/such"]),
    ] {
        let flags = |rank| owned(&small(&out, if rank == 2 { other } else { &[] }));
        let since = Instant::now();
        let said = Ranks::start(&by_hand(3), flags).fail(since);
        assert!(parts.iter().all(|part| said.contains(part)), "{said}");
        assert_eq!(said.matches("error").count(), 1, "{said}");
        assert!(!Path::new(&out).join("checkpoint.safetensors").exists());
    }
    // a picture that cannot be decoded, read by one rank in the first step
    let (out, data) = (folder.path().join("other"), pictures(folder.path()));
    let flags = ["--data", &data, "--image-size", "32", "--norm", "group", "--batch-size", "16", "--epochs", "1"];
    let since = Instant::now();
    let said = Ranks::by_hand(4, &[&flags[..], &["--out", out.to_str().unwrap()]].concat()).fail(since);
    assert_eq!(said.matches("error on rank").count(), 1, "{said}");
    assert!(said.contains("7.ppm") && said.contains("epoch 0, step 0") && !said.contains("has ended"), "{said}");
}

/// The variables are those that the torchrun of torch 2.15.0 sets, the store speaks as its agent does.
#[test]
fn processes_of_torchrun_meet_at_the_store_of_its_agent() {
    let folder = tempfile::tempdir().unwrap();
    let [agent, hand] = ["agent", "hand"].map(|name| folder.path().join(name).to_str().unwrap().to_owned());
    let store = Store::start();
    // What a rank has left there that was replaced without a restart: nobody listens any more.
    let stale = format!("{} 2 0 127.0.0.1:{} 7 c930/1", env!("CARGO_PKG_VERSION"), free_port());
    store.put("msharp/c930/1/2/0", stale.as_bytes());
    let variables = |rank: usize| {
        [
            ("RANK", rank.to_string()),
            ("LOCAL_RANK", rank.to_string()),
            ("WORLD_SIZE", "2".to_owned()),
            ("MASTER_ADDR", "localhost".to_owned()),
            ("MASTER_PORT", store.port.to_string()),
            ("TORCHELASTIC_RUN_ID", "c930".to_owned()),
            ("TORCHELASTIC_RESTART_COUNT", "1".to_owned()),
            ("TORCHELASTIC_USE_AGENT_STORE", "True".to_owned()),
        ]
        .to_vec()
    };
    let mut late = Ranks::start(&[variables(1)], |_| owned(&small(&agent, &[])));
    std::thread::sleep(Duration::from_millis(500));
    let mut all = Ranks::start(&[variables(0)], |_| owned(&small(&agent, &[])));
    all.0.append(&mut late.0);
    all.succeed();
    Ranks::by_hand(2, &small(&hand, &[])).succeed();
    assert!(weights(&agent) == weights(&hand));
    assert_eq!(store.keys(), ["msharp/c930/1/2/0", "msharp/c930/1/2/1"]);
}

#[test]
fn where_nothing_connects_processes_the_variables_are_named() {
    let error = |variables: &[(&str, &str)]| {
        let variables = variables.iter().map(|(name, value)| (*name, value.to_string())).collect();
        Ranks::start(&[variables], |_| vec![]).fail(Instant::now())
    };
    let said = error(&[("WORLD_SIZE", "2"), ("RANK", "0")]);
    assert!(
        said.starts_with("error: WORLD_SIZE is 2") && said.contains("expected MASTER_ADDR and MASTER_PORT"),
        "{said}"
    );
    let said = error(&[("WORLD_SIZE", "2"), ("RANK", "0"), ("MASTER_ADDR", "a")]);
    assert!(said.contains("MASTER_PORT is not set"), "{said}");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    let said = error(&[("WORLD_SIZE", "2"), ("RANK", "0"), ("MASTER_ADDR", "127.0.0.1"), ("MASTER_PORT", &port)]);
    assert!(said.contains(&format!("another program listens at MASTER_PORT, {port}")), "{said}");
}

/// Processes of another launcher, of a program that is built without its MPI.
#[cfg(not(feature = "mpi"))]
#[test]
fn ranks_of_mpirun_meet_over_tcp_where_the_variables_are_set() {
    let said = {
        let variables = [("OMPI_COMM_WORLD_SIZE", "2".to_owned()), ("OMPI_COMM_WORLD_RANK", "0".to_owned())].to_vec();
        Ranks::start(&[variables], |_| vec![]).fail(Instant::now())
    };
    assert!(said.contains("MASTER_ADDR and MASTER_PORT") && said.contains("--features mpi"), "{said}");
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run").to_str().unwrap().to_owned();
    let renamed = |(name, value)| match name {
        "RANK" => ("OMPI_COMM_WORLD_RANK", value),
        "WORLD_SIZE" => ("OMPI_COMM_WORLD_SIZE", value),
        other => (other, value),
    };
    let variables: Vec<_> = by_hand(2).into_iter().map(|all| all.into_iter().map(renamed).collect()).collect();
    Ranks::start(&variables, |_| owned(&small(&out, &[]))).succeed();
    assert!(std::fs::read_to_string(Path::new(&out).join("row.json")).unwrap().contains("\"ranks\":2"));
}
