//! Reductions over NCCL: two ranks that are threads of this process, each with a GPU.
//!
//! They run on two NVIDIA GPUs, or on the software GPU with `MSHARP_SOFTWARE_GPUS=2` (`cargo xtask cuda check`); where
//! there is neither they fail.

use candle_core::{DType, Device, Result, Var};
use msharp_core::{Communicator, Key, ParamVec, Params};
use msharp_dist::{Nccl, Ranks, Threads};
use msharp_ops::{cuda_device, gpu_count};
use std::thread;

fn params(device: &Device) -> Result<Params> {
    let var = |shape: &[usize]| Var::zeros(shape, DType::F32, device);
    let vars = [("a", var(&[3, 5])?), ("b", var(&[1])?), ("c", var(&[700, 29])?), ("d", var(&[64, 3, 3, 3])?)];
    Params::new(vars.map(|(name, var)| (name.to_owned(), var)))
}

/// What `f` yields on each of two ranks, with its device.
fn on_two<T: Send>(devices: [usize; 2], f: impl Fn(&Nccl<Threads>, &Device) -> T + Sync) -> Vec<T> {
    thread::scope(|scope| {
        let start = |(rank, device): (Threads, usize)| {
            let f = &f;
            scope.spawn(move || f(&Nccl::new(rank), &cuda_device(device).expect("two GPUs")))
        };
        let ranks: Vec<_> = Threads::new(2).into_iter().zip(devices).map(start).collect();
        ranks.into_iter().map(|rank| rank.join().expect("no panic")).collect()
    })
}

/// Vectors whose sums and means have to be rounded.
fn vector(rank: usize, step: u64, device: &Device) -> Result<ParamVec> {
    ParamVec::gaussian(&params(device)?, Key::new(7 * step + rank as u64))
}

fn reduced(ranks: &dyn Communicator, device: &Device) -> Result<Vec<Vec<f64>>> {
    let mut all = Vec::new();
    for step in 0..3 {
        let local = || vector(ranks.rank(), step, device);
        all.push(ranks.sum(local()?)?.to_vec()?);
        all.push(ranks.mean(local()?, [17., 48.][ranks.rank()])?.to_vec()?);
        all.push(ranks.mean(local()?, [0.3, 0.1][ranks.rank()])?.to_vec()?);
    }
    Ok(all)
}

#[test]
fn sums_and_means_are_those_of_ranks_on_the_cpu_to_the_bit() -> Result<()> {
    assert!(gpu_count()? >= 2, "{} GPUs; expected 2, or MSHARP_SOFTWARE_GPUS=2", gpu_count()?);
    let on_gpus: Vec<Result<_>> = on_two([0, 1], |ranks, device| {
        ranks.connect(device)?;
        ranks.connect(device)?; // has no further effect
        let found = reduced(ranks, device)?;
        let on_host = ranks.sum(vector(ranks.rank(), 0, &Device::Cpu)?)?.to_vec()?;
        assert!(on_host == found[0], "a vector on the CPU has the same sum");
        assert!(ranks.any(ranks.rank() == 1)?, "bytes are gathered");
        Ok(found)
    });
    let expected: Vec<Result<Vec<Vec<f64>>>> = thread::scope(|scope| {
        let start = |rank| scope.spawn(move || reduced(&Ranks(rank), &Device::Cpu));
        let ranks: Vec<_> = Threads::new(2).into_iter().map(start).collect();
        ranks.into_iter().map(|rank| rank.join().expect("no panic")).collect()
    });
    for (found, expected) in on_gpus.into_iter().zip(expected) {
        assert!(found? == expected?);
    }
    Ok(())
}

#[test]
fn what_nccl_refuses_is_an_error() {
    let errors = on_two([0, 0], |ranks, device| {
        ranks.connect(device).map_or_else(|error| error.to_string(), |()| String::new())
    });
    assert!(
        errors.iter().any(|error| error.contains("ncclCommInitRank") && error.contains("Duplicate GPU")),
        "{errors:?}"
    );
    let errors = on_two([0, 1], |ranks, _| ranks.connect(&Device::Cpu).unwrap_err().to_string());
    assert!(errors.iter().all(|error| error.contains("NCCL connects GPUs")), "{errors:?}");
}

/// A rank that ends while another waits for it in a reduction.
#[test]
fn a_rank_that_has_ended_is_an_error() {
    let errors = on_two([0, 1], |ranks, device| {
        ranks.connect(device).expect("two GPUs");
        if ranks.rank() == 1 {
            return String::new();
        }
        let vector = vector(0, 0, device).expect("a vector");
        ranks.mean(vector, 1.).unwrap_err().to_string()
    });
    assert!(errors[0].contains("rank 1 has ended"), "{errors:?}");
}
