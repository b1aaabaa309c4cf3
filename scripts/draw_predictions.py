"""Draws a run's predictions for validation images beside the truth."""

import argparse
from pathlib import Path

from acdc_seg.config import DataConfig
from acdc_seg.data.readers import read_records
from acdc_seg.inference.load import load_predictor
from acdc_seg.inference.stream import predict_examples, read_examples, to_labels
from acdc_seg.report.pictures import prediction_grid

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("run", metavar="RUN", help="run folder")
parser.add_argument("data", metavar="DATA", help="folder of image and mask folders")
parser.add_argument("out", metavar="OUT", help="picture to write")
parser.add_argument(
    "ids", metavar="ID", nargs="*", help="images to draw; by default four, evenly spaced"
)
options = parser.parse_args()
predictor = load_predictor(options.run)
records = [
    record
    for record in read_records("paired", Path(options.data), DataConfig(path=options.data))
    if record.split == "val"
]
chosen = (
    [record for record in records if record.id in options.ids]
    if options.ids
    else records[:: max(1, len(records) // 4)][:4]
)
examples, labels = [], []
for example, probabilities in predict_examples(predictor, read_examples(chosen, predictor)):
    examples.append(example)
    labels.append(to_labels(probabilities))
figure = prediction_grid(
    [example.image.numpy() for example in examples],
    labels,
    [example.mask.numpy() for example in examples],
    colors=predictor.classes.colors,
    names=predictor.classes.names,
    titles=[record.id for record in chosen],
)
figure.savefig(options.out, dpi=70)
