"""The sections of a run's config, and the config itself."""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from acdc_seg.config.models import ModelConfig, UNetConfig
from acdc_seg.config.section import (
    Color,
    Count,
    Fraction,
    NotNegative,
    PathText,
    Positive,
    Probability,
    Section,
)
from acdc_seg.labels import ACDC_LABELS

PATIENT_RULES = ("auto", "pairs", "each")


class ClassesConfig(Section):
    """What a mask file holds and what its classes are called; the first class is the background."""

    names: tuple[str, ...] = tuple(label.name for label in ACDC_LABELS)
    """Class names in the order of the network's outputs."""
    values: tuple[int, ...] = tuple(label.value for label in ACDC_LABELS)
    """Value of each class in mask files (written here as read: [0, 85, 170, 255] for scaled masks).
    """
    colors: tuple[Color, ...] = tuple(label.color for label in ACDC_LABELS)
    """Colour of each class (R, G, B) in pictures, and in colour masks."""
    mask_encoding: Literal["values", "colors", "nearest_color"] = "values"
    """What a mask pixel is: a value (in palette files the number of its colour), an exact colour,
    or the nearest colour (JPEG masks).
    """
    ignore_value: int | None = None
    """Value of void pixels in mask files; they count neither in the loss nor in the metrics."""

    @model_validator(mode="after")
    def _check_lengths(self) -> ClassesConfig:
        if not len(self.names) == len(self.values) == len(self.colors):
            counts = f"{len(self.names)}, {len(self.values)} and {len(self.colors)}"
            raise ValueError(
                f"names, values and colors must have one entry for each class, got {counts}"
            )
        if len(self.names) < 2:
            raise ValueError("at least two classes are needed: the background and one more")
        if len(set(self.values)) < len(self.values) or len(set(self.names)) < len(self.names):
            raise ValueError("names and values must not repeat")
        if self.mask_encoding != "values" and len(set(self.colors)) < len(self.colors):
            raise ValueError(f"colors must not repeat where mask_encoding={self.mask_encoding}")
        if self.ignore_value in self.values:
            raise ValueError(
                f"ignore_value {self.ignore_value} is the value of a class; void pixels need a "
                "value of their own"
            )
        return self


def split_pattern(pattern: str) -> tuple[str, str]:
    """What stands before and after {stem} in the name of a mask file; raises ValueError for
    anything but a name with {stem} once.
    """
    before, stem, after = pattern.partition("{stem}")
    if not stem or re.search(r"[{}/\x00]", before + after):
        raise ValueError(
            f"'{pattern}' must have {{stem}} once where the image's name goes, as in "
            f"{{stem}}_mask, and no other brace or /"
        )
    return before, after


