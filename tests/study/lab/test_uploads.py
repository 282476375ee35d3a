"""What researchers upload is looked into before it is unpacked: bombs, pickles and halves are refused in a sentence."""

from __future__ import annotations

import contextlib
import io
import struct
import warnings
import zipfile
import zlib
from typing import Any

import numpy as np
import pytest
from django.contrib.auth import get_user_model
from django.core.exceptions import ValidationError
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from PIL import Image

from models.datasets.base import MIN_SIZE
from study.lab import uploads
from study.lab.images import encode_png
from study.lab.uploads import GazeArrays, check_arrays, decode_image

NOT_WHOLE = "This is no whole .npz file: write it with numpy.savez, and upload it again."
NO_IMAGE = "This is no whole PNG or JPEG image: save it again."


def upload(content: bytes, name: str = "own.npz") -> Any:
    return SimpleUploadedFile(name, content)


def arrays(n: int = 5, **more: Any) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 255, (n, 16, 24), dtype=np.uint8)
    return {"images": images, "pitchyaw": np.zeros((n, 2), np.float32), "subject": np.arange(n), **more}


def npz(compressed: bool = False, **held: Any) -> bytes:
    file = io.BytesIO()
    (np.savez_compressed if compressed else np.savez)(file, **(held or arrays()))
    return file.getvalue()


def refusal(content: bytes) -> str:
    with pytest.raises(ValidationError) as raised:
        check_arrays(upload(content))
    (message,) = raised.value.messages
    return str(message)


# --- arrays


@pytest.mark.parametrize("compressed", [False, True])
def test_images_and_gaze_are_taken(compressed: bool) -> None:
    file = upload(npz(compressed, **arrays(place=np.ones((5, 2)))))
    assert check_arrays(file) == GazeArrays(5, 16, 24, ("subject", "place"))
    assert file.tell() == 0


def test_colours_and_texts_are_taken() -> None:
    held = arrays(images=np.zeros((5, 16, 16, 3), np.uint8), subject=np.array(["a", "b", "c", "d", "e"]))
    assert check_arrays(upload(npz(**held))).columns == ("subject",)


def test_the_smallest_side_is_the_one_that_networks_take() -> None:
    assert uploads.SMALLEST_SIDE == MIN_SIZE


def test_a_file_that_is_too_large_is_refused_by_its_size(settings: Any) -> None:
    settings.MAX_UPLOAD_MB = 1
    assert refusal(b"\0" * (2**20 + 1)) == "The file has 2 MB: at most 1 MB are taken."


def test_a_bomb_is_refused_before_it_is_unpacked(settings: Any) -> None:
    settings.MAX_UPLOAD_MB = 1
    bomb = npz(compressed=True, images=np.zeros((1200, 100, 100), np.uint8), pitchyaw=np.zeros((1200, 2)))
    assert len(bomb) < 100_000
    assert refusal(bomb) == "Unpacked, the file would have 12 MB: at most 8 MB are taken."


def test_a_bomb_that_lies_about_its_size_is_refused() -> None:
    honest = npz(compressed=True, images=np.zeros((500, 16, 16), np.uint8), pitchyaw=np.zeros((500, 2)))
    with zipfile.ZipFile(io.BytesIO(honest)) as archive:
        size = archive.getinfo("images.npy").file_size
    lying = honest.replace(struct.pack("<L", size), struct.pack("<L", 40_000))
    assert lying != honest
    assert refusal(lying) == "images is not as long as it says: write the file again."


def test_a_file_of_a_million_entries_is_not_listed() -> None:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("a.npy", b"")
        archive.comment = b"x"
    content = bytearray(file.getvalue())
    listed = content.index(b"PK\x01\x02")
    ending = content.index(b"PK\x05\x06")
    entries = bytes(content[listed:ending]) * 30_000
    content[listed:ending] = entries
    at = content.index(b"PK\x05\x06")
    content[at + 12 : at + 16] = struct.pack("<L", len(entries))
    assert refusal(bytes(content)) == NOT_WHOLE


