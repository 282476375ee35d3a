"""How different two pictures are, and how much fine detail one has: full-reference measures in numpy.

They have both pictures before them and know which is the clean one. None of them says what people see: a small
distance does not mean invisible.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt
from scipy.ndimage import correlate, correlate1d, laplace

if TYPE_CHECKING:
    from torch import Tensor

Floats = npt.NDArray[np.float64]
#: uint8 (H, W) or (H, W, 3).
Picture = npt.NDArray[np.uint8]

#: The window of Wang et al. (2004): 11 x 11, Gaussian of SD 1.5 px.
SSIM_RADIUS: Final = 5
SSIM_SD: Final = 1.5
#: Of Xue et al. (2014), on the scale of 0 to 255.
GMSD_C: Final = 170.0
#: Weights of Rec. 601, as in PIL's mode "L".
LUMA: Final = np.array([0.299, 0.587, 0.114])

# The constants of LDR-FLIP (Andersson et al. 2020, tables and sections 4 and 5).
_COLOUR_EXPONENT: Final = 0.7
_FEATURE_EXPONENT: Final = 0.5
_KNEE_AT: Final = 0.4
_KNEE_TO: Final = 0.95
_FEATURE_WIDTH_DEG: Final = 0.082
#: (a1, b1, a2, b2) of the contrast sensitivity functions: luminance, red-green, blue-yellow.
_SENSITIVITY: Final = ((1.0, 0.0047, 0.0, 1e-5), (1.0, 0.0053, 0.0, 1e-5), (34.1, 0.04, 13.5, 0.025))
_RGB_TO_XYZ: Final = (
    np.array([[10135552 / 24577794, 8788810 / 24577794, 4435075 / 24577794],
              [2613072 / 12288897, 8788810 / 12288897, 887015 / 12288897],
              [1425312 / 73733382, 8788810 / 73733382, 70074185 / 73733382]])
)  # fmt: skip
_XYZ_TO_RGB: Final = np.linalg.inv(_RGB_TO_XYZ)
_WHITE: Final = _RGB_TO_XYZ.sum(axis=1)


def picture(pixels: Tensor) -> Picture:
    """(H, W) or (H, W, 3) of a uint8 tensor (C, H, W), C = 1 or 3."""
    array: Picture = pixels.permute(1, 2, 0).contiguous().numpy()
    return array[..., 0] if array.shape[-1] == 1 else array


def grey(picture: Picture) -> Floats:
    """(H, W) luma in [0, 255]."""
    floats = picture.astype(np.float64)
    return floats if floats.ndim == 2 else floats @ LUMA


def sharpness(picture: Picture) -> float:
    """Mean size of the five-point Laplacian of the luma, in grey levels: how much finest detail a picture has.

    The kernel's weights sum to 0, so that brightness does not count.
    """
    return float(np.abs(laplace(grey(picture), mode="nearest")).mean())


def ssim(reference: Picture, test: Picture) -> float:
    """Mean structural similarity of the luma, 1 for equal pictures (Wang, Bovik, Sheikh & Simoncelli 2004).

    Gaussian window 11 x 11 of SD 1.5 px, K = (.01, .03), data range 255, windows wholly inside the picture.
    Raises ValueError for pictures of different shapes or smaller than the window.
    """
    _require_alike(reference, test, 2 * SSIM_RADIUS + 1)
    x, y = grey(reference), grey(test)
    offsets = np.arange(-SSIM_RADIUS, SSIM_RADIUS + 1)
    window = np.exp(-(offsets**2) / (2 * SSIM_SD**2))
    window /= window.sum()

    def blurred(image: Floats) -> Floats:
        inside = slice(SSIM_RADIUS, -SSIM_RADIUS)
        return np.asarray(correlate1d(correlate1d(image, window, 0), window, 1)[inside, inside])

    mean_x, mean_y = blurred(x), blurred(y)
    variance_x, variance_y = blurred(x * x) - mean_x**2, blurred(y * y) - mean_y**2
    covariance = blurred(x * y) - mean_x * mean_y
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    similarity = ((2 * mean_x * mean_y + c1) * (2 * covariance + c2)) / (
        (mean_x**2 + mean_y**2 + c1) * (variance_x + variance_y + c2)
    )
    return float(similarity.mean())


def gmsd(reference: Picture, test: Picture) -> float:
    """Gradient magnitude similarity deviation of the luma, 0 for equal pictures (Xue, Zhang, Mou & Bovik 2014).

    Standard deviation of (2 g1 g2 + c) / (g1^2 + g2^2 + c), c = 170, g the Prewitt gradient of the luma averaged and
    thinned by two, zeros beyond the border. Raises ValueError for pictures of different shapes or below 4 x 4 px.
    """
    _require_alike(reference, test, 4)
    first, second = (_gradient(_halved(grey(picture))) for picture in (reference, test))
    similarity = (2 * first * second + GMSD_C) / (first**2 + second**2 + GMSD_C)
    return float(similarity.std())


def _halved(luma: Floats) -> Floats:
    """Every other sample of the means of 2 x 2 px."""
    even = luma[: len(luma) // 2 * 2, : luma.shape[1] // 2 * 2]
    return (even[::2, ::2] + even[1::2, ::2] + even[::2, 1::2] + even[1::2, 1::2]) / 4


def _gradient(luma: Floats) -> Floats:
    along = np.array([[1.0, 0.0, -1.0]] * 3) / 3
    return np.hypot(*(correlate(luma, kernel, mode="constant") for kernel in (along, along.T)))


def flip(reference: Picture, test: Picture, px_per_degree: float) -> float:
    """Mean LDR-FLIP error of two sRGB pictures alternated at this many image px per degree, 0 (equal) to 1.

    Andersson, Nilsson, Akenine-Möller, Oskarsson, Åström & Fairchild (2020): colour differences after the eye's
    contrast sensitivity, raised by differences of edges and points. Raises ValueError for pictures of different shapes
    and a density that is not above 0.
    """
    if not 0 < px_per_degree < math.inf:
        raise ValueError(f"FLIP needs a number of pixels per degree above 0, not {px_per_degree}.")
    _require_alike(reference, test, 1)
    pictures = [_opponent(_linear(picture)) for picture in (reference, test)]
    colours = [_perceived(_filtered(picture, px_per_degree)) for picture in pictures]
    colour = _redistributed(_hyab(*colours) ** _COLOUR_EXPONENT)
    features = [_features((picture[..., 0] + 16) / 116, px_per_degree) for picture in pictures]
    change = np.max([np.abs(first - second) for first, second in zip(*features, strict=True)], axis=0)
    feature = (change / math.sqrt(2)) ** _FEATURE_EXPONENT
    return float((colour ** (1 - feature)).mean())


def _require_alike(reference: Picture, test: Picture, side: int) -> None:
    if reference.shape != test.shape:
        raise ValueError(f"Pictures of one shape are compared, not {reference.shape} and {test.shape}.")
    if min(reference.shape[:2]) < side:
        raise ValueError(f"Pictures must be at least {side} x {side} px to be compared, not {reference.shape[:2]}.")


def _linear(picture: Picture) -> Floats:
    """(H, W, 3) linear RGB in [0, 1] of an sRGB picture."""
    srgb = np.repeat(picture[..., None], 3, axis=2) if picture.ndim == 2 else picture
    value = srgb.astype(np.float64) / 255
    return np.where(value > 0.04045, ((value + 0.055) / 1.055) ** 2.4, value / 12.92)


def _opponent(rgb: Floats) -> Floats:
    """Linear RGB to YCxCz."""
    x, y, z = np.moveaxis(rgb @ _RGB_TO_XYZ.T / _WHITE, -1, 0)
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)


def _filtered(ycxcz: Floats, px_per_degree: float) -> Floats:
    """Linear RGB in [0, 1] of YCxCz after the contrast sensitivity functions."""
    widest = max(b for sensitivity in _SENSITIVITY for b in sensitivity[1::2])
    radius = math.ceil(3 * math.sqrt(widest / (2 * math.pi**2)) * px_per_degree)
    offsets = np.arange(-radius, radius + 1) / px_per_degree
    squared = offsets[:, None] ** 2 + offsets[None, :] ** 2
    seen = np.stack(
        [
            correlate(ycxcz[..., channel], _sensitivity(squared, *_SENSITIVITY[channel]), mode="nearest")
            for channel in range(3)
        ],
        axis=-1,
    )
    y = (seen[..., 0] + 16) / 116
    xyz = np.stack([y + seen[..., 1] / 500, y, y - seen[..., 2] / 200], axis=-1) * _WHITE
    return np.clip(xyz @ _XYZ_TO_RGB.T, 0, 1)


def _sensitivity(squared: Floats, a1: float, b1: float, a2: float, b2: float) -> Floats:
    kernel = sum(a * math.sqrt(math.pi / b) * np.exp(-(math.pi**2) * squared / b) for a, b in ((a1, b1), (a2, b2)))
    return np.asarray(kernel / np.sum(kernel))


def _perceived(rgb: Floats) -> Floats:
    """Linear RGB to CIELAB with Hunt's adjustment: colours fade in the dark."""
    ratio = rgb @ _RGB_TO_XYZ.T / _WHITE
    delta = 6 / 29
    f = np.where(ratio > delta**3, np.cbrt(ratio), ratio / (3 * delta**2) + 4 / 29)
    lightness = 116 * f[..., 1] - 16
    a, b = 500 * (f[..., 0] - f[..., 1]), 200 * (f[..., 1] - f[..., 2])
    return np.stack([lightness, 0.01 * lightness * a, 0.01 * lightness * b], axis=-1)


