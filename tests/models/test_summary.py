from itertools import pairwise

import pytest
import torch
from accelerate import init_empty_weights
from torch import nn

from acdc_seg.models import MODELS, create_model
from acdc_seg.models.base import SegmentationModel
from acdc_seg.models.summary import LayerSummary, measure_speed, summarize_layers, summarize_model


class Scaled(nn.Module):
    """A 1x1 convolution and a matrix product with weights of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(4, 5, 1, bias=False)
        self.mixing = nn.Parameter(torch.eye(5))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (self.conv(x).movedim(1, -1) @ self.mixing).movedim(-1, 1)


class Pyramid(nn.Module):
    """Two maps, at half and at a quarter of the image's size."""

    def __init__(self) -> None:
        super().__init__()
        self.levels = nn.ModuleList([nn.Conv2d(1, 2, 3, padding=1), nn.Conv2d(2, 4, 3, padding=1)])
        self.pool = nn.AvgPool2d(2)

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        fine = self.pool(self.levels[0](x))
        return [fine, self.pool(self.levels[1](fine))]


class Last(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.unused = nn.Linear(3, 1)
        self.scaled = Scaled()

    def forward(self, maps: list[torch.Tensor]) -> torch.Tensor:
        return self.scaled(maps[-1])


@pytest.fixture
def model() -> SegmentationModel:
    return SegmentationModel(Pyramid(), Last(), nn.Conv2d(5, 3, 1), in_channels=1, multiple=8)


LEVELS = [
    LayerSummary("encoder.levels.0", ((2, 32, 32),), 2 * 9 + 2, 2 * 2 * 9 * 32**2),
    LayerSummary("encoder.pool", ((2, 16, 16),), 0, 0),
    LayerSummary("encoder.levels.1", ((4, 16, 16),), 4 * 18 + 4, 2 * 4 * 18 * 16**2),
]
MIXING = 2 * 5 * 5 * 8**2
UNUSED = LayerSummary("decoder.unused", (), 4, 0)
HEAD = LayerSummary("head", ((3, 8, 8),), 18, 2 * 3 * 5 * 8**2)


def test_summary_by_hand(model):
    summary = summarize_model(model, size=32)
    assert summary.num_parameters == 20 + 76 + 4 + 20 + 25 + 18
    assert summary.flop == 36864 + 36864 + 2 * 20 * 64 + MIXING + 1920
    assert summary.output_stride == 4


def test_rows_in_the_order_of_calls_with_module_lists_opened(model):
    scaled = LayerSummary("decoder.scaled", ((5, 8, 8),), 45, 2 * 20 * 8**2 + MIXING)
    assert summarize_layers(model, size=32, depth=2) == [*LEVELS, scaled, HEAD, UNUSED]


def test_parameters_and_flop_beside_the_parts_are_a_row_of_their_own(model):
    conv = LayerSummary("decoder.scaled.conv", ((5, 8, 8),), 20, 2 * 20 * 8**2)
    rest = LayerSummary("decoder.scaled (rest)", (), 25, MIXING)
    assert summarize_layers(model, size=32, depth=3) == [*LEVELS, conv, rest, HEAD, UNUSED]


def test_depth_one_is_encoder_decoder_head(model):
    rows = summarize_layers(model, size=32, depth=1)
    assert [row.name for row in rows] == ["encoder", "decoder", "head"]
    assert [row.shapes for row in rows] == [((2, 16, 16), (4, 8, 8)), ((5, 8, 8),), ((3, 8, 8),)]


def test_cost_is_that_of_the_padded_image(model):
    assert summarize_model(model, size=33) == summarize_model(model, size=40)
    assert summarize_model(model, size=40).flop == summarize_model(model, size=32).flop * 25 // 16


@pytest.mark.parametrize("training", [True, False])
def test_the_model_stays_as_it_is(model, training):
    model.train(training)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    summarize_model(model, size=32)
    summarize_layers(model, size=32, depth=2)
    assert all(
        module.training is training and not module._forward_hooks for module in model.modules()
    )
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_published_counts():
    unet = create_model("unet", 3, 8)
    summary = summarize_model(unet, size=96)
    assert (summary.num_parameters, summary.output_stride) == (7_763_272, 16)
    with init_empty_weights():
        deeplab = create_model("deeplab_drn", 3, 4)
    encoder, *others = summarize_layers(deeplab, size=96, depth=1)
    assert encoder.num_parameters == 35_296_176
    assert encoder.num_parameters + sum(row.num_parameters for row in others) == 40_732_692


@pytest.mark.parametrize("name", MODELS)
def test_rows_of_every_network_add_up(name):
    with init_empty_weights():
        model = create_model(name, 1, 4)
    total = summarize_model(model, size=96)
    assert total.output_stride in (4, 8, 16, 32)
    rows = summarize_layers(model, size=96, depth=3)
    assert all(row.num_parameters >= 0 and row.flop >= 0 for row in rows)
    assert sum(row.num_parameters for row in rows) == total.num_parameters
    assert sum(row.flop for row in rows) == total.flop


def test_flop_grow_with_the_area():
    costs = [
        summarize_model(create_model("unet", 1, 4, base_channels=4), size=size).flop
        for size in (32, 64, 128)
    ]
    assert [later / earlier for earlier, later in pairwise(costs)] == [4, 4]


def test_measure_trains_and_predicts_in_the_given_arithmetic(model):
    calls = set()

    def note(module, inputs, output):
        calls.add((module.training, output.dtype))

    model.head.register_forward_hook(note)
    before = model.head.weight.clone()
    speed = measure_speed(
        model, size=32, batch_size=2, device=torch.device("cpu"), dtype=torch.bfloat16
    )
    assert min(speed.train, speed.predict) > 0
    assert calls == {(True, torch.bfloat16), (False, torch.bfloat16)}
    assert not torch.equal(model.head.weight, before)
