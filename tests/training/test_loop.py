import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tiny_runs import assert_same, ending, read_history, resume_run, stop_after, train_run

from acdc_seg.config import load_config, with_overrides
from acdc_seg.data.source import open_source
from acdc_seg.errors import CheckpointError, ConfigError, DataError, TrainingError
from acdc_seg.evaluation import score_examples
from acdc_seg.inference.load import load_predictor
from acdc_seg.inference.stream import read_examples
from acdc_seg.losses import SegmentationLoss
from acdc_seg.metrics.summary import summarize
from acdc_seg.models.base import SegmentationModel
from acdc_seg.runs.checkpoint import load_checkpoint, save_checkpoint
from acdc_seg.runs.writer import RunWriter
from acdc_seg.training.loop import Hooks, seed_batch, train
from acdc_seg.training.state import TrainState

COLUMNS = [
    "epoch",
    "lr",
    "train_loss",
    "val_loss",
    "dice",
    "dice_rv",
    "dice_myo",
    "dice_lv",
    "seconds",
]


def test_equal_seeds_give_equal_runs_and_another_seed_another(tiny_config):
    first, run = train_run(tiny_config, "first")
    second, again = train_run(tiny_config, "second")
    _, other = train_run(tiny_config, "other", changes={"seed": 1})
    assert ending(first) == ending(second)
    assert read_history(run) == read_history(again)
    assert_same(dict(load_checkpoint(run.best).weights), dict(load_checkpoint(again.best).weights))
    assert_same(load_checkpoint(run.last).training, load_checkpoint(again.last).training)
    assert read_history(run) != read_history(other)


def test_workers_do_not_change_the_run(tiny_config):
    _, alone = train_run(tiny_config, "alone")
    _, helped = train_run(tiny_config, "helped", changes={"data.num_workers": 2})
    assert_same(load_checkpoint(alone.last).training, load_checkpoint(helped.last).training)


def test_history_has_a_row_per_epoch(tiny_config):
    result, run = train_run(tiny_config)
    rows = read_history(run)
    header = (run.folder / "history.csv").read_text().splitlines()[0]
    assert header.split(",") == COLUMNS
    assert [row["epoch"] for row in rows] == ["1", "2"]
    for row in rows:
        mean = sum(float(row[f"dice_{name}"]) for name in ("rv", "myo", "lv")) / 3
        assert float(row["dice"]) == pytest.approx(mean, abs=1e-5)
        assert float(row["train_loss"]) > 0
    assert result.dice == pytest.approx(max(float(row["dice"]) for row in rows), abs=1e-6)
    assert rows[result.epoch - 1]["dice"] == f"{result.dice:.6g}"


def test_epochs_without_validation_leave_fields_empty(tiny_config):
    seen = []
    hooks = Hooks(on_epoch_end=lambda epoch, dice: seen.append((epoch, math.isnan(dice))))
    _, run = train_run(
        tiny_config, hooks=hooks, changes={"train.epochs": 3, "train.val_interval": 2}
    )
    assert seen == [(1, True), (2, False), (3, False)]
    rows = read_history(run)
    assert (run.folder / "history.csv").read_text().splitlines()[0].split(",") == COLUMNS
    assert [row["dice"] == "" for row in rows] == [True, False, False]


def test_schedule_steps_once_per_optimizer_step(tiny_config):
    changes = {
        "train.batch_size": 1,
        "train.grad_accum_steps": 2,
        "schedule.name": "poly",
        "schedule.power": 1,
        "schedule.warmup_fraction": 0,
    }
    _, run = train_run(tiny_config, changes={**changes, "optimizer.lr": 0.8})
    assert [float(row["lr"]) for row in read_history(run)] == pytest.approx(
        [0.8 * (1 - 1 / 4), 0.8 * (1 - 3 / 4)]
    )
    assert load_checkpoint(run.last).training["schedule"]["last_epoch"] == 4


def test_accumulated_batches_step_like_one_large_batch(tiny_config):
    """Without BatchNorm the mean gradient of two batches of two is that of one batch of four."""
    changes = {
        "model.norm": "none",
        "loss.name": "cross_entropy",
        "augment.preset": "none",
        "train.epochs": 1,
        "train.ema_decay": None,
    }
    _, small = train_run(tiny_config, "small", changes={**changes, "train.grad_accum_steps": 2})
    _, large = train_run(tiny_config, "large", changes={**changes, "train.batch_size": 4})
    weights, expected = (load_checkpoint(run.last).weights for run in (small, large))
    for name, value in weights.items():
        torch.testing.assert_close(value, expected[name], atol=1e-4, rtol=1e-3)


