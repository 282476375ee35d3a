"""The pictures of docs/scaling.md: readable on light and on dark pages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from benchmarks.scaling.crowd import ANSWER, IMAGE, percentile
from benchmarks.scaling.days import BURST, PROFILES, Visit
from benchmarks.scaling.layouts import DEFAULT, FULL, SERVER, uses
from benchmarks.scaling.measured import Measured
from benchmarks.scaling.scenarios import PEOPLE, SEED, Scenario, run
from benchmarks.scaling.trainings import WEEK_S, Habits, year

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: Grey of a middle lightness, and colours as light: 3 : 1 and more on white and on near-black.
INK: Final = "#808890"
COLOURS: Final = ("#3b82d6", "#d9662b", "#2f9e6e", "#b25fc4", "#a58a1c", "#d84f6c")
STYLE: Final[Mapping[str, Any]] = {
    "axes.edgecolor": INK, "axes.labelcolor": INK, "axes.titlecolor": INK, "xtick.color": INK, "ytick.color": INK,
    "text.color": INK, "axes.spines.top": False, "axes.spines.right": False, "font.size": 10, "svg.hashsalt": "scaling",
    "svg.fonttype": "path", "axes.titlesize": 10, "axes.titlelocation": "left",
}  # fmt: skip
#: People a day of whom the waits are drawn, for each layout.
CROWDS: Final = {
    DEFAULT: (100, 200, 400, 700, 1000, 1300, 1600, 1900, 2200, 2500),
    SERVER: (100, 400, 1000, 2000, 3000, 4000, 5000, 6000),
}


def draw(measured: Measured, visit: Visit, takes_s: Mapping[str, float], folder: Path) -> None:
    """All three."""
    import matplotlib as mpl

    with mpl.rc_context({**STYLE, "backend": "agg"}):
        _uses(measured, visit, folder / "scaling-uses.svg")
        _waits(measured, visit, folder / "scaling-waits.svg")
        _trainings(takes_s, folder / "scaling-trainings.svg")


def _uses(measured: Measured, visit: Visit, path: Path) -> None:
    """How much of each part of the default is used, by people a day; a panel each for how they come."""
    figure, panels = _panels(2, 3.6)
    for panel, profile in zip(panels, PROFILES, strict=True):
        lines = []
        for n, use in enumerate(sorted(uses(DEFAULT, profile, 1.0, visit, measured), key=lambda use: use.part)):
            low, high = 10 ** np.log10((1, 1e6))
            lines.append((use.share * high, use.part, COLOURS[n]))
            panel.plot((low, high), (100 * use.share * low, 100 * use.share * high), color=COLOURS[n], linewidth=2)
        for share in (FULL, 1.0):
            panel.axhline(100 * share, color=INK, linewidth=1, linestyle=":" if share < 1 else "-")
        for n in PEOPLE:
            panel.axvline(n, color=INK, linewidth=0.5)
        panel.set(
            xscale="log", yscale="log", xlim=(5, 3e5), ylim=(0.01, 2000), xlabel="participants a day",
            title=f"{profile.name}: used of the default at the busiest moment, %",
        )  # fmt: skip
        _percent(panel)
        panel.set_xticks([10, 100, 1000, 10_000, 100_000], ["10", "100", "1,000", "10,000", "100,000"])
    panels[0].legend(
        [line for line in panels[0].get_lines()[: len(lines)]], [part for _, part, _ in lines], frameon=False, fontsize=9,
        loc="upper left",
    )  # fmt: skip
    _save(figure, path)


def _percent(panel: Axes) -> None:
    panel.set_yticks([0.01, 0.1, 1, 10, 70, 100, 1000], ["0.01", "0.1", "1", "10", "70", "100", "1,000"])
    panel.minorticks_off()


def _waits(measured: Measured, visit: Visit, path: Path) -> None:
    """What people wait for at the busiest quarter of an hour of a burst, by people a day; a panel for each layout."""
    figure, panels = _panels(2, 3.6)
    for panel, (layout, crowds) in zip(panels, CROWDS.items(), strict=True):
        found = [run(Scenario(n, BURST, layout), visit, measured).found for n in crowds]
        lines = {
            "answers, 99 % within": [one.percentile(ANSWER, 0.99) for one in found],
            "answers, half within": [one.percentile(ANSWER, 0.5) for one in found],
            "images, 99 % within": [one.percentile(IMAGE, 0.99) for one in found],
            "first block of images, 95 % within": [percentile(one.first_block_s, 0.95) for one in found],
        }
        for colour, (name, values) in zip(COLOURS, lines.items(), strict=False):
            panel.plot(crowds, values, color=colour, linewidth=2, marker="o", markersize=3, label=name)
        first = uses(layout, BURST, 1.0, visit, measured)[0]
        panel.axvline(first.people_at(FULL), color=INK, linewidth=1, linestyle=":")
        panel.axvline(first.people_at(1.0), color=INK, linewidth=1)
        panel.set(
            yscale="log", xlim=(0, max(crowds)), ylim=(1e-3, 1e3), xlabel="participants a day, all within an hour",
            title=f"{layout.name}: s at the busiest quarter of an hour",
        )  # fmt: skip
        panel.set_yticks([1e-3, 1e-2, 0.1, 1, 10, 100, 1000], ["0.001", "0.01", "0.1", "1", "10", "100", "1,000"])
    panels[0].legend(frameon=False, fontsize=9, loc="upper left")
    _save(figure, path)


def _trainings(takes_s: Mapping[str, float], path: Path) -> None:
    """How long 95 % of 1,000 trainings a week wait at the most, by workers; a line for each length of a training."""
    figure, (panel,) = _panels(1, 3.2)
    for colour, (name, seconds) in zip(COLOURS, takes_s.items(), strict=False):
        least = 1000 * seconds / WEEK_S
        workers = sorted({max(1, int(np.ceil(least * more))) for more in (1.02, 1.2, 1.4, 1.7, 2, 2.5, 3, 4, 6, 8)})
        workers = [n for n in workers if n > least]
        hours = [max(0.02, year(1000, seconds, n, Habits(20), SEED).hours(0.95)) for n in workers]
        panel.plot(workers, hours, color=colour, linewidth=2, marker="o", markersize=3, label=name)
    panel.set(
        xscale="log", yscale="log", xlabel="workers of the queue gpu", title="1,000 trainings a week: 95 % wait at most, h"
    )
    panel.set_xticks([1, 2, 5, 10, 20, 50, 100, 200], ["1", "2", "5", "10", "20", "50", "100", "200"])
    panel.set_yticks([0.1, 1, 12, 100], ["0.1", "1", "12", "100"])
    panel.minorticks_off()
    panel.axhline(12, color=INK, linewidth=1, linestyle=":")
    panel.legend(frameon=False, fontsize=9)
    _save(figure, path)


def _panels(n: int, height: float) -> tuple[Any, Sequence[Axes]]:
    import matplotlib.pyplot as plt

    figure, panels = plt.subplots(1, n, figsize=(9.2 if n > 1 else 6.4, height), layout="constrained", squeeze=False)
    return figure, list(panels[0])


def _save(figure: Any, path: Path) -> None:
    import matplotlib.pyplot as plt

    figure.savefig(path, transparent=True, metadata={"Date": None})
    plt.close(figure)
