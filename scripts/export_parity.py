"""Every network as ONNX against PyTorch, on sizes that were not recorded: a table in Markdown.

    python scripts/export_parity.py [NAME ...]

Networks have the options of their recipes, fresh weights and gray images; probabilities in fp32.
"""

import argparse
import tempfile
from pathlib import Path

import torch

from acdc_seg.config import load_config
from acdc_seg.export.graph import FIXED_SIZE, export_onnx
from acdc_seg.export.parity import MAX_DIFFERENCE, MIN_EQUAL, Parity, compare, make_images
from acdc_seg.inference.predictors import ModelPredictor
from acdc_seg.models import MODELS, build_model

SIZES = ((50, 67), (33, 41), (96, 64))
NUM_CLASSES = 4


def main() -> None:
    """Prints a row per network; fails where one differs."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="*", default=list(MODELS), help="default all")
    sizes = ", ".join(f"{height}x{width}" for height, width in SIZES)
    options = parser.parse_args()
    print("| network | largest difference | equal labels | images |\n|---|---:|---:|---|")
    failed = []
    for name in options.models:
        parity = measure(name)
        shown = "50x67" if name in FIXED_SIZE else sizes
        print(
            f"| `{name}` | {parity.max_difference:.1e} | {parity.equal_labels:.4%} | {shown} |",
            flush=True,
        )
        if not parity.holds:
            failed.append(name)
    if failed:
        raise SystemExit(
            f"{', '.join(failed)}: more than {MAX_DIFFERENCE:g} apart, or fewer labels equal than "
            f"{MIN_EQUAL:.2%}"
        )


def measure(name: str) -> Parity:
    """Of one network."""
    torch.manual_seed(0)
    config = load_config(model=name)
    config = config.model_copy(update={"data": config.data.model_copy(update={"size": None})})
    network = build_model(config.model, config.data.channels, NUM_CLASSES)
    device = torch.device("cpu")
    predictor = ModelPredictor(network, config, device=device, precision="fp32")
    sizes = SIZES[:1] if name in FIXED_SIZE else SIZES
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.onnx")
        export_onnx(predictor, path, size=sizes[0] if name in FIXED_SIZE else None)
        return compare(path, predictor, list(make_images(predictor.channels, sizes=sizes)))


if __name__ == "__main__":
    main()