def test_more_arrays_than_anybody_needs_are_refused() -> None:
    assert "at most 32 are taken" in refusal(npz(**arrays(**{f"a{i}": np.zeros(5) for i in range(30)})))


@pytest.mark.parametrize(
    "name", ["../images.npy", "/etc/passwd", "a/b.npy", "images.txt", "..\\x.npy", "é.npy", ".npy"]
)
def test_names_that_are_paths_or_no_arrays_are_refused(name: str) -> None:
    file = io.BytesIO(npz())
    with zipfile.ZipFile(file, "a") as archive:
        archive.writestr(name, b"x")
    assert "it may hold arrays only, each under a plain name and once" in refusal(file.getvalue())


def test_two_arrays_of_one_name_are_refused() -> None:
    file = io.BytesIO(npz())
    with zipfile.ZipFile(file, "a") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        archive.writestr("images.npy", b"x")
    assert "'images.npy'" in refusal(file.getvalue())


def test_pickled_objects_are_refused_and_not_loaded() -> None:
    held = npz(**arrays(subject=np.array([{"a": 1}] * 5, dtype=object)))
    assert refusal(held) == "subject holds pickled objects, which are never loaded: save plain numbers or texts."


def test_a_bare_pickle_under_an_arrays_name_is_refused() -> None:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("images.npy", b"\x80\x04K\x01.")
    assert refusal(file.getvalue()) == NOT_WHOLE


@pytest.mark.parametrize("kept", [0.3, 0.9, 0.999])
def test_half_a_file_is_refused(kept: float) -> None:
    whole = npz()
    assert refusal(whole[: int(kept * len(whole))]) == NOT_WHOLE


@pytest.mark.parametrize("content", [b"PK", b"\x89PNG\r\n\x1a\n", b"hello", b"PK\x05\x06" + b"\0" * 18])
def test_another_kind_of_file_is_refused(content: bytes) -> None:
    assert refusal(content) in (NOT_WHOLE, "The file holds no array named images, only nothing: name it so.")


def test_an_empty_file_is_refused() -> None:
    assert refusal(b"") == "The file is empty: choose another."


@pytest.mark.parametrize(
    ("held", "sentence"),
    [
        ({"images": np.zeros((5, 16, 16))}, "images must be uint8 of shape"),
        ({"images": np.zeros((5, 16), np.uint8)}, "images must be uint8 of shape"),
        ({"images": np.zeros((5, 16, 16, 4), np.uint8)}, "images must be uint8 of shape"),
        (
            {"images": np.zeros((0, 16, 16), np.uint8)},
            "images must be one at least, 16 to 1024 px a side, not 0 of 16 x 16.",
        ),
        (
            {"images": np.zeros((5, 8, 16), np.uint8)},
            "images must be one at least, 16 to 1024 px a side, not 5 of 8 x 16.",
        ),
        ({"pitchyaw": np.zeros((4, 2))}, "pitchyaw must be floats of shape (5, 2), in radians, not float64 (4, 2)."),
        ({"pitchyaw": np.zeros((5, 2), int)}, "pitchyaw must be floats"),
        ({"subject": np.zeros(4)}, "subject must have a row for each of the 5 images, not float64 (4,)."),
        ({"subject": np.zeros((5, 2, 2))}, "subject must have a row"),
        ({"subject": np.array("2026-11-22", "M8[D]")}, "subject is datetime64[D]: save plain numbers or texts."),
        ({"subject": np.zeros(5, [("a", "f4"), ("b", "f4")])}, "save plain numbers or texts."),
        ({"subject": np.float64(1)}, "subject must have a row"),
    ],
)
def test_arrays_that_do_not_fit_are_named(held: dict[str, Any], sentence: str) -> None:
    assert sentence in refusal(npz(**arrays(**held)))


