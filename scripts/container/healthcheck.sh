#!/bin/sh
# Whether a container can do its work: its data can be read, as far as a sample shows; without any
# (nothing is mounted at ACDC_DATA), whether a network can be built.
set -u
data="${ACDC_DATA:-}"
if [ -n "$data" ] && [ -n "$(ls -A "$data" 2>/dev/null)" ]; then
    acdc-data check "$data" --quick --jobs 1
    [ "$?" -le 1 ] # 1: warnings only
else
    acdc-models unet >/dev/null
fi
