#!/usr/bin/env bash
# What a machine with an NVIDIA GPU can do with this bundle. Needs bash, the driver, and CUDA 13's libraries with
# cuDNN 9, such as PyTorch's wheels bring; no Rust. `bench` compares with PyTorch where python3 has it.
#
#   run.sh all       test, learn and bench, within 8 minutes: each has a limit, and what is measured is always printed
#   run.sh test      every op against f64, and rules and runs against the CPU; then as `gpus`
#   run.sh gpus      where there are two GPUs and NCCL (libnccl.so.2): reductions between them, and runs of two processes
#   run.sh learn     runs on CIFAR-10 (drawn images where its parts are missing); one is interrupted, killed with -9 and
#                    resumed, and has to end with the bits of one that was left alone
#   run.sh bench     each kind of step, and PyTorch's: milliseconds, share of the peak, memory; takes the flags of
#                    `xtask bench cuda`
#   run.sh paper     the published table on CIFAR-10, hours to days; the same command goes on where it stopped
#   run.sh xtask …   the program of that name, with the libraries found; so is run.sh msharp …
#
# Everything that is written lands in $OUT, or in ./out. Parts of CIFAR-10, cifar10.tar.xz.00 and so on, are looked
# for beside this script, beside its folder, and in $DATA. $PYTHON is the interpreter (python3), $LD_LIBRARY_PATH
# counts first, $LEARN are the flags of the run that is interrupted (a ResNet-18 with SAM, 4 epochs).
set -uo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
python=${PYTHON:-python3}
started=$SECONDS

say() { printf '%s\n' "$*"; }
fail() {
    printf 'error: %s\n' "$*" >&2
    exit 1
}

command=${1:-help}
[ $# -gt 0 ] && shift
case $command in
all | test | gpus | learn | bench | paper | xtask | msharp) ;;
help | --help | -h)
    sed -n '2,/^set /s/^# \{0,1\}//p' "$here/run.sh"
    exit
    ;;
*) fail "there is no command $command; expected all, test, gpus, learn, bench, paper, xtask, msharp or help" ;;
esac

mkdir -p "${OUT:-out}" || fail "cannot write into ${OUT:-out}; \$OUT names another folder"
out=$(cd "${OUT:-out}" && pwd)
scratch=$out/scratch # what nobody needs afterwards
rm -rf "$scratch"
mkdir -p "$scratch"
finish() { # also after a limit
    cat "$scratch"/runs/*/rows.jsonl >"$scratch/rows" 2>/dev/null
    [ ! -s "$scratch/rows" ] || mv "$scratch/rows" "$out/learn-rows.jsonl"
    rm -rf "$scratch"
}
trap finish EXIT
trap 'exit 130' INT TERM
# Caches of the driver, of Python and of its compilers are written here too.
export TMPDIR=$scratch XDG_CACHE_HOME=$scratch CUDA_CACHE_PATH=$scratch/nv TRITON_CACHE_DIR=$scratch/triton
export TORCHINDUCTOR_CACHE_DIR=$scratch/inductor PYTHONDONTWRITEBYTECODE=1

# Folders that may hold CUDA's libraries: those of Python's wheels, of a toolkit, and of a driver in a container.
library_folders() {
    "$python" - 2>/dev/null <<'PYTHON'
import glob, importlib.util, os
for package, below in (("nvidia", "*/lib"), ("torch", "lib")):
    spec = importlib.util.find_spec(package)
    for folder in (spec and spec.submodule_search_locations) or []:
        print("\n".join(sorted(glob.glob(os.path.join(folder, below)))))
PYTHON
    ls -d /usr/local/cuda/lib64 /usr/local/nvidia/lib64 /usr/lib/wsl/lib 2>/dev/null
}
LD_LIBRARY_PATH=$({ printf '%s\n' "${LD_LIBRARY_PATH:-}" && library_folders; } | grep -v '^$' | paste -sd:)
export LD_LIBRARY_PATH

