"""What commonly happens to an image between camera and model, done to uint8 images (N, C, H, W), C = 1 or 3.

Every treatment keeps the shape and is the same for every image, so that the clean and the altered image of a pair go
through the very same steps.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from PIL import Image
from torch import Tensor

from attacks.base import dequantise, quantise

Treatment = Callable[[Tensor], Tensor]
_BATCH = 64


def untreated(images: Tensor) -> Tensor:
    """The images as they are: what every treatment is compared with."""
    return images


def png(images: Tensor) -> Tensor:
    """Written as 8-bit PNG and read again. Lossless: it must change nothing, which makes it the null."""
    return _through_file(images, format="PNG")


def jpeg(quality: int) -> Treatment:
    """Written as baseline JPEG of this quality, 1 to 95, with Pillow's usual 4:2:0 chroma, and read again."""
    if not 1 <= quality <= 95:
        raise ValueError(f"A JPEG quality lies between 1 and 95, not {quality}.")
    return lambda images: _through_file(images, format="JPEG", quality=quality)


def crop(images: Tensor, pixels: int = 1) -> Tensor:
    """So many rows and columns cut off at the top and the left, the rest resized (bilinear) to the old size."""
    return _resized(images[..., pixels:, pixels:], images.shape[-2:])


def shift(images: Tensor, pixels: int = 1) -> Tensor:
    """Moved up and to the left by whole pixels, the border repeated: a crop that resamples nothing."""
    rows, columns = ((torch.arange(side) + pixels).clamp(max=side - 1) for side in images.shape[-2:])
    return images[..., rows, :][..., columns]


def rescale(factor: float) -> Treatment:
    """Made smaller by this factor, then as large as before, both bilinear with antialiasing and through 8 bits."""
    if not 0 < factor < 1:
        raise ValueError(f"Images are made smaller by a factor between 0 and 1, not {factor}.")

    def treated(images: Tensor) -> Tensor:
        height, width = images.shape[-2:]
        small = _resized(images, (max(1, round(height * factor)), max(1, round(width * factor))))
        return _resized(small, (height, width))

    return treated


#: By the name that tables show; the first is what the others are compared with, the second must equal it.
TREATMENTS: Mapping[str, Treatment] = {
    "none": untreated,
    "8-bit re-encoding (PNG)": png,
    "JPEG, quality 95": jpeg(95),
    "JPEG, quality 85": jpeg(85),
    "JPEG, quality 75": jpeg(75),
    "shift by 1 px": shift,
    "crop of 1 px, resized back": crop,
    "down x 0.75 and up": rescale(0.75),
    "down x 0.5 and up": rescale(0.5),
}


def _resized(images: Tensor, size: torch.Size | tuple[int, int]) -> Tensor:
    # In batches: a thousand colour images of 224 px would take gigabytes as floats.
    return torch.cat(
        [
            quantise(F.interpolate(dequantise(batch), size=tuple(size), mode="bilinear", antialias=True))
            for batch in torch.split(images, _BATCH)
        ]
    )


def _through_file(images: Tensor, **options: object) -> Tensor:
    return torch.stack([_image_through_file(image, options) for image in images])


def _image_through_file(image: Tensor, options: Mapping[str, object]) -> Tensor:
    pixels = image.permute(1, 2, 0).numpy()
    file = io.BytesIO()
    Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels).save(file, **options)  # type: ignore[arg-type]
    with Image.open(file) as read:
        decoded = np.array(read)
    return torch.from_numpy(decoded.reshape(pixels.shape)).permute(2, 0, 1).contiguous()
