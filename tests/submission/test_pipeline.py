import numpy as np
import pytest
import torch

from acdc_seg.config import ClassesConfig, Config
from acdc_seg.data.masks import read_mask
from acdc_seg.errors import DataError
from acdc_seg.inference.predictors import Predictor
from acdc_seg.submission.masks import write_masks
from acdc_seg.submission.pipeline import encode_masks, write_submission
from acdc_seg.submission.table import read_rows

LABELS = {"cmr2": np.array([[0, 1, 1]]), "cmr10": np.array([[3, 0], [2, 2]])}


class Oracle(Predictor):
    """Tells the class of a pixel from its gray value, which is 50 times the class."""

    config, classes, channels = Config(), ClassesConfig(), 1

    def predict_batch(self, images):
        labels = (images[:, 0] * 255 / 50).round().long()
        return torch.nn.functional.one_hot(labels, 4).permute(0, 3, 1, 2).float()


@pytest.fixture
def images(tmp_path, write_png):
    for stem, labels in LABELS.items():
        write_png(tmp_path / "test/image" / f"{stem}.png", (labels * 50).astype(np.uint8))
    return tmp_path


def test_a_folder_of_images_becomes_rows_and_masks(images):
    done = []
    rows = write_submission(
        Oracle(),
        images,
        images / "s.csv",
        masks=images / "masks",
        on_progress=lambda *progress: done.append(progress),
    )
    assert dict(rows) == read_rows(images / "s.csv")
    assert dict(rows) == {
        **{"cmr2_mask1": "2 2", "cmr2_mask2": "", "cmr2_mask3": ""},
        **{"cmr10_mask1": "", "cmr10_mask2": "2 1 4 1", "cmr10_mask3": "1 1"},
    }
    assert done == [("images", 1, 2), ("images", 2, 2)]
    for stem, labels in LABELS.items():
        mask = read_mask(images / "masks" / f"{stem}_mask.png", ClassesConfig())
        np.testing.assert_array_equal(mask, labels)


def test_masks_encode_to_the_same_bytes(images):
    write_submission(Oracle(), images, images / "predicted.csv")
    write_masks(images / "masks", LABELS.items())
    encode_masks(images / "masks", images / "encoded.csv")
    assert (images / "encoded.csv").read_bytes() == (images / "predicted.csv").read_bytes()


def test_a_template_that_does_not_fit_leaves_nothing(images):
    (images / "template.csv").write_text("id,encoding\ncmr2_mask1,\n")
    with pytest.raises(DataError, match="5 ids are not in the template"):
        write_submission(
            Oracle(),
            images,
            images / "s.csv",
            template=images / "template.csv",
            masks=images / "masks",
        )
    assert not (images / "s.csv").exists()
    assert not (images / "masks").exists()
