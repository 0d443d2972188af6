#!/bin/bash
# Builds the software GPU: build.sh OUT [--asan] [--test]
#
# OUT gets libcuda.so.1, libcudnn.so.9, libcublasLt.so.13, libcublas.so.13, libcurand.so.10 and libnccl.so.2, which
# stand in for NVIDIA's, and libmsharp_kernels.so, the kernels of crates/ops/kernels. With --asan, AddressSanitizer
# checks every access of the kernels to memory. With --test, the self-test is built and run too. CUDA_PATH is a toolkit,
# of which only headers are used. README.md says what all of it is for.
set -euo pipefail

if [ $# -lt 1 ] || [ -z "${CUDA_PATH:-}" ]; then
    echo "usage: CUDA_PATH=<toolkit> $0 OUT [--asan] [--test]" >&2
    exit 2
fi
mkdir -p "$1"
out=$(cd "$1" && pwd)
shift
cd "$(dirname "${BASH_SOURCE[0]}")"
sources=../../crates/ops/kernels # the kernels

asan='' test=''
for option in "$@"; do
    case $option in
    --asan) asan=yes ;;
    --test) test=yes ;;
    *) echo "$0: what is $option?" >&2 && exit 2 ;;
    esac
done

compiler=${CXX:-g++}
flags=(-std=c++17 -O2 -g -fPIC -fvisibility=hidden -fno-math-errno -Wall -Wextra -isystem "$CUDA_PATH/include" -I. "-I$sources")
# Thread-local variables are where the kernels' threads learn who they are. The libraries are there from the start, so
# these need not be looked up.
flags+=(-ftls-model=initial-exec)
# A GPU contracts a * b + c where nvcc likes to. Here nothing does, as in the ops for the CPU: what the two compute can
# then differ only in order, and whoever compares with a GPU allows for rounding anyway.
flags+=(-ffp-contract=off)
# Kernels are not written by C++'s rule that a float may not be read as an int, which nvcc does not use either.
kernel=(-x c++ -DMSHARP_SOFTWARE_GPU -fno-strict-aliasing -Wno-extra -Wno-unknown-pragmas)
link=(-shared -Wl,-Bsymbolic "-Wl,-rpath,\$ORIGIN")
if [ $asan ]; then
    flags+=(-fsanitize=address -fno-omit-frame-pointer)
    # Vectors at addresses that are no multiple of their size, and indices beyond an array, are caught as well.
    kernel+=(-fsanitize=alignment,bounds -fno-sanitize-recover=all)
    link+=(-fsanitize=address,alignment,bounds)
else
    link+=(-Wl,-z,defs)
fi
[ "${SOFTWARE_GPU_UCONTEXT:-}" ] && flags+=(-DSOFTWARE_GPU_UCONTEXT)

objects=$out/objects
mkdir -p "$objects"
# Objects that were made in another way are no use.
stamp="$compiler ${flags[*]} ${kernel[*]} ${link[*]}"
[ "$(cat "$objects/flags" 2>/dev/null)" = "$stamp" ] || rm -f "$objects"/*
echo "$stamp" >"$objects/flags"

# What cudarc declares and nobody defines ends the process when it is called. A program that is linked with all symbols
# bound at its start does not start otherwise.
version=$(grep -A1 '^name = "cudarc"' ../../Cargo.lock | sed -n 's/version = "\(.*\)"/\1/p')
bindings=$(echo "${CARGO_HOME:-$HOME/.cargo}"/registry/src/*/"cudarc-$version"/src)
[ -d "$bindings" ] || { echo "$0: cudarc $version is not in cargo's registry; cargo fetch gets it" >&2 && exit 1; }
stubs() {
    echo "// Stand-ins for the functions of $1 that are not simulated."
    echo "extern \"C\" __attribute__((visibility(\"default\"))) void software_gpu_missing(const char *);"
    echo "#define STUB(name) extern \"C\" __attribute__((weak, visibility(\"default\"))) void name() { software_gpu_missing(#name); }"
    grep -oh "^pub unsafe fn cu[A-Za-z0-9_]*" "$bindings/$1/sys/mod.rs" | sed 's/.* \(.*\)/STUB(\1)/' | sort -u
}
for library in driver cudnn cublas cublaslt curand; do
    stubs $library >"$objects/new"
    cmp -s "$objects/new" "$objects/stubs_$library.cpp" || mv "$objects/new" "$objects/stubs_$library.cpp"
