"""Downloads from a local server, and the weights of files in all their forms."""

import hashlib
import re
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import torch
from torch import nn

from acdc_seg.config import load_config
from acdc_seg.errors import CheckpointError, ConfigError
from acdc_seg.models import pretrained
from acdc_seg.models.backbones.drn import DRN54
from acdc_seg.models.backbones.efficientnet import SCALING, EfficientNetEncoder
from acdc_seg.models.backbones.mobilenet import MobileNetV2
from acdc_seg.models.backbones.resnet import ResNet
from acdc_seg.models.backbones.vgg import VGG16
from acdc_seg.models.base import SegmentationModel
from acdc_seg.models.pretrained import PUBLIC_WEIGHTS, PublicWeights, download, load_pretrained
from acdc_seg.runs.checkpoint import Checkpoint, save_checkpoint

CONTENT = bytes(range(256)) * 8  # 2048 bytes
SHA256 = hashlib.sha256(CONTENT).hexdigest()
NAME = f"whole-{SHA256[:8]}.pth"


class SmallEncoder(nn.Sequential):
    """Convolution, BatchNorm, convolution; its classifier would be `fc`."""

    public_weights = "resnet34"

    def __init__(self, in_channels: int = 3) -> None:
        super().__init__(nn.Conv2d(in_channels, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 2, 1))


@pytest.fixture
def trained() -> dict[str, torch.Tensor]:
    """The weights in a published file of the small encoder."""
    torch.manual_seed(0)
    encoder = SmallEncoder()
    encoder(torch.randn(2, 3, 8, 8))
    return encoder.state_dict() | {"fc.weight": torch.zeros(10, 2), "fc.bias": torch.zeros(10)}


def assert_loaded(encoder: nn.Module, trained: dict[str, torch.Tensor]) -> None:
    for name, value in encoder.state_dict().items():
        assert torch.equal(value, trained[name]), name


def saved(content: Any, path: Path) -> str:
    torch.save(content, path)
    return str(path)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "größe {1}.pth"


class Handler(BaseHTTPRequestHandler):
    """Serves whole.pth, half of broken-off.pth, and silence for silent.pth."""

    def do_GET(self) -> None:
        self.server.requested.append(self.path)  # type: ignore[attr-defined]
        name = self.path.removeprefix("/").partition("-")[0]
        if name not in ("whole", "broken_off", "silent"):
            return self.send_error(404)
        self.send_response(200)
        self.send_header("Content-Length", str(len(CONTENT)))
        self.end_headers()
        self.wfile.write(CONTENT if name == "whole" else CONTENT[:1000])
        if name == "silent":
            time.sleep(0.5)
        return None

    def log_message(self, *args: object) -> None:
        pass


