"""What is known of a model, in words, for those who are given it."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from acdc_seg import __version__
from acdc_seg.errors import ConfigError
from acdc_seg.export.about import NO_LICENSE, PURPOSE
from acdc_seg.inference.predictors import ModelPredictor, Predictor
from acdc_seg.runs.checkpoint import Checkpoint, load_checkpoint
from acdc_seg.runs.published import without_names

CODE_TERMS = (
    f"The code, acdc_seg {__version__}, is under the Apache License 2.0, which does not cover the "
    "weights."
)


@dataclass(frozen=True)
class Scores:
    """Of the validation images: split, number of images and patients, and means of metrics."""

    split: str
    num_images: int
    num_patients: int
    means: Mapping[str, float]
    by_class: Mapping[str, float]


@dataclass(frozen=True)
class ModelFacts:
    """A checkpoint without paths and names, the terms of its weights, and its scores if any."""

    checkpoint: Checkpoint
    license: str
    scores: Scores | None

    @property
    def title(self) -> str:
        """Names the network."""
        return (
            f"Heart segmentation in short-axis cardiac MR with {self.checkpoint.config.model.name}"
        )


def read_facts(predictor: Predictor, *, format: str, license: str | None) -> ModelFacts:
    """What is known of a model from its checkpoint and the metrics.json of its run.

    Args:
        predictor: Of one checkpoint.
        format: Name of the format that needs them, for the message.
        license: Terms of the weights.

    Raises:
        ConfigError: Several models, or views of one.
    """
    if not isinstance(predictor, ModelPredictor) or not predictor.origins:
        raise ConfigError(
            f"--format {format} takes one model, not {predictor}; export each by itself, or all as "
            "one file with --format onnx"
        )
    path = predictor.origins[0].path
    checkpoint = without_names(load_checkpoint(path))
    return ModelFacts(checkpoint, license or NO_LICENSE, _read_scores(path.parent))


def write_body(facts: ModelFacts, usage: str) -> str:
    """Markdown sections below the title: use, data, scores, training, terms.

    Args:
        facts: See `read_facts`.
        usage: The section on how to run it.
    """
    parts = [
        f"# {facts.title}",
        _describe_purpose(facts),
        "## How to use it\n" + usage,
        "## Training\n" + _describe_training(facts),
        "## Scores\n" + _describe_scores(facts),
        f"## Terms\nWeights: {facts.license}.\n{CODE_TERMS}",
    ]
    return "\n\n".join(parts) + "\n"


def _read_scores(folder: Path) -> Scores | None:
    """Of metrics.json; None where there is none, or of another program."""
    try:
        content = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
        classes = {name: row["dice_mean"] for name, row in content["classes"].items()}
        means = {name: content[name] for name in ("dice", "iou", "hd95")}
        split, counts = content["protocol"]["split"], content["headline"]
        return Scores(split, counts["n"], counts["num_patients"], means, classes)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _describe_purpose(facts: ModelFacts) -> str:
    classes = ", ".join(facts.checkpoint.config.classes.names)
    return (
        f"Labels every pixel of a slice as one of: {classes}.\n"
        f"**{PURPOSE.capitalize()}**: it is not a medical device, and nobody tested it on patients "
        "other than those below."
    )


def _describe_training(facts: ModelFacts) -> str:
    checkpoint = facts.checkpoint
    config = checkpoint.config
    rows: list[tuple[str, Any]] = [
        ("Training images", _describe_images(facts)),
        ("Pixel size", f"{config.prepare.spacing} mm" if checkpoint.data == "acdc" else "as given"),
        ("Size", config.data.size and f"{config.data.size[0]} x {config.data.size[1]} pixels"),
        ("Normalization", config.data.normalize),
        ("Loss", config.loss.name),
        ("Optimizer", f"{config.optimizer.name}, learning rate {config.optimizer.lr:g}"),
        (
            "Epochs",
            f"{checkpoint.epoch} of {config.train.epochs}, {config.train.batch_size} images "
            "in a batch",
        ),
        ("Seed", config.seed),
    ]
    return _table(("Setting", "Value"), [(name, str(value or "as given")) for name, value in rows])


def _describe_images(facts: ModelFacts) -> str:
    parts = [
        f"{len(part.images)} of {part.data or 'unnamed data'}"
        for part in facts.checkpoint.trained_on
    ]
    return ", ".join(parts) or "not recorded"


def _describe_scores(facts: ModelFacts) -> str:
    """A table of the classes, and where the numbers are from."""
    scores, best = facts.scores, facts.checkpoint.dice
    if scores is None:
        known = "no validation" if best is None else f"best validation Dice {best:.4f}"
        return f"There is no table of scores; {known} during the training."
    rows = [(name, f"{value:.4f}") for name, value in scores.by_class.items()]
    hd95 = scores.means["hd95"]
    rows += [("foreground mean", f"{scores.means['dice']:.4f}")]
    return (
        f"Of {scores.num_images} images of {scores.num_patients} patients ({scores.split}); the "
        f"best epoch was chosen by them if they validated.\n\n{_table(('Class', 'Dice'), rows)}\n\n"
        f"IoU {scores.means['iou']:.4f}, HD95 {hd95:.2f} (foreground means)."
    )


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