def test_the_batches_left_at_the_end_of_an_epoch_are_averaged_over_their_number(
    tiny_config, monkeypatch
):
    """Plain SGD on a loss whose gradient is 1 everywhere: all steps are equal."""
    monkeypatch.setattr(
        SegmentationModel, "forward", lambda self, images: self.head.bias.view(1, -1, 1, 1)
    )
    monkeypatch.setattr(SegmentationLoss, "forward", lambda self, logits, target: logits.sum())
    changes = {
        **{"train.epochs": 1, "train.batch_size": 1, "train.grad_accum_steps": 4},
        **{"optimizer.name": "sgd", "optimizer.momentum": 0, "optimizer.lr": 1},
        **{"schedule.name": "constant", "schedule.warmup_fraction": 0, "train.ema_decay": None},
        **{"data.validation": False, "train.max_grad_norm": None, "augment.preset": "none"},
    }
    steps = []
    step = TrainState.step_schedule

    def record(state):
        steps.append(state.model.head.bias.clone())
        step(state)

    monkeypatch.setattr(TrainState, "step_schedule", record)
    train_run(tiny_config, changes=changes)
    assert len(steps) == 2  # of four batches and of the two that are left
    torch.testing.assert_close(steps[1] - steps[0], torch.full((4,), -1.0))


@pytest.mark.parametrize("max_grad_norm", [5.0, None])
def test_a_gradient_that_is_not_finite_never_reaches_the_weights(
    tiny_config, monkeypatch, max_grad_norm
):
    """Its loss is finite; last.pt, written after every step, is that of the step before."""
    batches = []

    class SpoilGradient(torch.autograd.Function):
        @staticmethod
        def forward(ctx, loss):
            return loss.clone()

        @staticmethod
        def backward(ctx, gradient):
            return gradient * (math.nan if len(batches) == 3 else 1)

    forward = SegmentationLoss.forward
    monkeypatch.setattr(
        SegmentationLoss,
        "forward",
        lambda self, logits, target: SpoilGradient.apply(forward(self, logits, target)),
    )
    changes = {
        "train.batch_size": 1,
        "train.checkpoint_interval_s": 0,
        "train.max_grad_norm": max_grad_norm,
    }
    hooks = Hooks(on_batch=lambda *args: batches.append(args))
    message = r"epoch 1, batch 4: the norm of the gradient is nan; lower optimizer\.lr"
    with pytest.raises(TrainingError, match=message):
        train_run(tiny_config, hooks=hooks, changes=changes)
    last = load_checkpoint(Path(tiny_config.runs_dir) / "run" / "last.pt")
    assert last.training["batch"] == 3
    for weights in (last.weights, last.training["ema"]):
        assert all(value.isfinite().all() for value in weights.values())


def test_a_step_that_the_scaler_skips_moves_neither_schedule_nor_average(tiny_config, monkeypatch):
    """fp16 as a GPU has it: the scaler leaves the weights alone where a gradient overflows."""
    skips = iter([True, False, True, False])
    monkeypatch.setattr(Accelerator, "optimizer_step_was_skipped", property(lambda _: next(skips)))
    _, run = train_run(tiny_config)
    state = load_checkpoint(run.last).training
    assert state["schedule"]["last_epoch"] == 2
    assert state["ema"]["n_averaged"] == 2


def test_a_gradient_that_overflows_is_left_to_the_scaler():
    state = TrainState(None, None, None, None, scaler=object())
    state.add_loss(torch.tensor(0.5), torch.tensor(math.inf))
    assert state.loss_sum == 0.5
    with pytest.raises(TrainingError, match="the loss is inf"):
        state.add_loss(torch.tensor(math.inf), None)


@pytest.mark.parametrize("part", ["lr", "optimizer"])
def test_the_state_of_another_version_is_refused(tiny_config, part):
    """One without a value that is kept now, or with other groups of parameters."""
    _, run = train_run(tiny_config, hooks=stop_after(1))
    last = load_checkpoint(run.last)
    state = dict(last.training)
    if part == "optimizer":
        state[part] = {**state[part], "param_groups": state[part]["param_groups"][:1]}
    else:
        del state[part]
    save_checkpoint(run.last, replace(last, training=state))
    with pytest.raises(CheckpointError, match="of another version of acdc-seg; resume with"):
        resume_run(tiny_config, run)


