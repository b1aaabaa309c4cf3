"""Settings of the data: files, slicing and augmentation."""

import re
from pathlib import PurePosixPath
from typing import Annotated, Any, Literal, Self

from pydantic import (
    Field,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    field_validator,
    model_validator,
)

from acdc_seg.config.section import (
    Count,
    Fraction,
    NotNegative,
    PathText,
    Positive,
    Section,
)

MASK_PATTERN = "{stem}_mask"
"""Name of predicted masks, and of the masks of prepared slices."""


def _check_per_channel(value: Any, validate: ValidatorFunctionWrapHandler) -> Any:
    # else pydantic explains why the value is no number, and then why it is not three
    try:
        return validate(value)
    except ValidationError:
        raise ValueError(
            f"got {str(value)[:50]}; expected a number, or three for R, G and B, above 0 for std"
        ) from None


Finite = Annotated[float, Field(allow_inf_nan=False)]
PerChannel = Annotated[Finite | tuple[Finite, Finite, Finite], WrapValidator(_check_per_channel)]
PositivePerChannel = Annotated[
    Positive | tuple[Positive, Positive, Positive], WrapValidator(_check_per_channel)
]

PATIENT_RULES = ("auto", "pairs", "each")


def split_pattern(pattern: str) -> tuple[str, str]:
    """The parts of a mask file's name before and after {stem}.

    Raises:
        ValueError: Not a file name with {stem} once.
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
    """ACDC tree or folder of image/mask pairs; null takes the built-in phantom."""
    format: Literal["auto", "table", "acdc", "nifti", "side_by_side", "paired"] = "auto"
    """Data format at `path`; auto detects it."""
    image_dir: PathText | None = None
    """Folder of the images, in each split folder or with those below it; null finds image, images,
    img or imgs.
    """
    mask_dir: PathText | None = None
    """Folder of the masks; null finds mask(s), label(s), gt, annotations, seg(mentations)."""
    mask_pattern: str | None = None
    """Stem of the mask file of an image of stem {stem}; null compares the names. Predicted masks
    are named {stem}_mask then.
    """
    extensions: tuple[str, ...] | None = None
    """File extensions of images; others are ignored. Null takes all that the format can have."""
    patient_rule: str = "auto"
    """Patient of an image: `auto` (records.csv, else patientNNN in the name, else cmrN pairs, else
    each, and asks where names share a stem), `pairs` (2k-1 and 2k), `each` (every image its own),
    or a regular expression whose first group is the patient.
    """
    channels: Literal[1, 3] = 1
    """1 for grey images, 3 for RGB; where masks are colours, 3 unless it is given."""
    size: tuple[Count, Count] | None = None
    """Height and width that the network trains on. null: images of one size keep it, and for images
    of several sizes one is chosen, said, and written into the run's config.
    """
    fit: Literal["auto", "resize", "pad", "crop", "stretch"] = "auto"
    """Images of other sizes than `size`. `resize`: scaled to fit, aspect kept, then padded; `pad`:
    padded; `crop`: random windows of `size` train, overlapping windows predict; `stretch`: scaled,
    aspect lost; `auto`: resize, or crop where `size` was chosen. Padding counts in no loss.
    """
    foreground_windows: Fraction = 0.5
    """Part of the windows of `crop` that are drawn around a pixel of another class than the first,
    so that small classes are not missed; the rest fall anywhere.
    """
    normalize: Literal["per_image", "fixed", "imagenet", "none"] = "per_image"
    """`per_image`: zero mean and unit variance per image; `fixed`: by `mean` and `std`; `imagenet`:
    by the means and deviations of ImageNet's RGB; `none`: values in 0..1.
    """
    mean: PerChannel = 68.1232 / 255
    """Mean of `fixed` normalisation on the 0..1 scale, or three, for R, G and B."""
    std: PositivePerChannel = 61.0349 / 255
    """Standard deviation of `fixed` normalisation on the 0..1 scale, or three."""
    val_fraction: Annotated[float, Field(gt=0, lt=1)] = 0.2
    """Fraction of the patients that validate when the data has no val folder."""
    split_seed: int = 0
    """Seed of that split, and of the folds."""
    num_folds: Annotated[int, Field(ge=2)] | None = None
    """Number of cross-validation folds of the patients in train and val; null keeps the split."""
    fold: Annotated[int, Field(ge=0, strict=True)] | None = None
    """Fold that validates, counted from 0; the others train."""
    validation: bool = True
    """Validate; false trains on train and val together and keeps the last weights."""
    cache: Literal["auto", "memory", "disk", "none"] = "auto"
    """Cache of the training images: `memory`, `disk` (unnamed files below data/), `none` (files are
    read in every epoch), or `auto`: memory where half of the free memory holds them, else disk.
    """
    num_workers: Annotated[int, Field(ge=0)] | None = None
    """Loader processes; 0 loads in the training process, fastest for small cached images on the
    CPU. null: 0 on the CPU, up to 8 on a GPU.
    """

    @property
    def window(self) -> tuple[int, int] | None:
        """Height and width of the windows that train and predict; None where whole images do."""
        return self.size if self.fit == "crop" else None

    @property
    def output_pattern(self) -> str:
        """Stem of the mask file that is written for an image of stem {stem}."""
        return self.mask_pattern or MASK_PATTERN

    @field_validator("mask_pattern", mode="before")
    @classmethod
    def _accept_unquoted(cls, pattern: Any) -> Any:
        """In YAML, {stem} without quotes is a block of one key."""
        return "{stem}" if pattern == {"stem": None} else pattern

    @field_validator("mask_pattern")
    @classmethod
    def _check_pattern(cls, pattern: str | None) -> str | None:
        if pattern is not None:
            split_pattern(pattern)
        return pattern

    @field_validator("image_dir", "mask_dir")
    @classmethod
    def _check_inside(cls, folder: str | None) -> str | None:
        if folder is None:
            return None
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
    def _check_channels(self) -> Self:
        if self.channels == 3:
            return self
        if self.normalize == "imagenet":
            raise ValueError(
                "normalize=imagenet is for RGB: set data.channels=3, which reads gray files too"
            )
        if isinstance(self.mean, tuple) or isinstance(self.std, tuple):
            raise ValueError(
                "mean and std of three channels are for RGB: set data.channels=3, or give a number"
            )
        return self

    @model_validator(mode="after")
    def _check_folds(self) -> Self:
        if not self.validation and (self.fold is not None or self.num_folds is not None):
            raise ValueError(
                "validation=false trains on all folds: leave data.fold and data.num_folds out"
            )
        if self.num_folds is None:
            if self.fold is not None:
                raise ValueError(
                    "fold needs the number of folds: set data.num_folds, for example to 5"
                )
            return self
        remedy = f"set data.fold to 0..{self.num_folds - 1}"
        if self.fold is None:
            raise ValueError(f"num_folds={self.num_folds} needs the fold that validates: {remedy}")
        if self.fold >= self.num_folds:
            raise ValueError(
                f"fold={self.fold} is not one of {self.num_folds} folds, which count from 0: "
                f"{remedy}"
            )
        return self


class PrepareConfig(Section):
    """Slices cut from volumes; the defaults are the geometry of the 96x96 coursework slices."""

    spacing: Positive | None = 1.8
    """In-plane pixel size in mm after resampling; null keeps the scanner's."""
    size: tuple[Count, Count] = (96, 96)
    """Height and width of the crop in pixels."""
    crop: Literal["heart", "center", "none"] = "heart"
    """Centre the crop on the heart's mask, or on the image; `none` keeps whole slices, of which no
    mask has to be known.
    """
    slices: Literal["mid", "all"] = "all"
    """All slices of a volume, or the middle one."""
    interpolation: Literal["linear", "nearest"] = "linear"
    """Resampling of images; nearest reproduces the coursework's. Masks are always nearest."""
    phases: tuple[Literal["ED", "ES"], ...] = ("ED", "ES")
    """Phases of the cardiac cycle to take."""


class AugmentConfig(Section):
    """Random augmentation, redrawn for every image and epoch."""

    preset: Literal[
        "none", "horizontal", "vertical", "rotate90", "shear", "shift", "reference", "mix", "strong"
    ] = "strong"
    """Pipeline: `strong` is ours, all others are the reference study's."""
    strength: Annotated[float, Field(ge=0, le=2)] = 1.0
    """Scales the ranges of `strong`, and `flip_rotate_prob`; 0 leaves `bias_field` alone."""
    flip_rotate_prob: Fraction = 0.5
    """Part of `strong`: probability of a random flip or 90-degree rotation; 0 for data of one
    orientation.
    """
    bias_field: NotNegative = 0.0
    """Part of `strong`: standard deviation of the log of a smooth random bias field; 0 has none."""
    repeats: Annotated[int, Field(ge=1)] = 1
    """Times that each image is used per epoch, with another augmentation each time."""
