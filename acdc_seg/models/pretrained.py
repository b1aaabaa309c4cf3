"""Transfer learning: encoders that start from public ImageNet weights, or from a file."""

import logging
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple
from urllib.error import HTTPError

import torch
from torch import nn

from acdc_seg.errors import CheckpointError, ConfigError
from acdc_seg.files import sha256_file
from acdc_seg.models.foreign import strip_prefixes, translate

logger = logging.getLogger(__name__)

TIMEOUT = 30.0  # seconds without a byte
WRAPPINGS = ("state_dict", "model", "weights")
COLOR_CHANNELS = 3


class PublicWeights(NamedTuple):
    """Published weights of an architecture.

    Attributes:
        url: Ends in the first digits of the file's SHA-256, `name-sha256.pth`.
        classifier: Beginnings of the names that the file has and the encoder has not.
        full_sha256: The whole hash, where it is known.
        is_downloaded: False where no server offers the file over https; then it must be supplied.
    """

    url: str
    classifier: tuple[str, ...]
    full_sha256: str = ""
    is_downloaded: bool = True

    @property
    def sha256(self) -> str:
        """The file's hash, or its first digits."""
        return self.full_sha256 or PurePosixPath(self.url).stem.rpartition("-")[2]


VISION = "https://download.pytorch.org/models"
DRN = "http://dl.yf.io/drn"
EFFICIENT = "https://github.com/lukemelas/EfficientNet-PyTorch/releases/download/1.0"
EFFICIENT_TOP = ("_conv_head.", "_bn1.", "_fc.")

PUBLIC_WEIGHTS: dict[str, PublicWeights] = {
    "drn_d_54": PublicWeights(f"{DRN}/drn_d_54-0e0534ff.pth", ("fc.",), is_downloaded=False),
    "vgg16": PublicWeights(
        f"{VISION}/vgg16-397923af.pth",
        ("classifier.",),
        "397923af8e79cdbb6a7127f12361acd7a2f83e06b05044ddf496e83de57a5bf0",
    ),
    "vgg16_bn": PublicWeights(f"{VISION}/vgg16_bn-6c64b313.pth", ("classifier.",)),
    "resnet34": PublicWeights(f"{VISION}/resnet34-b627a593.pth", ("fc.",)),
    "resnet50": PublicWeights(
        f"{VISION}/resnet50-0676ba61.pth",
        ("fc.",),
        "0676ba61b6795bbe1773cffd859882e5e297624d384b6993f7c9e683e722fb8a",
    ),
    "resnet101": PublicWeights(f"{VISION}/resnet101-63fe2227.pth", ("fc.",)),
    "mobilenet_v2": PublicWeights(
        f"{VISION}/mobilenet_v2-b0353104.pth", ("features.18.", "classifier.")
    ),
    "efficientnet-b0": PublicWeights(f"{EFFICIENT}/efficientnet-b0-355c32eb.pth", EFFICIENT_TOP),
    "efficientnet-b1": PublicWeights(f"{EFFICIENT}/efficientnet-b1-f1951068.pth", EFFICIENT_TOP),
    "efficientnet-b2": PublicWeights(f"{EFFICIENT}/efficientnet-b2-8bb594d6.pth", EFFICIENT_TOP),
    "efficientnet-b3": PublicWeights(f"{EFFICIENT}/efficientnet-b3-5fb5a3c3.pth", EFFICIENT_TOP),
    "efficientnet-b4": PublicWeights(f"{EFFICIENT}/efficientnet-b4-6ed6700e.pth", EFFICIENT_TOP),
    "efficientnet-b5": PublicWeights(f"{EFFICIENT}/efficientnet-b5-b6417697.pth", EFFICIENT_TOP),
    "efficientnet-b6": PublicWeights(f"{EFFICIENT}/efficientnet-b6-c76e70fd.pth", EFFICIENT_TOP),
    "efficientnet-b7": PublicWeights(f"{EFFICIENT}/efficientnet-b7-dcc49843.pth", EFFICIENT_TOP),
}


def load_pretrained(encoder: nn.Module, source: str) -> list[dict[str, Any]]:
    """Gives an encoder trained weights; nothing changes if they do not fit.

    A first layer for grey images takes the sum of the colour weights, which equals repeating the
    image three times.

    Args:
        encoder: An encoder; one with public weights names its architecture, a key of
            `PUBLIC_WEIGHTS`, in its attribute `public_weights`.
        source: `imagenet` downloads the public file once, to the cache folder of `torch.hub`.
            Anything else is the path of a file: a state dict of the architecture, as such or below
            `state_dict` or `model`, or a checkpoint of a whole network, whose encoder is taken.
            Names of layers may be those of other libraries, see `foreign.DIALECTS`.

    Returns:
        The field `trained_on` of a checkpoint of this package, else nothing.

    Raises:
        CheckpointError: The file cannot be downloaded or read, or is of another architecture.
        ConfigError: The encoder has no public weights, or its images are neither grey nor colour.
    """
    architecture = getattr(encoder, "public_weights", type(encoder).__name__)
    public = PUBLIC_WEIGHTS.get(architecture)
    if source != "imagenet":
        path = Path(source).expanduser()
    elif public is None:
        raise ConfigError(
            f"pretrained=imagenet: {architecture} has no public weights; give a checkpoint's "
            "path, or null for fresh weights"
        )
    else:
        path = download(public)
    classifier = public.classifier if public else ()
    state = encoder.state_dict()
    published, trained_on = _read(path)
    published = translate(published, architecture, state)
    weights = {
        name: value
        for name, value in published.items()
        if name in state or not name.startswith(classifier)
    }
    _fit_stem(weights, state)
    if mismatch := _mismatch(weights, state):
        raise CheckpointError(
            f"{path}: these are not the weights of {architecture}: {mismatch}; give a file of "
            f"{architecture}"
        )
    encoder.load_state_dict(state | weights)
    return trained_on


