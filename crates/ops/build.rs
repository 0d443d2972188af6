//! Compiles the kernels of `kernels/` for a GPU, where the feature `cuda` is on.
//!
//! As candle's: `NVCC` or `CUDA_PATH`/bin/nvcc is the compiler, `CUDA_COMPUTE_CAP` (90 where it is not set) the oldest
//! GPU that the binary runs on.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

fn main() {
    println!("cargo::rerun-if-changed=kernels");
    for variable in ["NVCC", "CUDA_PATH", "CUDA_COMPUTE_CAP"] {
        println!("cargo::rerun-if-env-changed={variable}");
    }
    if env::var_os("CARGO_FEATURE_CUDA").is_none() {
        return;
    }
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    let mut sources: Vec<PathBuf> = fs::read_dir("kernels")
        .expect("the folder kernels")
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "cu"))
        .collect();
    sources.sort();
    let mut list = String::from("[\n");
    for source in &sources {
        let image = out.join(source.with_extension("fatbin").file_name().expect("a file name"));
        compile(source, &image);
        list += &format!("    include_bytes!({image:?}).as_slice(),\n");
    }
    fs::write(out.join("kernels.rs"), list + "]\n").expect("the list of kernels can be written");
}

/// Compiles to machine code for one compute capability, and to PTX, which a driver compiles for any newer one.
fn compile(source: &Path, image: &Path) {
    let nvcc = match (env::var_os("NVCC"), env::var_os("CUDA_PATH")) {
        (Some(nvcc), _) => PathBuf::from(nvcc),
        (None, Some(toolkit)) => PathBuf::from(toolkit).join("bin/nvcc"),
        (None, None) => PathBuf::from("nvcc"),
    };
    let capability = env::var("CUDA_COMPUTE_CAP").unwrap_or("90".to_owned());
    let target = format!("arch=compute_{capability},code=[sm_{capability},compute_{capability}]");
    let mut command = Command::new(&nvcc);
    command.args(["--fatbin", "-std=c++17", "-O3", "-Werror", "all-warnings", "-gencode", &target, "-o"]);
    let status = command.arg(image).arg(source).status();
    match status {
        Ok(status) if status.success() => {}
        Ok(status) => panic!("{} could not compile {}: {status}", nvcc.display(), source.display()),
        Err(error) => panic!(
            "cannot run {}: {error}; the feature `cuda` needs a CUDA toolkit (`cargo xtask cuda check` sets one up)",
            nvcc.display()
        ),
    }
}
