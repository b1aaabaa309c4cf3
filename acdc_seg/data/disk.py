"""Training examples in a file on disk, mapped into memory."""

import os
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch

from acdc_seg.errors import DataError


class DiskExamples:
    """Training examples of any sizes in a memory-mapped file without a name, so that nothing is
    left of them however the process ends. Another process maps the file again instead of receiving
    a copy.

    Raises:
        DataError: No room for the file, or it cannot be written.
    """

    def __init__(
        self, examples: Iterable[tuple[Any, torch.Tensor, torch.Tensor]], folder: Path
    ) -> None:
        shapes = []
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder) as file:
                # written, for a full disk would kill a process that writes into a mapping
                for _, image, mask in examples:
                    file.write(image.contiguous().numpy().data)
                    file.write(mask.contiguous().numpy().data)
                    file.write(bytes(-mask.nbytes % 4))  # the next image is aligned
                    shapes.append(image.shape)
                file.flush()
                self.__setstate__((_path_of(file), np.array(shapes)))
        except OSError as error:
            raise DataError(
                f"{folder}: cannot keep the training images here ({error.strerror}); free some "
                "space, or set data.cache=none"
            ) from None

    def __len__(self) -> int:
        return len(self.shapes)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        shape = self.shapes[index]
        start, num_values, num_pixels = self.starts[index], shape.prod(), shape[1:].prod()
        end = start + 4 * num_values
        image = self.content[start:end].view(np.float32).reshape(shape)
        mask = self.content[end : end + num_pixels].reshape(shape[1:])
        return torch.from_numpy(image), torch.from_numpy(mask)

    def __getstate__(self) -> tuple[str, np.ndarray]:
        return _path_of(self.file), self.shapes

    def __setstate__(self, state: tuple[str, np.ndarray]) -> None:
        path, self.shapes = state
        num_pixels = self.shapes[:, 1:].prod(axis=1)
        sizes = 4 * self.shapes.prod(axis=1) + num_pixels + -num_pixels % 4
        self.starts = sizes.cumsum() - sizes
        self.file = open(path, "rb")  # noqa: SIM115
        self.content = np.memmap(self.file, np.uint8, mode="c")


def _path_of(file: IO[bytes]) -> str:
    """A path that opens this file again from any process, although it has no name."""
    return f"/proc/{os.getpid()}/fd/{file.fileno()}"