def test_without_validation_the_last_weights_are_kept_once(tiny_config, monkeypatch):
    """best.pt is written at the end, and beside a last.pt that ends an epoch."""
    writes = []
    save_best = RunWriter.save_best

    def count(writer, network, *, epoch, dice):
        writes.append(epoch)
        save_best(writer, network, epoch=epoch, dice=dice)

    monkeypatch.setattr(RunWriter, "save_best", count)
    changes = {"data.validation": False, "train.epochs": 3}
    result, run = train_run(tiny_config, changes=changes)
    assert writes == [3]
    best = load_checkpoint(run.best)
    assert (best.epoch, best.dice, result.epoch) == (3, None, 3)
    ema = load_checkpoint(run.last).training["ema"]
    assert torch.equal(best.weights["head.weight"], ema["module.head.weight"])
    writes.clear()
    train_run(tiny_config, "often", changes={**changes, "train.checkpoint_interval_s": 0})
    assert writes == [1, 2, 3, 3]


def test_images_are_resized_to_data_size_before_the_network(tiny_config, monkeypatch):
    shapes = set()
    forward = SegmentationModel.forward

    def record(network, images):
        shapes.add((images.shape[-2:], images.is_contiguous(memory_format=torch.channels_last)))
        return forward(network, images)

    monkeypatch.setattr(SegmentationModel, "forward", record)
    train_run(tiny_config, changes={"data.size": [32, 40], "train.epochs": 1})
    assert shapes == {((32, 40), True)}


def test_without_averaging_the_raw_weights_are_kept(tiny_config):
    _, run = train_run(tiny_config, changes={"train.ema_decay": None, "train.epochs": 1})
    assert_same(dict(load_checkpoint(run.best).weights), dict(load_checkpoint(run.last).weights))
    _, averaged = train_run(tiny_config, "averaged", changes={"train.epochs": 1})
    best, last = load_checkpoint(averaged.best), load_checkpoint(averaged.last)
    assert not torch.equal(best.weights["head.weight"], last.weights["head.weight"])
    assert torch.equal(best.weights["head.weight"], last.training["ema"]["module.head.weight"])


def test_best_checkpoint_evaluates_to_the_best_dice_of_the_history(tiny_config):
    result, run = train_run(tiny_config, changes={"train.epochs": 4, "optimizer.lr": 0.02})
    source = open_source(tiny_config.data, prepare_settings=tiny_config.prepare)
    predictor = load_predictor(run.folder, device="cpu", precision="fp32")
    rows = score_examples(predictor, read_examples(source.split("val"), predictor), batch_size=2)
    assert summarize(rows).dice == result.dice == load_checkpoint(run.best).dice
    assert load_checkpoint(run.best).epoch == result.epoch


def test_run_json_tells_what_was_trained(tiny_config):
    result, run = train_run(tiny_config)
    facts = run.read_json()
    assert facts["status"] == "finished"
    assert facts["data"] == "paired"
    assert facts["data_path"] == tiny_config.data.path
    assert facts["num_images"] == {"train": 4, "val": 2}
    assert facts["num_patients"] == {"train": 2, "val": 1}
    assert (facts["seed"], facts["precision"], facts["epochs"]) == (0, "fp32", 2)
    assert (facts["best_dice"], facts["best_epoch"]) == (result.dice, result.epoch)
    assert len(facts["data_sha256"]) == 64
    assert (
        facts["libraries"]["torch"] == torch.__version__.split("+")[0]
        or facts["libraries"]["torch"] == torch.__version__
    )
    assert {"started", "seconds", "host", "python", "commit"} <= facts.keys()


def test_a_finished_run_has_a_report_of_its_best_weights(tiny_config):
    result, run = train_run(tiny_config, finish=True)
    assert json.loads((run.folder / "metrics.json").read_text())["dice"] == result.dice
    assert len((run.folder / "metrics.csv").read_text().splitlines()) == 1 + 2
    assert f"{result.dice:.3f}" in (run.folder / "report.html").read_text()


def test_the_written_config_repeats_the_run(tiny_config):
    _, run = train_run(tiny_config, changes={"train.precision": "auto"})
    config = load_config(run.folder / "config.yaml")
    assert config.train.precision in ("fp32", "bf16")
    _, again = train_run(config, "again")
    assert read_history(again) == read_history(run)
    assert (again.folder / "config.yaml").read_text() == (run.folder / "config.yaml").read_text()


def test_the_number_of_threads_is_a_setting(tiny_config):
    before = torch.get_num_threads()
    try:
        train_run(tiny_config, changes={"train.epochs": 1, "train.num_threads": before + 1})
        assert torch.get_num_threads() == before + 1
    finally:
        torch.set_num_threads(before)


