from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from reports import make_mask, make_scores

from acdc_seg.data.examples import Example
from acdc_seg.data.record import Record
from acdc_seg.report.evidence import LONGEST_SIDE, Evidence, decode, entropy, make_case


def one_hot(labels):
    return np.eye(4, dtype=np.float32)[labels].transpose(2, 0, 1)


def test_a_case_is_read_back_as_it_was():
    mask, labels = make_mask(0), make_mask(1)
    mask[0, 0] = 255
    case = make_case(mask[None].astype(np.float32) / 255, mask, one_hot(labels))
    pictures = decode(case)
    assert (case.height, case.width) == mask.shape
    np.testing.assert_array_equal(pictures["mask"], mask)
    np.testing.assert_array_equal(pictures["labels"], labels)
    assert pictures["image"].shape == mask.shape


def test_color_images_keep_their_colors():
    image = np.zeros((3, 8, 8), np.float32)
    image[0] = 1  # red
    case = make_case(image, np.zeros((8, 8), np.uint8), one_hot(np.zeros((8, 8), int)))
    assert decode(case)["image"][4, 4] == pytest.approx([255, 0, 0], abs=6)


def test_large_images_are_made_smaller():
    shape = (200, 2 * LONGEST_SIDE)
    case = make_case(
        np.zeros((1, *shape), np.float32), np.ones(shape, np.uint8), one_hot(np.ones(shape, int))
    )
    assert (case.height, case.width) == (100, LONGEST_SIDE)
    assert decode(case)["labels"].tolist() == np.ones((100, LONGEST_SIDE)).tolist()


def test_entropy_is_0_where_certain_and_1_where_all_classes_are_equal():
    probabilities = np.array([[[1, 0.25]], [[0, 0.25]], [[0, 0.25]], [[0, 0.25]]])
    assert entropy(probabilities) == pytest.approx(np.array([[0, 1]]), abs=1e-4)


def test_what_streams_by_is_kept_and_passed_on():
    mask = make_mask(0)
    example = Example(
        Record("a", Path("a.png"), None, "p"), torch.zeros(1, 16, 16), torch.from_numpy(mask)
    )
    stream = [(example, torch.from_numpy(one_hot(mask)))]
    evidence = Evidence()
    assert list(evidence.watch(iter(stream))) == stream
    assert "a" in evidence
    assert "b" not in evidence
    assert evidence.size("a") == evidence["a"].size


def test_an_error_ends_the_collecting_and_not_the_stream(monkeypatch):
    monkeypatch.setattr(cv2, "imencode", lambda *args: (False, None))
    example = Example(
        Record("a", Path("a.png"), None, "p"), torch.zeros(1, 16, 16), torch.zeros(16, 16)
    )
    stream = [(example, torch.ones(4, 16, 16) / 4)] * 3
    evidence = Evidence()
    assert len(list(evidence.watch(iter(stream)))) == 3
    assert isinstance(evidence.error, AssertionError)


def test_pictures_outgrow_memory_into_a_file(monkeypatch):
    monkeypatch.setattr("acdc_seg.report.evidence.KEPT_IN_MEMORY", 100)
    scores, evidence = make_scores()
    for number, image in enumerate(scores.images[:-1]):
        np.testing.assert_array_equal(decode(evidence[image["id"]])["mask"], make_mask(number))