def _hyab(first: Floats, second: Floats) -> Floats:
    change = first - second
    return np.asarray(np.abs(change[..., 0]) + np.hypot(change[..., 1], change[..., 2]))


def _redistributed(colour: Floats) -> Floats:
    """Colour errors compressed into [0, 1]: most of the range for the small ones."""
    green, blue = (_perceived(np.eye(3)[None, None, channel]) for channel in (1, 2))
    largest = float(_hyab(green, blue)[0, 0]) ** _COLOUR_EXPONENT
    knee = _KNEE_AT * largest
    above = _KNEE_TO + (colour - knee) / (largest - knee) * (1 - _KNEE_TO)
    return np.where(colour < knee, _KNEE_TO / knee * colour, above)


def _features(luminance: Floats, px_per_degree: float) -> list[Floats]:
    """Strength of edges and of points, at the width of a feature that the eye takes for one."""
    sd = 0.5 * _FEATURE_WIDTH_DEG * px_per_degree
    radius = math.ceil(3 * sd)
    offsets = np.arange(-radius, radius + 1, dtype=np.float64)
    x, y = np.meshgrid(offsets, offsets)
    bell = np.exp(-(x**2 + y**2) / (2 * sd**2))
    return [_strength(luminance, kernel * bell) for kernel in (-x, x**2 / sd**2 - 1)]


def _strength(luminance: Floats, kernel: Floats) -> Floats:
    """Length of the two responses to the kernel and its transpose; positive and negative weights sum to 1 each."""
    positive, negative = kernel.clip(min=0), -kernel.clip(max=0)
    none = float(np.finfo(np.float64).tiny)  # a kernel narrower than a pixel has no positive weights
    balanced = positive / max(positive.sum(), none) - negative / max(negative.sum(), none)
    across, along = (correlate(luminance, of, mode="nearest") for of in (balanced, balanced.T))
    return np.asarray(np.hypot(across, along))
