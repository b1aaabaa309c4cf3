"""Losses by name, all from logits `(B, K, H, W)` and class indices `(B, H, W)` to one number.

Region losses (Dice, Jaccard, Tversky) leave out the background, as the headline metric does, and
pool each class over the batch before dividing. Slices near apex and base lack classes; taken image
by image, the Dice loss of an absent class is stuck near one, almost without gradient, until every
pixel of the prediction has vanished. Pooled, its false positives cost what they cost in other
images (nnU-Net does the same in 2D: Isensee 2021).

`class_weights` make weighted means: over pixels, by their class, in cross-entropy and focal loss;
over classes in the others. Void pixels (`ignore_index`) count nowhere and receive a gradient of
exactly zero.
"""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from monai.losses import DiceLoss, TverskyLoss
from torch import nn

from acdc_seg.config import LossConfig
from acdc_seg.errors import ConfigError

PIXEL_LOSSES = ("cross_entropy", "focal", "bce")
TINY = torch.finfo(torch.float32).tiny


def build_loss(
    config: LossConfig, *, num_classes: int, ignore_index: int | None = None
) -> nn.Module:
    """The configured loss.

    Its forward takes logits `(B, num_classes, H, W)` and class indices `(B, H, W)`, and gives a
    scalar.

    It computes in fp32, also under autocast (in fp64 for logits that are). A single logit is the
    score of the foreground (class 1) against the background (class 0). The class weights live in
    buffers: move the loss to the logits' device.

    Args:
        config: Name and options.
        num_classes: Channels of the logits.
        ignore_index: Index of void pixels.

    Raises:
        ConfigError: The class weights do not fit the classes, or leave nothing to minimise.
    """
    name = (
        "cross_entropy" if config.name == "bce" and num_classes == 1 else config.name
    )  # the same thing for a single logit
    weights = _class_weights(config, max(num_classes, 2))
    return SegmentationLoss(LOSSES[name](config, weights, ignore_index))