def download(public: PublicWeights) -> Path:
    """Path of the published file in the cache folder of `torch.hub`, downloaded if it is not there.

    Raises:
        CheckpointError: The download fails, or the file is not the published one.
    """
    path = Path(torch.hub.get_dir(), "checkpoints", PurePosixPath(public.url).name)
    remedy = f"download it elsewhere and save it as {path}"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists() and not public.is_downloaded:
            raise CheckpointError(
                f"{path}: put the published file here; it is not downloaded, because its server "
                f"({public.url}) has no https. Its SHA-256 starts with {public.sha256}"
            )
        if not path.exists():
            logger.info("downloading %s to %s", public.url, path)
            with _socket_timeout(TIMEOUT):
                torch.hub.download_url_to_file(
                    public.url, str(path), hash_prefix=public.sha256, progress=False
                )
        elif not sha256_file(path).startswith(public.sha256):
            raise CheckpointError(
                f"{path}: the file's SHA-256 does not start with {public.sha256}; delete this file "
                f"to download it again from {public.url}"
            )
    except HTTPError as error:
        raise CheckpointError(
            f"{public.url}: the server answers {error.code} ({error.reason}); {remedy}"
        ) from None
    except RuntimeError:  # torch.hub: another hash
        raise CheckpointError(
            f"{public.url}: the download broke off, or is another file (its SHA-256 does not start "
            f"with {public.sha256}), and was not kept; try again, or {remedy}"
        ) from None
    except (OSError, HTTPException, ValueError) as error:
        raise CheckpointError(
            f"{public.url}: cannot be downloaded to {path.parent} "
            f"({getattr(error, 'reason', None) or error}); {remedy}"
        ) from None
    return path


@contextmanager
def _socket_timeout(seconds: float) -> Iterator[None]:
    """Timeout of new sockets in the whole process, for code that takes none of its own."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def _read(path: Path) -> tuple[dict[str, torch.Tensor], list[dict[str, Any]]]:
    """The weights in a file, by their names in the encoder, and what they were trained on."""
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)  # noqa: TID251
    except (FileNotFoundError, PermissionError, IsADirectoryError) as error:
        raise CheckpointError(
            f"{path}: cannot read these weights ({error.strerror}); check the path, or take "
            "'imagenet'"
        ) from None
    except Exception:  # a damaged file can raise any of them
        raise CheckpointError(
            f"{path}: not a file of weights, or a damaged one; give a state dict that torch.save "
            "wrote"
        ) from None
    trained_on = content.get("trained_on", []) if isinstance(content, dict) else []
    for wrapping in WRAPPINGS:
        if isinstance(content, dict) and isinstance(content.get(wrapping), dict):
            content = content[wrapping]
    if not _is_state_dict(content):
        raise CheckpointError(
            f"{path}: no weights in it; give a state dict, as such or below "
            f"{' or '.join(map(repr, WRAPPINGS))}"
        )
    weights = {name.removeprefix("module."): value for name, value in content.items()}
    return strip_prefixes(weights), trained_on


def _is_state_dict(content: Any) -> bool:
    return isinstance(content, dict) and all(
        isinstance(name, str) and torch.is_tensor(value) for name, value in content.items()
    )


def _fit_stem(weights: dict[str, torch.Tensor], state: Mapping[str, torch.Tensor]) -> None:
    """Sums the first layer's colour weights `(out_channels, 3, h, w)` for grey images."""
    stem = next(iter(state))
    in_channels = state[stem].shape[1]
    is_color = stem in weights and weights[stem].shape[1:2] == (COLOR_CHANNELS,)
    if not is_color or in_channels == COLOR_CHANNELS:
        return
    if in_channels != 1:
        raise ConfigError(
            f"in_channels={in_channels}: pretrained weights are for 1 (grey) or 3 (colour); use "
            "one of them, or fresh weights"
        )
    weights[stem] = weights[stem].sum(dim=1, keepdim=True)  # (out_channels, 1, h, w)


def _mismatch(weights: Mapping[str, torch.Tensor], state: Mapping[str, torch.Tensor]) -> str:
    """Differences between the weights and an encoder's; old files do not count batches."""
    differences = {
        "missing": [
            name
            for name in state
            if name not in weights and not name.endswith(".num_batches_tracked")
        ],
        "unknown": [name for name in weights if name not in state],
        "of another shape": [
            f"{name} {tuple(weights[name].shape)} for {tuple(value.shape)}"
            for name, value in state.items()
            if name in weights and weights[name].shape != value.shape
        ],
    }
    return "; ".join(f"{kind} {_few(names)}" for kind, names in differences.items() if names)


def _few(names: list[str], most: int = 3) -> str:
    others = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + others
