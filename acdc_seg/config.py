"""Every setting of a run, once. A `Config` is a frozen tree of small sections, checked as a whole.

Values come from, each over the one before: the defaults below, the shipped recipe of a model
(`configs/<model>.yaml`) or a YAML file, and `section.key=value` overrides.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Union, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, field_validator, model_validator

from acdc_seg.config_errors import describe, key_lines
from acdc_seg.errors import ConfigError, did_you_mean
from acdc_seg.labels import ACDC_LABELS

Fraction = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1)]
Color = tuple[
    Annotated[int, Field(ge=0, le=255)],
    Annotated[int, Field(ge=0, le=255)],
    Annotated[int, Field(ge=0, le=255)],
]


class Section(BaseModel):
    """A frozen group of settings; a key that it does not know is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, protected_namespaces=())


class ClassesConfig(Section):
    """What a mask file holds and what its classes are called; the first class is the background."""

    names: tuple[str, ...] = tuple(label.name for label in ACDC_LABELS)
    """Class names in the order of the network's outputs."""
    values: tuple[int, ...] = tuple(label.value for label in ACDC_LABELS)
    """Value of each class in mask files (written here as read: [0, 85, 170, 255] for scaled masks)."""
    colors: tuple[Color, ...] = tuple(label.color for label in ACDC_LABELS)
    """Colour of each class (R, G, B) in pictures, and in colour masks."""
    masks: Literal["values", "colors", "nearest_color"] = "values"
    """What a mask pixel is: a value, an exact colour, or the nearest colour (JPEG masks)."""
    ignore_value: int | None = None
    """Value of void pixels in mask files; they count neither in the loss nor in the metrics."""

    @model_validator(mode="after")
    def _check_lengths(self) -> ClassesConfig:
        if not len(self.names) == len(self.values) == len(self.colors):
            counts = f"{len(self.names)}, {len(self.values)} and {len(self.colors)}"
            raise ValueError(f"names, values and colors must have one entry for each class, got {counts}")
        if len(self.names) < 2:
            raise ValueError("at least two classes are needed: the background and one more")
        if len(set(self.values)) < len(self.values) or len(set(self.names)) < len(self.names):
            raise ValueError("names and values must not repeat")
        if self.masks != "values" and len(set(self.colors)) < len(self.colors):
            raise ValueError(f"colors must not repeat where masks={self.masks}")
        if self.ignore_value in self.values:
            raise ValueError(f"ignore_value {self.ignore_value} is the value of a class; void pixels need a value of their own")
        return self


class DataConfig(Section):
    """Where images come from and how they are read."""

    path: str | None = None
    """ACDC tree or folder of image/mask pairs; null generates and uses the built-in phantom."""
    source: Literal["auto", "acdc", "paired"] = "auto"
    """Kind of data at `path`; auto recognises it."""
    image_dir: str = "image"
    """Folder of the images below each split folder."""
    mask_dir: str = "mask"
    """Folder of the masks below each split folder."""
    mask_pattern: str = "{stem}_mask"
    """Mask file stem for an image file stem."""
    extensions: tuple[str, ...] = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp")
    """File endings that are images; everything else in the folders is left alone."""
    patients: str = "auto"
    """Who an image belongs to: `auto` (records.csv, else patientNNN in the name, else cmrN pairs, else each), `pairs` (2k-1 and 2k),
    `each` image its own, or a regular expression whose first group is the patient."""
    channels: Literal[1, 3] = 1
    """1 for grey images, 3 for RGB."""
    size: tuple[Count, Count] | None = None
    """Height and width that images are resized to; null keeps them (all training images must then have one size)."""
    normalize: Literal["image", "fixed", "none"] = "image"
    """`image`: zero mean and unit variance per image; `fixed`: by `mean` and `std`; `none`: grey values in 0..1."""
    mean: float = 68.1232 / 255
    """Mean of `fixed` normalisation on the 0..1 scale."""
    std: Positive = 61.0349 / 255
    """Standard deviation of `fixed` normalisation on the 0..1 scale."""
    val_fraction: Annotated[float, Field(gt=0, lt=1)] = 0.2
    """Part of the patients that validate when the data has no val folder."""
    split_seed: int = 0
    """Seed of that split."""
    num_workers: Annotated[int, Field(ge=0)] = 0
    """Loader processes; 0 loads in the training process, the fastest for small cached images."""

    @field_validator("mask_pattern")
    @classmethod
    def _check_pattern(cls, pattern: str) -> str:
        if pattern.count("{stem}") != 1 or re.search("[{}]", pattern.replace("{stem}", "")):
            raise ValueError(f"'{pattern}' must have {{stem}} once where the image's name goes, as in {{stem}}_mask")
        return pattern


