//! What a figure was measured on, and with which program.

use crate::config::DeviceName;
use serde::{Deserialize, Serialize};
use std::process::Command;
use std::sync::OnceLock;
use sysinfo::System;

/// The machine, without its name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Host {
    /// The processor's own description.
    pub cpu: String,
    /// Logical cores.
    pub cores: usize,
    /// Threads that computed.
    pub threads: usize,
    /// Memory in GiB.
    pub memory_gib: u64,
    /// Operating system and architecture.
    pub os: String,
    /// The GPU's own description, if it computed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpu: Option<String>,
    /// Whether products of f32 were computed in AMX tiles, whose bits are not those of vector units.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub amx: bool,
    /// The processes that computed together, where there were several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ranks: Option<usize>,
    /// Whether batch normalisation was over the samples of all of them.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub sync_batch_norm: bool,
}

impl Host {
    /// Whether times of one are times of the other, as bits are.
    pub fn computes_like(&self, other: &Self) -> bool {
        let of = |host: &Self| (host.threads, host.amx, host.ranks);
        of(self) == of(other) && self.cpu == other.cpu && self.gpu == other.gpu
    }

    /// `AMD EPYC, 2 threads`.
    pub fn computing(&self) -> String {
        let amx = if self.amx { " with AMX" } else { "" };
        format!("{}{amx}, {}", self.cpu, counted(self.threads, "thread"))
    }

    /// `AMD EPYC, 2 threads, revision a, b`: what computed, with which programs, each told once.
    pub fn with<'a>(&self, revisions: impl IntoIterator<Item = &'a str>) -> String {
        let mut revisions: Vec<&str> = revisions.into_iter().collect();
        revisions.sort_unstable(); // runs are made in an order that is not that of the rows
        revisions.dedup();
        format!("{}, revision {}", self.computing(), revisions.join(", "))
    }

    /// This one, whose `device` computed.
    pub fn this(device: DeviceName) -> Self {
        let (mut cpu, mut cores, mut memory_gib) = ("unknown".to_owned(), 0, 0);
        if let Ok(mut system) = System::new() {
            system.refresh_cpu_all();
            system.refresh_memory();
            cpu = system.cpus().first().map_or(cpu, |cpu| cpu.brand().trim().to_owned());
            (cores, memory_gib) = (system.cpus().len(), system.total_memory() >> 30);
        }
        Self {
            cpu,
            cores,
            threads: rayon::current_num_threads(),
            memory_gib,
            os: format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
            amx: device == DeviceName::Cpu && msharp_ops::has_amx(),
            gpu: gpu(device),
            ranks: None,
            sync_batch_norm: false,
        }
    }
}

/// `1 thread`, `2 threads`.
fn counted(n: usize, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}

#[cfg(feature = "cuda")]
fn gpu(device: DeviceName) -> Option<String> {
    msharp_ops::gpu_name(&device.open().ok()?)
}

#[cfg(not(feature = "cuda"))]
fn gpu(_: DeviceName) -> Option<String> {
    None
}

/// The commit that is checked out, `+` behind it if tracked files were changed; "unknown" outside a checkout.
///
/// Taken when it is first asked for and kept: `main` asks at the start, for the files may change while a run goes on.
pub fn revision() -> &'static str {
    static REVISION: OnceLock<String> = OnceLock::new();
    REVISION.get_or_init(|| {
        let git = |args: &[&str]| {
            let output = Command::new("git").args(args).current_dir(crate::paths::root()).output().ok()?;
            output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
        };
        let Some(commit) = git(&["rev-parse", "--short=12", "HEAD"]) else { return "unknown".to_owned() };
        let clean = git(&["status", "--porcelain", "--untracked-files=no"]).is_some_and(|changes| changes.is_empty());
        format!("{commit}{}", if clean { "" } else { "+" })
    })
}
