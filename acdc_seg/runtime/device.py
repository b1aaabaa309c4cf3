"""Device and precision of this machine, and the meaning of `auto` for both."""

import os
import shutil

import psutil
import torch

from acdc_seg.errors import ConfigError
from acdc_seg.runtime.processors import usable_processors

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
MOST_WORKERS = 8
"""Loader processes that a training on a GPU takes by itself."""


def resolve_device(name: str) -> torch.device:
    """The torch device for auto, cpu, cuda or mps.

    Raises:
        ConfigError: Another name, or the device is not on this machine.
    """
    available = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "cpu": True,
    }
    if name == "auto":
        return torch.device(next(device for device, present in available.items() if present))
    if name not in available:
        raise ConfigError(f"device '{name}' is unknown; choose from: auto, {', '.join(available)}")
    if not available[name]:
        raise ConfigError(
            f"train.device: '{name}' is not on this machine; use auto or cpu, or install a build "
            "of PyTorch for it"
        )
    return torch.device(name)


def resolve_precision(name: str, device: torch.device) -> str:
    """fp32, bf16 or fp16; auto takes bf16 where the device computes it natively, fp16 on other CUDA
    GPUs (T4, V100, P100), else fp32.

    Raises:
        ConfigError: Another name, or fp16 on a CPU.
    """
    if name not in ("auto", *DTYPES):
        raise ConfigError(f"precision '{name}' is unknown; choose from: auto, {', '.join(DTYPES)}")
    if name == "fp16" and device.type == "cpu":
        raise ConfigError("train.precision: fp16 needs a GPU; use bf16 or fp32 on the CPU")
    if name != "auto":
        return name
    if _has_native_bf16(device):
        return "bf16"
    return "fp16" if device.type == "cuda" else "fp32"


def idle_threads(most: int, *, seconds: float = 0.3) -> int:
    """Threads, from 1 to `most`, for which other programs leave CPUs idle at this moment.

    Args:
        most: Threads where all CPUs are idle.
        seconds: How long to measure.
    """
    busy = psutil.cpu_percent(interval=seconds, percpu=True)
    idle = sum(100 - busy[cpu] for cpu in usable_processors() if cpu < len(busy)) / 100
    return max(1, min(most, round(idle)))


def use_idle_threads(device: str) -> tuple[int, int]:
    """Limits PyTorch to the threads that other programs leave idle, on the CPU.

    Args:
        device: auto, cpu, cuda or mps.

    Returns:
        Threads that it uses now, and those that it would use alone.
    """
    most = torch.get_num_threads()
    if most > 1 and resolve_device(device).type == "cpu":
        torch.set_num_threads(idle_threads(most))
    return torch.get_num_threads(), most


def loader_workers(number: int | None, device: torch.device, *, num_processes: int = 1) -> int:
    """Loader processes of a training: the configured number, or by the device where it is None.

    On the CPU there are none, for they would take the cores that train. A GPU would wait for the
    augmentation of its next batch: it has up to `MOST_WORKERS`, as far as there are processors.

    Args:
        number: `data.num_workers`.
        device: Of the training.
        num_processes: Processes that train on this machine together.
    """
    if number is not None:
        return number
    if device.type != "cuda":
        return 0
    return max(1, min(MOST_WORKERS, len(usable_processors()) // num_processes - 1))


def check_compiler(device: torch.device) -> None:
    """Raises ConfigError where PyTorch could not compile a network for want of a C++ compiler."""
    compilers = (os.environ.get("CXX"), "g++", "clang++")
    if device.type == "cpu" and not any(shutil.which(name) for name in compilers if name):
        raise ConfigError(
            "train.compile: no C++ compiler (g++ or clang++) is on this machine; install one, or "
            "set train.compile=false"
        )


def prepare_backend(device: torch.device) -> None:
    """Lets a CUDA GPU try convolution algorithms, for sizes repeat, and multiply fp32 in TF32."""
    if device.type == "cuda":
        torch.backends.cudnn.benchmark = True
        torch.set_float32_matmul_precision("high")


def _has_native_bf16(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type == "cpu":
        return bool(getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)())
    return False
