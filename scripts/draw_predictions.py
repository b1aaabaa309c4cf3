"""Draws a run's predictions beside the truth: python scripts/draw_predictions.py RUN DATA OUT.png [ID ...]

DATA holds paired folders; without ids four validation images are taken, evenly spaced.
"""

import sys
from pathlib import Path

from acdc_seg.config import DataConfig
from acdc_seg.data.paired import read_paired
from acdc_seg.data.transforms import load_example
from acdc_seg.predict import load_predictor, predict_labels
from acdc_seg.report.figures import prediction_grid

run, data, out, *ids = sys.argv[1:]
predictor = load_predictor(run)
records = [record for record in read_paired(Path(data), DataConfig(path=data)) if record.split == "val"]
chosen = [record for record in records if record.id in ids] if ids else records[:: max(1, len(records) // 4)][:4]
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
figure.savefig(out, dpi=70)
