"""The ball between the lids: sclera, iris and pupil seen through the cornea, glints."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from models.datasets.eye_renderer.draws import Floats
from models.datasets.eye_renderer.geometry import View, bell, colour, each, power, smoothstep
from models.datasets.eye_renderer.lids import Lids
from models.datasets.eye_renderer.scene import Light, Scene, Traits
from models.datasets.eye_renderer.textures import Textures

BALL_RADIUS = 12.0
CORNEA_RADIUS = 7.8
CORNEA_CENTRE = 5.0
IRIS_FORWARD = 0.25 + 0.35
"""How far in front of the limbal circle the iris appears: its own place, and the cornea's refraction. mm."""

PUPIL = np.array([0.02, 0.018, 0.018], np.float32)
CARUNCLE = np.array([0.78, 0.47, 0.42], np.float32)


@dataclass(frozen=True)
class IrisPlane:
    """Pixels carried along z onto the plane of the iris: offsets (B, H, W) from its centre, mm, and their length."""

    x: Floats
    y: Floats
    radius: Floats
    in_front: np.ndarray


def draw_eyeball(view: View, lids: Lids, traits: Traits, scene: Scene, textures: Textures) -> Floats:
    """(B, 3, H, W) the eyeball as if there were no lids in front of it, but in their shadow."""
    plane = _onto_iris(view, traits)
    limbus = each(traits.iris_radius)
    normal_z = np.sqrt(np.maximum(BALL_RADIUS**2 - view.x * view.x - view.y * view.y, 0.5)) / BALL_RADIUS
    lit = _shading(view, normal_z, scene.light)

    iris_share = (1 - _disc_edge(plane.radius, limbus + 0.35, limbus - 0.45, 0.6 * view.pixel)) * plane.in_front
    ball = _sclera(traits, textures, plane, normal_z)
    ball += (_iris(view, traits, scene, textures, plane) - ball) * iris_share[:, None]
    ball *= lit[:, None]
    ball = _with_caruncle(ball, lids, traits, lit)
    ball *= (1 - _lid_shadow(lids))[:, None]
    ball += _reflections(view, scene.light, plane.radius < 1.25 * limbus, iris_share)[:, None]
    return ball


def _onto_iris(view: View, traits: Traits) -> IrisPlane:
    axis_x, axis_y, axis_z = (each(view.axis[:, i]) for i in range(3))
    distance = each(np.sqrt(BALL_RADIUS**2 - traits.iris_radius * traits.iris_radius) + IRIS_FORWARD)
    z = (distance - view.x * axis_x - view.y * axis_y) / axis_z
    x, y, depth = view.x - distance * axis_x, view.y - distance * axis_y, z - distance * axis_z
    return IrisPlane(x, y, np.sqrt(x * x + y * y + depth * depth), z > 0)


def _disc_edge(radius: Floats, outer: Floats, inner: Floats, softness: Floats) -> Floats:
    """0 well inside a disc, 1 well outside it."""
    return smoothstep(radius, inner - softness, outer + softness)


def _shading(view: View, normal_z: Floats, light: Light) -> Floats:
    lx, ly, lz = (each(light.direction[:, i]) for i in range(3))
    facing = np.maximum((view.x * lx + view.y * ly) / BALL_RADIUS + normal_z * lz, 0)
    ambient = each(light.ambient)
    return ambient + (1 - ambient) * facing


