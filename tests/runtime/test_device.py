import pytest
import torch

from acdc_seg.errors import ConfigError
from acdc_seg.runtime.device import (
    DTYPES,
    check_compiler,
    idle_threads,
    loader_workers,
    prepare_backend,
    resolve_device,
    resolve_precision,
)

CPU = torch.device("cpu")


def test_cpu_is_everywhere():
    assert resolve_device("cpu") == CPU


@pytest.mark.parametrize(
    ("has_cuda", "has_mps", "expected"),
    [(True, True, "cuda"), (False, True, "mps"), (False, False, "cpu")],
)
def test_auto_takes_a_gpu_when_there_is_one(monkeypatch, has_cuda, has_mps, expected):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: has_cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: has_mps)
    assert resolve_device("auto").type == expected


def test_a_device_that_is_not_here_is_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError, match="'cuda' is not on this machine; use auto or cpu"):
        resolve_device("cuda")


def test_unknown_names_list_what_there_is():
    with pytest.raises(
        ConfigError, match="device 'gpu' is unknown; choose from: auto, cuda, mps, cpu"
    ):
        resolve_device("gpu")
    with pytest.raises(
        ConfigError, match="precision 'fp8' is unknown; choose from: auto, fp32, bf16, fp16"
    ):
        resolve_precision("fp8", CPU)


@pytest.mark.parametrize("name", ["fp32", "bf16"])
def test_a_named_precision_is_taken(name):
    assert resolve_precision(name, CPU) == name
    assert name in DTYPES


def test_half_precision_needs_a_gpu():
    with pytest.raises(ConfigError, match="fp16 needs a GPU; use bf16 or fp32 on the CPU"):
        resolve_precision("fp16", CPU)
    assert resolve_precision("fp16", torch.device("cuda")) == "fp16"


@pytest.mark.parametrize(
    ("native", "on_cpu", "on_gpu"), [(True, "bf16", "bf16"), (False, "fp32", "fp16")]
)
def test_auto_takes_bf16_where_it_is_native_and_else_fp16_on_a_gpu(
    monkeypatch, native, on_cpu, on_gpu
):
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: native, raising=False)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: native)
    assert resolve_precision("auto", CPU) == on_cpu
    assert resolve_precision("auto", torch.device("cuda")) == on_gpu


def test_auto_is_fp32_elsewhere():
    assert resolve_precision("auto", torch.device("mps")) == "fp32"


@pytest.mark.parametrize(
    ("busy", "most", "expected"),
    [([0, 0, 0, 0], 4, 4), ([0, 0, 0, 0], 2, 2), ([100, 100, 10, 0], 4, 2), ([100] * 4, 4, 1)],
)
def test_threads_are_those_that_others_leave_idle(monkeypatch, busy, most, expected):
    monkeypatch.setattr("psutil.cpu_percent", lambda interval, percpu: busy)
    monkeypatch.setattr("os.sched_getaffinity", lambda process: {0, 1, 2, 3})
    assert idle_threads(most) == expected


@pytest.mark.parametrize(
    ("number", "device", "num_processes", "expected"),
    [
        (None, "cpu", 1, 0),
        (None, "mps", 1, 0),
        (None, "cuda", 1, 8),
        (None, "cuda", 2, 5),
        (None, "cuda", 12, 1),
        (0, "cuda", 1, 0),
        (3, "cpu", 1, 3),
    ],
)
def test_a_gpu_has_loader_processes(monkeypatch, number, device, num_processes, expected):
    monkeypatch.setattr(
        "acdc_seg.runtime.device.usable_processors", lambda: tuple(range(12)), raising=True
    )
    assert loader_workers(number, torch.device(device), num_processes=num_processes) == expected


@pytest.mark.parametrize(("device", "expected"), [("cuda", (True, ["high"])), ("cpu", (False, []))])
def test_a_gpu_tries_its_convolutions_and_multiplies_in_tf32(monkeypatch, device, expected):
    precisions = []
    monkeypatch.setattr(torch, "set_float32_matmul_precision", precisions.append)
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", False)
    prepare_backend(torch.device(device))
    assert (torch.backends.cudnn.benchmark, precisions) == expected


def test_compiling_on_the_cpu_needs_a_compiler(monkeypatch):
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setattr("shutil.which", lambda name: None)
    check_compiler(torch.device("cuda"))
    with pytest.raises(ConfigError, match=r"no C\+\+ compiler .* set train\.compile=false"):
        check_compiler(CPU)
    monkeypatch.setattr("shutil.which", lambda name: name if name == "clang++" else None)
    check_compiler(CPU)