def test_a_resumed_run_takes_the_threads_it_began_with(tiny_config):
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(before + 1)
        _, run = train_run(tiny_config, hooks=stop_after(1))
        torch.set_num_threads(before)
        resume_run(tiny_config, run)
        assert run.read_json()["num_threads"] == torch.get_num_threads() == before + 1
    finally:
        torch.set_num_threads(before)


def test_progress_is_reported(tiny_config):
    batches, epochs = [], []
    hooks = Hooks(
        on_batch=lambda epoch, done, total, loss: batches.append((epoch, done, total)),
        on_epoch_end=lambda epoch, dice: epochs.append((epoch, dice)),
    )
    result, _ = train_run(tiny_config, hooks=hooks)
    assert batches == [(1, 1, 2), (1, 2, 2), (2, 1, 2), (2, 2, 2)]
    assert [epoch for epoch, _ in epochs] == [1, 2]
    assert max(dice for _, dice in epochs) == result.dice


def test_runs_of_other_precision_and_accumulation_follow_in_one_process(tiny_config):
    _, run = train_run(
        tiny_config,
        "a",
        changes={"train.epochs": 1, "train.precision": "bf16", "train.grad_accum_steps": 2},
    )
    assert load_checkpoint(run.last).training["schedule"]["last_epoch"] == 1
    _, run = train_run(tiny_config, "b", changes={"train.epochs": 1})
    assert load_checkpoint(run.last).training["schedule"]["last_epoch"] == 2
    _, alone = train_run(tiny_config, "c", changes={"train.epochs": 1})
    assert read_history(run) == read_history(alone)


def test_a_loss_that_is_no_number_ends_the_training(tiny_config, monkeypatch):
    monkeypatch.setattr(
        SegmentationLoss, "forward", lambda self, logits, target: logits.sum() * math.nan
    )
    with pytest.raises(
        TrainingError, match=r"epoch 1, batch 1: the loss is nan; lower optimizer\.lr"
    ):
        train_run(tiny_config)
    assert not (Path(tiny_config.runs_dir) / "run" / "best.pt").exists()


def test_patience_ends_a_run_that_no_longer_improves(tiny_config):
    changes = {
        "train.epochs": 20,
        "train.patience": 3,
        "optimizer.lr": 1e-12,
        "train.ema_decay": None,
        "schedule.name": "constant",
    }
    result, run = train_run(tiny_config, changes={**changes, "model.norm": "none"})
    assert (result.epoch, result.num_epochs, result.stopped) == (1, 4, False)
    assert len(read_history(run)) == 4
    assert run.read_json()["status"] == "finished"


def test_patience_waits_for_a_validation(tiny_config):
    changes = {
        "train.epochs": 20,
        "train.patience": 1,
        "train.val_interval": 3,
        "optimizer.lr": 1e-12,
        "train.ema_decay": None,
    }
    result, run = train_run(tiny_config, changes={**changes, "model.norm": "none"})
    assert (result.epoch, result.num_epochs) == (3, 6)
    assert run.best.is_file()


def test_a_small_unet_overfits_four_images(tiny_config):
    config = with_overrides(
        tiny_config,
        {"train.epochs": 40, "model.base_channels": 8, "model.depth": 3, "optimizer.lr": 0.02},
    )
    config = with_overrides(
        config, {"augment.preset": "none", "train.batch_size": 4, "train.val_interval": 10}
    )
    source = open_source(config.data, prepare_settings=config.prepare)
    seen = source.split("train")
    source = replace(source, records=(*seen, *(replace(record, split="val") for record in seen)))
    result = train(config, source)
    assert result.dice > 0.9


def test_void_pixels_train_and_are_drawn(tiny_config, paired_folder, hearts, write_png):
    for path in paired_folder.glob("*/mask/*.png"):
        mask = hearts[0][1].copy()
        mask[:4] = 200
        write_png(path, mask)
    changes = {"classes.void": 200, "train.log_images_interval": 1, "train.epochs": 1}
    _, run = train_run(tiny_config, changes=changes)
    events = EventAccumulator(str(run.folder), size_guidance={"images": 0}).Reload()
    assert events.Tags()["images"] == ["validation/patient003_0", "validation/patient003_1"]


