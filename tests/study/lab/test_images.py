"""The one image encoder, and reading only what was stored."""

from pathlib import Path

import numpy as np
import pytest

from study.lab.images import DamagedFile, decode_png, encode_png, read_verified, sha256, write_once


@pytest.mark.parametrize("shape", [(24, 32), (50, 100), (64, 64, 3), (224, 224, 3)])
def test_pixels_come_back_exactly(shape: tuple[int, ...]) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    decoded = decode_png(encode_png(pixels))
    assert decoded.dtype == np.uint8
    assert np.array_equal(decoded, pixels)


def test_all_images_of_one_shape_have_one_length() -> None:
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)
    assert len(encode_png(noise)) == len(encode_png(np.zeros_like(noise))) == len(encode_png(noise // 2))


def test_the_same_pixels_give_the_same_bytes_and_nothing_but_pixels_is_in_them() -> None:
    content = encode_png(np.zeros((8, 8), np.uint8))
    assert content == encode_png(np.zeros((8, 8), np.uint8))
    chunks, position = [], 8
    while position < len(content):
        length = int.from_bytes(content[position : position + 4], "big")
        chunks.append(content[position + 4 : position + 8])
        position += 12 + length
    assert chunks == [b"IHDR", b"IDAT", b"IEND"]


@pytest.mark.parametrize("pixels", [np.zeros((4, 4), np.float32), np.zeros((4, 4, 4), np.uint8), np.zeros(4, np.uint8)])
def test_what_is_no_grey_or_rgb_image_of_8_bits_is_refused(pixels: np.ndarray) -> None:
    with pytest.raises(ValueError, match="uint8"):
        encode_png(pixels)


def test_a_truncated_image_is_refused() -> None:
    with pytest.raises(DamagedFile):
        decode_png(encode_png(np.zeros((64, 64), np.uint8))[:200])


def test_a_flipped_byte_is_refused(tmp_path: Path) -> None:
    content = encode_png(np.zeros((8, 8), np.uint8))
    path = tmp_path / "a" / "image.png"
    write_once(path, content)
    assert read_verified(path, sha256(content)) == content
    path.write_bytes(content[:50] + bytes([content[50] ^ 1]) + content[51:])
    with pytest.raises(DamagedFile, match="not what was stored"):
        read_verified(path, sha256(content))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DamagedFile, match=r"gone\.png is missing"):
        read_verified(tmp_path / "gone.png", "")


def test_writing_mends_a_damaged_file_and_leaves_no_other_behind(tmp_path: Path) -> None:
    path = tmp_path / "images" / "image.png"
    path.parent.mkdir()
    path.write_bytes(b"half")
    write_once(path, b"whole")
    write_once(path, b"whole")
    assert path.read_bytes() == b"whole"
    assert [found.name for found in path.parent.iterdir()] == ["image.png"]
