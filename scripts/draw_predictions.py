"""Draws a run's predictions for validation images beside the truth."""

import argparse
from pathlib import Path

from acdc_seg.config import DataConfig
from acdc_seg.data.readers.paired import read_paired
from acdc_seg.data.transforms import load_example
from acdc_seg.inference.predictors import load_predictor, predict_labels
from acdc_seg.report.figures import prediction_grid

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
    for record in read_paired(Path(options.data), DataConfig(path=options.data))
    if record.split == "val"
]
chosen = (
    [record for record in records if record.id in options.ids]
    if options.ids
    else records[:: max(1, len(records) // 4)][:4]
)
pairs = [load_example(record, data=DataConfig(), classes=predictor.classes) for record in chosen]
images = [image.numpy() for image, _ in pairs]
figure = prediction_grid(
    images,
    list(predict_labels(predictor, images)),
    [mask.numpy() for _, mask in pairs if mask is not None],
    colors=predictor.classes.colors,
    names=predictor.classes.names,
    titles=[record.id for record in chosen],
)
figure.savefig(options.out, dpi=70)
