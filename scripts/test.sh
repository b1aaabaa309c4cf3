#!/usr/bin/env bash
# Installs the test extra into .venv and runs linter, type checker and tests in two processes.
# --slow also runs the tests that take minutes; other arguments go to pytest (-n 0: one process).
set -euo pipefail
source "$(dirname "$0")/install.sh" test
arguments=()
for argument in "$@"; do
    if [ "$argument" = --slow ]; then arguments+=(-m ""); else arguments+=("$argument"); fi
done
ruff check .
ruff format --check .
mypy acdc_seg
export OMP_NUM_THREADS=1 # one thread for each of the processes
exec python -m pytest -n 2 --dist loadfile "${arguments[@]}"
