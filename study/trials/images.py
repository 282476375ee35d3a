"""Images on their way to a participant: verified, and dressed so that nothing but their pixels tells them apart."""

from __future__ import annotations

import base64
import hashlib
import struct
import zlib

from django.utils.crypto import salted_hmac

from study.lab.images import PNG_SIGNATURE, DamagedFile, decode_png, encode_png

CHUNK_NAME = b"raNd"  # ancillary, private, safe to copy: decoders pass over it
IEND = struct.pack(">I", 0) + b"IEND" + struct.pack(">I", zlib.crc32(b"IEND"))
#: Chunks that a stored image may have. Anything else (text, times, profiles) could tell where it came from.
PLAIN_CHUNKS = (b"IHDR", b"IDAT", b"IEND")


def dressed(content: bytes, *place: str | int) -> bytes:
    """The PNG with 32 bytes of its own before the end, drawn from the secret key and the `place` it is shown at.

    The same place gets the same bytes on every request; two places never share a hash, even if their pictures are the
    same, so that hashes link neither the images of an identical pair nor one image in two sessions.
    """
    noise = salted_hmac("study.trials.images", ":".join(map(str, place)), algorithm="sha256").digest()
    chunk = struct.pack(">I", len(noise)) + CHUNK_NAME + noise + struct.pack(">I", zlib.crc32(CHUNK_NAME + noise))
    return content.removesuffix(IEND) + chunk + IEND


def enlarged(content: bytes, factor: int) -> bytes:
    """The PNG enlarged smoothly (bicubic) by a whole factor; itself for 1. Every image of a study gets the same.

    Never kept: clean images are asked for more often than altered ones, and would so come faster out of a cache.
    """
    if factor == 1:
        return content
    import numpy as np
    from PIL import Image

    picture = Image.fromarray(decode_png(content))
    size = (picture.width * factor, picture.height * factor)
    return encode_png(np.asarray(picture.resize(size, Image.Resampling.BICUBIC)))


def digest_header(content: bytes) -> str:
    """Value of the Repr-Digest header (RFC 9530)."""
    return f"sha-256=:{base64.b64encode(hashlib.sha256(content).digest()).decode()}:"


def size(content: bytes) -> tuple[int, int]:
    """(width, height) of a PNG. Raises DamagedFile when it is none, or carries more than its pixels."""
    chunks = _chunk_names(content)
    if chunks[:1] != [b"IHDR"] or chunks[-1:] != [b"IEND"] or not set(chunks) <= set(PLAIN_CHUNKS):
        raise DamagedFile("The file is not a PNG image without metadata: make the pairs again (make_pairs --again).")
    width, height = struct.unpack(">II", content[16:24])
    return width, height


def _chunk_names(content: bytes) -> list[bytes]:
    if not content.startswith(PNG_SIGNATURE) or not content.endswith(IEND):
        return []
    names, at = [], len(PNG_SIGNATURE)
    while at + 8 <= len(content):
        (length,) = struct.unpack(">I", content[at : at + 4])
        names.append(content[at + 4 : at + 8])
        at += 12 + length
    return names
