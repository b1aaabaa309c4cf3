"""Files of `acdc-export`, run by ONNX Runtime: nothing here imports PyTorch."""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from acdc_seg.config import ClassesConfig, Config, DataConfig, PrepareConfig
from acdc_seg.data.normalization import normalize
from acdc_seg.data.resampling import Size
from acdc_seg.errors import CheckpointError, ConfigError, DataError, did_you_mean, path_hint
from acdc_seg.inference.base import Predictor
from acdc_seg.inference.windows import predict_windows

if TYPE_CHECKING:
    import torch

FORMAT = 1
"""Of the metadata, see `export/about.py`."""
CPU = "CPUExecutionProvider"
PROVIDERS: dict[str, dict[str, str]] = {
    "OpenVINOExecutionProvider": {"device_type": "CPU", "precision": "FP32"},
    "CUDAExecutionProvider": {"use_tf32": "0"},
    CPU: {},
}
"""Execution providers, the preferred ones first, and options that keep them in fp32."""
PROVIDERS_VARIABLE = "ACDC_SEG_ONNX_PROVIDERS"
"""Environment variable with names of providers in their order, with commas between."""


class OnnxPredictor(Predictor):
    """A file of `acdc-export` as a predictor of slices and volumes.

    Args:
        path: ONNX file.
        num_threads: See `open_session`.
        device: See `choose_providers`.

    Raises:
        ConfigError: ONNX Runtime is not installed, or has no such provider.
        CheckpointError: Not a readable ONNX file, or one of another program or version.
    """

    def __init__(self, path: Path, *, num_threads: int | None = None, device: str = "auto") -> None:
        self.path = path
        self.session = open_session(path, num_threads=num_threads, device=device)
        about = _read_metadata(path, self.session)
        self.images, self.model = about["images"], about["model"]
        self.channels: int = self.images["channels"]
        labels = {"labels": about["classes"], "has_background": about["has_background"]}
        self.config = Config(
            data=DataConfig.model_validate({"channels": self.channels, **self.images["data"]}),
            prepare=PrepareConfig.model_validate(about["prepare"]),
            classes=ClassesConfig.model_validate(labels),
        )
        self.classes = self.config.classes

    def predict_arrays(self, images: np.ndarray) -> np.ndarray:
        """Probabilities float32 `(B, K, H, W)` of images float32 `(B, C, H, W)` in 0..1; window by
        window where windows trained the model and the file is for volumes.

        Raises:
            DataError: Images of other channels, or of a size that the file does not take.
        """
        images = self._fit(images)
        if not self.images["volumes"]:
            return self._run(images)
        images = normalize(images, self.config.data)
        window = self.config.data.window
        if window is None or images.shape[-2:] == window:
            return self._run(images)
        return predict_windows(self._run, images, window)

    def predict_batch(self, images: "torch.Tensor") -> "torch.Tensor":
        """The same of tensors."""
        import torch

        return torch.from_numpy(self.predict_arrays(images.cpu().float().numpy()))

    def data_settings(self) -> list[DataConfig]:
        """Those of a file for volumes."""
        return [self.config.data]

    def change_data(self, changes: Mapping[str, Any]) -> None:
        """Of normalization and windows, in a file for volumes.

        Raises:
            ConfigError: The file is for images.
        """
        if not self.images["volumes"]:
            raise ConfigError(
                f"{self.path}: was exported for images; for volumes export it again with --volumes"
            )
        data = self.config.data.model_copy(update=changes)
        self.config = self.config.model_copy(update={"data": data})

    def describe(self) -> dict[str, Any]:
        """The checkpoints that it was made of."""
        members = [{"path": str(self.path), **member} for member in self.model["members"]]
        return {**self.model, "members": members}

    def __repr__(self) -> str:
        return f"OnnxPredictor({self.path}, {self.session.get_providers()[0]})"

    def _fit(self, images: np.ndarray) -> np.ndarray:
        """Gray images repeated for a color model; others must fit."""
        if images.shape[1] == 1 and self.channels == 3:
            images = np.repeat(images, 3, axis=1)
        if images.shape[1] != self.channels:
            raise DataError(
                f"the image has {images.shape[1]} channels, the model takes {self.channels}; "
                f"convert the image to {self.channels} channel(s)"
            )
        size: Size | None = self.images["size"]
        if size is not None and list(images.shape[-2:]) != list(size):
            raise DataError(
                f"images of {images.shape[-2]}x{images.shape[-1]}, {self.path} takes "
                f"{size[0]}x{size[1]}; export it without --size"
            )
        return images

    def _run(self, images: np.ndarray) -> np.ndarray:
        """The graph, in its type of images."""
        white = self.images["white"]
        if white != 1:
            images = np.clip(images * white + 0.5, 0, white)
        inputs = np.ascontiguousarray(images, self.images["type"])
        probabilities: np.ndarray = self.session.run(None, {"images": inputs})[0]
        return probabilities


