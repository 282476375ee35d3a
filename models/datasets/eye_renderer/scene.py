"""What differs between subjects, and between the images of one subject."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.datasets.eye_renderer.draws import Draws, Floats
from models.datasets.eye_renderer.textures import TILES

Ints = NDArray[np.int64]

# From the lightest to the darkest.
SKIN_TONES = np.array(
    [
        [0.93, 0.77, 0.68],
        [0.88, 0.70, 0.59],
        [0.83, 0.63, 0.51],
        [0.76, 0.55, 0.42],
        [0.66, 0.46, 0.34],
        [0.54, 0.36, 0.26],
        [0.42, 0.27, 0.19],
        [0.33, 0.21, 0.15],
    ],
    np.float32,
)
# Two browns first: with dark skin the iris is mostly one of them.
IRIS_COLOURS = np.array(
    [
        [0.24, 0.13, 0.07],
        [0.33, 0.19, 0.09],
        [0.42, 0.27, 0.13],
        [0.45, 0.38, 0.20],
        [0.36, 0.42, 0.28],
        [0.34, 0.47, 0.55],
        [0.42, 0.55, 0.66],
        [0.50, 0.55, 0.58],
    ],
    np.float32,
)
DARK_HAIR = np.array([0.10, 0.075, 0.06], np.float32)
FAIR_HAIR = np.array([0.42, 0.30, 0.18], np.float32)

PITCH_LIMIT = math.radians(25)
YAW_LIMIT = math.radians(35)
ZOOM_RANGE = (0.94, 1.06)
SHIFT_LIMIT = 1.5  # mm
KAPPA_PITCH_SD = math.radians(1.0)
KAPPA_YAW_SD = math.radians(1.2)


@dataclass(frozen=True)
class Traits:
    """What stays the same in all images of a subject; arrays of B rows, lengths in mm, angles in radians.

    Attributes:
        skin, iris, hair: colours (B, 3) in [0, 1].
        sclera: brightness of the white.
        half_width: half the distance between the corners of the eye.
        upper, lower: height of the lids above and below the line of the corners.
        tilt: slope of that line; peak: where the upper lid is highest, 0 = inner to 1 = outer corner.
        crease, crease_depth: height of the fold above the lid and how dark it is.
        bag, socket: how dark the fold under the eye and the eye socket are.
        brow_y, brow_height, brow_arch, brow_density, lash: brow and lashes.
        iris_radius: of the visible iris.
        kappa: (B, 2) pitch and yaw from the visual to the optical axis. It cannot be seen in one image, so a new
            subject has an error floor, as with real people.
        tile, iris_tile: which textures of the banks; offset: (B, 2) mm, where on them.
    """

    skin: Floats
    iris: Floats
    hair: Floats
    sclera: Floats
    half_width: Floats
    upper: Floats
    lower: Floats
    tilt: Floats
    peak: Floats
    crease: Floats
    crease_depth: Floats
    bag: Floats
    socket: Floats
    brow_y: Floats
    brow_height: Floats
    brow_arch: Floats
    brow_density: Floats
    lash: Floats
    iris_radius: Floats
    kappa: Floats
    tile: Ints
    iris_tile: Ints
    offset: Floats


@dataclass(frozen=True)
class Light:
    """The lights of B images: unit `direction` (B, 3) of the main one and of the `second`; `ambient` share (B,).

    `strength` (B, 2) and `sharpness` (B, 2) shape the glints of the two; many images have no second glint.
    """

    direction: Floats
    ambient: Floats
    second: Floats
    strength: Floats
    sharpness: Floats


@dataclass(frozen=True)
class Scene:
    """What is drawn anew for each image; arrays of B rows.

    Attributes:
        gaze: (B, 2) pitch and yaw of the label, radians.
        head: (B, 3) pitch, yaw and roll, radians.
        zoom: scale of the window, about 1; shift: (B, 2) mm, where the camera points.
        lid_lift: how far the upper lid is raised, relative.
        pupil: radius of the pupil relative to the iris.
        light: see `Light`.
    """

    gaze: Floats
    head: Floats
    zoom: Floats
    shift: Floats
    lid_lift: Floats
    pupil: Floats
    light: Light


def draw_traits(seed: int, subject: Ints) -> Traits:
    """The traits of `subject` (B,): each a function of (version, seed, subject) alone."""
    draws = Draws.of(seed, "subject", subject)
    tone = draws.uniform("skin", 0, len(SKIN_TONES) - 1.001)
    darkness = tone / (len(SKIN_TONES) - 1)
    return Traits(
        skin=_between_tones(tone),
        iris=_iris_colour(draws, darkness),
        hair=_hair_colour(draws, darkness),
        sclera=draws.uniform("sclera", 0.80, 0.97),
        half_width=draws.normal("half width", 14.8, 0.9),
        upper=draws.normal("upper", 6.0, 0.8).clip(4.2, 7.6),
        lower=draws.normal("lower", 4.1, 0.5).clip(2.8, 5.4),
        tilt=draws.normal("tilt", 0.05, 0.045),
        peak=draws.normal("peak", 0.46, 0.03),
        crease=draws.uniform("crease", 1.6, 4.2),
        crease_depth=draws.uniform("crease depth", 0.12, 0.42),
        bag=draws.uniform("bag", 0.0, 0.22),
        socket=draws.uniform("socket", 0.12, 0.34),
        brow_y=draws.normal("brow y", -17.0, 1.3),
        brow_height=draws.uniform("brow height", 1.6, 3.4),
        brow_arch=draws.uniform("brow arch", 0.8, 3.2),
        brow_density=draws.uniform("brow density", 0.55, 1.0),
        lash=draws.uniform("lash", 0.45, 1.0),
        iris_radius=draws.normal("iris radius", 5.9, 0.2),
        kappa=np.stack(
            [draws.normal("kappa pitch", 0, KAPPA_PITCH_SD), draws.normal("kappa yaw", 0, KAPPA_YAW_SD)], axis=1
        ),
        tile=draws.integer("tile", TILES),
        iris_tile=draws.integer("iris tile", TILES),
        offset=np.stack([draws.uniform("offset x", 64, 128), draws.uniform("offset y", 64, 128)], axis=1),
    )


def _between_tones(tone: Floats) -> Floats:
    below = tone.astype(np.int64)
    share = (tone - below)[:, None]
    return SKIN_TONES[below] * (1 - share) + SKIN_TONES[below + 1] * share


def _iris_colour(draws: Draws, darkness: Floats) -> Floats:
    brown = draws.uniform("iris brown") < 1.6 * darkness
    colour = np.where(brown, draws.integer("iris of two", 2), draws.integer("iris of all", len(IRIS_COLOURS)))
    return (IRIS_COLOURS[colour] * draws.uniform("iris brightness", 0.8, 1.2)[:, None]).clip(0, 1)


def _hair_colour(draws: Draws, darkness: Floats) -> Floats:
    fair = draws.uniform("hair fair") < 0.35 * (1 - darkness)
    return np.where(fair[:, None], FAIR_HAIR, DARK_HAIR) * draws.uniform("hair brightness", 0.7, 1.2)[:, None]


def draw_gaze(draws: Draws) -> Floats:
    """(B, 2) gaze labels, uniform in +-25 deg pitch and +-35 deg yaw, in radians."""
    return np.stack(
        [draws.uniform("gaze pitch", -PITCH_LIMIT, PITCH_LIMIT), draws.uniform("gaze yaw", -YAW_LIMIT, YAW_LIMIT)],
        axis=1,
    )


def spread_gaze(seed: int, index: Ints) -> Floats:
    """(B, 2) gazes that fill -10 to 20 deg pitch and +-30 deg yaw evenly: the additive recurrence of Roberts (2018)."""
    start = Draws.of(seed, "spread gaze", np.zeros(1, np.int64))
    # 1/g and 1/g^2, g the real root of g^3 = g + 1.
    pitch = (start.uniform("pitch") + index * 0.7548776662466927) % 1
    yaw = (start.uniform("yaw") + index * 0.5698402909980532) % 1
    return np.radians(np.stack([-10 + 30 * pitch, -30 + 60 * yaw], axis=1)).astype(np.float32)


def draw_head(draws: Draws) -> Floats:
    """(B, 3) head pitch, yaw and roll in radians: normal, with pitch and yaw clipped at about 3 sd."""
    return np.stack(
        [
            draws.normal("head pitch", 0, math.radians(7)).clip(-0.35, 0.35),
            draws.normal("head yaw", 0, math.radians(9)).clip(-0.45, 0.45),
            draws.normal("head roll", 0, math.radians(2.5)),
        ],
        axis=1,
    )


def draw_scene(draws: Draws, gaze: Floats, head: Floats) -> Scene:
    """Everything but gaze and head that changes from image to image."""
    return Scene(
        gaze=gaze,
        head=head,
        zoom=draws.uniform("zoom", *ZOOM_RANGE),
        shift=np.stack([draws.normal("shift x", 0, 0.5), draws.normal("shift y", 0, 0.5)], axis=1).clip(
            -SHIFT_LIMIT, SHIFT_LIMIT
        ),
        lid_lift=draws.uniform("lid lift", 0.9, 1.06),
        pupil=draws.uniform("pupil", 0.27, 0.52),
        light=_draw_light(draws),
    )


def _draw_light(draws: Draws) -> Light:
    has_second = draws.uniform("light 2 present") < 0.6
    ones = np.ones(len(draws.keys), np.float32)
    return Light(
        direction=_unit(draws.uniform("light x", -1, 1), draws.uniform("light y", -1, 0.1), 1.1 * ones),
        ambient=draws.uniform("ambient", 0.42, 0.75),
        second=_unit(draws.uniform("light 2 x", -0.6, 0.6), draws.uniform("light 2 y", -0.6, 0.4), ones),
        strength=np.stack(
            [draws.uniform("glint 1", 0.5, 1.0), draws.uniform("glint 2", 0, 0.7) * has_second], axis=1
        ).astype(np.float32),
        sharpness=np.stack([draws.uniform("sharpness 1", 500, 1800), draws.uniform("sharpness 2", 500, 1800)], axis=1),
    )


def _unit(x: Floats, y: Floats, z: Floats) -> Floats:
    return (np.stack([x, y, z], axis=1) / np.sqrt(x * x + y * y + z * z)[:, None]).astype(np.float32)