programs=("$here/xtask" "$here/msharp" "$here/test-ops" "$here/test-runs" "$here/test-nccl" "$here/test-gpus")
chmod +x "${programs[@]}" 2>/dev/null
missing=$(ldd "${programs[@]}" 2>&1 | grep 'not found' | sort -u)
if [ -n "$missing" ]; then
    printf '%s\n' "$missing" >&2
    fail "libraries are missing. Looked in ${LD_LIBRARY_PATH:-no folder} and where the system looks.
libcuda.so.1 comes with the driver; the others with CUDA 13 and cuDNN 9, or with pip install torch nvidia-curand
(\$PYTHON names another python3); LD_LIBRARY_PATH names further folders."
fi

# limited SECONDS LOG COMMAND... runs with a limit, shows and keeps what is printed.
limited() {
    local seconds=$1 log=$2
    shift 2
    timeout --kill-after=10 "$seconds" "$@" 2>&1 | tee -a "$log"
    local code=${PIPESTATUS[0]}
    case $code in
    0) ;;
    124 | 137) say "-- stopped after its limit of $seconds s" | tee -a "$log" ;;
    *) say "-- exit status $code" | tee -a "$log" ;;
    esac
    return "$code"
}

# CIFAR-10 in $data, or nothing there.
data=''
find_images() {
    [ -z "$data" ] || return 0
    local folder
    for folder in "$here" "$here/.." ${DATA:+"$DATA"}; do
        [ -d "$folder/cifar-10-batches-bin" ] && data=$folder && return 0
        [ -e "$folder/cifar10.tar.xz.00" ] || continue
        mkdir -p "$scratch/data"
        say "unpacking CIFAR-10 from $folder"
        if command -v xz >/dev/null; then
            cat "$folder"/cifar10.tar.xz.?? | tar -xJ -C "$scratch/data"
        else
            cat "$folder"/cifar10.tar.xz.?? >"$scratch/cifar10.tar.xz" &&
                "$python" -m tarfile -e "$scratch/cifar10.tar.xz" "$scratch/data"
        fi && "$here/msharp" data verify --data-dir "$scratch/data" && data=$scratch/data && return 0
        say "the parts of CIFAR-10 in $folder are incomplete; expected all that \`cargo xtask cuda bundle\` made"
    done
    return 1
}

# Two ranks with a GPU each; adds to the log of the tests.
run_gpus() {
    local limit=$1 log=$out/test.log name code=0 gpus
    gpus=$(nvidia-smi -L 2>/dev/null | grep -c '^GPU')
    if [ "$gpus" -lt 2 ]; then
        say "== two GPUs: left out, for this machine has $gpus" | tee -a "$log"
        return 0
    fi
    for name in test-nccl test-gpus; do
        say "== $name" | tee -a "$log"
        limited "$limit" "$log" env MSHARP_PROGRAM="$here/msharp" "$here/$name" || code=1
    done
    return $code
}

run_tests() {
    local limit=$1 log=$out/test.log name code=0
    : >"$log"
    for name in test-ops test-runs; do
        say "== $name" | tee -a "$log"
        limited "$limit" "$log" "$here/$name" || code=1
    done
    run_gpus "$limit" || code=1
    say "== summary of the tests"
    grep -E '^== |^test result|FAILED|panicked|^-- ' "$log"
    return $code
}

# train FOLDER FLAG... is one run; `train_until` ends it with a signal when it has written so many epochs.
train() {
    local folder=$1
    shift
    "$here/msharp" train --device cuda --out "$folder" "${subject[@]}" "$@"
}
epochs_in() { [ -e "$1/epochs.csv" ] && wc -l <"$1/epochs.csv" || echo 0; }
train_until() {
    local signal=$1 lines=$2 folder=$3
    shift 3
    "$here/msharp" train --device cuda --out "$folder" "${subject[@]}" "$@" &
    local run=$!
    while [ "$(epochs_in "$folder")" -lt "$lines" ] && kill -0 $run 2>/dev/null; do sleep 0.02; done
    kill "-$signal" $run 2>/dev/null || say "the run was over before it could be stopped"
    wait $run
    say "stopped with -$signal after $(($(epochs_in "$folder") - 1)) epochs"
}