done
rm -f "$objects/new"

newest=$(ls -t ./*.h "$sources"/*.cuh | head -1)
commands=()
# compile SOURCE FLAG... makes the object of a source that is newer than it, or than which a header is newer.
compile() {
    local source=$1 object=$objects/$(basename "$1").o
    shift
    if [ ! "$object" -nt "$source" ] || [ ! "$object" -nt "$newest" ]; then
        commands+=("$(printf '%q ' "$compiler" "${flags[@]}" "$@" -c "$source" -o "$object")")
    fi
}
driver=(report kernels order fiber scheduler shared_memory driver_device driver_memory driver_stream driver_launch candle_kernels)
for name in "${driver[@]}" cublaslt cublas curand cudnn nccl; do
    compile "$name.cpp"
done
for name in product convolution; do
    compile "$name.cpp" -O3 # whose loops are worth vectors
done
for library in driver cudnn cublas cublaslt curand; do
    compile "$objects/stubs_$library.cpp"
done
for source in "$sources"/*.cu; do
    compile "$source" "${kernel[@]}"
done
if [ $test ]; then
    compile selftest.cpp "${kernel[@]}"
    compile selftest_libraries.cpp
    compile selftest_nccl.cpp
fi
if [ ${#commands[@]} -gt 0 ]; then
    printf '%s\0' "${commands[@]}" | xargs -0 -P 2 -I{} bash -c '{}'
fi

# library FILE OBJECT... links one. The kernels and the driver need each other; all others need the driver, and have
# symbols with versions, as NVIDIA's.
library() {
    local file=$1 needs=()
    shift
    case $file in
    libmsharp_kernels.so) needs=(-Wl,-z,undefs) ;;
    libcuda.so.1) needs=(-Wl,--no-as-needed "$out/libmsharp_kernels.so") ;;
    *)
        echo "$file { *; };" >"$objects/versions"
        needs=("$out/libcuda.so.1" "-Wl,--version-script,$objects/versions")
        ;;
    esac
    # Under another name first: a program may be running with the old one.
    "$compiler" "${link[@]}" -Wl,-soname,"$file" -o "$out/$file.new" "${@/#/$objects/}" "${needs[@]}"
    mv "$out/$file.new" "$out/$file"
}
kernels=("$sources"/*.cu)
kernels=("${kernels[@]##*/}")
library libmsharp_kernels.so "${kernels[@]/%/.o}"
library libcuda.so.1 "${driver[@]/%/.cpp.o}" stubs_driver.cpp.o
library libcudnn.so.9 cudnn.cpp.o convolution.cpp.o stubs_cudnn.cpp.o
library libcublasLt.so.13 cublaslt.cpp.o product.cpp.o stubs_cublaslt.cpp.o
library libcublas.so.13 cublas.cpp.o product.cpp.o stubs_cublas.cpp.o
library libcurand.so.10 curand.cpp.o stubs_curand.cpp.o
library libnccl.so.2 nccl.cpp.o

if [ $test ]; then
    "$compiler" "${flags[@]}" ${asan:+-fsanitize=address,alignment,bounds} -o "$out/selftest" "$objects/selftest.cpp.o" \
        "$objects"/selftest_{libraries,nccl}.cpp.o \
        "$out"/lib{cuda.so.1,cudnn.so.9,cublasLt.so.13,cublas.so.13,curand.so.10,nccl.so.2} \
        "-Wl,-rpath,\$ORIGIN"
    "$out/selftest"
fi

variables="LD_LIBRARY_PATH=$out:$CUDA_PATH/lib"
if [ $asan ]; then
    # For the tests alone: cargo and the compiler have no use for a sanitizer.
    variables+=" ASAN_OPTIONS=detect_leaks=0 LD_PRELOAD=$("$compiler" -print-file-name=libasan.so):$("$compiler" -print-file-name=libubsan.so)"
    host=$(rustc -vV 2>/dev/null | sed -n 's/^host: //p' | tr 'a-z-' 'A-Z_')
    echo "CARGO_TARGET_${host:-<HOST>}_RUNNER='env $variables' cargo test ..."
else
    echo "$variables cargo test ..."
fi