class PrepareConfig(Section):
    """How slices are cut from volumes; the defaults are the geometry of the 96x96 coursework slices."""

    spacing: Positive | None = 1.8
    """In-plane pixel size in mm after resampling; null keeps the scanner's."""
    size: tuple[Count, Count] = (96, 96)
    """Height and width of the crop in pixels."""
    crop: Literal["heart", "centre"] = "heart"
    """Centre the crop on the heart's mask, or on the image."""
    slices: Literal["mid", "all"] = "all"
    """All slices of a volume, or the middle one."""
    interpolation: Literal["linear", "nearest"] = "linear"
    """How images are resampled; the coursework's own images were sampled nearest. Masks always are."""
    phases: tuple[Literal["ED", "ES"], ...] = ("ED", "ES")
    """Phases of the cardiac cycle to take."""


class UNetConfig(Section):
    """U-Net (Ronneberger 2015)."""

    shorthands: ClassVar[tuple[str, ...]] = ("preset",)
    name: Literal["unet"] = "unet"
    depth: Annotated[int, Field(ge=1, le=6)] = 5
    """Number of resolution levels; 5 means four times halved."""
    base_channels: Count = 32
    """Channels of the first level; every level doubles them."""
    up: Literal["transpose", "bilinear", "bilinear_conv1x1"] = "transpose"
    """How the decoder doubles the resolution."""
    norm: Literal["batch", "none"] = "batch"
    """Normalisation after every 3x3 convolution."""
    conv_bias: bool = False
    """Give the 3x3 convolutions a bias."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Dropout between the two convolutions of the deepest level."""

    @model_validator(mode="before")
    @classmethod
    def _expand_preset(cls, values: Any) -> Any:
        if not isinstance(values, Mapping) or "preset" not in values:
            return values
        preset = values["preset"]
        if str(preset) not in UNET_PRESETS:
            raise ValueError(f"unknown preset '{preset}': {did_you_mean(str(preset), UNET_PRESETS)}")
        return {**UNET_PRESETS[preset], **{key: value for key, value in values.items() if key != "preset"}}


UNET_PRESETS: dict[str, dict[str, Any]] = {
    "cityscapes": {"depth": 5, "base_channels": 32, "up": "transpose", "norm": "batch", "conv_bias": False},
    "pets": {"depth": 5, "base_channels": 64, "up": "bilinear_conv1x1", "norm": "batch", "conv_bias": True},
}


class DeepLabDRNConfig(Section):
    """DeepLabV3+ (Chen 2018) on DRN-D-54 (Yu 2017)."""

    name: Literal["deeplab_drn"] = "deeplab_drn"
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.5
    """Dropout after the ASPP and after the decoder's first convolution."""


ModelConfig = Annotated[Union[UNetConfig, DeepLabDRNConfig], Field(discriminator="name")]
MODEL_SECTIONS: dict[str, type[Section]] = {section.model_fields["name"].default: section for section in get_args(get_args(ModelConfig)[0])}


class AugmentConfig(Section):
    """The random part of training; drawn anew for every image and epoch."""

    preset: Literal["none", "horizontal", "vertical", "rotate90", "shear", "shift", "reference", "mix", "strong"] = "strong"
    """Pipeline; `reference`, `mix` and the single ones are the reference study's, `strong` is ours."""
    strength: Annotated[float, Field(ge=0, le=2)] = 1.0
    """Scales the ranges of `strong` and how often it flips and turns; 0 turns it off, 1 is as tuned for U-Net."""
    bias_field: NotNegative = 0.0
    """Part of `strong`: standard deviation of the logarithm of a smooth random shading, as of a surface coil; 0 leaves it out."""
    copies: Annotated[int, Field(ge=1)] = 1
    """How often each image is seen in an epoch, augmented differently each time."""


