"""One page to look at before anything is trained: images with their gaze as arrows, so that a flipped sign is seen."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib as mpl
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch
from matplotlib.patheffects import withStroke
from numpy.typing import NDArray

from models.datasets.base import GazeData
from models.gaze import pitchyaw_to_vector

if TYPE_CHECKING:
    from models.datasets.importing import Manifest

CANDIDATES = 4000
SCATTERED = 5000
NAMED_SUBJECTS = 24
LONGEST_NAME = 12
CAPTION = 0.2  # of a picture's width

INK, QUIET, ARROW, BLUE, WARNING = "#1b1f24", "#6b7280", "#ffb000", "#0072b2", "#b3261e"
LEGEND = """\
The arrow must point where the eye looks, as seen in the picture: to the right where yaw is below 0, to the left
where it is above, up where pitch is above 0; a dot looks into the camera. Below each: subject; pitch, yaw.
Pictures are laid out as they look: up in the top row, to the left of the picture on the left. Do not train if
most disagree: a sign is flipped; import again under another name, with --flip-yaw or --flip-pitch."""


def draw(data: GazeData, manifest: Manifest, path: Path) -> None:
    """Write the sheet of an imported data set as a PNG.

    Left, 28 or 30 images (all, if there are fewer) over subjects and the range of gaze; right, the distribution of the
    labels and the images per subject.
    """
    rows, columns = layout(data)
    chosen = arrange(data, choose(data, rows * columns), columns)
    with mpl.rc_context({"font.family": "DejaVu Sans", "text.color": INK, "axes.edgecolor": QUIET, "font.size": 9}):
        figure = Figure(figsize=(17, 10), facecolor="white")
        FigureCanvasAgg(figure)
        grid = figure.add_gridspec(
            *(2, 2), width_ratios=(2.6, 1), height_ratios=(1.7, 1), wspace=0.1, hspace=0.3,
            left=0.02, right=0.985, top=0.88, bottom=0.14,
        )  # fmt: skip
        _draw_images(figure.add_subplot(grid[:, 0]), data, chosen, columns, list(manifest.subjects))
        _draw_labels(figure.add_subplot(grid[0, 1]), data, chosen)
        _draw_subjects(figure.add_subplot(grid[1, 1]), manifest.subjects)
        _draw_words(figure, data, manifest)
        figure.savefig(path, dpi=110, metadata={"Software": None})


def layout(data: GazeData) -> tuple[int, int]:
    """Rows and columns of pictures that fill the sheet."""
    height, width = data.images.shape[-2:]
    wide = width / height
    return (6, 5) if wide > 1.8 else (5, 6) if wide > 1.3 else (4, 7)


def choose(data: GazeData, most: int) -> NDArray[np.int64]:
    """At most so many images: each as far from the gazes before it as can be, subjects taking turns."""
    candidates = np.unique(np.linspace(0, len(data) - 1, min(len(data), CANDIDATES)).round().astype(np.int64))
    gaze, subject = data.pitchyaw.numpy()[candidates].astype(np.float64), data.subject.numpy()[candidates]
    _, subject = np.unique(subject, return_inverse=True)
    spread = np.ptp(gaze, axis=0)
    points = (gaze - gaze.mean(0)) / np.where(spread > 0, spread, 1)
    shown = np.zeros(subject.max() + 1, np.int64)
    distance = -np.hypot(*points.T)  # the first is the most ordinary one
    chosen: list[int] = []
    free = np.ones(len(candidates), bool)
    while free.any() and len(chosen) < most:
        turn = free & (shown[subject] == shown[subject[free]].min())
        nearest = int(np.where(turn, distance, -np.inf).argmax())
        to_it = np.hypot(*(points - points[nearest]).T)
        distance = np.minimum(distance, to_it) if chosen else to_it
        chosen.append(nearest)
        free[nearest] = False
        shown[subject[nearest]] += 1
    return candidates[chosen]


def arrange(data: GazeData, chosen: NDArray[np.int64], columns: int) -> NDArray[np.int64]:
    """The same images, row by row, as they look: up first, and within a row from left to right of the picture."""
    pitch, yaw = data.pitchyaw.numpy()[chosen].T
    by_pitch = np.argsort(-pitch, kind="stable")
    rows = [by_pitch[start : start + columns] for start in range(0, len(chosen), columns)]
    return chosen[np.concatenate([row[np.argsort(-yaw[row], kind="stable")] for row in rows])]


def arrow(pitch: float, yaw: float, length: float) -> tuple[float, float]:
    """The gaze as seen in the picture: (dx, dy), x to the right, y down, `length` for a gaze along the picture."""
    x, y, _ = pitchyaw_to_vector(np.array([pitch, yaw]))
    return length * float(x), length * float(y)


def _draw_images(axes: Axes, data: GazeData, chosen: NDArray[np.int64], columns: int, subjects: list[str]) -> None:
    """Pictures are 1 wide; below each a caption."""
    height = data.images.shape[2] / data.images.shape[3]
    names = [_name(subject) for subject in subjects]
    gazes = data.pitchyaw.numpy()[chosen].astype(float)
    longest = max((math.hypot(*arrow(pitch, yaw, 1.0)) for pitch, yaw in gazes), default=0.0)
    length = min(0.46 / max(longest, 1e-6), 2.0) * min(1.0, height)
    step = height + CAPTION
    for place, (index, (pitch, yaw)) in enumerate(zip(chosen.tolist(), gazes, strict=True)):
        row, column = divmod(place, columns)
        left, top = column * 1.06, row * step
        _draw_picture(axes, data.images[index], (left, left + 1, top + height, top))
        _draw_arrow(axes, (left + 0.5, top + height / 2), arrow(pitch, yaw, length))
        values = f"{round(math.degrees(pitch)):+d}°, {round(math.degrees(yaw)):+d}°".replace("-", "−")
        axes.text(left, top + height + 0.025, names[int(data.subject[index])], va="top", fontsize=7, color=QUIET)
        axes.text(left + 1, top + height + 0.025, values, va="top", ha="right", fontsize=8)
    axes.set_xlim(0, columns * 1.06 - 0.06)
    axes.set_ylim(max(1, -(-len(chosen) // columns)) * step, 0)
    axes.set_aspect("equal", anchor="NW")
    axes.axis("off")


def _draw_picture(axes: Axes, image: torch.Tensor, extent: tuple[float, float, float, float]) -> None:
    pixels = image.permute(1, 2, 0).numpy()
    axes.imshow(
        pixels[..., 0] if pixels.shape[2] == 1 else pixels,
        extent=extent, cmap="gray", vmin=0, vmax=255, interpolation="bicubic", aspect="auto",
    )  # fmt: skip


def _draw_arrow(axes: Axes, centre: tuple[float, float], move: tuple[float, float]) -> None:
    x, y = centre
    outline = [withStroke(linewidth=4, foreground=INK)]
    axes.plot(x, y, "o", markersize=4, color=ARROW, path_effects=outline, zorder=3)
    if math.hypot(*move) < 0.03:
        return
    axes.add_patch(
        FancyArrowPatch(
            centre, (x + move[0], y + move[1]), arrowstyle="-|>,head_length=5,head_width=3", shrinkA=0, shrinkB=0,
            linewidth=1.8, color=ARROW, path_effects=outline, zorder=3,
        )
    )  # fmt: skip


def _draw_labels(axes: Axes, data: GazeData, chosen: NDArray[np.int64]) -> None:
    pitch, yaw = np.rad2deg(data.pitchyaw.numpy().astype(np.float64)).T
    if len(data) > SCATTERED:
        axes.hexbin(yaw, pitch, gridsize=45, bins="log", cmap="Blues", mincnt=1, linewidths=0)
    else:
        axes.plot(yaw, pitch, ".", markersize=3, color=BLUE, alpha=0.45, markeredgewidth=0)
    axes.plot(yaw[chosen], pitch[chosen], "o", markersize=6, markerfacecolor="none", markeredgecolor=ARROW, mew=1.5)
    axes.axhline(0, color=QUIET, linewidth=0.5)
    axes.axvline(0, color=QUIET, linewidth=0.5)
    axes.invert_xaxis()
    axes.margins(0.06)
    axes.set_aspect("equal", adjustable="datalim")
    axes.set_xlabel("yaw, degrees: the left of the plot is the left of the picture")
    axes.set_ylabel("pitch, degrees: up is up")
    axes.set_title("Labels; circles are the pictures shown", loc="left", fontsize=10)
    axes.spines[["top", "right"]].set_visible(False)


def _draw_subjects(axes: Axes, subjects: dict[str, int]) -> None:
    names = list(subjects)
    if few := len(names) <= NAMED_SUBJECTS:
        counts = list(subjects.values())
    else:
        counts = sorted(subjects.values(), reverse=True)
    axes.bar(range(len(counts)), counts, color=BLUE, width=0.8)
    axes.set_xlim(-0.7, max(len(counts), 6) - 0.3)
    axes.set_xticks(range(len(names)) if few else [])
    if few:
        short = [_name(name) for name in names]
        axes.set_xticklabels(short, rotation=0 if len(names) * max(map(len, short)) <= 36 else 90)
    else:
        axes.set_xlabel("subjects, those with most images first")
    numbers = f"{min(counts):,}" if min(counts) == max(counts) else f"{min(counts):,} to {max(counts):,}"
    axes.set_title(f"Images of each subject: {numbers}", loc="left", fontsize=10)
    axes.spines[["top", "right"]].set_visible(False)


def _draw_words(figure: Figure, data: GazeData, manifest: Manifest) -> None:
    channels, height, width = manifest.shape
    ranges = ", ".join(f"{name} {low:+.1f}° to {high:+.1f}°" for name, (low, high) in manifest.range_deg.items())
    facts = (
        f"{manifest.images:,} images of {height} × {width} px, {'grey' if channels == 1 else 'colour'}   ·   "
        f"{len(manifest.subjects):,} subject(s)   ·   {ranges}   ·   stored angles times {manifest.sign_pitch:+d} "
        f"(pitch), {manifest.sign_yaw:+d} (yaw)"
    ).replace("-", "−")
    figure.text(0.02, 0.955, f"{data.name}: {manifest.title}", fontsize=17, fontweight="bold")
    figure.text(0.02, 0.928, facts, fontsize=10.5)
    options = ", ".join(f"{name} {value}" for name, value in manifest.options.items() if value is not None)
    said = (options and f"Read with {options}", f"Licence: {manifest.licence}", manifest.citation)
    terms = "   ·   ".join(text for text in said if text)
    figure.text(0.02, 0.906, _shortened(terms, 210), fontsize=8.5, color=QUIET)
    figure.text(0.02, 0.04, LEGEND, fontsize=10.5, linespacing=1.4)
    figure.text(0.985, 0.955, manifest.fingerprint[:16], fontsize=8.5, color=QUIET, ha="right", family="monospace")
    figure.text(0.02, 0.018, _shortened("  ".join(manifest.warnings), 210), fontsize=10, color=WARNING)


def _name(subject: str) -> str:
    """The end of a long name, by which people of one recording differ."""
    return subject if len(subject) <= LONGEST_NAME else "…" + subject[1 - LONGEST_NAME :]


def _shortened(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1].rstrip() + "…"
