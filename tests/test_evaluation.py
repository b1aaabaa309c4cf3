from pathlib import Path

import numpy as np
import pytest
import torch

from acdc_seg.config import ClassesConfig, Config, DataConfig
from acdc_seg.data.examples import Example
from acdc_seg.data.readers import read_records
from acdc_seg.data.record import Record
from acdc_seg.errors import DataError
from acdc_seg.evaluation import score_example, score_examples
from acdc_seg.inference.predictors import Predictor
from acdc_seg.inference.stream import read_examples

CLASSES = ClassesConfig()


class Oracle(Predictor):
    """Tells the class of a pixel from its grey value, which is 50 times the class."""

    config = Config()

    def __init__(self, classes=CLASSES, channels=1):
        self.classes, self.channels, self.batches = classes, channels, []

    def predict_batch(self, images):
        self.batches.append(len(images))
        labels = (images.mean(1) * 255 / 50).round().long()
        return torch.nn.functional.one_hot(labels, 4).permute(0, 3, 1, 2).float()


@pytest.fixture
def oracle_folder(tmp_path, write_png):
    """Three images of two sizes; in the last the grey values tell one RV pixel too many and no
    LV.
    """
    truths = {"patient1_a": [[0, 1, 2, 3]], "patient1_b": [[0, 0, 0, 2]], "patient2_a": [[0, 1, 3]]}
    shown = {**truths, "patient2_a": [[1, 1, 0]]}
    for stem, truth in truths.items():
        write_png(tmp_path / "image" / f"{stem}.png", np.array(shown[stem], np.uint8) * 50)
        write_png(tmp_path / "mask" / f"{stem}_mask.png", np.array(truth, np.uint8))
    return tmp_path


def evaluate_records(predictor, records, **settings):
    return score_examples(predictor, read_examples(records, predictor), **settings)


def test_scores_by_hand(oracle_folder):
    done = []
    oracle = Oracle()
    records = read_records("paired", oracle_folder, DataConfig())
    scores = evaluate_records(oracle, records, batch_size=2, on_image=done.append)
    assert [(score.id, score.patient) for score in scores] == [
        ("patient1_a", "patient1"),
        ("patient1_b", "patient1"),
        ("patient2_a", "patient2"),
    ]
    assert scores[0].dice == scores[1].dice == {"rv": 1, "myo": 1, "lv": 1}
    assert scores[2].dice == pytest.approx({"rv": 2 / 3, "myo": 1, "lv": 0})
    assert scores[2].truth_size == {"rv": 1, "myo": 0, "lv": 1}
    assert oracle.batches == [2, 1]
    assert done == [1, 2, 3]


def test_files_are_read_as_the_predictor_takes_them(oracle_folder, write_png):
    for path in (oracle_folder / "image").iterdir():
        write_png(path, np.full((1, 4, 3), (30, 0, 0), np.uint8))
    records = read_records("paired", oracle_folder, DataConfig())[:2]
    with pytest.raises(DataError, match="has 3 channels where 1 are configured"):
        evaluate_records(Oracle(), records)
    scores = evaluate_records(Oracle(channels=3), records)
    assert scores[0].prediction_size == {"rv": 0, "myo": 0, "lv": 0}


def test_masks_are_read_by_the_predictors_classes(oracle_folder, write_png):
    for path in (oracle_folder / "mask").iterdir():
        write_png(
            path, np.array([[0, 85, 170, 255]], np.uint8)[:, : 3 if "patient2" in path.name else 4]
        )
    records = read_records("paired", oracle_folder, DataConfig())
    with pytest.raises(DataError, match="value 85"):
        evaluate_records(Oracle(), records)
    scores = evaluate_records(Oracle(ClassesConfig(values=(0, 85, 170, 255))), records)
    assert scores[0].dice == {"rv": 1, "myo": 1, "lv": 1}


def test_void_pixels_do_not_score():
    record = Record("a", Path("a.png"), None, "patient7", phase="ED")
    example = Example(record, torch.zeros(1, 1, 3), torch.tensor([[1, 255, 0]], dtype=torch.uint8))
    labels = np.array([[1, 1, 0]])
    for classes in (ClassesConfig(void=9), CLASSES):  # masks are padded with void where it has none
        score = score_example(labels, example, classes)
        assert (score.id, score.patient, score.phase) == ("a", "patient7", "ED")
        assert score.dice == {"rv": 1, "myo": 1, "lv": 1}


def test_an_example_without_mask_is_named():
    example = Example(Record("a", Path("a.png"), None, "p"), torch.zeros(1, 1, 3), None)
    with pytest.raises(DataError, match=r"a\.png: has no mask to compare with"):
        score_example(np.zeros((1, 3), np.uint8), example, CLASSES)
