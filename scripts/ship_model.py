"""Writes a run's weights as a model of the package: float16, without the state of training.

    python scripts/ship_model.py runs/both --name acdc_volumes --data ACDC 'ACDC and hearts'

Half precision changes labels of about one pixel in 10,000 (tests/inference/test_shipped.py) and
halves the size. `--data` takes the place of the paths of the training data, which are nobody's
business; names of patients and checksums of images stay, so that scores of them are refused.
"""

import argparse
from dataclasses import replace
from pathlib import Path

from acdc_seg.inference.load import find_checkpoint
from acdc_seg.inference.shipped import FOLDER
from acdc_seg.runs.checkpoint import load_checkpoint, save_checkpoint


def main() -> None:
    """Reads best.pt of the run, or the file, and writes NAME.pt."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path, help="run folder or checkpoint")
    parser.add_argument("--name", required=True)
    parser.add_argument(
        "--data",
        required=True,
        nargs="+",
        help="name of the data of each training, the first one first",
    )
    parser.add_argument("--out", type=Path, default=FOLDER)
    options = parser.parse_args()
    checkpoint = load_checkpoint(find_checkpoint(options.run))
    config = checkpoint.config
    data = config.data.model_copy(update={"path": None})
    train = config.train.model_copy(update={"start_from": None})  # another path
    config = config.model_copy(update={"data": data, "train": train, "name": options.name})
    weights = {
        name: tensor.half() if tensor.is_floating_point() else tensor
        for name, tensor in checkpoint.weights.items()
    }
    parts = zip(checkpoint.trained_on, options.data, strict=True)
    trained_on = tuple(replace(part, data=name, root="") for part, name in parts)
    path = options.out / f"{options.name}.pt"
    save_checkpoint(
        path,
        replace(checkpoint, config=config, weights=weights, training=None, trained_on=trained_on),
    )
    print(f"{path}: {path.stat().st_size / 1e6:.1f} MB, epoch {checkpoint.epoch}")


if __name__ == "__main__":
    main()
