"""How large an image was on a participant's screen: from pixels and millimetres to degrees and minutes of arc.

All pixels are device pixels. A screen's pixels per millimetre come from laying a bank card on it (85.60 mm x 53.98 mm,
ISO/IEC 7810 ID-1), the viewing distance is told by the participant or found from the blind spot of the left eye.
static/trials/setup.js measures, and works by the same numbers.
"""

from __future__ import annotations

import math

#: Plausible device pixels per millimetre: from a large television (2) to the densest phone, zoomed (60).
PX_PER_MM = (2.0, 60.0)
#: Plausible viewing distances in millimetres: from reading a phone to standing back from a desk.
DISTANCE_MM = (200.0, 1500.0)
#: Where the blind spot lies, in degrees from the centre of view: Li, Joo, Yeatman & Reinecke (2020), "Controlling for
#: participants' viewing distance in large-scale, psychophysical online experiments using a virtual chinrest",
#: Scientific Reports 10:904. They report a mean error of 3.25 cm.
BLIND_SPOT_DEGREES = 13.5
#: The largest share by which whole device pixels may miss a design's size in degrees.
LARGEST_MISS = 0.25


def px_per_degree(px_per_mm: float, distance_mm: float) -> float:
    """Device pixels per degree of visual angle, at the point of the screen that the eye is opposite to.

    Args:
        px_per_mm: device pixels per millimetre of the screen, 2 to 60.
        distance_mm: from the eye to the screen, 200 to 1500 mm.

    Raises:
        ValueError: one of them is outside its range.
    """
    _check_range("The screen's device pixels per millimetre", px_per_mm, *PX_PER_MM)
    _check_range("The viewing distance in millimetres", distance_mm, *DISTANCE_MM)
    return px_per_mm * distance_mm * 2 * math.tan(math.radians(0.5))


def distance_from_blind_spot(separation_mm: float) -> float:
    """Viewing distance in mm, 200 to 1500, of an eye opposite the cross that loses a dot so many mm beside it.

    The eye, the cross and the dot form a right triangle with 13.5 degrees at the eye (Li et al. 2020).

    Raises:
        ValueError: the separation belongs to no plausible distance.
    """
    distance = separation_mm / math.tan(math.radians(BLIND_SPOT_DEGREES))
    _check_range("The viewing distance in millimetres, found from the blind spot,", distance, *DISTANCE_MM)
    return distance


def scale_for(degrees: float, image_width: int, px_per_degree: float) -> int:
    """Whole device pixels per image pixel at which an image comes nearest to this width in degrees; at least 1.

    Args:
        degrees: the width that the design asks for, positive.
        image_width: in image pixels.
        px_per_degree: of the screen, in device pixels.

    Raises:
        ValueError: no whole number comes within 25 % of the width.
    """
    exact = degrees * px_per_degree / image_width
    scale = max(1, math.floor(exact + 0.5))
    if not abs(scale / exact - 1) <= LARGEST_MISS:
        raise ValueError(
            f"An image of {image_width} px can't be {degrees:g} degrees wide at {px_per_degree:.4g} px per degree: "
            f"the nearest whole scale is {scale}, which is off by more than {LARGEST_MISS:.0%}."
        )
    return scale


def arcmin(displacement_px: float, scale: float, px_per_degree: float) -> float:
    """A displacement in minutes of arc, as it was seen.

    Args:
        displacement_px: in image pixels.
        scale: device pixels per such pixel, positive: the k of the screen, times the server's enlargement when the
            displacement is counted in pixels of the image before it.
        px_per_degree: of the screen, in device pixels, positive.

    Raises:
        ValueError: the scale or the pixels per degree are not positive.
    """
    _check_positive("The scale", scale)
    _check_positive("The screen's device pixels per degree", px_per_degree)
    return displacement_px * scale / px_per_degree * 60


def _check_range(name: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise ValueError(f"{name} must be from {low:g} to {high:g}, not {value:g}.")


def _check_positive(name: str, value: float) -> None:
    if not 0 < value < math.inf:
        raise ValueError(f"{name} must be a positive number, not {value:g}.")
