"""Figures of a page, each also saved as a file."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from acdc_seg.errors import AcdcWarning
from acdc_seg.report.style import page_svg, save_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Figures:
    """Draws figures and saves each in a folder, as SVG and as PNG; without a folder it does not
    save.
    """

    folder: Path | None = None

    def draw(self, name: str, draw: "Callable[[], Figure]", *, on_page: bool = True) -> str:
        """The figure as SVG for a page; empty, with a warning, where it cannot be drawn.

        Args:
            name: Of the files, without ending.
            draw: Makes the figure.
            on_page: Whether the page shows it; else it is only saved.
        """
        try:
            figure = draw()
            if self.folder is not None:
                save_figure(figure, self.folder / name)
            return page_svg(figure) if on_page else ""
        except Exception as error:
            place = self.folder / name if self.folder else name
            warnings.warn(
                f"{place}: this figure cannot be drawn ({type(error).__name__}: {error}); the page "
                "is written without it",
                AcdcWarning,
                stacklevel=2,
            )
            return ""
