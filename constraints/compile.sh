#!/usr/bin/env bash
# Pins every stack for every Python that it supports, from setup.py.
set -euo pipefail
cd "$(dirname "$0")/.."
uv=$(command -v uv || echo .venvs/uv/bin/uv)

# compile OUTPUT PYTHON GLIBC EXTRAS... < further requirements
compile() {
  local output=constraints/$1.txt python=$2 glibc=$3 extras=()
  shift 3
  for extra in "$@"; do extras+=(--extra "$extra"); done
  "$uv" pip compile --quiet --no-header --no-annotate --python-version "$python" \
    --python-platform "x86_64-manylinux_$glibc" "${extras[@]}" setup.py - --output-file "$output"
  # A local build's suffix (torch's +cpu) would exclude every other build of the same version.
  sed -i 's/^\(torch==[0-9.]*\)+.*/\1/' "$output"
  echo "$output"
}

compile tfx-py3.10 3.10 2_31 kubeflow dev </dev/null
for python in 3.11 3.12 3.13; do
  compile "tfx-py$python" "$python" 2_39 kubeflow dev </dev/null
  compile "library-py$python" "$python" 2_31 serving dev jax </dev/null
done
export UV_FIND_LINKS=${UV_FIND_LINKS:-${PIP_FIND_LINKS:-}}
printf 'torch==2.13.0\ntransformers==4.35.2\noptax\nsubword-nmt==0.3.8\ntorch-geometric==2.8.1\nnumpy<2\n' | compile parity-py3.11 3.11 2_31 dev
