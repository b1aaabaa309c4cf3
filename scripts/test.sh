#!/usr/bin/env bash
# Installs the test extra into .venv and runs linter, type checker and tests in two processes.
# --slow also runs the tests that take minutes; --lowest runs the core of the suite on the lowest
# versions that setup.cfg allows, in .venv-lowest; other arguments go to pytest (-n 0: one process).
set -euo pipefail
arguments=() lowest=
for argument in "$@"; do
    case "$argument" in
        --slow) arguments+=(-m "") ;;
        --lowest) lowest=yes ;;
        *) arguments+=("$argument") ;;
    esac
done
export OMP_NUM_THREADS=1 # one thread for each of the processes
if [ "$lowest" ]; then
    source "$(dirname "$0")/lowest.sh"
    arguments=("${core[@]}" "${arguments[@]}")
else
    source "$(dirname "$0")/install.sh" test
    ruff check .
    ruff format --check .
    mypy acdc_seg
fi
exec python -m pytest -n 2 --dist loadfile "${arguments[@]}"
