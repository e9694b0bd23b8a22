"""Figures of several panels, as PNG and SVG: how lines look and panels are laid out. Equal panels give equal bytes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Okabe and Ito's colours, told apart by the colour-blind; lines differ by dash, too.
_COLOURS = ("#D55E00", "#0072B2", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#666666")
_DASHES = ("-", "--", "-.", ":")


@dataclass(frozen=True)
class Panel:
    """What is drawn into one pair of axes: its title, and the drawing."""

    title: str
    draw: Callable[[Axes], None]


def line(number: int) -> dict[str, Any]:
    """The look of a panel's line of that number."""
    return {"color": _COLOURS[number % len(_COLOURS)], "linestyle": _DASHES[number % len(_DASHES)], "linewidth": 1.6}


def write(folder: Path, name: str, panels: Sequence[Panel], *, same_heights: bool = False) -> list[Path]:
    """Write NAME.png and NAME.svg, three panels a line; with `same_heights` those of a line share their y axis."""
    from matplotlib import pyplot as plt

    from sdft_exp.report.figure import STYLE

    columns = min(3, len(panels))
    lines = -(-len(panels) // columns)
    paths = [folder / f"{name}.{kind}" for kind in ("png", "svg")]
    with plt.rc_context(STYLE):
        size = (4.6 * columns, 3.4 * lines)
        share: Literal["row", "none"] = "row" if same_heights else "none"
        figure, grid = plt.subplots(lines, columns, figsize=size, squeeze=False, sharey=share, layout="constrained")
        for axes in grid.flat[len(panels) :]:
            axes.axis("off")
        for axes, panel in zip(grid.flat, panels, strict=False):
            axes.set_title(panel.title, loc="left", fontweight="bold")
            panel.draw(axes)
        figure.savefig(paths[0], metadata={"Software": None})
        figure.savefig(paths[1], metadata={"Date": None, "Creator": None})
        plt.close(figure)
    return paths
