"""Segmentation of the heart in short-axis cardiac MR: train, tune, ensemble, submit.

The functions of `__all__` are imported when they are first used, so that `import acdc_seg` is
instant.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from acdc_seg.config import load_config
    from acdc_seg.evaluation import evaluate
    from acdc_seg.inference.api import predict_volume
    from acdc_seg.inference.load import load_predictor
    from acdc_seg.models import create_model
    from acdc_seg.submission.pipeline import write_submission
    from acdc_seg.training.loop import train

__version__ = "0.1.0"
__all__ = [
    "create_model",
    "evaluate",
    "load_config",
    "load_predictor",
    "predict_volume",
    "train",
    "write_submission",
]

_MODULES = {
    "create_model": "acdc_seg.models",
    "evaluate": "acdc_seg.evaluation",
    "load_config": "acdc_seg.config",
    "load_predictor": "acdc_seg.inference.load",
    "predict_volume": "acdc_seg.inference.api",
    "train": "acdc_seg.training.loop",
    "write_submission": "acdc_seg.submission.pipeline",
}
"""Where each public function is defined."""


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'acdc_seg' has no attribute '{name}'")
    return getattr(import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
