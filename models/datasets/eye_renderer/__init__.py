"""A procedural renderer of eye regions: numpy only, no assets; an image is a function of its address alone.

Millimetres; x right, y down, z TOWARDS the camera; origin = eyeball centre; orthographic. Labels follow the convention
of ``models.gaze``. The inner corner stands on the left of the image: a left eye.

Read it in this order: `render` (the recipe), `scene` (what is drawn at random), `geometry`, `lids`, `eyeball`, `skin`,
`hair`, `camera`. `draws` and `textures` are the two sources of randomness.
"""

from models.datasets.eye_renderer.draws import VERSION
from models.datasets.eye_renderer.geometry import Framing
from models.datasets.eye_renderer.render import EyeImages, render_eyes

__all__ = ["VERSION", "EyeImages", "Framing", "render_eyes"]
