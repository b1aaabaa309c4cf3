#!/usr/bin/env bash
# Runs every shipped experiment with --quick, one after another; arguments go to each of them.
# Those that are finished are skipped. Ends with 1 where one of them failed.
set -uo pipefail
source_run=runs/transfer-source
status=0
for name in $(acdc-experiment list | awk '$1 ~ /^[a-z0-9_]+$/ {print $1}'); do
    settings=()
    if [ "$name" = transfer ]; then # it needs an encoder that was trained before
        if [ ! -f "$source_run/best.pt" ]; then
            acdc-train --model resnet34_unet --epochs 2 --name "${source_run#runs/}" \
                data.channels=3 prepare.slices=mid || status=1
        fi
        settings=("model.pretrained=$source_run/best.pt")
    fi
    echo "== $name"
    acdc-experiment "$name" --quick "$@" "${settings[@]}" || status=1
done
exit $status
