#!/bin/sh
# Runs a command of the package, with or without its prefix (acdc-train or train), or any other
# program of the image, such as torchrun.
set -eu
name="$1"
if command -v "acdc-$name" >/dev/null; then
    shift
    set -- "acdc-$name" "$@"
elif ! command -v "$name" >/dev/null; then
    echo "There is no command '$name' here. Those of acdc_seg are:" >&2
    for file in "$(dirname "$(command -v acdc-train)")"/acdc-*; do
        echo "  ${file##*/}" >&2
    done
    exit 2
fi
exec "$@" # in place of the shell, so that a stop of the container reaches it