class DataConfig(Section):
    """Where images come from and how they are read."""

    path: PathText | None = None
    """ACDC tree or folder of image/mask pairs; null generates and uses the built-in phantom."""
    format: Literal["auto", "acdc", "paired"] = "auto"
    """Kind of data at `path`; auto recognises it."""
    image_dir: PathText = "image"
    """Folder of the images below each split folder."""
    mask_dir: PathText = "mask"
    """Folder of the masks below each split folder."""
    mask_pattern: str = "{stem}_mask"
    """Mask file stem for an image file stem."""
    extensions: tuple[str, ...] = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp")
    """File endings that are images; everything else in the folders is left alone."""
    patient_rule: str = "auto"
    """Who an image belongs to: `auto` (records.csv, else patientNNN in the name, else cmrN pairs,
    else each), `pairs` (2k-1 and 2k), `each` image its own, or a regular expression whose first
    group is the patient.
    """
    channels: Literal[1, 3] = 1
    """1 for grey images, 3 for RGB."""
    size: tuple[Count, Count] | None = None
    """Height and width that images are resized to; null keeps them (all training images must then
    have one size).
    """
    normalize: Literal["per_image", "fixed", "none"] = "per_image"
    """`per_image`: zero mean and unit variance per image; `fixed`: by `mean` and `std`; `none`:
    grey values in 0..1.
    """
    mean: float = 68.1232 / 255
    """Mean of `fixed` normalisation on the 0..1 scale."""
    std: Positive = 61.0349 / 255
    """Standard deviation of `fixed` normalisation on the 0..1 scale."""
    val_fraction: Annotated[float, Field(gt=0, lt=1)] = 0.2
    """Part of the patients that validate when the data has no val folder."""
    split_seed: int = 0
    """Seed of that split, and of the division into folds."""
    num_folds: Annotated[int, Field(ge=2)] | None = None
    """Cross-validation: number of folds that the patients of train and val are divided into; null
    keeps train and val.
    """
    fold: Annotated[int, Field(ge=0, strict=True)] | None = None
    """The fold that validates, counted from 0, while the others train."""
    validation: bool = True
    """Validate; false trains on train and val together, and the last weights are the best."""
    cache: Literal["auto", "memory", "disk", "none"] = "auto"
    """Where training images wait between epochs: `memory`, `disk` (unnamed files below data/), or
    `none`: the files are read in every epoch.

    `auto` takes memory where half of what is free holds them, else disk.
    """
    num_workers: Annotated[int, Field(ge=0)] = 0
    """Loader processes; 0 loads in the training process, the fastest for small cached images."""

    @field_validator("mask_pattern")
    @classmethod
    def _check_pattern(cls, pattern: str) -> str:
        split_pattern(pattern)
        return pattern

    @field_validator("image_dir", "mask_dir")
    @classmethod
    def _check_inside(cls, folder: str) -> str:
        if PurePosixPath(folder).is_absolute() or ".." in PurePosixPath(folder).parts:
            raise ValueError(
                f"'{folder}' must be a folder below the data's; set data.path to the folder that "
                "holds all of it"
            )
        return folder

    @field_validator("patient_rule")
    @classmethod
    def _check_patient_rule(cls, rule: str) -> str:
        try:
            known = rule in PATIENT_RULES or re.compile(rule).groups > 0
        except (re.error, RecursionError, OverflowError):
            known = False
        if not known:
            raise ValueError(
                f"'{rule}' must be one of {', '.join(PATIENT_RULES)}, or a regular expression "
                "with one group"
            )
        return rule

    @model_validator(mode="after")
    def _check_folds(self) -> DataConfig:
        if not self.validation and (self.fold is not None or self.num_folds is not None):
            raise ValueError(
                "validation=false trains on all folds: leave data.fold and data.num_folds out"
            )
        if self.num_folds is not None and self.fold is None:
            raise ValueError(
                f"num_folds={self.num_folds} needs the fold that validates: set data.fold to "
                f"0..{self.num_folds - 1}"
            )
        if self.fold is not None and self.num_folds is None:
            raise ValueError("fold needs the number of folds: set data.num_folds, for example to 5")
        if self.fold is not None and self.num_folds is not None and self.fold >= self.num_folds:
            raise ValueError(
                f"fold={self.fold} is not one of {self.num_folds} folds, which count from 0: set "
                f"data.fold to 0..{self.num_folds - 1}"
            )
        return self


class PrepareConfig(Section):
    """How slices are cut from volumes; the defaults are the geometry of the 96x96 coursework
    slices.
    """

    spacing: Positive | None = 1.8
    """In-plane pixel size in mm after resampling; null keeps the scanner's."""
    size: tuple[Count, Count] = (96, 96)
    """Height and width of the crop in pixels."""
    crop: Literal["heart", "center"] = "heart"
    """Centre the crop on the heart's mask, or on the image."""
    slices: Literal["mid", "all"] = "all"
    """All slices of a volume, or the middle one."""
    interpolation: Literal["linear", "nearest"] = "linear"
    """How images are resampled; the coursework's own images were sampled nearest.

    Masks always are.
    """
    phases: tuple[Literal["ED", "ES"], ...] = ("ED", "ES")
    """Phases of the cardiac cycle to take."""


class AugmentConfig(Section):
    """The random part of training; drawn anew for every image and epoch."""

    preset: Literal[
        "none", "horizontal", "vertical", "rotate90", "shear", "shift", "reference", "mix", "strong"
    ] = "strong"
    """Pipeline; `reference`, `mix` and the single ones are the reference study's, `strong` is ours.
    """
    strength: Annotated[float, Field(ge=0, le=2)] = 1.0
    """Scales the ranges of `strong`, and `flip_rotate_prob`; 0 leaves `bias_field` alone."""
    flip_rotate_prob: Fraction = 0.5
    """Part of `strong`: how often an image is mirrored or turned by right angles; 0 for data that
    all lie one way.
    """
    bias_field: NotNegative = 0.0
    """Part of `strong`: standard deviation of the logarithm of a smooth random shading, as of a
    surface coil; 0 leaves it out.
    """
    repeats: Annotated[int, Field(ge=1)] = 1
    """How often each image is seen in an epoch, augmented differently each time."""


