"""Arithmetic of sizes that an exported network does once more with the sizes it meets.

While `torch.jit.trace` records a network, heights and widths are tensors: Python's `max` or `round`
would write the numbers of the example into the file.
"""

from typing import Any

import torch


def is_tracing() -> bool:
    """Whether operations are being recorded for an exported network."""
    return torch.jit.is_tracing()


def larger(a: Any, b: Any) -> Any:
    """The larger of two numbers."""
    return torch.maximum(torch.as_tensor(a), torch.as_tensor(b)) if is_tracing() else max(a, b)


def smaller(a: Any, b: Any) -> Any:
    """The smaller of two numbers."""
    return torch.minimum(torch.as_tensor(a), torch.as_tensor(b)) if is_tracing() else min(a, b)


def real(number: Any) -> Any:
    """A whole number for divisions in double precision, as Python's are."""
    return torch.as_tensor(number).double() if is_tracing() else number


def rounded(number: Any) -> Any:
    """The nearest whole number, the even one of two."""
    return torch.as_tensor(number).round().long() if is_tracing() else round(number)
