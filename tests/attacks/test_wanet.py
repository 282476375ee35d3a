"""The warp field: against the published formula written again in numpy and scipy, and in all its corners."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from scipy.ndimage import map_coordinates
from torch.nn import functional as F  # noqa: N812

from attacks import base, registry
from attacks.wanet import WarpField

ONE_LEVEL = 1 / 255


def field_of(size: tuple[int, int] = (32, 32), control: int = 4, strength: float = 0.5, **options: float) -> WarpField:
    return WarpField.draw(size, control, strength, seed=7, **options)


def images_of(size: tuple[int, int], n: int = 2, channels: int = 3) -> torch.Tensor:
    return torch.rand(n, channels, *size, generator=torch.Generator().manual_seed(1))


# --- an independent statement of the published formula


def cubic_weights(t: float, a: float = -0.75) -> list[float]:
    """Keys' cubic convolution kernel at offsets -1, 0, 1, 2 from the sample's cell."""

    def kernel(x: float) -> float:
        x = abs(x)
        if x <= 1:
            return (a + 2) * x**3 - (a + 3) * x**2 + 1
        return a * x**3 - 5 * a * x**2 + 8 * a * x - 4 * a

    return [kernel(t + 1), kernel(t), kernel(1 - t), kernel(2 - t)]


def cubic_matrix(out: int, k: int) -> np.ndarray:
    """(out, k): upsampling of k samples to `out`, corners aligned, borders repeated."""
    matrix = np.zeros((out, k))
    for i in range(out):
        position = i * (k - 1) / (out - 1)
        cell = int(np.floor(position))
        for offset, weight in zip((-1, 0, 1, 2), cubic_weights(position - cell), strict=True):
            matrix[i, min(max(cell + offset, 0), k - 1)] += weight
    return matrix


def published_grid(control: np.ndarray, size: tuple[int, int], strength: float, rescale: float) -> np.ndarray:
    height, width = size
    up_y, up_x = cubic_matrix(height, control.shape[-1]), cubic_matrix(width, control.shape[-1])
    field = np.stack([up_y @ channel @ up_x.T for channel in control[0]], -1)
    identity = np.stack(np.meshgrid(np.linspace(-1, 1, width), np.linspace(-1, 1, height)), -1)
    return np.clip((identity + strength * field / np.array([width, height])) * rescale, -1, 1)


def published_warp(images: np.ndarray, grid: np.ndarray) -> np.ndarray:
    height, width = images.shape[-2:]
    rows, columns = (grid[..., 1] + 1) / 2 * (height - 1), (grid[..., 0] + 1) / 2 * (width - 1)
    return np.array([[map_coordinates(c, [rows, columns], order=1, mode="nearest") for c in image] for image in images])


@pytest.mark.parametrize("rescale", [1.0, 0.98])
@pytest.mark.parametrize("strength", [0.25, 0.5, 1.0, 4.0])
@pytest.mark.parametrize("control", [4, 8])
@pytest.mark.parametrize("size", [(32, 32), (64, 64), (36, 60)])
def test_grid_and_warp_agree_with_the_published_formula(
    size: tuple[int, int], control: int, strength: float, rescale: float
) -> None:
    field, images = field_of(size, control, strength, grid_rescale=rescale), images_of(size)
    grid = published_grid(field.control.double().numpy(), size, strength, rescale)
    np.testing.assert_allclose(field.grid[0].numpy(), grid, atol=1e-6)
    np.testing.assert_allclose(field.apply(images).numpy(), published_warp(images.double().numpy(), grid), atol=1e-5)


def test_noise_mode_agrees_with_the_published_formula() -> None:
    field, images = field_of((32, 32), 4, 1.0), images_of((32, 32))
    offsets = torch.rand(2, 32, 32, 2, generator=torch.Generator().manual_seed(0)) * 2 - 1
    grids = np.clip(field.grid.numpy() + offsets.double().numpy() / 32, -1, 1)
    expected = np.concatenate([published_warp(images[i : i + 1].double().numpy(), grids[i]) for i in range(2)])
    np.testing.assert_allclose(field.apply_noise_mode(images, offsets).numpy(), expected, atol=2e-5)


def test_the_control_is_the_seeded_uniform_draw_scaled_to_mean_one() -> None:
    draw = torch.rand(1, 2, 4, 4, generator=torch.Generator().manual_seed(7)) * 2 - 1
    assert torch.equal(field_of().control, draw / draw.abs().mean())


def test_a_wrongly_aligned_upsampling_would_be_noticed() -> None:
    field = field_of((32, 32), 4, 1.0)
    grids = [
        identity + F.interpolate(field.control.double(), (32, 32), mode="bicubic", align_corners=aligned)[0] / 32
        for aligned in (True, False)
        for identity in [torch.stack(torch.meshgrid(*[torch.linspace(-1, 1, 32).double()] * 2, indexing="xy"))]
    ]
    right, wrong = (float((field.grid[0].permute(2, 0, 1) - grid.clamp(-1, 1)).abs().max()) for grid in grids)
    assert right < 1e-6
    assert wrong > 1e-3


@pytest.mark.parametrize("size", [[36, 60], (np.int64(36), np.int64(60)), torch.Size([36, 60])])
def test_the_image_size_may_be_any_pair_of_whole_numbers(size) -> None:
    field = field_of(size)
    assert field.fingerprint() == field_of((36, 60)).fingerprint()
    assert torch.equal(field.apply(images_of((36, 60))), field_of((36, 60)).apply(images_of((36, 60))))


# --- strength, displacement


def test_strength_zero_is_the_identity_and_exactly_so_after_quantisation() -> None:
    images = base.dequantise(torch.randint(0, 256, (2, 3, 36, 60), dtype=torch.uint8))
    same = field_of((36, 60), 4, 0.0).apply(images)
    assert (same - images).abs().max() < 1e-4
    assert torch.equal(base.quantise(same), base.quantise(images))


def test_displacement_grows_linearly_with_strength() -> None:
    mean, largest = field_of(strength=0.25).displacement_px()
    assert field_of(strength=0.5).displacement_px() == pytest.approx((2 * mean, 2 * largest), rel=0.02)


def test_displacement_in_pixels_hardly_depends_on_image_size() -> None:
    small, large = field_of((32, 32)).displacement_px()[0], field_of((224, 224)).displacement_px()[0]
    assert small == pytest.approx(large, rel=0.1)


def test_a_wanted_mean_displacement_is_met_up_to_the_clamp() -> None:
    assert field_of((64, 64)).at_mean_displacement(0.5).displacement_px()[0] == pytest.approx(0.5, rel=0.03)


def test_the_jitter_of_noise_mode_stays_within_one_pixel_pitch() -> None:
    field = field_of((32, 32), strength=0.0)
    ramp = torch.linspace(0, 1, 32).expand(1, 1, 32, 32).contiguous()
    moved = field.apply_noise_mode(ramp, torch.ones(1, 32, 32, 2))
    assert (moved - ramp).max() <= 31 / 2 / 32 / 31 + 1e-6


@pytest.mark.parametrize("size", [(32, 32), (36, 60)])
def test_strain_agrees_with_finite_differences_of_the_published_grid(size: tuple[int, int]) -> None:
    field = field_of(size, 4, 1.0)
    grid = published_grid(field.control.double().numpy(), size, 1.0, 1.0)
    position = (grid + 1) / 2 * (np.array(size[::-1]) - 1)  # (H, W, 2), x first
    d = position - np.stack(np.meshgrid(np.arange(size[1]), np.arange(size[0])), -1)
    down, across = d[1:] - d[:-1], d[:, 1:] - d[:, :-1]
    strain = (np.abs(down).sum() + np.abs(across).sum()) / (down.size + across.size)
    gradient = np.stack([across[:-1], down[:, :-1]], -1)  # (H - 1, W - 1, component, direction)
    folding = np.linalg.det(np.eye(2) + gradient).min()
    assert field.strain() == pytest.approx((strain, folding), abs=1e-9)


def test_strain_grows_with_strength_until_the_image_folds() -> None:
    unwarped, weak, strong = (field_of((64, 64), 8, strength).strain() for strength in (0.0, 0.5, 20.0))
    assert unwarped == pytest.approx((0.0, 1.0))
    assert 0 < weak[0] < strong[0]
    assert strong[1] < 0 < weak[1] < 1


# --- softening


def test_softening_leaves_a_flat_image_flat_and_moves_no_centroid() -> None:
    field = field_of((33, 33), strength=1.0)
    assert torch.allclose(field.soften(torch.full((1, 1, 33, 33), 0.5)), torch.full((1, 1, 33, 33), 0.5), atol=1e-6)
    ramp = torch.linspace(0, 1, 33).expand(1, 1, 33, 33)
    assert torch.allclose(field.soften(ramp)[..., 1:-1], ramp[..., 1:-1], atol=1e-6)


def test_softening_loses_about_as_much_detail_as_the_warp() -> None:
    noise = torch.rand(8, 1, 68, 68, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    noise = torch.nn.functional.avg_pool2d(noise, 5, stride=1)
    field = field_of((64, 64), 8, 1.0)
    before, softened, warped = (x.var().item() for x in (noise, field.soften(noise), field.apply(noise)))
    assert before - softened == pytest.approx(before - warped, rel=0.25)
    assert softened < 0.9 * before


def test_softening_at_strength_zero_changes_nothing() -> None:
    images = images_of((32, 32))
    assert torch.allclose(field_of(strength=0.0).soften(images), images, atol=1e-4)


# --- identity of a field


def test_the_control_hash_is_the_same_at_every_strength_and_size_and_the_fingerprint_is_not() -> None:
    field = field_of()
    assert field.at_strength(2.0).control_hash() == field.control_hash()
    assert field.at_image_size((64, 64)).control_hash() == field.control_hash()
    assert len({f.fingerprint() for f in (field, field.at_strength(2.0), field.at_image_size((64, 64)))}) == 3


def test_another_seed_is_another_field() -> None:
    assert WarpField.draw((32, 32), 4, 0.5, seed=1).control_hash() != field_of().control_hash()


def test_unrelated_fields_differ_from_the_field_and_from_each_other() -> None:
    field = field_of()
    others = [field.unrelated(seed) for seed in range(5)]
    assert len({f.control_hash() for f in [field, *others]}) == 6
    assert all(f.strength == field.strength and f.control_size == field.control_size for f in others)


def test_a_field_is_the_same_in_another_process() -> None:
    script = (
        "from attacks.wanet import WarpField\n"
        "field = WarpField.draw((32, 32), 4, 0.5, seed=7)\n"
        "print(field.control_hash(), field.fingerprint())"
    )
    printed = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()
    assert printed == [field_of().control_hash(), field_of().fingerprint()]


def test_parameters_and_state_rebuild_the_trigger() -> None:
    field = field_of((36, 60), 8, 0.5, grid_rescale=0.98)
    again = registry.rebuild(field.parameters(), field.state)
    assert again.fingerprint() == field.fingerprint()
    assert again.parameters() == field.parameters()


def test_an_unknown_family_cannot_be_rebuilt() -> None:
    with pytest.raises(ValueError, match=r"Unknown attack family 'nobody'; known: .*wanet"):
        registry.rebuild({"family": "nobody"}, {})


# --- many at once


@pytest.mark.parametrize("n", [0, 1, 5])
def test_an_image_is_warped_alike_whatever_stands_beside_it(n: int) -> None:
    field, images = field_of((36, 60)), images_of((36, 60), 5)[:n].contiguous(memory_format=torch.channels_last)
    altered = field.apply(images)
    assert altered.shape == (n, 3, 36, 60)
    assert all(torch.equal(altered[i], field.apply(images[i : i + 1])[0]) for i in range(n))


def test_each_image_of_a_batch_can_have_a_strength_of_its_own() -> None:
    field, images, strengths = field_of((36, 60)), images_of((36, 60), 3), torch.tensor([0.0, 0.7, 3.0])
    expected = torch.cat([field.at_strength(s).apply(images[i : i + 1]) for i, s in enumerate(strengths.tolist())])
    assert torch.allclose(field.apply_each(images, strengths), expected, atol=1e-5)


def test_each_image_of_a_batch_can_have_an_unrelated_field_of_its_own() -> None:
    field, images, seeds = field_of((36, 60), grid_rescale=0.98), images_of((36, 60), 3), [5, -5, 2**60]
    expected = torch.cat([field.unrelated(seed).apply(images[i : i + 1]) for i, seed in enumerate(seeds)])
    strengths = torch.full((3,), field.strength)
    assert torch.allclose(field.apply_each(images, strengths, unrelated=seeds), expected, atol=1e-5)


def test_each_image_of_a_batch_can_be_in_noise_mode_at_a_strength_of_its_own() -> None:
    field, images, strengths = field_of((36, 60)), images_of((36, 60), 2), torch.tensor([0.5, 2.0])
    offsets = torch.rand(2, 36, 60, 2, generator=torch.Generator().manual_seed(0)) * 2 - 1
    expected = [
        field.at_strength(strength).apply_noise_mode(images[i : i + 1], offsets[i : i + 1])
        for i, strength in enumerate(strengths.tolist())
    ]
    assert torch.allclose(field.apply_each(images, strengths, offsets=offsets), torch.cat(expected), atol=1e-5)


# --- shapes, types, refusals


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_shape_and_dtype_are_kept(channels: int, dtype: torch.dtype) -> None:
    images = images_of((36, 60), 3, channels).to(dtype)
    altered = field_of((36, 60)).apply(images)
    assert altered.shape == images.shape
    assert altered.dtype == dtype


@pytest.mark.parametrize("strength", [-1.0, float("nan"), float("inf")])
def test_an_impossible_strength_is_refused(strength: float) -> None:
    with pytest.raises(ValueError, match="strength must be a finite number >= 0"):
        field_of(strength=strength)


@pytest.mark.parametrize("size", [(0, 32), (32, 0), (1, 1)])
def test_an_empty_image_size_is_refused(size: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="image size must be"):
        field_of(size)


def test_a_control_grid_of_one_point_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 2 x 2"):
        field_of(control=1)


def test_a_control_that_is_not_scaled_is_refused() -> None:
    with pytest.raises(ValueError, match="mean magnitude of 1"):
        WarpField.from_control(torch.ones(1, 2, 4, 4) * 2, (32, 32), 0.5)


@pytest.mark.parametrize(
    "images", [torch.zeros(1, 3, 16, 16), torch.zeros(3, 32, 32), torch.zeros(1, 3, 32, 32, dtype=torch.uint8)]
)
def test_images_of_another_size_or_kind_are_refused(images: torch.Tensor) -> None:
    with pytest.raises(ValueError, match="This trigger is for float images"):
        field_of().apply(images)


def test_quantisation_rounds_and_clamps() -> None:
    levels = torch.tensor([-0.1, 0.0, 0.4999 * ONE_LEVEL, 0.51 * ONE_LEVEL, 1.0, 1.1])
    assert base.quantise(levels).tolist() == [0, 0, 0, 1, 255, 255]


def test_every_level_survives_the_way_to_floats_and_back() -> None:
    levels = torch.arange(256, dtype=torch.uint8)
    assert torch.equal(base.quantise(base.dequantise(levels)), levels)
