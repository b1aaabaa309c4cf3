"""Weights of other libraries by this package's names of layers.

A dialect is a library's names of an architecture that is here under other names. Everything in a
file is either renamed, or named here as a part that no encoder has (classifier, decoder), or left
alone, so that `load_pretrained` refuses it: nothing is skipped in silence, nor stays random.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

import torch

Weights = Mapping[str, torch.Tensor]
WHOLE_PREFIXES = ("module.", "model.", "net.", "network.")
"""Of all names of a file, as wrappers and Lightning put them."""
ENCODER_PREFIXES = ("encoder.", "backbone.")
"""Of the names of an encoder in a whole network: ours and segmentation_models_pytorch's,
torchvision's segmentation networks."""


class Dialect(NamedTuple):
    """A library's names.

    Attributes:
        marker: A name that only such files have.
        architectures: Beginnings of the names of the encoders it is for.
        others: Beginnings of the names of what is not in the encoder.
        rename: From its names to ours.
    """

    marker: str
    architectures: tuple[str, ...]
    others: tuple[str, ...]
    rename: Callable[[Iterable[str]], dict[str, str]]


def strip_prefixes(weights: Weights) -> dict[str, torch.Tensor]:
    """The weights of an encoder without what is before their names; of a whole network, its
    encoder's alone.
    """
    found = dict(weights)
    for _ in range(4):  # wrappers in wrappers
        for prefix in WHOLE_PREFIXES:
            if found and all(name.startswith(prefix) for name in found):
                found = {name.removeprefix(prefix): value for name, value in found.items()}
        for prefix in ENCODER_PREFIXES:
            inner = {
                name.removeprefix(prefix): value
                for name, value in found.items()
                if name.startswith(prefix)
            }
            found = inner or found
    return found


def translate(weights: Weights, architecture: str, state: Weights) -> dict[str, torch.Tensor]:
    """The weights by our names, where they are in a dialect of the architecture.

    Args:
        weights: Of a file, see `strip_prefixes`.
        architecture: Name of the encoder, see `load_pretrained`.
        state: Weights of the encoder.
    """
    for dialect in DIALECTS:
        if dialect.marker in weights and architecture.startswith(dialect.architectures):
            kept = [name for name in weights if not name.startswith(dialect.others)]
            names = dialect.rename(kept)
            renamed = {names.get(name, name): weights[name] for name in kept}
            return _without_idle_biases(renamed, state)
    return dict(weights)


def _without_idle_biases(weights: Weights, state: Weights) -> dict[str, torch.Tensor]:
    """Drops biases that an instance norm right after them subtracts again, where ours has none:
    those of MONAI's `Convolution`, whose norm is `adn.N`.
    """
    return {
        name: value
        for name, value in weights.items()
        if name in state
        or not name.endswith(".conv.bias")
        or f"{name.removesuffix('conv.bias')}adn.N.weight" not in state
    }


def _substitute(*rules: tuple[str, str]) -> Callable[[Iterable[str]], dict[str, str]]:
    """Renames by the first regular expression that matches the beginning of a name."""

    def rename(names: Iterable[str]) -> dict[str, str]:
        found = {}
        for name in names:
            for pattern, ours in rules:
                changed, count = re.subn(f"^{pattern}", ours, name)
                if count:
                    found[name] = changed
                    break
        return found

    return rename


def _timm_blocks(
    layers: Mapping[str, str], first_layers: Mapping[str, str], block: str, first_block: int
) -> Callable[[Iterable[str]], dict[str, str]]:
    """Renames `blocks.STAGE.BLOCK.LAYER` of timm, which counts blocks by stage.

    Args:
        layers: Our layers of a block by timm's.
        first_layers: The same of the blocks of the first stage, which do not expand.
        block: Our name of block {}.
        first_block: Our number of the first block.
    """
    pattern = re.compile(r"blocks\.(\d+)\.(\d+)\.(.+)\.([^.]+)")

    def rename(names: Iterable[str]) -> dict[str, str]:
        matches = {name: match for name in names if (match := pattern.fullmatch(name))}
        places = sorted({(int(match[1]), int(match[2])) for match in matches.values()})
        found = {}
        for name, match in matches.items():
            place = int(match[1]), int(match[2])
            ours = (layers if place[0] else first_layers).get(match[3])
            if ours is not None:
                number = first_block + places.index(place)
                found[name] = f"{block.format(number)}.{ours}.{match[4]}"
        return found

    return rename


def _timm(
    stem: Mapping[str, str], blocks: Callable[[Iterable[str]], dict[str, str]]
) -> Callable[[Iterable[str]], dict[str, str]]:
    """Stem and blocks."""
    rename_stem = _substitute(*((re.escape(name), ours) for name, ours in stem.items()))

    def rename(names: Iterable[str]) -> dict[str, str]:
        names = list(names)
        return rename_stem(names) | blocks(names)

    return rename


