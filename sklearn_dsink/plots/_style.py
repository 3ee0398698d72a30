"""What the displays share: colours that all eyes tell apart, class names that never overlap."""

from __future__ import annotations

from typing import Any

import numpy as np

#: Okabe and Ito's palette (2008), safe for the common colour-vision deficiencies. Each use has
#: a marker, dash or order of its own besides, so that a grey print can be read as well.
BLUE, ORANGE, GREEN, RED, GREY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#666666"
GROUP_COLORS = {"many": BLUE, "medium": ORANGE, "few": RED}
GROUP_HATCHES = {"many": "", "medium": "//", "few": "xx"}
GROUP_DASHES = {"many": "-", "medium": "--", "few": ":"}

_LONGEST_NAME = 18
_CHAR_WIDTH, _LINE_HEIGHT = 0.62, 1.35  # of the font size, generous for DejaVu Sans


def new_axes(ax: Any, figsize: tuple[float, float] = (7.0, 4.2)) -> Any:
    """Return `ax`, or an axes of a new figure that makes room for its labels."""
    if ax is not None:
        return ax
    import matplotlib.pyplot as plt

    return plt.subplots(figsize=figsize, layout="constrained")[1]


def short_name(label: Any) -> str:
    """Write a class as one short line, taking ``$`` for a dollar."""
    name = " ".join(str(label).split()) or "(empty)"
    if len(name) > _LONGEST_NAME:
        name = name[: _LONGEST_NAME - 1] + "…"
    return name.replace("$", r"\$")


def name_classes(ax: Any, labels: Any, axis: str = "x") -> int:
    """Tick an axis with class names, as many as fit without touching.

    Parameters
    ----------
    ax : matplotlib Axes
        Classes stand at 0, 1, ... along the axis.
    labels : sequence
        One label a class, in their order on the axis.
    axis : {"x", "y"}, default="x"
        Which one.

    Returns
    -------
    step : int
        Every how many-th class is named.
    """
    which = getattr(ax, f"{axis}axis")
    size = 9.0
    box = ax.get_position()
    figure = ax.get_figure()
    length = 72.0 * (
        box.width * figure.get_figwidth() if axis == "x" else box.height * figure.get_figheight()
    )
    names = [short_name(label) for label in labels]
    widest = max(len(name) for name in names) * size * _CHAR_WIDTH + size
    line = size * _LINE_HEIGHT
    upright = axis == "x" and widest * len(names) > length
    room = line if upright or axis == "y" else widest
    step = int(np.ceil(len(names) * room / max(length, 1.0)))
    ticks = np.arange(0, len(names), step)
    which.set_ticks(ticks, [names[i] for i in ticks])
    which.set_tick_params(labelsize=size, labelrotation=90.0 if upright else 0.0)
    return step


def class_axis_title(title: str, step: int) -> str:
    """Say in an axis title that not every class is named."""
    return title if step == 1 else f"{title}; one in {step} is named"


def legend_above(ax: Any, ncols: int = 2) -> None:
    """Put the legend above the axes, where it cannot cover data, and no wider than they are."""
    for columns in range(ncols, 0, -1):
        legend = ax.legend(
            loc="lower center",
            bbox_to_anchor=(0.5, 1.0),
            ncols=columns,
            frameon=False,
            fontsize=8.5,
            handlelength=1.6,
            columnspacing=1.2,
        )
        # The layout of a figure of its own will make the axes a little wider than they are now.
        if legend.get_window_extent().width <= 1.15 * ax.get_window_extent().width:
            break


def tidy(ax: Any, grid: str = "y") -> None:
    """Take away the frame's upper right, and lay a light grid behind the data."""
    ax.spines[["top", "right"]].set_visible(False)
    ax.grid(axis=grid, color="0.9", linewidth=0.8)
    ax.set_axisbelow(True)


def check_lengths(**arrays: Any) -> None:
    """Raise ValueError unless all arrays that are given have one length."""
    lengths = {name: len(array) for name, array in arrays.items() if array is not None}
    if len(set(lengths.values())) > 1:
        found = ", ".join(f"{name} {length}" for name, length in lengths.items())
        raise ValueError(f"these must have the same length: {found}.")
