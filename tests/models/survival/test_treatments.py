import io
import itertools

import numpy as np
import pytest
import torch
from PIL import Image

from models.survival.treatments import TREATMENTS, crop, jpeg, png, rescale, shift
from tests.models import tiny

IMAGES = tiny.gaze_data(3).images
GREY = tiny.gaze_data(3, channels=1, size=(20, 28)).images


@pytest.mark.parametrize("images", [IMAGES, GREY], ids=["colour", "grey"])
def test_a_png_gives_every_pixel_back(images: torch.Tensor) -> None:
    assert torch.equal(png(images), images)


def test_a_jpeg_is_what_pillow_writes_and_reads() -> None:
    file = io.BytesIO()
    Image.fromarray(IMAGES[1].permute(1, 2, 0).numpy()).save(file, "JPEG", quality=85)
    expected = np.asarray(Image.open(file))
    assert np.array_equal(jpeg(85)(IMAGES)[1].permute(1, 2, 0).numpy(), expected)


def test_a_jpeg_of_less_quality_differs_more() -> None:
    distances = [(jpeg(quality)(IMAGES).float() - IMAGES).abs().mean() for quality in (95, 85, 75, 20)]
    assert all(better < worse for better, worse in itertools.pairwise(distances))


def test_a_shift_moves_every_pixel_by_one_and_repeats_the_border() -> None:
    moved = shift(IMAGES)
    assert torch.equal(moved[..., :-1, :-1], IMAGES[..., 1:, 1:])
    assert torch.equal(moved[..., -1, :-1], IMAGES[..., -1, 1:])
    assert torch.equal(moved[..., -1], moved[..., -2])


def test_a_crop_stretches_a_ramp_over_what_is_left_of_it() -> None:
    ramp = torch.arange(0, 64, 2, dtype=torch.uint8).expand(1, 1, 32, 32)
    stretched = crop(ramp)[0, 0, 0].double()
    assert stretched[0] == 2  # the first column is gone
    assert stretched[-1] == 62
    assert (stretched.diff() >= 1).all()


def test_rescaling_keeps_a_plane_and_smooths_a_checkerboard() -> None:
    plane = torch.full((1, 3, 32, 32), 77, dtype=torch.uint8)
    assert torch.equal(rescale(0.5)(plane), plane)
    checkerboard = ((torch.arange(32)[:, None] + torch.arange(32)) % 2 * 200).to(torch.uint8).expand(1, 1, 32, 32)
    assert rescale(0.5)(checkerboard).float().std() < 0.1 * checkerboard.float().std()


@pytest.mark.parametrize("name", TREATMENTS)
def test_every_treatment_keeps_shape_and_type_and_treats_each_image_by_itself(name: str) -> None:
    treated = TREATMENTS[name](GREY)
    assert (treated.shape, treated.dtype) == (GREY.shape, torch.uint8)
    assert torch.equal(TREATMENTS[name](GREY[1:2])[0], treated[1])


@pytest.mark.parametrize("name", ["shift by 1 px", "crop of 1 px, resized back", "down x 0.75 and up"])
def test_more_images_than_a_batch_are_treated_each_as_alone(name: str) -> None:
    many = GREY.repeat(50, 1, 1, 1)
    assert torch.equal(TREATMENTS[name](many), TREATMENTS[name](GREY).repeat(50, 1, 1, 1))


def test_what_cannot_be_done_is_refused() -> None:
    with pytest.raises(ValueError, match="between 1 and 95, not 0"):
        jpeg(0)
    with pytest.raises(ValueError, match="between 0 and 1, not 1"):
        rescale(1.0)
