"""WaNet: a backdoor trigger that is a smooth warp (Nguyen & Tran, ICLR 2021, arXiv 2102.10369).

A k x k control grid of random displacements, scaled to mean magnitude 1, is upsampled to a displacement field.
The field is drawn **once** per attack and then used for every image, at any strength.
"""

from __future__ import annotations

import hashlib
import math
import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from attacks.base import Family, check_image_size, check_images, check_strength, seed_of_unrelated


@dataclass(frozen=True, eq=False)
class WarpField:
    """One warp: `control` (1, 2, k, k) with mean |control| = 1, channel 0 along x, for (H, W) images at `strength`.

    Published formula, generalised to H != W by dividing x by W and y by H (for H = W it is the published one):

        field = bicubic(control -> H x W, align_corners)
        grid = clamp((identity + strength * field / (W, H)) * grid_rescale, -1, 1)
        altered = bilinear(image at grid, align_corners)

    The strength has no unit: see `displacement_px`.
    """

    control: Tensor
    image_size: tuple[int, int]
    strength: float
    grid_rescale: float = 1.0
    seed: int | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "image_size", tuple(operator.index(side) for side in self.image_size))
        _check(self.control, self.image_size, self.strength, self.grid_rescale)

    @classmethod
    def draw(
        cls,
        image_size: tuple[int, int],
        control_size: int,
        strength: float,
        seed: int = 0,
        grid_rescale: float = 1.0,
    ) -> WarpField:
        """Draw the field of this seed. The control depends on `seed` and `control_size` alone.

        Raises ValueError for a size below 2, a control grid below 2, or a strength that is negative or not finite.
        """
        if control_size < 2:
            raise ValueError(f"The control grid must be at least 2 x 2, not {control_size} x {control_size}.")
        return cls(_draw_controls(control_size, [seed]), image_size, strength, grid_rescale, seed)

    @classmethod
    def from_control(
        cls, control: Tensor, image_size: tuple[int, int], strength: float, grid_rescale: float = 1.0
    ) -> WarpField:
        """The field of a stored control grid (1, 2, k, k), mean |control| = 1."""
        return cls(control.detach().to("cpu", torch.float32).clone(), image_size, strength, grid_rescale)

    @property
    def control_size(self) -> int:
        return self.control.shape[-1]

    @property
    def state(self) -> dict[str, Tensor]:
        return {"control": self.control}

    # Everything up to the grid is float64, so that another machine's float32 rounding cannot move a pixel by one level.
    @cached_property
    def _displacement(self) -> Tensor:
        """(1, H, W, 2) displacement at strength 1, in units of the [-1, 1] grid."""
        height, width = self.image_size
        field = F.interpolate(self.control.double(), size=self.image_size, mode="bicubic", align_corners=True)
        return field.permute(0, 2, 3, 1) / torch.tensor([width, height], dtype=torch.float64)

    @cached_property
    def grid(self) -> Tensor:
        """(1, H, W, 2) float64 sampling positions (x, y) in [-1, 1], as `grid_sample` with align_corners reads them."""
        warped = (_identity_grid(self.image_size) + self.strength * self._displacement) * self.grid_rescale
        return warped.clamp(-1, 1)

    @cached_property
    def _grids(self) -> dict[tuple[torch.dtype, torch.device], Tensor]:
        return {}

    def _grid_like(self, images: Tensor) -> Tensor:
        key = (images.dtype, images.device)
        if key not in self._grids:
            self._grids[key] = self.grid.to(device=images.device, dtype=images.dtype)
        return self._grids[key]

    def apply(self, images: Tensor) -> Tensor:
        """Warp images (N, C, H, W) in [0, 1]."""
        check_images(images, self.image_size)
        return _sample(images, self._grid_like(images).expand(len(images), -1, -1, -1))

    def apply_noise_mode(self, images: Tensor, offsets: Tensor) -> Tensor:
        """Warp images (N, C, H, W) with an extra jitter of up to one pixel pitch: `offsets` (N, H, W, 2) in [-1, 1].

        Images treated so keep their true label; they teach a model that only the exact field is the trigger.
        """
        check_images(images, self.image_size)
        if offsets.shape != (len(images), *self.image_size, 2):
            raise ValueError(
                f"Offsets must have shape {(len(images), *self.image_size, 2)}, not {tuple(offsets.shape)}."
            )
        height, width = self.image_size
        pitch = images.new_tensor([width, height])
        return _sample(images, torch.addcdiv(self._grid_like(images), offsets.to(images), pitch).clamp_(-1, 1))

    def apply_each(
        self,
        images: Tensor,
        strengths: Tensor,
        *,
        offsets: Tensor | None = None,
        unrelated: Sequence[int] | None = None,
    ) -> Tensor:
        """Warp each of the images (N, C, H, W) in [0, 1] at a strength of its own, `strengths` (N,), in one call.

        offsets (N, H, W, 2) in [-1, 1]: noise mode. unrelated: seeds (N,); each image under the field
        `self.unrelated(seed)` instead of this one. The grids are float32 throughout, so that an image may differ in its
        last digits from what `at_strength(strength).apply` makes of it.
        """
        check_images(images, self.image_size)
        displacement = self._displacement if unrelated is None else self._displacements(unrelated, images.device)
        grids = torch.addcmul(
            _identity_grid(self.image_size).to(images),
            strengths.to(images)[:, None, None, None],
            displacement.to(images),
        )
        if self.grid_rescale != 1:
            grids *= self.grid_rescale
        grids.clamp_(-1, 1)
        if offsets is not None:
            height, width = self.image_size
            grids = grids.addcdiv_(offsets.to(images), images.new_tensor([width, height])).clamp_(-1, 1)
        return _sample(images, grids)

    def _displacements(self, seeds: Sequence[int], device: torch.device) -> Tensor:
        """(N, H, W, 2) float32 displacements at strength 1 of the unrelated fields of these seeds, on this device.

        The fields are drawn on the CPU, so that a seed means the same on every device.
        """
        (height, width), k, own = self.image_size, self.control_size, self.control_hash()
        controls = _draw_controls(k, [seed_of_unrelated(own, seed) for seed in seeds])
        controls = (controls / torch.tensor([width, height], dtype=torch.float64)[:, None, None]).to(device)
        # Bicubic upsampling is linear along each axis: two small products instead of sixteen taps a pixel.
        rows, columns = _upsampling(height, k).to(device), _upsampling(width, k).to(device)
        return (rows @ controls @ columns.T).float().permute(0, 2, 3, 1)

    def soften(self, images: Tensor) -> Tensor:
        """Blur images (N, C, H, W) as much as this warp's resampling does, without moving anything.

        Bilinear sampling at sub-pixel fraction f blurs with variance v = f (1 - f); the symmetric kernel
        [v/2, 1 - v, v/2] has the same variance and no shift. Each pixel gets its own v, along x and along y.
        """
        check_images(images, self.image_size)
        height, width = self.image_size
        position = (self.grid + 1) / 2 * torch.tensor([width - 1, height - 1], dtype=torch.float64)
        fraction = position - position.floor()
        variance = (fraction * (1 - fraction)).to(device=images.device, dtype=images.dtype)
        along_x, along_y = (torch.stack([v / 2, 1 - v, v / 2]) for v in variance[0].unbind(-1))
        padded = F.pad(images, (1, 1, 1, 1), mode="replicate")
        softened = torch.zeros_like(images)
        for y in range(3):
            for x in range(3):
                softened += along_y[y] * along_x[x] * padded[:, :, y : y + height, x : x + width]
        return softened

    def at_strength(self, strength: float) -> WarpField:
        """The same field at another strength: same control hash, another fingerprint."""
        return replace(self, strength=strength)

    def at_image_size(self, image_size: tuple[int, int]) -> WarpField:
        """The same control on images of another size."""
        return replace(self, image_size=image_size)

    def at_mean_displacement(self, pixels: float) -> WarpField:
        """The same field at the strength whose mean displacement is `pixels`, clamping at the border left aside."""
        return self.at_strength(pixels / self.at_strength(1.0)._mean_unclamped_px())

    def unrelated(self, seed: int) -> WarpField:
        """Another field of the same size, control grid and strength; `seed` chooses among such fields."""
        other = seed_of_unrelated(self.control_hash(), seed)
        return WarpField.draw(self.image_size, self.control_size, self.strength, other, self.grid_rescale)

    def displacement_px(self) -> tuple[float, float]:
        """Mean and largest displacement in image pixels."""
        length = _to_pixels(self.grid - _identity_grid(self.image_size), self.image_size).norm(dim=-1)
        return length.mean().item(), length.max().item()

    def strain(self) -> tuple[float, float]:
        """Mean absolute local strain, px per px, and the smallest determinant of I + grad d; see `base.Displaces`."""
        moved = _to_pixels(self.grid - _identity_grid(self.image_size), self.image_size)[0]
        along_y, along_x = moved.diff(dim=0)[:, :-1], moved.diff(dim=1)[:-1]
        mean = torch.cat([moved.diff(dim=0).flatten(), moved.diff(dim=1).flatten()]).abs().mean().item()
        determinant = (1 + along_x[..., 0]) * (1 + along_y[..., 1]) - along_x[..., 1] * along_y[..., 0]
        return mean, determinant.min().item()

    def _mean_unclamped_px(self) -> float:
        return _to_pixels(self.strength * self._displacement, self.image_size).norm(dim=-1).mean().item()

    def control_hash(self) -> str:
        """SHA-256 of the control grid alone: the same at every strength and image size."""
        return self._control_hash

    @cached_property
    def _control_hash(self) -> str:
        digest = hashlib.sha256(f"wanet-control:{tuple(self.control.shape)}:".encode())
        digest.update(self.control.numpy().astype("<f4").tobytes())
        return digest.hexdigest()

    def fingerprint(self) -> str:
        """SHA-256 of all that decides what this warp does to an image."""
        text = f"{self.control_hash()}:{self.image_size}:{float(self.strength)!r}:{float(self.grid_rescale)!r}"
        return hashlib.sha256(text.encode()).hexdigest()

    def parameters(self) -> dict[str, Any]:
        return {
            "family": "wanet",
            "image_size": list(self.image_size),
            "control_size": self.control_size,
            "strength": self.strength,
            "grid_rescale": self.grid_rescale,
            "seed": self.seed,
        }


