#!/usr/bin/env bash
# Installs the test extra into .venv and runs linter, type checker and tests. Arguments go to
# pytest.
set -euo pipefail
source "$(dirname "$0")/install.sh" test
ruff check .
ruff format --check .
mypy acdc_seg
exec python -m pytest "$@"