class Server(ThreadingHTTPServer):
    """Remembers the paths that were requested."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.requested: list[str] = []

    def __str__(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with Server() as server:
        Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder in which torch.hub keeps its downloads."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "größe {1}"))
    return tmp_path / "größe {1}" / "hub" / "checkpoints"


def files_in(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


def published(server: object, name: str) -> PublicWeights:
    return PublicWeights(f"{server}/{name}", ())


def test_a_file_is_downloaded_once_into_the_cache_of_torch_hub(server: Server, cache: Path) -> None:
    for _ in range(2):
        path = download(published(server, NAME))
        assert path == cache / NAME
        assert path.read_bytes() == CONTENT
    assert server.requested == [f"/{NAME}"]
    assert files_in(cache) == [NAME]
    assert socket.getdefaulttimeout() is None


def test_a_download_with_another_hash_is_not_kept(server: Server, cache: Path) -> None:
    with pytest.raises(CheckpointError) as error:
        download(published(server, "whole-01234567.pth"))
    assert str(error.value) == (
        f"{server}/whole-01234567.pth: the download broke off, or is another file (its SHA-256 "
        "does not start with 01234567), and was not kept; try again, or download it elsewhere and "
        f"save it as {cache}/whole-01234567.pth"
    )
    assert files_in(cache) == []


def test_a_cached_file_with_another_hash_is_named_and_left_alone(
    server: Server, cache: Path
) -> None:
    cache.mkdir(parents=True)
    (cache / NAME).write_bytes(b"mine")
    with pytest.raises(
        CheckpointError,
        match=rf"{NAME}: the file's SHA-256 does not start with {SHA256[:8]}; delete this file to "
        rf"download it again from {server}/{NAME}$",
    ):
        download(published(server, NAME))
    assert (cache / NAME).read_bytes() == b"mine"
    assert server.requested == []


def test_a_file_that_the_server_does_not_have(server: Server, cache: Path) -> None:
    with pytest.raises(CheckpointError) as error:
        download(published(server, "missing-01234567.pth"))
    assert str(error.value) == (
        f"{server}/missing-01234567.pth: the server answers 404 (Not Found); download it elsewhere "
        f"and save it as {cache}/missing-01234567.pth"
    )
    assert files_in(cache) == []


def test_a_download_that_breaks_off_leaves_nothing(server: Server, cache: Path) -> None:
    with pytest.raises(CheckpointError, match=r"the download broke off, .*; try again, or"):
        download(published(server, f"broken_off-{SHA256[:8]}.pth"))
    assert files_in(cache) == []


def test_a_server_that_falls_silent_is_given_up(
    server: Server, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pretrained, "TIMEOUT", 0.1)
    with pytest.raises(
        CheckpointError, match=r"cannot be downloaded to .* \(timed out\); download"
    ):
        download(published(server, f"silent-{SHA256[:8]}.pth"))
    assert files_in(cache) == []
    assert socket.getdefaulttimeout() is None


def test_processes_may_download_the_same_file_at_once(
    server: Server, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # threads stand for processes here, and share the default timeout
    monkeypatch.setattr(pretrained, "_socket_timeout", lambda seconds: nullcontext())
    with ThreadPoolExecutor(4) as pool:
        paths = list(pool.map(lambda _: download(published(server, NAME)), range(4)))
    assert paths == [cache / NAME] * 4
    assert paths[0].read_bytes() == CONTENT
    assert files_in(cache) == [NAME]


def test_a_server_that_is_gone(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with Server() as server:
        url = f"{server}/{NAME}"
    with pytest.raises(
        CheckpointError,
        match=rf"^{url}: cannot be downloaded to .* \(.*refused\); download it elsewhere and save "
        rf"it as .*/{NAME}$",
    ):
        download(PublicWeights(url, ()))
    assert files_in(cache) == []


def test_a_cache_folder_that_is_a_file(server: Server, cache: Path) -> None:
    cache.parent.mkdir(parents=True)
    cache.write_text("")
    with pytest.raises(CheckpointError, match=r"cannot be downloaded to .*checkpoints \(.*exists"):
        download(published(server, NAME))


def test_imagenet_takes_the_published_file(
    server: Server, cache: Path, monkeypatch: pytest.MonkeyPatch, trained: dict[str, torch.Tensor]
) -> None:
    cache.mkdir(parents=True)
    content = Path(saved(trained, cache / "resnet34.pth")).read_bytes()
    name = f"resnet34-{hashlib.sha256(content).hexdigest()[:8]}.pth"
    monkeypatch.setitem(PUBLIC_WEIGHTS, "resnet34", PublicWeights(f"{server}/{name}", ("fc.",)))
    with pytest.raises(CheckpointError, match=rf"404.* save it as .*/{name}$"):
        load_pretrained(SmallEncoder(), "imagenet")
    (cache / name).write_bytes(content)
    encoder = SmallEncoder()
    load_pretrained(encoder, "imagenet")
    assert_loaded(encoder, trained)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda weights: weights,
        lambda weights: {"state_dict": weights, "epoch": 3},
        lambda weights: {"model": weights},
        lambda weights: {f"module.{name}": value for name, value in weights.items()},
        lambda weights: {
            "state_dict": {f"module.{name}": value for name, value in weights.items()}
        },
        lambda weights: {
            name: nn.Parameter(value) if value.is_floating_point() else value
            for name, value in weights.items()
        },
    ],
)
def test_the_usual_forms_of_a_file(
    wrap: Callable[[dict[str, torch.Tensor]], Any], trained: dict[str, torch.Tensor], path: Path
) -> None:
    encoder = SmallEncoder()
    load_pretrained(encoder, saved(wrap(trained), path))
    assert_loaded(encoder, trained)


def test_the_encoder_of_a_checkpoint_of_a_whole_network(
    trained: dict[str, torch.Tensor], path: Path
) -> None:
    encoder = SmallEncoder()
    load_pretrained(encoder, saved(trained, path))
    model = SegmentationModel(encoder, nn.Conv2d(2, 2, 1), nn.Conv2d(2, 4, 1), in_channels=3)
    save_checkpoint(
        path,
        Checkpoint(
            config=load_config(), weights=model.state_dict(), epoch=1, dice=0.5, data="paired"
        ),
    )
    other = SmallEncoder()
    load_pretrained(other, str(path))
    assert_loaded(other, trained)


def test_old_files_do_not_count_batches(trained: dict[str, torch.Tensor], path: Path) -> None:
    encoder = SmallEncoder()
    load_pretrained(
        encoder,
        saved(
            {name: value for name, value in trained.items() if name != "1.num_batches_tracked"},
            path,
        ),
    )
    assert_loaded(encoder, trained | {"1.num_batches_tracked": torch.tensor(0)})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"0.weight": None}, "missing 0.weight"),
        (
            {"0.weight": None, "0.bias": None, "2.weight": None, "2.bias": None},
            "missing 0.weight, 0.bias, 2.weight and 1 more",
        ),
        ({"3.weight": torch.zeros(2)}, "unknown 3.weight"),
        (
            {"2.weight": torch.zeros(2, 5, 1, 1)},
            "of another shape 2.weight (2, 5, 1, 1) for (2, 4, 1, 1)",
        ),
        (
            {"2.weight": torch.zeros(2, 5, 1, 1), "2.bias": None},
            "missing 2.bias; of another shape 2.weight (2, 5, 1, 1) for (2, 4, 1, 1)",
        ),
        (
            {"0.weight": torch.zeros(4, 1, 3, 3)},
            "of another shape 0.weight (4, 1, 3, 3) for (4, 3, 3, 3)",
        ),
    ],
)
def test_weights_of_something_else_are_refused_and_change_nothing(
    change: dict[str, torch.Tensor | None],
    message: str,
    trained: dict[str, torch.Tensor],
    path: Path,
) -> None:
    encoder = SmallEncoder()
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    with pytest.raises(CheckpointError) as error:
        load_pretrained(
            encoder,
            saved(
                {name: value for name, value in (trained | change).items() if value is not None},
                path,
            ),
        )
    assert (
        str(error.value)
        == f"{path}: these are not the weights of resnet34: {message}; give a file of resnet34"
    )
    assert_loaded(encoder, before)


@pytest.mark.parametrize("content", [b"", b"hello\n", b"PK\x03\x04", b"\x80\x02."])
def test_a_file_that_is_not_of_torch_is_refused(content: bytes, path: Path) -> None:
    path.write_bytes(content)
    with pytest.raises(
        CheckpointError, match=r"größe \{1\}\.pth: not a file of weights, or a damaged one"
    ):
        load_pretrained(SmallEncoder(), str(path))


@pytest.mark.parametrize(
    "content",
    [torch.zeros(2), {"epoch": 3}, {"state_dict": {"0.weight": "text"}}, [torch.zeros(2)]],
)
def test_a_torch_file_without_weights_is_refused(content: Any, path: Path) -> None:
    with pytest.raises(
        CheckpointError,
        match="no weights in it; give a state dict, as such or below 'state_dict' or 'model'",
    ):
        load_pretrained(SmallEncoder(), saved(content, path))


def test_nothing_in_the_file_is_executed(path: Path, tmp_path: Path) -> None:
    class Attack:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (tmp_path / "touched",)

    with pytest.raises(CheckpointError, match="not a file of weights"):
        load_pretrained(SmallEncoder(), saved({"0.weight": Attack()}, path))
    assert not (tmp_path / "touched").exists()


def test_a_path_without_a_file(tmp_path: Path) -> None:
    with pytest.raises(
        CheckpointError,
        match=r"a\.pth: cannot read these weights \(No such file or directory\); check the path, "
        r"or take 'imagenet'",
    ):
        load_pretrained(SmallEncoder(), str(tmp_path / "a.pth"))
    with pytest.raises(CheckpointError, match="Is a directory"):
        load_pretrained(SmallEncoder(), str(tmp_path))


def test_a_home_folder_is_found(
    trained: dict[str, torch.Tensor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    saved(trained, tmp_path / "a.pth")
    encoder = SmallEncoder()
    load_pretrained(encoder, "~/a.pth")
    assert_loaded(encoder, trained)


def test_a_grey_stem_is_the_sum_over_colours(trained: dict[str, torch.Tensor], path: Path) -> None:
    colour, grey = SmallEncoder(3).eval(), SmallEncoder(1).eval()
    for encoder in (colour, grey):
        load_pretrained(encoder, saved(trained, path))
    images = torch.randn(2, 1, 8, 8)
    torch.testing.assert_close(
        grey(images), colour(images.expand(-1, 3, -1, -1)), atol=1e-5, rtol=0
    )


def test_grey_drn_features_equal_those_of_the_image_repeated_three_times(path: Path) -> None:
    torch.manual_seed(0)
    colour, grey = DRN54(3), DRN54(1).eval()
    colour.train()(torch.randn(1, 3, 48, 48))  # running statistics that are not 0 and 1
    load_pretrained(
        grey,
        saved(
            colour.state_dict()
            | {"fc.weight": torch.zeros(1000, 512, 1, 1), "fc.bias": torch.zeros(1000)},
            path,
        ),
    )
    images = torch.randn(1, 1, 48, 48)
    with torch.inference_mode():
        for ours, theirs in zip(
            grey(images), colour.eval()(images.expand(-1, 3, -1, -1)), strict=True
        ):
            torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)


def test_images_of_other_channels_have_no_pretrained_weights(
    trained: dict[str, torch.Tensor], path: Path
) -> None:
    with pytest.raises(ConfigError, match=r"in_channels=2: .* 1 \(grey\) or 3 \(colour\)"):
        load_pretrained(SmallEncoder(2), saved(trained, path))


def test_a_file_of_grey_weights_suits_a_grey_encoder(path: Path) -> None:
    source, encoder = SmallEncoder(1), SmallEncoder(1)
    load_pretrained(encoder, saved(source.state_dict(), path))
    assert_loaded(encoder, source.state_dict())


def test_an_encoder_without_public_weights_takes_those_of_a_file(path: Path) -> None:
    source, encoder = nn.Sequential(nn.Conv2d(1, 2, 3)), nn.Sequential(nn.Conv2d(1, 2, 3))
    load_pretrained(encoder, saved(source.state_dict(), path))
    assert_loaded(encoder, source.state_dict())
    with pytest.raises(
        ConfigError,
        match="pretrained=imagenet: Sequential has no public weights; give a checkpoint's path",
    ):
        load_pretrained(encoder, "imagenet")
    with pytest.raises(CheckpointError, match=r"not the weights of Sequential: unknown fc\.weight"):
        load_pretrained(encoder, saved(source.state_dict() | {"fc.weight": torch.zeros(2)}, path))


def test_published_files_are_named_by_their_hash() -> None:
    for weights in PUBLIC_WEIGHTS.values():
        assert re.fullmatch(r"[0-9a-f]{8}([0-9a-f]{56})?", weights.sha256)
        assert weights.sha256.startswith(weights.url[-12:-4])
        assert weights.url.startswith("https://") or not weights.is_downloaded
    assert PUBLIC_WEIGHTS["resnet50"].sha256.startswith("0676ba61b6795bbe")


def test_a_file_without_https_must_be_supplied(cache: Path) -> None:
    with pytest.raises(
        CheckpointError, match=r"drn_d_54-0e0534ff\.pth: put the published file here"
    ):
        download(PUBLIC_WEIGHTS["drn_d_54"])
    path = cache / "drn_d_54-0e0534ff.pth"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"another file")
    with pytest.raises(CheckpointError, match="SHA-256 does not start with 0e0534ff"):
        download(PUBLIC_WEIGHTS["drn_d_54"])


def test_some_hashes_of_the_published_files() -> None:
    assert PUBLIC_WEIGHTS["efficientnet-b3"].sha256 == "5fb5a3c3"


def test_encoders_and_published_files_name_the_same_architectures() -> None:
    with torch.device("meta"):
        resnets = [
            ResNet(name, 3, output_stride=16, features=("layer4",))
            for name in ("resnet34", "resnet50", "resnet101")
        ]
        efficientnets = [
            EfficientNetEncoder(3, variant=variant, drop_connect=0.0) for variant in SCALING
        ]
        vggs = [VGG16(3, norm=norm) for norm in (True, False)]
        encoders: list[Any] = [
            DRN54(3),
            MobileNetV2(3, output_stride=16),
            *vggs,
            *resnets,
            *efficientnets,
        ]
    assert {encoder.public_weights for encoder in encoders} == PUBLIC_WEIGHTS.keys()
    for encoder in encoders:
        weights = encoder.state_dict()
        assert not [
            name
            for name in weights
            if name.startswith(PUBLIC_WEIGHTS[encoder.public_weights].classifier)
        ]
        assert next(iter(weights.values())).shape[1:2] == (3,)  # the stem comes first
