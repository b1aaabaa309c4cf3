"""acdc-evaluate"""

from pathlib import Path
from typing import Annotated

from acdc_seg.cli.app import Debug, Version, console, make_app, run, shell_path
from acdc_seg.cli.options import (
    BARE,
    BatchSize,
    Device,
    Members,
    Precision,
    Tta,
    Weights,
    load_members,
)
from acdc_seg.cli.progress import progress_bar
from acdc_seg.cli.settings import option

app = make_app()

Data = Annotated[
    Path | None, option("ACDC tree or paired folders.", "What", "the first run's data")
]
Split = Annotated[str, option("train, val or test.", "What")]
Out = Annotated[
    Path | None, option("Folder of metrics.csv and metrics.json.", "Output", "RUN/SPLIT")
]


@app.command()
def evaluate(
    runs: Members,
    data: Data = None,
    split: Split = "val",
    tta: Tta = None,
    weights: Weights = None,
    out: Out = None,
    device: Device = "auto",
    precision: Precision = "auto",
    batch_size: BatchSize = 16,
    debug: Debug = False,
    version: Version = False,
) -> None:
    """Score a run, or the soft vote of several, against true masks: Dice and IoU for every class
    and image.
    """
    from acdc_seg.errors import ConfigError
    from acdc_seg.evaluation import evaluate as evaluate_split

    if len(runs) > 1 and out is None:
        raise ConfigError("give --out FOLDER for the scores of an ensemble")
    predictor = load_members(runs, tta=tta, weights=weights, device=device, precision=precision)
    with progress_bar() as report:
        evaluation = evaluate_split(
            predictor, data, split=split, batch_size=batch_size, on_progress=report
        )
    folder = out or (runs[0] if runs[0].is_dir() else runs[0].parent) / split
    evaluation.write(folder)
    num_patients = len({score.patient for score in evaluation.scores})
    console.print(f"{evaluation.source.kind} data, split {split}: {num_patients} patients")
    console.print(str(evaluation), markup=False)
    console.print(f"Wrote {shell_path(folder)}/metrics.csv and metrics.json")


def main() -> None:
    """Entry point of acdc-evaluate."""
    run(app, greedy=("--weights",), implied=BARE)