_SQUEEZE = {"se.conv_reduce": "_se_reduce", "se.conv_expand": "_se_expand"}
_EFFICIENTNET = _timm_blocks(
    _SQUEEZE
    | {"conv_pw": "_expand_conv", "bn1": "_bn0", "conv_dw": "_depthwise_conv", "bn2": "_bn1"}
    | {"conv_pwl": "_project_conv", "bn3": "_bn2"},
    _SQUEEZE
    | {"conv_dw": "_depthwise_conv", "bn1": "_bn1", "conv_pw": "_project_conv", "bn2": "_bn2"},
    "_blocks.{}",
    0,
)
_MOBILENET = _timm_blocks(
    {"conv_pw": "conv.0.0", "bn1": "conv.0.1", "conv_dw": "conv.1.0", "bn2": "conv.1.1"}
    | {"conv_pwl": "conv.2", "bn3": "conv.3"},
    {"conv_dw": "conv.0.0", "bn1": "conv.0.1", "conv_pw": "conv.1", "bn2": "conv.2"},
    "features.{}",
    1,
)
_TIMM_TOP = ("conv_head.", "bn2.", "classifier.")
_UNET_TOP = ("up1.", "up2.", "up3.", "up4.", "outc.", "decoder.")


def _double_conv(first: str, deeper: str, layers: Mapping[int, str]) -> list[tuple[str, str]]:
    """Rules for the levels of a U-Net: `first` is level 0, `deeper` has its number as a group."""
    rules = []
    for index, ours in layers.items():
        rules.append((rf"{first}\.{index}\.", f"levels.0.{ours}."))
        rules.append((rf"{deeper}\.{index}\.", rf"levels.\1.{ours}."))
    return rules


DIALECTS = (
    Dialect(
        "blocks.1.0.se.conv_reduce.weight",
        ("efficientnet-",),
        _TIMM_TOP,
        _timm({"conv_stem.": "_conv_stem.", "bn1.": "_bn0."}, _EFFICIENTNET),
    ),
    Dialect(
        "blocks.1.0.conv_pwl.weight",
        ("mobilenet_v2",),
        _TIMM_TOP,
        _timm({"conv_stem.": "features.0.0.", "bn1.": "features.0.1."}, _MOBILENET),
    ),
    Dialect("pre_logits.fc1.weight", ("vgg16",), ("pre_logits.", "head."), _substitute()),
    Dialect(  # SSL4MIS, PyMIC
        "in_conv.conv_conv.0.weight",
        ("UNetEncoder",),
        _UNET_TOP,
        _substitute(
            *_double_conv(
                r"in_conv\.conv_conv",
                r"down(\d)\.maxpool_conv\.1\.conv_conv",
                {0: "0.0", 1: "0.1", 4: "2.0", 5: "2.1"},
            )
        ),
    ),
    Dialect(  # milesial/Pytorch-UNet
        "inc.double_conv.0.weight",
        ("UNetEncoder",),
        _UNET_TOP,
        _substitute(
            *_double_conv(
                r"inc\.double_conv",
                r"down(\d)\.maxpool_conv\.1\.double_conv",
                {0: "0.0", 1: "0.1", 3: "2.0", 4: "2.1"},
            )
        ),
    ),
    Dialect(  # MONAI, from here on
        "conv_0.conv_0.conv.weight",
        ("StageEncoder",),
        ("upcat_", "final_conv."),
        _substitute((r"conv_0\.", "0."), (r"down_(\d)\.", r"\1.")),
    ),
    Dialect(
        "input_block.conv1.conv.weight",
        ("StageEncoder",),
        ("upsamples.", "output_block.", "deep_supervision_heads.", "heads.", "skip_layers."),
        _substitute(
            (r"input_block\.", "0."),
            (r"downsamples\.0\.", "1."),
            (r"downsamples\.1\.", "2."),
            (r"downsamples\.2\.", "3."),
            (r"bottleneck\.", "4."),
        ),
    ),
    Dialect(
        "swinViT.patch_embed.proj.weight",
        ("SwinEncoder",),
        ("decoder", "out."),
        _substitute(
            (r"swinViT\.", "transformer."),
            (r"encoder10\.", "skips.5."),
            (r"encoder1\.", "skips.0."),
            (r"encoder2\.", "skips.1."),
            (r"encoder3\.", "skips.2."),
            (r"encoder4\.", "skips.3."),
        ),
    ),
)
"""timm, two U-Nets that many projects copy, and MONAI."""