class SegmentationLoss(nn.Module):
    """A criterion of logits in fp32 at least, where a single logit becomes two classes: its sigmoid
    is the softmax of (0, logit).
    """

    def __init__(self, criterion: nn.Module) -> None:
        super().__init__()
        self.criterion = criterion

    def forward(self, logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Scalar loss of logits `(B, K, H, W)` and class indices `(B, H, W)`."""
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        if logits.shape[1] == 1:
            logits = torch.cat([torch.zeros_like(logits), logits], dim=1)  # (B, 2, H, W)
        return self.criterion(logits, target)


class CrossEntropyLoss(nn.Module):
    """Cross-entropy, focused on hard pixels by the factor (1 - p)**gamma where gamma is set (Lin
    2017, focal loss).

    MONAI's FocalLoss is not used: its mean over valid pixels is larger by the number of classes
    with `ignore_index` than without, and its gradient is NaN for gamma below one once a probability
    rounds to one.
    """

    class_weights: torch.Tensor

    def __init__(
        self,
        class_weights: torch.Tensor,
        ignore_index: int | None,
        *,
        label_smoothing: float = 0.0,
        gamma: float = 0.0,
    ) -> None:
        super().__init__()
        self.register_buffer("class_weights", class_weights)
        self.ignore_index = ignore_index
        self.label_smoothing = label_smoothing
        self.gamma = gamma

    def forward(self, logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Mean over valid pixels, weighted by their class, of logits `(B, K, H, W)` and class
        indices `(B, H, W)`.
        """
        target, valid = _without_void(target, self.ignore_index)
        pixels = F.cross_entropy(
            logits,
            target,
            self.class_weights,
            reduction="none",
            label_smoothing=self.label_smoothing,
        )
        if self.gamma:
            misfit = -torch.expm1(-F.cross_entropy(logits, target, reduction="none"))  # 1 - p
            pixels = pixels * misfit.clamp_min(1e-12).pow(self.gamma)
        return (pixels * valid).sum() / (self.class_weights[target] * valid).sum().clamp_min(TINY)


class BinaryCrossEntropy(nn.Module):
    """Every class against the rest: sigmoid cross-entropy of each logit, mean over valid pixels and
    weighted mean over classes.
    """

    class_weights: torch.Tensor

    def __init__(
        self, class_weights: torch.Tensor, ignore_index: int | None, *, label_smoothing: float
    ) -> None:
        super().__init__()
        self.register_buffer("class_weights", class_weights)
        self.ignore_index = ignore_index
        self.label_smoothing = label_smoothing

    def forward(self, logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Scalar of logits `(B, K, H, W)` and class indices `(B, H, W)`."""
        target, valid = _without_void(target, self.ignore_index)
        truth = F.one_hot(target, logits.shape[1]).movedim(-1, 1).to(logits)  # (B, K, H, W)
        truth = truth * (1 - self.label_smoothing) + self.label_smoothing / 2
        pixels = (
            F.binary_cross_entropy_with_logits(logits, truth, reduction="none") * valid[:, None]
        )
        classes = pixels.sum(dim=(0, 2, 3)) / valid.sum().clamp_min(1)  # (K,)
        return (classes * self.class_weights).sum() / self.class_weights.sum()


class OverlapLoss(nn.Module):
    """Weighted mean over the foreground classes of one of MONAI's overlap losses, each class raised
    to an exponent.

    Args:
        overlap: Gives one loss per foreground class for logits `(B, K, H, W)` and indices `(B, 1,
            H, W)`.
        class_weights: Weight of each class, `(K,)`; that of the background has no part.
        exponent: Power of each class's loss; below one it looks more at classes that are almost
            right.
    """

    class_weights: torch.Tensor

    def __init__(
        self, overlap: nn.Module, class_weights: torch.Tensor, *, exponent: float = 1.0
    ) -> None:
        super().__init__()
        self.register_buffer("class_weights", class_weights[1:])
        self.overlap = overlap
        self.exponent = exponent

    def forward(self, logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Scalar of logits `(B, K, H, W)` and class indices `(B, H, W)`."""
        classes = self.overlap(logits, target[:, None]).flatten()  # (K - 1,)
        if self.exponent != 1.0:
            classes = classes.clamp_min(1e-6).pow(self.exponent)  # the slope at zero is infinite
        return (classes * self.class_weights).sum() / self.class_weights.sum()


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


OVERLAP: dict[str, Any] = {
    "include_background": False,
    "to_onehot_y": True,
    "softmax": True,
    "batch": True,
    "reduction": "none",
}


def cross_entropy(config: LossConfig, weights: torch.Tensor, ignore_index: int | None) -> nn.Module:
    """Softmax cross-entropy with label smoothing."""
    return CrossEntropyLoss(weights, ignore_index, label_smoothing=config.label_smoothing)


def focal(config: LossConfig, weights: torch.Tensor, ignore_index: int | None) -> nn.Module:
    """Softmax focal loss (Lin 2017)."""
    return CrossEntropyLoss(weights, ignore_index, gamma=config.gamma)


def bce(config: LossConfig, weights: torch.Tensor, ignore_index: int | None) -> nn.Module:
    """Sigmoid cross-entropy of every class against the rest."""
    return BinaryCrossEntropy(weights, ignore_index, label_smoothing=config.label_smoothing)


def dice(config: LossConfig, weights: torch.Tensor, ignore_index: int | None) -> nn.Module:
    """1 - soft Dice (Milletari 2016)."""
    return OverlapLoss(DiceLoss(**OVERLAP, ignore_index=ignore_index), weights)


def jaccard(config: LossConfig, weights: torch.Tensor, ignore_index: int | None) -> nn.Module:
    """1 - soft intersection over union."""
    return OverlapLoss(DiceLoss(**OVERLAP, jaccard=True, ignore_index=ignore_index), weights)


def tversky(config: LossConfig, weights: torch.Tensor, ignore_index: int | None) -> nn.Module:
    """1 - Tversky index: Dice with separate weights of false positives and false negatives (Salehi
    2017).
    """
    return OverlapLoss(_tversky_overlap(config, ignore_index), weights)


def focal_tversky(config: LossConfig, weights: torch.Tensor, ignore_index: int | None) -> nn.Module:
    """(1 - Tversky index)**tversky_gamma (Abraham 2019)."""
    return OverlapLoss(
        _tversky_overlap(config, ignore_index), weights, exponent=config.tversky_gamma
    )


def dice_ce(config: LossConfig, weights: torch.Tensor, ignore_index: int | None) -> nn.Module:
    """lambda_dice * Dice + lambda_ce * cross-entropy."""
    return WeightedSum(
        (config.lambda_dice, dice(config, weights, ignore_index)),
        (config.lambda_ce, cross_entropy(config, weights, ignore_index)),
    )


def dice_focal(config: LossConfig, weights: torch.Tensor, ignore_index: int | None) -> nn.Module:
    """lambda_dice * Dice + lambda_focal * focal loss."""
    return WeightedSum(
        (config.lambda_dice, dice(config, weights, ignore_index)),
        (config.lambda_focal, focal(config, weights, ignore_index)),
    )


LOSSES: dict[str, Callable[[LossConfig, torch.Tensor, int | None], nn.Module]] = {
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


def _tversky_overlap(config: LossConfig, ignore_index: int | None) -> TverskyLoss:
    return TverskyLoss(
        **OVERLAP, alpha=config.tversky_alpha, beta=config.tversky_beta, ignore_index=ignore_index
    )


def _without_void(
    target: torch.Tensor, ignore_index: int | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """The target with void pixels set to class 0, and which pixels are valid, both `(B, H, W)`."""
    if ignore_index is None:
        return target, torch.ones_like(target, dtype=torch.bool)
    valid = target != ignore_index
    return target.where(valid, 0), valid


def _class_weights(config: LossConfig, num_classes: int) -> torch.Tensor:
    """Weight per class, `(num_classes,)`; ones where none are given."""
    weights = config.class_weights or (1.0,) * num_classes
    if len(weights) != num_classes:
        raise ConfigError(
            f"loss.class_weights has {len(weights)} entries for {num_classes} classes: give one "
            "per class, background first"
        )
    if not any(weights if config.name in PIXEL_LOSSES else weights[1:]):
        raise ConfigError(
            f"loss.class_weights {list(weights)} leaves {config.name} nothing to minimise: give a "
            "foreground class a weight"
        )
    return torch.tensor(weights, dtype=torch.float32)