class LossConfig(Section):
    """What training minimises."""

    name: Literal["cross_entropy", "dice", "dice_ce", "dice_focal", "focal", "tversky", "focal_tversky", "jaccard", "bce", "ce_dice"] = (
        "dice_ce"
    )
    """Loss by name."""
    class_weights: tuple[NotNegative, ...] | None = None
    """Weight of each class, background first; null weighs them equally."""
    beta: Fraction = 0.5
    """Part of cross-entropy in `ce_dice`: beta * CE + (1 - beta) * Dice."""
    gamma: NotNegative = 2.0
    """Focusing exponent of `focal` and `dice_focal`."""
    tversky_alpha: NotNegative = 0.3
    """Weight of false positives in `tversky` and `focal_tversky`."""
    tversky_beta: NotNegative = 0.7
    """Weight of false negatives in `tversky` and `focal_tversky`."""
    tversky_gamma: Annotated[float, Field(gt=0)] = 0.75
    """Exponent of `focal_tversky`."""
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Label smoothing of the cross-entropy part."""


class OptimizerConfig(Section):
    """How weights move."""

    name: Literal["adam", "adamw", "rmsprop", "sgd"] = "adamw"
    """Optimizer; sgd is with Nesterov momentum."""
    lr: Positive = 0.001
    """Learning rate; the peak where the schedule has one."""
    weight_decay: NotNegative = 0.0001
    """Weight decay; decoupled in adamw, an L2 term in the others."""
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    """Momentum of sgd and rmsprop."""


class ScheduleConfig(Section):
    """How the learning rate changes from step to step."""

    name: Literal["constant", "one_cycle", "cosine", "poly"] = "one_cycle"
    """Shape after the warm-up: constant, one_cycle (cosine up and down), cosine to zero, or poly."""
    warmup: Fraction = 0.1
    """Part of all steps in which the rate rises to `optimizer.lr`; 0 starts there."""
    power: Positive = 0.9
    """Exponent of poly."""


class TrainConfig(Section):
    """The loop."""

    epochs: Count = 100
    """Passes over the training images."""
    batch_size: Count = 16
    """Images in one batch of one process."""
    accumulate: Count = 1
    """Batches whose gradients are averaged for one step."""
    clip_norm: Positive | None = 5.0
    """Largest norm of the gradient; null does not clip."""
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    """Arithmetic of the network; auto takes bf16 where the device computes it natively, else fp32."""
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """Where to train; auto takes a GPU when there is one."""
    ema_decay: Annotated[float, Field(ge=0, lt=1)] | None = 0.99
    """Decay per step of the averaged weights that are validated and kept; null keeps the raw weights."""
    patience: Count | None = None
    """Stop after so many epochs without a better validation Dice; null never does."""
    val_every: Count = 1
    """Epochs between validations; the last epoch is always validated."""
    save_seconds: NotNegative = 60.0
    """Least time between writes of last.pt; 0 writes it after every step. A stopped run always writes it."""
    images_every: Annotated[int, Field(ge=0)] = 10
    """Epochs between overlay images in TensorBoard; 0 writes none."""
    num_images: Count = 4
    """Overlay images at a time."""


class Config(Section):
    """A whole run."""

    name: str | None = Field(default=None, pattern=r"^[\w][\w.\- ]*$")
    """Run name; null takes the model's name, numbered when taken."""
    runs_dir: str = "runs"
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
            raise ValueError(f"loss.class_weights has {len(weights)} entries for {len(self.classes.names)} classes")
        return self


def configs_dir() -> Path:
    """The folder of the shipped YAML files, in a checkout as in an installed wheel."""
    package = Path(__file__).resolve().parent
    return next(folder for folder in (package / "configs", package.parent / "configs") if (folder / "default.yaml").is_file())


def load_config(path: str | Path | None = None, *, model: str | None = None, overrides: Iterable[str] = ()) -> Config:
    """Reads a YAML file, or the shipped recipe of `model`, over the defaults, and applies overrides.

    Args:
        path: YAML file of settings; only those that differ from the defaults need to stand in it.
        model: Name of a network. Without `path` its shipped recipe is the starting point.
        overrides: Texts such as `optimizer.lr=3.0e-4`.

    Raises:
        ConfigError: Anything unknown or out of range; all mistakes at once, a line each.
    """
    if model is not None and model not in MODEL_SECTIONS:
        raise ConfigError(f"model '{model}' is unknown: {did_you_mean(model, MODEL_SECTIONS)}")
    if path is None and model is not None and (configs_dir() / f"{model}.yaml").is_file():
        path = configs_dir() / f"{model}.yaml"
    tree, lines = _read_yaml(Path(path)) if path is not None else ({}, {})
    changes = dict(parse_override(text) for text in overrides)
    if model is not None:
        changes = {"model.name": model, **changes}
    return _validate(_merge(tree, changes), source=str(path) if path is not None else "", lines=lines, overridden=changes)


def with_overrides(config: Config, changes: Mapping[str, Any]) -> Config:
    """A copy with `{"section.key": value}` applied and everything checked again.

    Raises:
        ConfigError: A key is unknown or a value out of range.
    """
    return _validate(_merge(config_tree(config), changes))


def config_tree(config: Section) -> dict[str, Any]:
    """The config as plain dicts, lists, strings and numbers, ready for YAML, JSON or a checkpoint."""
    return config.model_dump(mode="json")


def config_from_tree(tree: Mapping[str, Any], source: str = "") -> Config:
    """The inverse of `config_tree`; raises ConfigError naming `source`."""
    return _validate(tree, source=source)


