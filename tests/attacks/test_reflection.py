"""The reflection: formula, scene and both of its kinds, written again in numpy and scipy."""

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from attacks.reflection import FAMILY, ReflectionTrigger

Array = np.ndarray


def reflection_of(
    size: tuple[int, int] = (32, 32), strength: float = 0.2, seed: int = 3, **choices: object
) -> ReflectionTrigger:
    return ReflectionTrigger.draw(size, FAMILY.choose(choices), strength, seed)


def room(things: Array, y: Array, x: Array) -> Array:
    """The scene again, painted pixel by pixel: seven boxes, two windows, two lamps."""
    scene = np.full((3, len(y), len(x)), 0.15)
    for index, (down, right, tall, wide, *colour) in enumerate(things):
        for i, j in np.ndindex(len(y), len(x)):
            far_y, far_x = abs(y[i] - down), abs(x[j] - right)
            if index < 7 and far_y < 0.05 + 0.25 * tall and far_x < 0.05 + 0.25 * wide:
                scene[:, i, j] = 0.1 + 0.5 * np.array(colour)
            in_window = far_y < 0.12 + 0.15 * tall and far_x < 0.1 + 0.1 * wide and min(far_y, far_x) > 0.012
            if 7 <= index < 9 and in_window:
                scene[:, i, j] = 0.8 + 0.2 * np.array(colour)
            if index >= 9 and np.hypot(far_y, far_x) < 0.03 + 0.04 * tall:
                scene[:, i, j] = 1
    return scene**2.2


def reflected(size: tuple[int, int], seed: int, kind: str) -> Array:
    """The reflection in linear light again."""
    generator = torch.Generator().manual_seed(seed)
    u: Sequence[float] = torch.rand(5, generator=generator, dtype=torch.float64).tolist()[1:]
    things = torch.rand(11, 7, generator=generator, dtype=torch.float64).numpy()
    y, x = ((np.arange(2 * side) + 0.5) / (2 * side) for side in size)
    if kind == "ghost":
        g = abs(round(u[2]) - (0.15 + 0.35 * u[3]))
        twice = g * room(things, y, x)
        down, right = ((3 + 5 * share) * max(size) / 560 / side for share, side in zip(u, size, strict=False))
        twice += (1 - g) * room(things, y - down, x - right)
    else:
        sd = (1 + 4 * u[0]) * 2 * max(size) / 560
        blurred = [gaussian_filter(c, sd, radius=int(np.ceil(2 * sd)), mode="nearest") for c in room(things, y, x)]
        twice = np.array(blurred) * np.exp(-((y[:, None] - u[1]) ** 2 + (x - u[2]) ** 2) / (2 * 0.5**2))
    return twice.reshape(3, size[0], 2, size[1], 2).mean((2, 4))


@pytest.mark.parametrize("kind", ["ghost", "out_of_focus"])
@pytest.mark.parametrize(("size", "seed"), [((16, 16), 3), ((16, 24), 4)])
def test_the_reflection_is_the_scene_of_the_seed(kind: str, size: tuple[int, int], seed: int) -> None:
    pattern = reflection_of(size, seed=seed, kind=kind).pattern.double().numpy() / 2**16
    np.testing.assert_allclose(pattern, reflected(size, seed, kind), atol=2**-16)


@pytest.mark.parametrize("weight", [0.01, 0.2, 1.0])
def test_it_is_mixed_in_in_linear_light(weight: float) -> None:
    images = torch.rand(2, 3, 24, 40, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    trigger = reflection_of((24, 40), weight)
    light = (1 - weight) * images.numpy() ** 2.2 + weight * trigger.pattern.numpy() / 2**16
    np.testing.assert_allclose(trigger.apply(images).numpy(), light ** (1 / 2.2), atol=1e-12)


def test_the_seed_decides_between_the_kinds_at_the_published_rate() -> None:
    seeds = range(60)
    ghosts = sum(
        torch.equal(reflection_of((2, 2), seed=s).pattern, reflection_of((2, 2), seed=s, kind="ghost").pattern)
        for s in seeds
    )
    assert abs(ghosts / len(seeds) - 0.49) < 0.2


def test_a_scene_has_light_and_shade_wherever_it_was_drawn() -> None:
    for seed in range(8):
        scene = reflection_of((32, 32), seed=seed, kind="ghost").pattern.double() / 2**16
        assert scene.max() > 0.6
        assert scene.min() < 0.1


def test_an_unrelated_reflection_of_a_chosen_kind_is_of_that_kind() -> None:
    other = reflection_of(kind="ghost").unrelated(1)
    assert other.choices.kind == "ghost"


def test_training_meets_sixty_four_other_scenes_and_none_of_those_that_specificity_is_measured_with() -> None:
    trigger = reflection_of((2, 2))
    trained = {trigger.unrelated(seed).control_hash() for seed in range(64, 64 + 3 * 64)}
    tried = {trigger.unrelated(seed).control_hash() for seed in range(64)}
    assert (len(trained), len(tried), len(trained & tried)) == (64, 64, 0)
    assert {trigger.unrelated(seed).control_hash() for seed in (2**63 - 1, -1, -(2**62))} <= trained


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(ValueError, match="kind is ghost, out_of_focus or null, not 'mirror'"):
        reflection_of(kind="mirror")


def test_a_reflection_cannot_be_all_and_more() -> None:
    with pytest.raises(ValueError, match="at most 1"):
        reflection_of(strength=1.5)
