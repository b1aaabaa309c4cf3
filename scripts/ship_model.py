"""Writes a run's weights as a model of the package: float16, without the state of training.

    python scripts/ship_model.py runs/basic_unet --name acdc_volumes --data ACDC

Half precision changes labels of about one pixel in 10,000 (tests/inference/test_shipped.py) and
halves the size. `--data` takes the place of the path of the training data, which is nobody's
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
    parser.add_argument("--data", required=True, help="name of the training data")
    parser.add_argument("--out", type=Path, default=FOLDER)
    options = parser.parse_args()
    checkpoint = load_checkpoint(find_checkpoint(options.run))
    config = checkpoint.config
    data = config.data.model_copy(update={"path": None})
    config = config.model_copy(update={"data": data, "name": options.name})
    weights = {
        name: tensor.half() if tensor.is_floating_point() else tensor
        for name, tensor in checkpoint.weights.items()
    }
    trained_on = tuple(replace(part, data=options.data, root="") for part in checkpoint.trained_on)
    path = options.out / f"{options.name}.pt"
    save_checkpoint(
        path,
        replace(checkpoint, config=config, weights=weights, training=None, trained_on=trained_on),
    )
    print(f"{path}: {path.stat().st_size / 1e6:.1f} MB, epoch {checkpoint.epoch}")


if __name__ == "__main__":
    main()
