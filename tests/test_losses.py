"""Values by hand on two pixels of three classes, and the contract of every loss."""

from math import log
from typing import Any, get_args

import pytest
import torch
import torch.nn.functional as F
from monai.losses import DiceCELoss
from torch import nn

from acdc_seg.config import LossConfig
from acdc_seg.errors import ConfigError
from acdc_seg.losses import LOSSES, PIXEL_LOSSES, build_loss
from acdc_seg.models import create_model

VOID = 255

# Pixel A has probabilities 1/2, 1/4, 1/4 and is of class 1; pixel B has 1/4, 1/4, 1/2 and is of
# class 2.
PROBABILITIES = torch.tensor([[0.5, 0.25, 0.25], [0.25, 0.25, 0.5]])
LOGITS = PROBABILITIES.log().T.reshape(1, 3, 1, 2)
TARGET = torch.tensor([1, 2]).reshape(1, 1, 2)

# Class 1: overlap 1/4, probability 1/4 + 1/4, one pixel; class 2: overlap 1/2, probability 1/4 +
# 1/2, one pixel.
DICE = [1 - 2 * 0.25 / (0.5 + 1), 1 - 2 * 0.5 / (0.75 + 1)]
JACCARD = [1 - 0.25 / (0.5 + 1 - 0.25), 1 - 0.5 / (0.75 + 1 - 0.5)]
TVERSKY = [1 - 0.25 / (0.25 + 0.3 * 0.25 + 0.7 * 0.75), 1 - 0.5 / (0.5 + 0.3 * 0.25 + 0.7 * 0.5)]
CE = [log(4), log(2)]
FOCAL = [0.75**2 * log(4), 0.5**2 * log(2)]
# The sigmoid of log p is p / (1 + p): 1/3, 1/5, 1/5 in A and 1/5, 1/5, 1/3 in B.
BCE = [
    (-log(2 / 3) - log(4 / 5)) / 2,
    (-log(1 / 5) - log(4 / 5)) / 2,
    (-log(4 / 5) - log(1 / 3)) / 2,
]


def mean(values: list[float]) -> float:
    return sum(values) / len(values)


def criterion(
    name: str,
    logits: torch.Tensor,
    target: torch.Tensor,
    *,
    ignore_index: int | None = None,
    has_background: bool = True,
    **options: Any,
) -> torch.Tensor:
    config = LossConfig(name=name, **options)
    return build_loss(
        config,
        num_classes=logits.shape[1],
        ignore_index=ignore_index,
        has_background=has_background,
    )(logits, target)


def test_registry_and_config_know_the_same_losses() -> None:
    assert set(LOSSES) == set(get_args(LossConfig.model_fields["name"].annotation))


@pytest.mark.parametrize(
    ("name", "options", "expected"),
    [
        ("cross_entropy", {}, mean(CE)),
        ("focal", {"gamma": 2.0}, mean(FOCAL)),
        ("focal", {"gamma": 0.0}, mean(CE)),
        ("bce", {}, mean(BCE)),
        ("dice", {}, mean(DICE)),
        ("jaccard", {}, mean(JACCARD)),
        ("tversky", {}, mean(TVERSKY)),
        ("tversky", {"tversky_alpha": 0.5, "tversky_beta": 0.5}, mean(DICE)),
        ("focal_tversky", {}, mean([TVERSKY[0] ** 0.75, TVERSKY[1] ** 0.75])),
        ("dice_ce", {}, mean(DICE) + mean(CE)),
        ("dice_focal", {}, mean(DICE) + mean(FOCAL)),
        (
            "dice_ce",
            {"lambda_dice": 0.8, "lambda_ce": 0.2},
            0.8 * mean(DICE) + 0.2 * mean(CE),
        ),
        ("dice_focal", {"lambda_focal": 3.0}, mean(DICE) + 3 * mean(FOCAL)),
    ],
)
def test_values_by_hand(name: str, options: dict[str, Any], expected: float) -> None:
    assert criterion(name, LOGITS, TARGET, **options).item() == pytest.approx(expected, abs=2e-5)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("cross_entropy", (1 * CE[0] + 3 * CE[1]) / 4),  # pixels of class 1 and 2
        ("focal", (1 * FOCAL[0] + 3 * FOCAL[1]) / 4),
        ("bce", (5 * BCE[0] + 1 * BCE[1] + 3 * BCE[2]) / 9),
        ("dice", (1 * DICE[0] + 3 * DICE[1]) / 4),
        ("jaccard", (1 * JACCARD[0] + 3 * JACCARD[1]) / 4),
        ("tversky", (1 * TVERSKY[0] + 3 * TVERSKY[1]) / 4),
        ("focal_tversky", (1 * TVERSKY[0] ** 0.75 + 3 * TVERSKY[1] ** 0.75) / 4),
        ("dice_ce", (1 * DICE[0] + 3 * DICE[1]) / 4 + (1 * CE[0] + 3 * CE[1]) / 4),
        ("dice_focal", (1 * DICE[0] + 3 * DICE[1]) / 4 + (1 * FOCAL[0] + 3 * FOCAL[1]) / 4),
    ],
)
def test_class_weights_make_weighted_means(name: str, expected: float) -> None:
    assert criterion(name, LOGITS, TARGET, class_weights=(5.0, 1.0, 3.0)).item() == pytest.approx(
        expected, abs=2e-5
    )
    assert criterion(
        name, LOGITS, TARGET, class_weights=(0.05, 0.01, 0.03)
    ).item() == pytest.approx(expected, abs=2e-5)


