"""The grating: against its published formula written again in numpy, and its direction, phase and limits."""

import numpy as np
import pytest
import torch

from attacks.sinusoidal import DRAWN_FREQUENCIES, FAMILY, SinusoidalTrigger


def grating_of(
    size: tuple[int, int] = (32, 32), strength: float = 20.0, seed: int = 0, **choices: object
) -> SinusoidalTrigger:
    return SinusoidalTrigger.draw(size, FAMILY.choose(choices), strength, seed)


@pytest.mark.parametrize("size", [(32, 32), (36, 60), (224, 224)])
@pytest.mark.parametrize("amplitude", [1.0, 20.0, 40.0])
@pytest.mark.parametrize("channels", [1, 3])
def test_the_published_sine_is_added_to_every_row_and_channel(
    size: tuple[int, int], amplitude: float, channels: int
) -> None:
    images = torch.rand(2, channels, *size, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    sine = amplitude * np.sin(2 * np.pi * np.arange(size[1]) * 6 / size[1])
    expected = (images.numpy() * 255 + sine).clip(0, 255) / 255
    one_level = 1 / 255
    altered = grating_of(size, amplitude).apply(images).numpy()
    np.testing.assert_allclose(altered, expected, atol=1e-3 * one_level * amplitude)


def test_the_angle_turns_the_grating_from_rightwards_to_downwards() -> None:
    across, down = grating_of((32, 32)).pattern, grating_of((32, 32), angle=90.0).pattern
    assert torch.equal(down, across.transpose(1, 2))
    oblique = grating_of((32, 32), angle=45.0).pattern[0]
    assert torch.equal(oblique[1:, :-1], oblique[:-1, 1:])


def test_half_a_turn_of_phase_inverts_the_grating() -> None:
    assert torch.equal(grating_of(phase=180.0).pattern, -grating_of().pattern)


def test_the_seed_draws_what_is_left_open_and_nothing_else() -> None:
    assert grating_of(seed=1).control_hash() == grating_of(seed=2).control_hash()
    drawn = {grating_of(seed=seed, frequency=None, angle=None, phase=None).control_hash() for seed in range(5)}
    assert len(drawn) == 5


def test_every_drawn_frequency_fits_the_smallest_images() -> None:
    assert DRAWN_FREQUENCIES[1] < 16 / 2


@pytest.mark.parametrize(("width", "frequency"), [(32, 16.0), (32, 40.0), (16, 8.0)])
def test_a_grating_finer_than_the_pixels_is_refused(width: int, frequency: float) -> None:
    with pytest.raises(ValueError, match=f"does not fit images {width} px wide: they hold fewer than {width // 2}"):
        grating_of((32, width), frequency=frequency)


@pytest.mark.parametrize(
    "choices", [{"frequency": 0.0}, {"frequency": -1.0}, {"frequency": float("inf")}, {"frequency": float("nan")}]
)
def test_a_grating_needs_a_frequency(choices: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="finite number of cycles above 0"):
        grating_of(**choices)


@pytest.mark.parametrize("choices", [{"angle": float("nan")}, {"phase": float("inf")}])
def test_a_grating_needs_an_angle_and_a_phase(choices: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="angle and phase are finite"):
        grating_of(**choices)


def test_an_amplitude_beyond_the_levels_is_refused() -> None:
    with pytest.raises(ValueError, match="at most 255"):
        grating_of(strength=256)
