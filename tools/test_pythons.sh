#!/usr/bin/env bash
# Run the tests of ingest, preprocess and outputs on each other supported Python that this machine has.
# The networks are left out: on these Pythons PyPI has torch as a CUDA build of several gigabytes only.
set -euo pipefail
cd "$(dirname "$0")/.."
heavy="torch torchmetrics lightning diffusers safetensors"

find_python() {  # a working interpreter of version $1, on PATH or from pyenv
  local candidate
  for candidate in "python$1" "$HOME"/.pyenv/versions/"$1".*/bin/python; do
    if "$candidate" -c '' 2>/dev/null; then echo "$candidate"; return; fi
  done
}

for version in 3.12 3.13; do
  python=$(find_python "$version")
  if [ -z "$python" ]; then echo "Python $version: not on this machine, skipped"; continue; fi
  venv=.venv/python$version
  wanted=$(cat pyproject.toml constraints.txt | sha256sum)
  if [ "$(cat "$venv/installed" 2>/dev/null)" != "$wanted" ]; then
    "$python" -m venv --clear "$venv"
    .venv/bin/python tools/dependencies.py --without $heavy > "$venv/requirements.txt"
    .venv/bin/uv pip install --quiet --python "$venv/bin/python" --constraint constraints.txt \
      --requirement "$venv/requirements.txt"
    echo "$wanted" > "$venv/installed"
  fi
  echo "Python $version"
  "$venv/bin/python" -m pytest -q --numprocesses 3 --dist loadfile \
    tests/ingest tests/preprocess tests/outputs "$@"
done