def test_label_smoothing_by_hand() -> None:
    a = 0.7 * log(4) + 0.1 * (
        log(2) + log(4) + log(4)
    )  # 0.3 of the weight spread over three classes
    b = 0.7 * log(2) + 0.1 * (log(4) + log(4) + log(2))
    assert criterion("cross_entropy", LOGITS, TARGET, label_smoothing=0.3).item() == pytest.approx(
        (a + b) / 2, abs=1e-6
    )
    # one class against the rest: 0.4 moves the target from 1 to 0.8; a sigmoid of 1/2 costs log 2
    # whatever the target, one of 3/4 does not
    logits, target = (
        torch.tensor([0.0, log(3)]).reshape(1, 2, 1, 1),
        torch.ones(1, 1, 1, dtype=torch.long),
    )
    expected = (log(2) - 0.8 * log(3 / 4) - 0.2 * log(1 / 4)) / 2
    assert criterion("bce", logits, target, label_smoothing=0.4).item() == pytest.approx(
        expected, abs=1e-6
    )


def test_a_class_is_pooled_over_the_batch() -> None:
    logits = torch.zeros(2, 2, 1, 1)  # probability 1/2 everywhere; the second image lacks class 1
    target = torch.tensor([1, 0]).reshape(2, 1, 1)
    assert criterion("dice", logits, target).item() == pytest.approx(
        1 - 2 * 0.5 / (1 + 1), abs=1e-5
    )


def test_dice_ce_agrees_with_monai() -> None:
    torch.manual_seed(0)
    logits, target = torch.randn(3, 4, 8, 8), torch.randint(0, 4, (3, 8, 8))
    theirs = DiceCELoss(include_background=False, to_onehot_y=True, softmax=True, batch=True)(
        logits, target[:, None]
    )
    assert criterion("dice_ce", logits, target).item() == pytest.approx(theirs.item(), abs=1e-6)


@pytest.mark.parametrize("name", ["cross_entropy", "dice_ce"])
def test_void_that_does_not_occur_changes_nothing(name: str) -> None:
    """Without weights and void pixels the cross-entropy is a plain mean."""
    torch.manual_seed(0)
    target = torch.randint(0, 3, (2, 5, 4))
    results = []
    for ignore_index in (None, VOID):
        logits = (2 * torch.linspace(-1, 1, 120).sin().reshape(2, 3, 5, 4)).requires_grad_()
        loss = criterion(name, logits, target, ignore_index=ignore_index, label_smoothing=0.1)
        results.append((loss, *torch.autograd.grad(loss, logits)))
    torch.testing.assert_close(results[0], results[1], atol=1e-6, rtol=1e-5)


def test_region_losses_count_the_first_class_where_it_is_no_background() -> None:
    torch.manual_seed(0)
    logits, target = torch.randn(3, 4, 8, 8), torch.randint(0, 4, (3, 8, 8))
    theirs = DiceCELoss(include_background=True, to_onehot_y=True, softmax=True, batch=True)(
        logits, target[:, None]
    )
    ours = criterion("dice_ce", logits, target, has_background=False)
    assert ours.item() == pytest.approx(theirs.item(), abs=1e-6)
    alone = criterion("dice", logits, target, has_background=False, class_weights=(1, 0, 0, 0))
    assert 0 < alone.item() < 1
    for name in PIXEL_LOSSES:
        losses = [criterion(name, logits, target, has_background=has) for has in (False, True)]
        assert torch.equal(*losses)


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("ignore_index", [VOID, -1, 0])
@pytest.mark.parametrize("weighted", [False, True])
def test_void_pixels_do_not_exist(name: str, ignore_index: int, weighted: bool) -> None:
    torch.manual_seed(0)
    options: dict[str, Any] = (
        {"class_weights": (1.0, 2.0, 3.0, 4.0), "label_smoothing": 0.1} if weighted else {}
    )
    logits = torch.randn(2, 4, 6, 5).mul(3).requires_grad_()
    target = torch.randint(0, 4, (2, 6, 5))
    target[torch.rand(2, 6, 5) < 0.3] = ignore_index
    valid = target != ignore_index
    loss = criterion(name, logits, target, ignore_index=ignore_index, **options)
    (gradient,) = torch.autograd.grad(loss, logits)

    pixels = logits.detach().movedim(1, 0)[:, valid][
        None, :, None
    ]  # (1, K, 1, N), the valid ones in a row
    assert loss.item() == pytest.approx(
        criterion(name, pixels, target[valid][None, None], **options).item(), abs=1e-6
    )
    gradient = gradient.movedim(1, -1)  # (B, H, W, K)
    assert not gradient[~valid].any()
    assert gradient[valid].any()