def dump_yaml(config: Config) -> str:
    """The whole config as YAML text that `load_config` reads back."""
    return yaml.safe_dump(config_tree(config), sort_keys=False, allow_unicode=True)


def parse_override(text: str) -> tuple[str, Any]:
    """Splits `section.key=value`; the value is read as YAML.

    Raises:
        ConfigError: No `=`, or a value that is not YAML.
    """
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise ConfigError(f"'{text}' is no override: write section.key=value, for example optimizer.lr=0.001")
    try:
        return key.strip(), yaml.safe_load(value)
    except (yaml.YAMLError, ValueError) as error:
        raise ConfigError(f"'{text}': the value is not YAML ({' '.join(str(error).split())})") from None


def build_model_section(name: str, options: Mapping[str, Any]) -> Any:
    """The checked section of one network, for example `UNetConfig` for `unet`.

    Raises:
        ConfigError: Unknown network or option.
    """
    if name not in MODEL_SECTIONS:
        raise ConfigError(f"model '{name}' is unknown: {did_you_mean(name, MODEL_SECTIONS)}")
    try:
        return _model_adapter().validate_python({**options, "name": name})
    except ValidationError as error:
        raise ConfigError(describe(error, root=Config, models=MODEL_SECTIONS, prefix=("model",))) from None


def default_yaml() -> str:
    """The text of configs/default.yaml: every setting with its default and its docstring as a comment."""
    lines = ["# Every setting with its default. A file of your own needs only the lines that differ.", ""]
    for key, field in Config.model_fields.items():
        if isinstance(field.default, Section):
            section = type(field.default)
            lines += ["", f"# {(section.__doc__ or '').strip()}", f"{key}:"]
            for name, setting in section.model_fields.items():
                lines += _commented(name, setting, getattr(field.default, name), indent="  ")
        else:
            lines += _commented(key, field, field.default, indent="")
    return "\n".join(lines) + "\n"


def _commented(name: str, field: Any, value: Any, indent: str) -> list[str]:
    comment = [f"{indent}# {line.strip()}" for line in (field.description or "").splitlines()]
    return [*comment, f"{indent}{name}: {json.dumps(value, default=list)}"]


@cache
def _model_adapter() -> TypeAdapter[Any]:
    return TypeAdapter(ModelConfig)


def _read_yaml(path: Path) -> tuple[dict[str, Any], dict[tuple[str, ...], int]]:
    try:
        text = path.read_text(encoding="utf-8")
        tree = yaml.safe_load(text)
    except OSError as error:
        raise ConfigError(f"{path}: cannot read this config file ({error.strerror}); check the path") from None
    except (yaml.YAMLError, ValueError) as error:
        raise ConfigError(f"{path}: this is not YAML: {' '.join(str(error).split())}") from None
    if tree is None:
        tree = {}
    if not isinstance(tree, dict):
        raise ConfigError(f"{path}: a config file holds 'section:' blocks, this one is a {type(tree).__name__}")
    sections = {key for key, field in Config.model_fields.items() if isinstance(field.default, Section)}
    tree = {key: {} if value is None and key in sections else value for key, value in tree.items()}
    return tree, key_lines(yaml.compose(text, Loader=yaml.SafeLoader))


def _merge(tree: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Sets dotted keys in a copy of the tree. Another `model.name` drops the options of the model before it, a preset those it sets."""
    merged = json.loads(json.dumps(tree, default=str))
    first = [key for key in ("model.name", "model.preset") if key in changes]
    for dotted in dict.fromkeys([*first, *changes]):
        value = changes[dotted]
        *parents, last = dotted.split(".")
        node = merged
        for parent in parents:
            node = node.setdefault(parent, {})
            if not isinstance(node, dict):
                raise ConfigError(f"{dotted}: '{parent}' is a value, not a section")
        if dotted == "model.name" and node.get("name", UNetConfig().name) != value:
            node.clear()
        if dotted == "model.preset":
            for option in UNET_PRESETS.get(str(value), {}):
                node.pop(option, None)
        node[last] = value
    return merged


def _validate(
    tree: Mapping[str, Any], *, source: str = "", lines: Mapping[tuple[str, ...], int] | None = None, overridden: Iterable[str] = ()
) -> Config:
    model = tree.get("model")
    if isinstance(model, Mapping) and "name" not in model:
        tree = {**tree, "model": {"name": UNetConfig().name, **model}}
    try:
        return Config.model_validate(tree)
    except ValidationError as error:
        raise ConfigError(
            describe(error, root=Config, models=MODEL_SECTIONS, source=source, lines=lines or {}, overridden=overridden)
        ) from None
