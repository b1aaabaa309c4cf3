"""Files of `acdc-export`, run by ONNX Runtime without PyTorch."""

import os
from pathlib import Path
from typing import Any

from acdc_seg.errors import CheckpointError, ConfigError, path_hint


def open_session(path: Path, *, num_threads: int | None = None) -> Any:
    """An `onnxruntime.InferenceSession` on the CPU.

    Args:
        path: ONNX file.
        num_threads: Threads of an operation; None takes OMP_NUM_THREADS, else all cores.

    Raises:
        ConfigError: ONNX Runtime is not installed.
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
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors
    options.intra_op_num_threads = num_threads or int(os.environ.get("OMP_NUM_THREADS") or 0)
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its errors have no common class
        raise CheckpointError(
            f"{path}: not a readable ONNX file ({str(error).splitlines()[0][:200]})"
        ) from None