@pytest.mark.parametrize("name", LOSSES)
def test_a_batch_of_void_alone_costs_nothing_and_has_no_gradient(name: str) -> None:
    logits = torch.randn(2, 4, 3, 3, requires_grad=True)
    loss = criterion(
        name,
        logits,
        torch.full((2, 3, 3), VOID),
        ignore_index=VOID,
        class_weights=(0.1, 1.0, 1.0, 2.0),
    )
    assert loss.item() == pytest.approx(0.0, abs=1e-4)
    assert not torch.autograd.grad(loss, logits)[0].any()


@pytest.mark.parametrize("name", LOSSES)
def test_a_better_prediction_costs_less(name: str) -> None:
    torch.manual_seed(0)
    target = torch.randint(0, 4, (2, 5, 5))
    right = F.one_hot(target, 4).movedim(-1, 1).float()
    losses = [criterion(name, certainty * right, target).item() for certainty in (-4, -1, 0, 1, 4)]
    assert losses == sorted(losses, reverse=True)
    assert len(set(losses)) == 5


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("scale", [1e4, -1e4, 0.0])
def test_gradients_are_finite_at_the_extremes(name: str, dtype: torch.dtype, scale: float) -> None:
    torch.manual_seed(0)
    target = torch.randint(0, 4, (2, 5, 5))
    right = F.one_hot(target, 4).movedim(-1, 1).float()
    for gamma in (0.5, 2.0):
        logits = (scale * right).to(dtype).requires_grad_()
        loss = criterion(name, logits, target, gamma=gamma)
        assert loss.isfinite()
        assert torch.autograd.grad(loss, logits)[0].isfinite().all()


@pytest.mark.parametrize("name", LOSSES)
def test_computes_in_fp32_under_autocast(name: str) -> None:
    torch.manual_seed(0)
    logits, target = (
        torch.randn(2, 4, 16, 16, dtype=torch.bfloat16),
        torch.randint(0, 4, (2, 16, 16)),
    )
    expected = criterion(name, logits.float(), target)
    with torch.autocast("cpu", torch.bfloat16):
        loss = criterion(name, logits, target)
    assert loss.dtype == torch.float32
    assert torch.equal(loss, expected)


def test_weights_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ConfigError, match="class_weights has 2 entries for 4 classes"):
        build_loss(LossConfig(class_weights=(1.0, 2.0)), num_classes=4)
    with pytest.raises(ConfigError, match=r"leaves dice nothing to minimise.*foreground"):
        build_loss(LossConfig(name="dice", class_weights=(1.0, 0.0)), num_classes=2)
    build_loss(LossConfig(name="cross_entropy", class_weights=(1.0, 0.0)), num_classes=2)


def test_weights_move_with_the_loss() -> None:
    loss: nn.Module = build_loss(LossConfig(name="dice_ce"), num_classes=4).to("meta")
    assert {buffer.device.type for buffer in loss.buffers()} == {"meta"}


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=() if name in ("dice_ce", "tversky") else pytest.mark.slow)
        for name in LOSSES
    ],
)
def test_drives_a_small_network_to_overfit(name: str) -> None:
    torch.manual_seed(0)
    target = torch.zeros(2, 32, 32, dtype=torch.long)
    target[0, 6:20, 8:22], target[0, 10:16, 12:18] = 1, 2
    target[1, 12:28, 4:18], target[1, 16:22, 8:14] = 1, 2
    images = (target + 0.3 * torch.randn(2, 32, 32))[:, None]  # (2, 1, 32, 32)
    model = create_model("unet", 1, 3, depth=3, base_channels=8)
    loss = build_loss(LossConfig(name=name), num_classes=3)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(60):
        optimizer.zero_grad()
        loss(model(images), target).backward()
        optimizer.step()
    prediction = model(images).argmax(1)
    for label in (1, 2):
        overlap = ((prediction == label) & (target == label)).sum()
        assert 2 * overlap / ((prediction == label).sum() + (target == label).sum()) > 0.9
