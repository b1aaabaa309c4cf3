"""Loss functions by name: logits `(B, K, H, W)` and class indices `(B, H, W)` to one number.

Region losses (Dice, Jaccard, Tversky) leave out the background where there is one, as the headline
metric does, and pool each class over the batch before dividing. Slices near apex and base lack
classes; taken image by image, the Dice loss of an absent class is stuck near one, almost without
gradient, until every pixel of the prediction has vanished. Pooled, its false positives cost what
they cost in other images (nnU-Net does the same in 2D: Isensee 2021).

`class_weights` make weighted means: over pixels, by their class, in cross-entropy and focal loss;
over classes in the others. Void pixels (`ignore_index`) count nowhere and receive a gradient of
exactly zero.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from monai.losses import DiceLoss, TverskyLoss
from torch import nn

from acdc_seg.config import LossConfig
from acdc_seg.errors import ConfigError

PIXEL_LOSSES = ("cross_entropy", "focal", "bce")
TINY = torch.finfo(torch.float32).tiny


class TargetClasses(NamedTuple):
    """The classes of a loss.

    Attributes:
        weights: Of each class, `(K,)`.
        ignore_index: Index of void pixels.
        has_background: The first class is the background.
    """

    weights: torch.Tensor
    ignore_index: int | None = None
    has_background: bool = True


def build_loss(
    config: LossConfig,
    *,
    num_classes: int,
    ignore_index: int | None = None,
    has_background: bool = True,
) -> nn.Module:
    """The configured loss, from logits `(B, K, H, W)` and class indices `(B, H, W)` to a scalar.

    It computes in fp32, also under autocast (in fp64 for logits that are). The class weights are in
    buffers: move the loss to the logits' device.

    Args:
        config: Name and options.
        num_classes: K, at least 2.
        ignore_index: Index of void pixels.
        has_background: The first class is the background, which region losses leave out.

    Raises:
        ConfigError: The class weights do not fit the classes, or leave nothing to minimise.
    """
    weights = _class_weights(config, num_classes, int(has_background))
    classes = TargetClasses(weights, ignore_index, has_background)
    return SegmentationLoss(LOSSES[config.name](config, classes))


class SegmentationLoss(nn.Module):
    """A criterion of logits in fp32 at least."""

    def __init__(self, criterion: nn.Module) -> None:
        super().__init__()
        self.criterion = criterion

    def forward(self, logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Scalar loss of logits `(B, K, H, W)` and class indices `(B, H, W)`."""
        return self.criterion(logits.to(torch.promote_types(logits.dtype, torch.float32)), target)


class PixelwiseLoss(nn.Module):
    """Options of a loss that is a mean over valid pixels."""

    class_weights: torch.Tensor

    def __init__(
        self, classes: TargetClasses, *, label_smoothing: float = 0.0, gamma: float = 0.0
    ) -> None:
        super().__init__()
        self.register_buffer("class_weights", classes.weights)
        self.is_weighted = bool((classes.weights != 1).any())
        self.ignore_index = classes.ignore_index
        self.label_smoothing = label_smoothing
        self.gamma = gamma