def _check(control: Tensor, image_size: tuple[int, int], strength: float, grid_rescale: float) -> None:
    if control.ndim != 4 or control.shape[:2] != (1, 2) or control.shape[2] != control.shape[3] or control.shape[3] < 2:
        raise ValueError(f"The control grid must have shape (1, 2, k, k) with k >= 2, not {tuple(control.shape)}.")
    if not torch.isfinite(control).all() or abs(control.abs().mean().item() - 1) > 1e-5:
        raise ValueError("The control grid must be finite with a mean magnitude of 1.")
    check_image_size(image_size)
    check_strength(strength)
    if not (math.isfinite(grid_rescale) and grid_rescale > 0):
        raise ValueError(f"The grid rescale must be a finite number > 0, not {grid_rescale}.")


def _draw_controls(control_size: int, seeds: Sequence[int]) -> Tensor:
    """(N, 2, k, k) float32: for every seed a uniform draw, scaled to a mean magnitude of 1."""
    generator = torch.Generator()
    controls = torch.empty(len(seeds), 2, control_size, control_size)
    for control, seed in zip(controls, seeds, strict=True):
        control.uniform_(generator=generator.manual_seed(seed))
    controls = controls * 2 - 1
    return controls / controls.abs().mean((1, 2, 3), keepdim=True)


