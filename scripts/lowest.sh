# Sourced by test.sh: makes .venv-lowest with the lowest versions that setup.cfg allows of what it
# names, and lists the tests to run with them. PyTorch is the tested one: older builds are not
# fetched, so its bound is what was tested.
cd "$(dirname "${BASH_SOURCE[0]}")/.."
core=(
    tests/config tests/data tests/runs tests/training tests/metrics tests/submission
    tests/inference tests/report tests/tuning tests/ensembling tests/test_losses.py
    tests/test_optim.py tests/cli/test_help.py tests/cli/test_train.py tests/cli/test_evaluate.py
    tests/cli/test_submit.py tests/cli/test_tune.py
)
if [ ! -e .venv-lowest/installed ] || [ setup.cfg -nt .venv-lowest/installed ]; then
    echo "Installing the lowest versions into .venv-lowest (once)"
    "${PYTHON:-python3}" -m venv .venv-lowest
    pip=(.venv-lowest/bin/python -m pip --quiet --disable-pip-version-check)
    "${pip[@]}" install uv
    echo "torch ; sys_platform == 'never'" >.venv-lowest/without-torch.txt
    .venv-lowest/bin/uv pip compile setup.cfg --extra test --quiet --python-version 3.11 \
        --resolution lowest-direct --override .venv-lowest/without-torch.txt \
        --output-file .venv-lowest/lowest.txt
    "${pip[@]}" install "$(grep '^torch==' constraints.txt)" -r .venv-lowest/lowest.txt
    touch .venv-lowest/installed
fi
PATH="$PWD/.venv-lowest/bin:$PATH"
export PYTHONPATH="$PWD"
