#!/usr/bin/env bash
# Makes the virtual environment $1 with the tested PyTorch built for $2 (default: the CPU; else for
# example cu128). What is installed into it afterwards keeps this build: without it, pip takes the
# one for CUDA, which is gigabytes larger.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
environment="$1" backend="${2:-cpu}"
[ -x "$environment/bin/python" ] || "${PYTHON:-python3}" -m venv "$environment"
"$environment/bin/python" -m pip install --quiet --disable-pip-version-check uv
"$environment/bin/uv" pip install --quiet --python "$environment/bin/python" \
    --torch-backend "$backend" "$(grep '^torch==' constraints.txt)"
