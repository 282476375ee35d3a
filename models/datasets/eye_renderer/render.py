"""The recipe of an image, in the order in which the layers are laid down."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.datasets.eye_renderer import scene as scenes
from models.datasets.eye_renderer.camera import photograph
from models.datasets.eye_renderer.draws import Draws, Floats
from models.datasets.eye_renderer.eyeball import draw_eyeball
from models.datasets.eye_renderer.geometry import Framing, look
from models.datasets.eye_renderer.hair import draw_brow, draw_lashes
from models.datasets.eye_renderer.lids import open_lids
from models.datasets.eye_renderer.skin import draw_skin
from models.datasets.eye_renderer.textures import load_textures

PIXELS_AT_ONCE = 1 << 16
"""Large enough to hide what a call of numpy costs, small enough for the caches of the processor."""


@dataclass(frozen=True)
class EyeImages:
    """Rendered eyes: images uint8 (N, 3, H, W); pitchyaw float32 (N, 2); head float32 (N, 3) with roll; radians."""

    images: NDArray[np.uint8]
    pitchyaw: Floats
    head: Floats


def render_eyes(
    framing: Framing,
    seed: int,
    stream: str,
    index: NDArray[np.int64],
    subject: NDArray[np.int64],
    *,
    gaze: Floats | None = None,
    head: Floats | None = None,
) -> EyeImages:
    """Render images `index` (N,) of a stream ("train", "test", ...), image i showing subject[i].

    An image depends on (VERSION, framing, seed, stream, its index, its subject, its gaze and head) and on nothing else.

    Args:
        gaze: (N, 2) pitch and yaw in radians; drawn from +-25 and +-35 deg if left out.
        head: (N, 3) pitch, yaw and roll of the head in radians; drawn if left out.
    """
    step = max(1, PIXELS_AT_ONCE // (framing.width * framing.height))
    parts = []
    for start in range(0, len(index), step):
        rows = slice(start, start + step)
        draws = Draws.of(seed, stream, index[rows])
        part_gaze = scenes.draw_gaze(draws) if gaze is None else gaze[rows]
        part_head = scenes.draw_head(draws) if head is None else head[rows]
        images = _render(framing, scenes.draw_traits(seed, subject[rows]), part_gaze, part_head, draws)
        parts.append(EyeImages(images, part_gaze, part_head))
    return EyeImages(
        np.concatenate([part.images for part in parts]),
        np.concatenate([part.pitchyaw for part in parts]),
        np.concatenate([part.head for part in parts]),
    )


def render_study_eyes(
    framing: Framing, seed: int, stream: str, index: NDArray[np.int64], subject: NDArray[np.int64]
) -> EyeImages:
    """Render eyes to show to people: wide open, gazes spread evenly over the indices."""
    head = scenes.draw_head(Draws.of(seed, stream, index)) * np.float32(0.4)
    return render_eyes(framing, seed, stream, index, subject, gaze=scenes.spread_gaze(seed, index), head=head)


def _render(framing: Framing, traits: scenes.Traits, gaze: Floats, head: Floats, draws: Draws) -> NDArray[np.uint8]:
    textures = load_textures()
    scene = scenes.draw_scene(draws, gaze, head)
    view = look(framing, traits, scene)
    lids = open_lids(view, traits, scene)
    skin = draw_skin(view, lids, traits, scene, textures)
    image = skin.rgb
    ball = draw_eyeball(view, lids, traits, scene, textures)
    image += (ball - image) * lids.opening[:, None]
    draw_lashes(image, view, lids, traits, textures)
    draw_brow(image, view, skin, traits, textures)
    return photograph(image, framing, draws)
