"""Size of a report of many slices, and the time to write it.

The slices are those of synthetic hearts, scored against masks that were shifted by some pixels.
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from acdc_seg.config import DataConfig, load_config
from acdc_seg.data.examples import Example, read_example
from acdc_seg.data.source import open_source
from acdc_seg.evaluation import score_stream
from acdc_seg.metrics.levels import score_set_to_dict
from acdc_seg.report.evidence import Evidence
from acdc_seg.report.run_page import write_run_page

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--slices", type=int, default=2000)
options = parser.parse_args()
config = load_config(model="unet")
source = open_source(DataConfig(), prepare_settings=config.prepare)
rng = np.random.default_rng(0)


def predictions():
    """Slices, each with soft labels of its mask shifted by up to three pixels."""
    for number in range(options.slices):
        record = source.records[number % len(source.records)]
        example = read_example(record, data=config.data, classes=config.classes)
        shifted = torch.roll(example.mask, tuple(rng.integers(-3, 4, 2).tolist()), (0, 1))
        scores = torch.nn.functional.one_hot(shifted.long(), 4).permute(2, 0, 1).float()
        blurred = torch.nn.functional.avg_pool2d(scores[None], 5, 1, 2)[0]
        noise = torch.from_numpy(rng.random(blurred.shape, dtype=np.float32))
        round_number = number // len(source.records)
        copy = record.__class__(
            **{
                **vars(record),
                "id": f"{record.id}_{round_number}",
                "patient": f"{record.patient}_{round_number}",
                "slice": None,
            }
        )
        yield Example(copy, example.image, example.mask), (8 * blurred + noise).softmax(0)


evidence, stream = Evidence(), list(predictions())
start = time.perf_counter()
for _ in evidence.watch(iter(stream)):
    pass
collected = time.perf_counter()
records = [example.record for example, _ in stream]
content = score_set_to_dict(score_stream(iter(stream), records, config.classes))
scored = time.perf_counter()
history = [{"epoch": epoch, "train_loss": 1 / epoch, "dice": 0.5} for epoch in range(1, 161)]
with tempfile.TemporaryDirectory() as folder:
    write_run_page(
        Path(folder) / "unet",
        config,
        run={"data": "phantom"},
        history=history,
        content=content,
        evidence=evidence,
    )
    num_shown = (Path(folder) / "unet" / "report.html").read_text().count('"image":"')
    size = (Path(folder) / "unet" / "report.html").stat().st_size
written = time.perf_counter()
print(f"{options.slices} slices: page of {size / 1e6:.1f} MB, {num_shown} with pictures")
print(f"pictures collected in {collected - start:.1f} s, page written in {written - scored:.1f} s")
