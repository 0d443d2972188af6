#!/usr/bin/env bash
# A CUDA toolkit made of NVIDIA's wheels on PyPI, for a machine that has none: what is compiled and linked with it runs
# where there is a GPU and its driver, or on the software GPU.
#
#   toolkit.sh DIR       DIR/bin/nvcc, DIR/include, DIR/lib; 2 GB, some minutes. `. DIR/env` sets a shell up.
#
# Needs python3 with venv, and gcc. DIR is whole or not there: it is put together beside its place and then moved.
set -euo pipefail

dir=${1:?usage: toolkit.sh DIR}
case $dir in /*) ;; *) dir=$PWD/$dir ;; esac
if [ -e "$dir/env" ]; then
    echo "$dir is there already"
    exit
fi
[ ! -e "$dir" ] || { echo "$dir exists and is no toolkit of this script; expected a new folder" >&2 && exit 1; }
for tool in python3 gcc; do
    command -v $tool >/dev/null || { echo "$tool is missing, which the toolkit is put together with" >&2 && exit 1; }
done

new=$dir.unfinished
rm -rf "$new"
mkdir -p "$new"
python3 -m venv "$new/venv" || { echo "python3 has no venv (Debian: apt install python3-venv)" >&2 && exit 1; }
"$new/venv/bin/pip" install --quiet --disable-pip-version-check --no-deps --no-compile --target "$new/wheels" \
    'nvidia-cuda-nvcc==13.0.*' 'nvidia-cuda-runtime==13.0.*' 'nvidia-cuda-cccl==13.0.*' 'nvidia-cuda-crt==13.0.*' \
    'nvidia-nvvm==13.0.*' 'nvidia-cuda-nvrtc==13.0.*' 'nvidia-cublas==13.0.*' 'nvidia-curand==10.4.*' \
    'nvidia-cudnn-cu13==9.*'

toolkit=$new/toolkit
mv "$new/wheels/nvidia/cu13" "$toolkit"
# cuDNN's libraries look for each other, and for cuBLAS's, in their own folder.
cp -r "$new/wheels/nvidia/cudnn/include/." "$toolkit/include/"
mv "$new/wheels/nvidia/cudnn/lib/"* "$toolkit/lib/"
[ -e "$toolkit/lib64" ] || ln -s lib "$toolkit/lib64"
# A linker looks for names without versions.
for library in cublas cublasLt cudart cudnn curand nvrtc; do
    versions=("$toolkit/lib/lib$library.so."*)
    [ -e "${versions[0]}" ] || { echo "the wheels have no lib$library.so" >&2 && exit 1; }
    ln -sf "$(basename "${versions[0]}")" "$toolkit/lib/lib$library.so"
done
# The driver's library comes with a GPU. In this one every function answers CUDA_ERROR_NO_DEVICE. A program that is
# linked with it asks for libcuda.so.1 when it starts, and a function that the driver does not have is an error of the
# linker.
grep -ohE '\bcu[A-Z][A-Za-z0-9_]*' "$toolkit/include/cuda.h" | sort -u | sed 's/.*/int &(void) { return 100; }/' |
    gcc -shared -fPIC -w -x c -Wl,-soname,libcuda.so.1 -o "$toolkit/lib/libcuda.so" -

cat >"$toolkit/env" <<ENV
export CUDA_PATH="$dir" NVCC="$dir/bin/nvcc" CUDA_COMPUTE_CAP=\${CUDA_COMPUTE_CAP:-90} PATH="$dir/bin:\$PATH"
ENV
mv "$toolkit" "$dir"
rm -rf "$new"
echo "$dir is ready"
