#!/usr/bin/env bash
# Quick start on synthetic hearts: installs, makes data, trains two models, evaluates, submits.
# Finished steps are skipped, so that the script can be stopped and started again.
set -euo pipefail
source "$(dirname "$0")/install.sh" ""
work="${1:-runs/quickstart}"
tree="$work/phantom" slices="$work/slices"

say() { printf '\n== %s\n' "$*"; }
finished() { [ -e "$1/run.json" ] && grep -q '"status": "finished"' "$1/run.json"; }
train() { # name, epochs, options
    local run="$work/$1"
    if finished "$run"; then
        echo "$run is trained already"
    elif [ -e "$run/last.pt" ]; then
        acdc-train --resume "$run"
    else
        rm -rf "$run"
        acdc-train "${@:3}" --data "$slices" --epochs "$2" --name "$1" runs_dir="$work"
    fi
}

say "Synthetic ACDC patients"
[ -d "$tree" ] || acdc-data synthesize "$tree" --patients 15 --test-patients 5
say "Slices of 96x96 pixels"
[ -d "$slices" ] || acdc-data prepare "$tree" --out "$slices"
acdc-data info "$slices"
say "U-Net"
train unet 20 --config fast
say "BasicUNet"
train basic_unet 6 --model basic_unet
say "Scores on the validation patients"
acdc-evaluate "$work/unet"
acdc-evaluate "$work/basic_unet"
acdc-evaluate "$work/unet" "$work/basic_unet" --out "$work/ensemble"
say "Submission of the soft vote"
acdc-submit --runs "$work/unet" "$work/basic_unet" --data "$slices" \
    --out "$work/submission.csv" --masks "$work/masks"
acdc-submit --check "$work/submission.csv" --truth "$slices/test/mask"

cat <<END

Everything is in $work:
  phantom/                     synthetic ACDC tree (NIfTI, Info.cfg)
  slices/                      images and masks cut from it
  unet/, basic_unet/           the runs: report.html, history.csv, best.pt, TensorBoard events
  ensemble/metrics.csv         scores of the soft vote
  submission.csv, masks/       predictions for the test patients
Your own data: acdc-train --model unet --data PATH
END