learn() {
    local runs=$scratch/runs code=0
    read -ra subject <<<"${LEARN:---model resnet18 --rule sam --rho 0.05 --epochs 4 --batch-size 128}"
    if find_images; then
        subject+=(--data cifar10 --data-dir "$data")
        say '== the four rules on CIFAR-10, smoke size'
        "$here/xtask" reproduce cifar10 --preset smoke --device cuda --data-dir "$data" --out "$runs/smoke" || code=1
    else
        say "no part of CIFAR-10 beside $here: drawn images instead"
        subject+=(--data synthetic)
        "$here/xtask" reproduce toy --preset smoke --device cuda --out "$runs/smoke" || code=1
    fi

    say "== a run left alone: ${subject[*]}"
    train "$runs/whole" || return 1
    say '== the same run, interrupted, killed and resumed'
    train_until INT 2 "$runs/parts" # saves a checkpoint
    train_until KILL 4 "$runs/parts" --resume
    train "$runs/parts" --resume || return 1
    if cmp "$runs/whole/weights.safetensors" "$runs/parts/weights.safetensors"; then
        say 'the weights of the two are the same to the bit'
    else
        say 'FAILED: the weights of the two differ; the curves are'
        paste "$runs/whole/epochs.csv" "$runs/parts/epochs.csv"
        code=1
    fi
    return $code
}

bench() {
    local within=$1 pytorch=()
    shift
    rm -f "$out/bench.log" "$out/bench-rows.jsonl"
    if "$python" -c 'import torch; assert torch.cuda.is_available()' 2>/dev/null; then
        pytorch=(--against-pytorch "$python")
    else
        say "$python has no torch that sees the GPU: nothing to compare with"
    fi
    # A second limit, for a driver that does not answer.
    limited $((within + 20)) "$out/bench.log" "$here/xtask" bench cuda --within "$within" \
        --rows "$out/bench-rows.jsonl" ${pytorch[@]+"${pytorch[@]}"} "$@"
}

# `learn` is a function, to which `timeout` cannot be applied: this script is called again for it.
learn_within() {
    rm -f "$out/learn.log"
    limited "$1" "$out/learn.log" env OUT="$scratch/learn" bash "$here/run.sh" learn
    local code=$?
    cp "$scratch/learn/learn-rows.jsonl" "$out/" 2>/dev/null
    return $code
}

begin() {
    say "msharp $(cat "$here/REVISION" 2>/dev/null), $(date -u +%FT%TZ)"
    nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader 2>/dev/null
    say "libraries: ${LD_LIBRARY_PATH:-of the system}; results: $out"
}

cd "$out" || exit
begin | tee "$out/about.txt"
case $command in
all)
    code=0
    run_tests 70 || code=1
    learn_within 120 || code=1
    bench $((450 - SECONDS + started)) --quick "$@" || code=1
    say "== $((SECONDS - started)) s; in $out:"
    ls -l "$out"
    exit $code
    ;;
test) run_tests 300 ;;
gpus)
    : >"$out/test.log"
    run_gpus 300
    ;;
learn) learn ;;
bench) bench 540 "$@" ;;
paper)
    find_images || fail "no part of CIFAR-10 beside $here or in \$DATA; expected cifar10.tar.xz.00 and so on"
    "$here/xtask" reproduce cifar10 --preset paper --device cuda --data-dir "$data" --out "$out/paper" "$@"
    ;;
xtask | msharp) "$here/$command" "$@" ;;
esac
