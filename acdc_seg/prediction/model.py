"""A model and how it is used, as any process can load it."""

from dataclasses import dataclass
from pathlib import Path

from acdc_seg.errors import ConfigError
from acdc_seg.inference.base import Predictor
from acdc_seg.inference.volumes import VolumePredictor


@dataclass(frozen=True)
class ModelSettings:
    """Plain values of which `load` makes a predictor.

    Attributes:
        path: Run folder, checkpoint, ensemble, or ONNX file of `acdc-export --volumes`.
        tta: Views to average over, flips or dihedral.
        device: auto, cpu, cuda or mps.
        precision: auto, fp32, bf16 or fp16.
        keep_largest: Leave the largest connected region of every class.
        batch_size: Slices at a time.
    """

    path: Path
    tta: str | None = None
    device: str = "auto"
    precision: str = "auto"
    keep_largest: bool = True
    batch_size: int = 8

    def load(self) -> VolumePredictor:
        """Reads the weights.

        Raises:
            AcdcError: A model that cannot be loaded, or a device that is not there.
        """
        return VolumePredictor(
            self._open(), keep_largest=self.keep_largest, batch_size=self.batch_size
        )

    def _open(self) -> Predictor:
        if self.path.suffix == ".onnx":
            return self._open_onnx()
        from acdc_seg.inference.load import load_members

        return load_members([self.path], tta=self.tta, device=self.device, precision=self.precision)

    def _open_onnx(self) -> Predictor:
        """Without PyTorch."""
        from acdc_seg.inference.onnx import OnnxPredictor

        if self.tta or self.precision not in ("auto", "fp32"):
            raise ConfigError(
                f"{self.path}: an ONNX file is run as it was exported, with its views and "
                "precision; leave out --tta and --precision"
            )
        return OnnxPredictor(self.path, device=self.device)