def _iris(view: View, traits: Traits, scene: Scene, textures: Textures, plane: IrisPlane) -> Floats:
    """(B, 3, H, W) iris and pupil: fibres, a bright collarette, a dark limbal ring, a caustic opposite the light."""
    pupil = each(traits.iris_radius * scene.pupil)
    along = ((plane.radius - pupil) / (each(traits.iris_radius) - pupil)).clip(0, 1)
    turn = np.arctan2(plane.y, plane.x) * (0.5 / np.pi) + 0.5
    fibres = textures.iris.sample(traits.iris_tile, turn * 1023, along * 63)
    brightness = 1 + 0.26 * fibres + 0.35 * bell((along - 0.25) / 0.16) - 0.55 * smoothstep(along, 0.72, 1.0)
    away = plane.x * each(scene.light.direction[:, 0]) + plane.y * each(scene.light.direction[:, 1])
    brightness = brightness.clip(0.25, 1.8) * (1 - 0.05 * away)
    pupil_share = 1 - _disc_edge(plane.radius, pupil + 0.15, pupil - 0.15, 0.5 * view.pixel)
    iris = colour(traits.iris) * (brightness * (1 - pupil_share))[:, None]
    iris += colour(PUPIL) * pupil_share[:, None]
    return iris


def _sclera(traits: Traits, textures: Textures, plane: IrisPlane, normal_z: Floats) -> Floats:
    """(B, 3, H, W) the white: veins, yellower and darker away from the iris."""
    offset_x, offset_y = each(traits.offset[:, 0]), each(traits.offset[:, 1])
    # Veins turn with the eye: take them from where the pixel lies relative to the iris.
    veins = np.maximum(textures.veins.sample(traits.tile, plane.x + offset_x, plane.y + offset_y), 0)
    limbus = each(traits.iris_radius)
    far = smoothstep(plane.radius, limbus, limbus + 7)
    white = each(traits.sclera) * (1 - 0.28 * (1 - smoothstep(normal_z, 0.25, 0.85)))
    red = 0.022 * veins
    return np.stack([white, white * (0.955 - 0.035 * far - red), white * (0.93 - 0.05 * far - red)], axis=1)


def _with_caruncle(ball: Floats, lids: Lids, traits: Traits, lit: Floats) -> Floats:
    share = 0.75 * bell((lids.along - 0.045) / 0.06)
    pink = lit * each(traits.sclera) * share
    ball *= (1 - share)[:, None]
    ball += colour(CARUNCLE) * pink[:, None]
    return ball


def _lid_shadow(lids: Lids) -> Floats:
    return 0.62 * np.exp(np.maximum(lids.below_upper, 0) / -1.5) + 0.18 * np.exp(np.maximum(lids.above_lower, 0) / -0.8)


def _reflections(view: View, light: Light, near_iris: np.ndarray, iris_share: Floats) -> Floats:
    """(B, H, W) glints of the two lights on the cornea (Blinn) and a faint broad reflection above them."""
    nx = (view.x - CORNEA_CENTRE * each(view.axis[:, 0])) / CORNEA_RADIUS
    ny = (view.y - CORNEA_CENTRE * each(view.axis[:, 1])) / CORNEA_RADIUS
    nz2 = 1 - nx * nx - ny * ny
    nz = np.sqrt(np.maximum(nz2, 1e-4))
    normal = (nx, ny, nz)
    glints = _glint(normal, light.direction, light.strength[:, 0], light.sharpness[:, 0])
    glints += _glint(normal, light.second, light.strength[:, 1], light.sharpness[:, 1])
    broad = 0.05 * iris_share * nz * (1 - smoothstep(ny, -0.6, 0.2))
    return 0.95 * glints * (near_iris & (nz2 > 0.05)) + broad


def _glint(normal: tuple[Floats, Floats, Floats], light: Floats, strength: Floats, sharpness: Floats) -> Floats:
    """Strength times (normal . half-way vector between light and camera) to the power of sharpness."""
    half = light + np.array([0, 0, 1], np.float32)
    half = half / np.sqrt(half[:, 0] * half[:, 0] + half[:, 1] * half[:, 1] + half[:, 2] * half[:, 2])[:, None]
    nx, ny, nz = normal
    facing = nx * each(half[:, 0]) + ny * each(half[:, 1]) + nz * each(half[:, 2])
    return each(strength) * power(facing.clip(1e-3, 1), each(sharpness))
