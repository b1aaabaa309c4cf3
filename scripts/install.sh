# Sourced by the other scripts: creates .venv in the checkout and installs the package with the
# extra named in $1, or without one.
cd "$(dirname "${BASH_SOURCE[0]}")/.."
python="${PYTHON:-python3}"
if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
    version="$("$python" --version 2>&1)"
    echo "Python 3.11 or newer is needed; '$python' is $version. Set PYTHON=/path/to/python3.11" >&2
    exit 1
fi
[ -x .venv/bin/python ] || "$python" -m venv .venv
stamp=".venv/installed-${1:-plain}"
if [ ! -e "$stamp" ] || [ setup.cfg -nt "$stamp" ] || [ constraints.txt -nt "$stamp" ]; then
    echo "Installing acdc_seg into .venv (once)"
    .venv/bin/python -m pip install --quiet --disable-pip-version-check \
        --constraint constraints.txt --editable ".${1:+[$1]}"
    touch "$stamp"
fi
PATH="$PWD/.venv/bin:$PATH"