def test_images_that_are_wholly_void_have_no_part_in_the_dice(
    tiny_config, paired_folder, write_png, tmp_path
):
    """Before, they scored 1."""
    changes = {"classes.void": 200, "train.epochs": 1}
    first, second = sorted((paired_folder / "val" / "mask").glob("*.png"))
    void = np.full((48, 48), 200, np.uint8)
    write_png(second, void)
    dice = train_run(tiny_config, changes=changes)[0].dice
    content = second.read_bytes()
    second.unlink()
    image = paired_folder / "val" / "image" / second.name.replace("_mask", "")
    image.rename(tmp_path / "image.png")
    assert train_run(tiny_config, "alone", changes=changes)[0].dice == dice < 0.9
    (tmp_path / "image.png").rename(image)
    second.write_bytes(content)
    write_png(first, void)
    with pytest.raises(DataError, match="all validation masks are void"):
        train_run(tiny_config, "void", changes=changes)


@pytest.mark.parametrize("loss", ["dice_ce", "bce"])
def test_every_class_counts_where_there_is_no_background(tiny_config, loss):
    changes = {"classes.has_background": False, "train.epochs": 1, "loss.name": loss}
    result, run = train_run(tiny_config, changes=changes, finish=True)
    row = result.history[-1]
    names = ("background", "rv", "myo", "lv")
    assert row["dice"] == pytest.approx(np.mean([row[f"dice_{name}"] for name in names]))
    scores = json.loads((run.folder / "metrics.json").read_text())
    assert list(scores["classes"]) == list(scores["pooled"]["classes"]) == list(names)
    assert (run.folder / "report.html").is_file()


def spoil_no_val(folder, write_png):
    for path in (folder / "val").rglob("*.png"):
        path.unlink()
    (folder / "val" / "image").rmdir()
    for path in (folder / "train").rglob("patient002*"):
        path.unlink()


def spoil_mask_value(folder, write_png):
    write_png(folder / "val" / "mask" / "patient003_1_mask.png", np.full((48, 48), 4, np.uint8))


def spoil_file(folder, write_png):
    path = folder / "train" / "image" / "patient002_1.png"
    path.write_bytes(path.read_bytes()[:300])


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (spoil_no_val, "two patients are needed at least, or a val folder"),
        (spoil_mask_value, r"patient003_1_mask\.png: the mask contains value 4 \(2,304 pixels\)"),
        (spoil_file, r"patient002_1\.png: not a readable image"),
    ],
)
def test_bad_data_leaves_no_run_behind(tiny_config, paired_folder, write_png, spoil, message):
    spoil(paired_folder, write_png)
    with pytest.raises(DataError, match=message):
        train(tiny_config)
    assert not Path(tiny_config.runs_dir).exists()


def test_bad_settings_leave_no_run_behind(tiny_config):
    source = open_source(tiny_config.data, prepare_settings=tiny_config.prepare)
    for changes, message in (
        ({"loss.class_weights": [1, 2]}, "class_weights has 2 entries for 4 classes"),
        ({"train.precision": "fp16"}, "fp16 needs a GPU"),
    ):
        with pytest.raises(ConfigError, match=message):
            train(with_overrides(tiny_config, changes), source)
        assert not Path(tiny_config.runs_dir).exists()


def test_dropout_is_seeded_by_seed_epoch_batch_and_process():
    def draw(*position):
        seed_batch(*position)
        return torch.rand(4).tolist()

    positions = [(0, 0, 0, 0), (1, 0, 0, 0), (0, 1, 0, 0), (0, 0, 1, 0), (0, 0, 0, 1)]
    draws = [draw(*position) for position in positions]
    assert draws == [draw(*position) for position in positions]
    assert len({tuple(values) for values in draws}) == len(positions)


@pytest.mark.slow
def test_a_compiled_training_is_that_of_the_plain_one_and_resumes_exactly(tiny_config):
    """Up to rounding, without dropout, which a compiled network draws by a generator of its own."""
    changes = {"model.dropout": 0}
    plain, _ = train_run(tiny_config, "plain", changes=changes)
    compiled, run = train_run(tiny_config, "compiled", changes={**changes, "train.compile": True})
    for ours, theirs in zip(compiled.history, plain.history, strict=True):
        assert ours["train_loss"] == pytest.approx(theirs["train_loss"], rel=1e-3)
    assert load_checkpoint(run.last).weights.keys() == load_checkpoint(run.best).weights.keys()
    _, stopped = train_run(
        tiny_config, "stopped", hooks=stop_after(1), changes={**changes, "train.compile": True}
    )
    resume_run(tiny_config, stopped, changes={**changes, "train.compile": True})
    assert_same(
        dict(load_checkpoint(stopped.last).weights), dict(load_checkpoint(run.last).weights)
    )