def open_session(path: Path, *, num_threads: int | None = None, device: str = "cpu") -> Any:
    """An `onnxruntime.InferenceSession`.

    Args:
        path: ONNX file.
        num_threads: Threads of an operation; None takes OMP_NUM_THREADS, else all cores.
        device: See `choose_providers`.

    Raises:
        ConfigError: ONNX Runtime is not installed, or has no such provider.
        CheckpointError: Not a readable ONNX file.
    """
    try:
        import onnxruntime
    except ImportError:
        raise ConfigError(
            "ONNX Runtime is not installed; install it with: pip install 'acdc_seg[onnx]'"
        ) from None
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file; {path_hint(path)}")
    names = choose_providers(onnxruntime.get_available_providers(), device)
    providers = [(name, PROVIDERS.get(name, {})) for name in names]
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors
    options.intra_op_num_threads = num_threads or int(os.environ.get("OMP_NUM_THREADS") or 0)
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=providers)
    except Exception as error:  # its errors have no common class
        raise CheckpointError(
            f"{path}: not a readable ONNX file ({str(error).splitlines()[0][:200]})"
        ) from None


def choose_providers(available: Sequence[str], device: str = "auto") -> list[str]:
    """Execution providers for a device, in the order in which ONNX Runtime tries them.

    Names in the environment variable `ACDC_SEG_ONNX_PROVIDERS` are taken before those of the
    device.

    Args:
        available: Those of the installed ONNX Runtime.
        device: auto takes OpenVINO and CUDA where they are there; cpu is ONNX Runtime's own, in
            which files are compared with PyTorch; cuda must be there.

    Raises:
        ConfigError: A provider that this ONNX Runtime does not have.
    """
    wanted = [name.strip() for name in os.environ.get(PROVIDERS_VARIABLE, "").split(",")]
    wanted = [name for name in wanted if name]
    for name in wanted:
        if name not in available:
            raise ConfigError(
                f"{PROVIDERS_VARIABLE}: '{name}' is not in this ONNX Runtime; "
                f"{did_you_mean(name, available)}"
            )
    if device not in ("auto", "cpu", "cuda"):
        raise ConfigError(f"device '{device}': ONNX files are run on auto, cpu or cuda")
    if wanted:
        return list(dict.fromkeys([*wanted, CPU]))
    if device == "cuda" and "CUDAExecutionProvider" not in available:
        raise ConfigError(
            "device 'cuda': this ONNX Runtime has no CUDA; install onnxruntime-gpu, or use cpu"
        )
    names = {"auto": list(PROVIDERS), "cpu": [CPU], "cuda": ["CUDAExecutionProvider", CPU]}
    return [name for name in names[device] if name in available]


def _read_metadata(path: Path, session: Any) -> dict[str, Any]:
    """The JSON properties that acdc-export wrote."""
    texts = session.get_modelmeta().custom_metadata_map
    names = ("format", "images", "classes", "has_background", "prepare", "model")
    try:
        about = {name: json.loads(texts[name]) for name in names}
    except (KeyError, ValueError):
        raise CheckpointError(
            f"{path}: not a file of acdc-export; export the model again"
        ) from None
    if about["format"] != FORMAT:
        raise CheckpointError(
            f"{path}: has format {about['format']} of another version of acdc_seg, this one reads "
            f"{FORMAT}; export the model again"
        )
    return about