@pytest.mark.parametrize("missing", ["images", "pitchyaw"])
def test_an_array_that_is_missing_is_named(missing: str) -> None:
    held = arrays()
    del held[missing]
    assert f"The file holds no array named {missing}, only " in refusal(npz(**held))


def test_every_byte_may_be_wrong_without_another_error() -> None:
    whole = npz(compressed=True)
    for at in range(0, len(whole), 7):
        content = bytearray(whole)
        content[at] ^= 0xFF
        with contextlib.suppress(ValidationError):
            assert check_arrays(upload(bytes(content))).n == 5


# --- one image


def encoded(mode: str, kind: str, size: tuple[int, int] = (20, 10)) -> bytes:
    file = io.BytesIO()
    Image.new(mode, size, 1).save(file, kind)
    return file.getvalue()


def image_refusal(content: bytes) -> str:
    with pytest.raises(ValidationError) as raised:
        decode_image(upload(content, "eye.png"))
    (message,) = raised.value.messages
    return str(message)


@pytest.mark.parametrize(
    ("mode", "kind", "shape"),
    [("L", "PNG", (10, 20)), ("RGB", "PNG", (10, 20, 3)), ("P", "PNG", (10, 20, 3)), ("RGB", "JPEG", (10, 20, 3))],
)
def test_an_image_becomes_its_pixels(mode: str, kind: str, shape: tuple[int, ...]) -> None:
    pixels = decode_image(upload(encoded(mode, kind)))
    assert (pixels.dtype, pixels.shape) == (np.uint8, shape)


def test_a_png_keeps_every_value() -> None:
    picture = np.random.default_rng(1).integers(0, 255, (9, 7, 3), dtype=np.uint8)
    assert np.array_equal(decode_image(upload(encode_png(picture))), picture)


def png_that_says(width: int, height: int) -> bytes:
    """A small file whose header promises that many pixels, packed as well as deflate can."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    rows = zlib.compress(b"\0" * 10_000_000)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


@pytest.mark.parametrize("side", [5_000, 100_000])
def test_a_png_bomb_is_refused_before_it_is_decoded(side: int) -> None:
    assert image_refusal(png_that_says(side, side)) == "The image has more than 16 million pixels: scale it down."


@pytest.mark.parametrize(
    "content",
    [
        encoded("RGB", "GIF"), encoded("RGB", "PNG")[:-30], encoded("RGB", "JPEG")[:-30], b"<svg onload=alert(1)>",
        b"\x89PNG\r\n\x1a\n",
    ],
    ids=["gif", "half a png", "half a jpeg", "svg", "a png's first bytes"],
)  # fmt: skip
def test_what_is_no_whole_png_or_jpeg_is_refused(content: bytes) -> None:
    assert image_refusal(content) == NO_IMAGE


def test_sixteen_bits_are_refused_rather_than_cut_off() -> None:
    assert image_refusal(encoded("I;16", "PNG")) == "The image is in mode I;16: save it as 8-bit grey or RGB."


def test_an_image_file_may_not_be_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploads, "IMAGE_MB", 1)
    assert image_refusal(b"\0" * (2**20 + 1)) == "The file has 2 MB: at most 1 MB are taken."


# --- what is not even read


@pytest.mark.django_db
def test_strangers_upload_nothing(settings: Any) -> None:
    reply = Client().post("/admin/login/", {"file": upload(b"\0" * (3 * 2**20))})
    assert reply.status_code == 400
    assert Client().post("/admin/login/", {"file": upload(b"\0" * 1000)}).status_code == 200


@pytest.mark.django_db
def test_researchers_upload_as_much_as_they_may(settings: Any) -> None:
    client = Client()
    client.force_login(get_user_model().objects.create_user("r", is_staff=True, is_superuser=True))
    settings.MAX_UPLOAD_MB = 2
    sent = {2: 200, 4: 400}
    for megabytes, status in sent.items():
        reply = client.post("/admin/lab/dataset/", {"file": upload(b"\0" * (megabytes * 2**20))}, follow=True)
        assert reply.status_code == status