class LossConfig(Section):
    """What training minimises."""

    name: Literal[
        "cross_entropy",
        "dice",
        "dice_ce",
        "dice_focal",
        "focal",
        "tversky",
        "focal_tversky",
        "jaccard",
        "bce",
    ] = "dice_ce"
    """Loss by name."""
    class_weights: tuple[NotNegative, ...] | None = None
    """Weight of each class, background first; null weighs them equally."""
    lambda_dice: NotNegative = 1.0
    """Weight of the Dice part in `dice_ce` and `dice_focal`."""
    lambda_ce: NotNegative = 1.0
    """Weight of the cross-entropy part in `dice_ce`."""
    lambda_focal: NotNegative = 1.0
    """Weight of the focal part in `dice_focal`."""
    gamma: NotNegative = 2.0
    """Focusing exponent of `focal` and `dice_focal`."""
    tversky_alpha: NotNegative = 0.3
    """Weight of false positives in `tversky` and `focal_tversky`."""
    tversky_beta: NotNegative = 0.7
    """Weight of false negatives in `tversky` and `focal_tversky`."""
    tversky_gamma: Annotated[float, Field(gt=0)] = 0.75
    """Exponent of `focal_tversky`."""
    label_smoothing: Probability = 0.0
    """Label smoothing of the cross-entropy part."""


class OptimizerConfig(Section):
    """How weights move."""

    name: Literal["adam", "adamw", "rmsprop", "sgd"] = "adamw"
    """Optimizer; sgd is with Nesterov momentum."""
    lr: Positive = 0.001
    """Learning rate; the peak where the schedule has one."""
    weight_decay: NotNegative = 0.0001
    """Weight decay; decoupled in adamw, an L2 term in the others."""
    momentum: Probability = 0.9
    """Momentum of sgd and rmsprop."""


class ScheduleConfig(Section):
    """How the learning rate changes from step to step."""

    name: Literal["constant", "one_cycle", "cosine", "poly"] = "one_cycle"
    """Shape after the warm-up: constant, one_cycle (cosine up and down), cosine to zero, or poly.
    """
    warmup_fraction: Fraction = 0.1
    """Part of all steps in which the rate rises to `optimizer.lr`; 0 starts there."""
    power: Positive = 0.9
    """Exponent of poly."""


class TrainConfig(Section):
    """The loop."""

    epochs: Count = 100
    """Passes over the training images."""
    batch_size: Count = 16
    """Images in one batch, shared evenly by all processes: their number must divide it."""
    grad_accum_steps: Count = 1
    """Batches whose gradients are averaged for one step."""
    max_grad_norm: Positive | None = 5.0
    """Largest norm of the gradient; null does not clip."""
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    """Arithmetic of the network; auto takes bf16 where the device computes it natively, else fp32.
    """
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """Where to train; auto takes a GPU when there is one."""
    num_threads: Annotated[int, Field(ge=1, le=1024)] | None = None
    """Threads of the processor; null takes PyTorch's number.

    Another number may change the last digits of a result.
    """
    ema_decay: Probability | None = 0.99
    """Decay per step of the averaged weights that are validated and kept; null keeps the raw
    weights.
    """
    patience: Count | None = None
    """Stop after so many epochs without a better validation Dice; null never does."""
    val_interval: Count = 1
    """Epochs between validations; the last epoch is always validated."""
    checkpoint_interval_s: NotNegative = 60.0
    """Least time between writes of last.pt; 0 writes it after every step.

    A stopped run always writes it.
    """
    log_images_interval: Annotated[int, Field(ge=0)] = 10
    """Epochs between overlay images in TensorBoard; 0 writes none."""
    num_log_images: Count = 4
    """Overlay images at a time."""


class Config(Section):
    """A whole run."""

    name: str | None = Field(default=None, pattern=r"^[\w][\w.\- ]*$")
    """Run name; null takes the model's name, numbered when taken."""
    runs_dir: PathText = "runs"
    """Folder that run folders are made in."""
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    """Seed of everything random."""
    data: DataConfig = DataConfig()
    prepare: PrepareConfig = PrepareConfig()
    classes: ClassesConfig = ClassesConfig()
    model: ModelConfig = UNetConfig()
    augment: AugmentConfig = AugmentConfig()
    loss: LossConfig = LossConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    schedule: ScheduleConfig = ScheduleConfig()
    train: TrainConfig = TrainConfig()

    @model_validator(mode="after")
    def _check_class_weights(self) -> Config:
        weights = self.loss.class_weights
        if weights is not None and len(weights) != len(self.classes.names):
            raise ValueError(
                f"loss.class_weights has {len(weights)} entries for {len(self.classes.names)} "
                "classes"
            )
        return self