class CrossEntropyLoss(PixelwiseLoss):
    """Cross-entropy; a positive gamma weights pixels by (1 - p)**gamma (focal loss, Lin 2017).

    MONAI's FocalLoss is not used: its mean over valid pixels is larger by the number of classes
    with `ignore_index` than without, and its gradient is NaN for gamma below one once a probability
    rounds to one.
    """

    def forward(self, logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Mean over valid pixels, weighted by their class; shapes `(B, K, H, W)`, `(B, H, W)`."""
        if self.ignore_index is None and not (self.is_weighted or self.gamma):
            return F.cross_entropy(logits, target, label_smoothing=self.label_smoothing)
        target, valid = _without_void(target, self.ignore_index)
        weights, smoothing = self.class_weights, self.label_smoothing
        pixels = F.cross_entropy(
            logits, target, weights, reduction="none", label_smoothing=smoothing
        )
        if self.gamma:
            one_minus_p = -torch.expm1(-F.cross_entropy(logits, target, reduction="none"))
            pixels = pixels * one_minus_p.clamp_min(1e-12).pow(self.gamma)
        return (pixels * valid).sum() / (weights[target] * valid).sum().clamp_min(TINY)


class BinaryCrossEntropyLoss(PixelwiseLoss):
    """Sigmoid cross-entropy of each class against the rest, a weighted mean over the classes."""

    def forward(self, logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Scalar of logits `(B, K, H, W)` and class indices `(B, H, W)`."""
        target, valid = _without_void(target, self.ignore_index)
        one_hot = F.one_hot(target, logits.shape[1]).movedim(-1, 1).to(logits)  # (B, K, H, W)
        one_hot = one_hot * (1 - self.label_smoothing) + self.label_smoothing / 2
        pixels = F.binary_cross_entropy_with_logits(logits, one_hot, reduction="none")
        pixels = pixels * valid[:, None]
        class_losses = pixels.sum(dim=(0, 2, 3)) / valid.sum().clamp_min(1)  # (K,)
        return (class_losses * self.class_weights).sum() / self.class_weights.sum()


class OverlapLoss(nn.Module):
    """One of MONAI's overlap losses, a weighted mean over the classes but the background.

    Args:
        overlap: One loss per counted class of logits `(B, K, H, W)` and indices `(B, 1, H, W)`.
        classes: The weight of the background, if there is one, is not used.
        exponent: Power of each class's loss; below one, classes that are almost right count more.
    """

    class_weights: torch.Tensor

    def __init__(
        self, overlap: nn.Module, classes: TargetClasses, *, exponent: float = 1.0
    ) -> None:
        super().__init__()
        self.register_buffer("class_weights", classes.weights[int(classes.has_background) :])
        self.overlap = overlap
        self.exponent = exponent

    def forward(self, logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Scalar of logits `(B, K, H, W)` and class indices `(B, H, W)`."""
        class_losses = self.overlap(logits, target[:, None]).flatten()  # (K - 1,) or (K,)
        if self.exponent != 1.0:  # clamped, for the slope at zero is infinite
            class_losses = class_losses.clamp_min(1e-6).pow(self.exponent)
        return (class_losses * self.class_weights).sum() / self.class_weights.sum()


class WeightedSum(nn.Module):
    """Sum of criteria, each times its factor."""

    def __init__(self, *terms: tuple[float, nn.Module]) -> None:
        super().__init__()
        self.factors = [factor for factor, _ in terms]
        self.criteria = nn.ModuleList(criterion for _, criterion in terms)

    def forward(self, logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Scalar of logits `(B, K, H, W)` and class indices `(B, H, W)`."""
        terms = [
            factor * criterion(logits, target)
            for factor, criterion in zip(self.factors, self.criteria, strict=True)
        ]
        return torch.stack(terms).sum()


def cross_entropy(config: LossConfig, classes: TargetClasses) -> nn.Module:
    """Softmax cross-entropy with label smoothing."""
    return CrossEntropyLoss(classes, label_smoothing=config.label_smoothing)


def focal(config: LossConfig, classes: TargetClasses) -> nn.Module:
    """Softmax focal loss (Lin 2017)."""
    return CrossEntropyLoss(classes, gamma=config.gamma)


def bce(config: LossConfig, classes: TargetClasses) -> nn.Module:
    """Sigmoid cross-entropy of every class against the rest."""
    return BinaryCrossEntropyLoss(classes, label_smoothing=config.label_smoothing)


def dice(config: LossConfig, classes: TargetClasses) -> nn.Module:
    """1 - soft Dice (Milletari 2016)."""
    return OverlapLoss(DiceLoss(**_overlap_options(classes)), classes)


def jaccard(config: LossConfig, classes: TargetClasses) -> nn.Module:
    """1 - soft intersection over union."""
    return OverlapLoss(DiceLoss(**_overlap_options(classes), jaccard=True), classes)


def tversky(config: LossConfig, classes: TargetClasses) -> nn.Module:
    """1 - Tversky index: Dice that weights false positives and negatives (Salehi 2017)."""
    return OverlapLoss(_tversky_overlap(config, classes), classes)


def focal_tversky(config: LossConfig, classes: TargetClasses) -> nn.Module:
    """(1 - Tversky index)**tversky_gamma (Abraham 2019)."""
    return OverlapLoss(_tversky_overlap(config, classes), classes, exponent=config.tversky_gamma)


def dice_ce(config: LossConfig, classes: TargetClasses) -> nn.Module:
    """lambda_dice * Dice + lambda_ce * cross-entropy."""
    return WeightedSum(
        (config.lambda_dice, dice(config, classes)),
        (config.lambda_ce, cross_entropy(config, classes)),
    )


def dice_focal(config: LossConfig, classes: TargetClasses) -> nn.Module:
    """lambda_dice * Dice + lambda_focal * focal loss."""
    return WeightedSum(
        (config.lambda_dice, dice(config, classes)),
        (config.lambda_focal, focal(config, classes)),
    )


LOSSES: dict[str, Callable[[LossConfig, TargetClasses], nn.Module]] = {
    "cross_entropy": cross_entropy,
    "dice": dice,
    "dice_ce": dice_ce,
    "dice_focal": dice_focal,
    "focal": focal,
    "tversky": tversky,
    "focal_tversky": focal_tversky,
    "jaccard": jaccard,
    "bce": bce,
}


def _overlap_options(classes: TargetClasses) -> dict[str, Any]:
    """Of MONAI's losses: softmax, each class pooled over the batch, one value for each."""
    return {
        "include_background": not classes.has_background,
        "to_onehot_y": True,
        "softmax": True,
        "batch": True,
        "reduction": "none",
        "ignore_index": classes.ignore_index,
    }


def _tversky_overlap(config: LossConfig, classes: TargetClasses) -> TverskyLoss:
    options = _overlap_options(classes)
    return TverskyLoss(**options, alpha=config.tversky_alpha, beta=config.tversky_beta)


def _without_void(
    target: torch.Tensor, ignore_index: int | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """The target with void pixels set to class 0, and which pixels are valid, both `(B, H, W)`."""
    if ignore_index is None:
        return target, torch.ones_like(target, dtype=torch.bool)
    valid = target != ignore_index
    return target.where(valid, 0), valid


def _class_weights(config: LossConfig, num_classes: int, first: int) -> torch.Tensor:
    """Weight per class, `(num_classes,)`; ones where none are given."""
    weights = config.class_weights or (1.0,) * num_classes
    if len(weights) != num_classes:
        raise ConfigError(
            f"loss.class_weights has {len(weights)} entries for {num_classes} classes: give one "
            "per class, in their order"
        )
    if not any(weights if config.name in PIXEL_LOSSES else weights[first:]):
        raise ConfigError(
            f"loss.class_weights {list(weights)} leaves {config.name} nothing to minimise: give a "
            "foreground class a weight"
        )
    return torch.tensor(weights, dtype=torch.float32)