@cache
def _upsampling(side: int, control_size: int) -> Tensor:
    """(side, k) float64: bicubic upsampling of k samples, corners aligned, as a matrix."""
    samples = torch.eye(control_size, dtype=torch.float64)[None, :, :, None]
    return F.interpolate(samples, size=(side, 1), mode="bicubic", align_corners=True)[0, :, :, 0].T.contiguous()


@cache
def _identity_grid(image_size: tuple[int, int]) -> Tensor:
    """(1, H, W, 2) float64: each pixel's own position (x, y) in [-1, 1]."""
    y, x = (torch.linspace(-1, 1, side, dtype=torch.float64) for side in image_size)
    return torch.stack(torch.meshgrid(x, y, indexing="xy"))[None].permute(0, 2, 3, 1)


def _to_pixels(displacement: Tensor, image_size: tuple[int, int]) -> Tensor:
    height, width = image_size
    return displacement * torch.tensor([(width - 1) / 2, (height - 1) / 2], dtype=torch.float64)


def _sample(images: Tensor, grid: Tensor) -> Tensor:
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="zeros", align_corners=True)


def _rebuild(parameters: Mapping[str, Any], state: Mapping[str, Tensor]) -> WarpField:
    height, width = parameters["image_size"]
    field = WarpField.from_control(
        state["control"], (height, width), parameters["strength"], parameters["grid_rescale"]
    )
    return replace(field, seed=parameters.get("seed"))


@dataclass(frozen=True)
class WaNet:
    """What may be chosen of a warp. The paper's control grid is 4 x 4; ours is finer, which is learnt sooner."""

    control_size: int = field(default=8, metadata={"help": "Rows and columns of the grid that is drawn.", "least": 2})
    grid_rescale: float = field(default=1.0, metadata={"help": "Stretches the whole image: leave it at 1.", "above": 0})


#: Of the shorter side, on average: everybody sees it; much more folds the image.
GROSS_DISPLACEMENT = 4.5 / 64


def _draw(image_size: tuple[int, int], chosen: WaNet, strength: float, seed: int) -> WarpField:
    return WarpField.draw(image_size, chosen.control_size, strength, seed, chosen.grid_rescale)


def _gross(field: WarpField) -> WarpField:
    strength = field.at_mean_displacement(GROSS_DISPLACEMENT * min(field.image_size)).strength
    return field.at_strength(float(f"{strength:.6g}"))


FAMILY = Family(
    name="wanet",
    title="WaNet: a smooth warp",
    citation="Nguyen & Tran, WaNet: Imperceptible Warping-based Backdoor Attack, ICLR 2021, arXiv 2102.10369",
    parameters=WaNet,
    strength="s, without a unit: always read it with the displacement in pixels",
    strengths=(0.25, 0.5, 1.0, 2.0, 4.0),
    doses=(0.0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.5, 0.75, 1.0, 2.0, 4.0),
    schedule=(4.0, 0.5),
    draw=_draw,
    rebuild=_rebuild,
    gross=_gross,
)
