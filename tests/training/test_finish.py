import json
from pathlib import Path

import numpy as np
import pytest
import torch
from reports import read_page

from acdc_seg.config import with_overrides
from acdc_seg.data.source import open_source
from acdc_seg.errors import CheckpointError
from acdc_seg.evaluation import score_examples
from acdc_seg.inference.load import load_predictor
from acdc_seg.inference.stream import read_examples
from acdc_seg.metrics.summary import summarize
from acdc_seg.models import create_model
from acdc_seg.runs.checkpoint import Checkpoint, save_checkpoint
from acdc_seg.runs.folder import create_run
from acdc_seg.training.finish import finish_run

HISTORY = [
    {"epoch": 1, "lr": 0.1, "train_loss": 1.5, "val_loss": 1.25, "dice": 0.25, "seconds": 1.0}
]


@pytest.fixture
def run(tiny_config):
    torch.manual_seed(0)
    made = create_run(tiny_config, name="run")
    options = tiny_config.model.model_dump()
    weights = create_model(options.pop("name"), 1, 4, **options).state_dict()
    save_checkpoint(
        made.best,
        Checkpoint(config=tiny_config, weights=weights, epoch=1, dice=0.25, data="paired"),
    )
    made.update_json(status="finished")
    return made


@pytest.mark.parametrize("keeps", [True, False])
def test_what_only_resuming_needs_is_removed_unless_it_is_kept(run, tiny_config, keeps):
    for name in ("last.pt", "last.previous.pt", "best.previous.pt"):
        (run.folder / name).touch()
    config = with_overrides(tiny_config, {"train.keep_last": keeps})
    source = open_source(config.data, prepare_settings=config.prepare)
    finish_run(run, config, source, HISTORY)
    left = {path.name for path in run.folder.glob("*.pt")}
    removed = {"last.pt", "last.previous.pt", "best.previous.pt"}
    assert left == ({"best.pt", *removed} if keeps else {"best.pt"})
    assert run.is_complete()


def test_nothing_is_removed_where_scoring_fails(run, tiny_config):
    (run.folder / "last.pt").touch()
    run.best.write_bytes(b"damaged")
    config = with_overrides(tiny_config, {"train.keep_last": False})
    source = open_source(config.data, prepare_settings=config.prepare)
    with pytest.raises(CheckpointError):
        finish_run(run, config, source, HISTORY)
    assert run.last.exists()
    assert not run.is_complete()


def test_the_files_hold_what_evaluation_gives(run, tiny_config):
    source = open_source(tiny_config.data, prepare_settings=tiny_config.prepare)
    finish_run(run, tiny_config, source, HISTORY)
    predictor = load_predictor(run.folder, precision="fp32")
    rows = score_examples(predictor, read_examples(source.split("val"), predictor), batch_size=2)
    scores = json.loads((run.folder / "metrics.json").read_text())
    assert scores["dice"] == summarize(rows).dice
    assert [row["id"] for row in scores["images"]] == ["patient003_0", "patient003_1"]
    assert len((run.folder / "metrics.csv").read_text().splitlines()) == 1 + 2
    page = read_page(run.folder / "report.html")
    assert "2 slices of 1 patient " in page.text
    assert "not a medical device" in page.text
    assert {case["id"] for case in page.viewer["cases"]} == {"patient003_0", "patient003_1"}
    assert scores["calibration"]["pixels"] > 0
    assert (run.folder / "figures" / "cases.png").is_file()


def test_the_size_of_probabilities_is_that_of_all_images(run, tiny_config, write_png, monkeypatch):
    folder = Path(tiny_config.data.path) / "val"
    write_png(folder / "image" / "patient003_1.png", np.zeros((200, 200), np.uint8))
    write_png(folder / "mask" / "patient003_1_mask.png", np.zeros((200, 200), np.uint8))
    source = open_source(tiny_config.data, prepare_settings=tiny_config.prepare)
    monkeypatch.setattr("acdc_seg.training.finish.KEPT_BYTES", 2 * 4 * (48 * 48 + 200 * 200) - 1)
    finish_run(run, tiny_config, source, HISTORY)
    assert not (run.folder / "probabilities").exists()
    monkeypatch.setattr("acdc_seg.training.finish.KEPT_BYTES", 2 * 4 * (48 * 48 + 200 * 200))
    finish_run(run, tiny_config, source, HISTORY)
    assert (run.folder / "probabilities" / "none.npy").exists()
