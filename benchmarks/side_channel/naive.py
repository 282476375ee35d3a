"""The positive control: the same server and the same pages, but its images are plain files.

As most would do it: PNG with its usual compression, and an ETag that is a hash of the file. Addresses, order and
headers are otherwise as careful as the real ones, so what the attacker finds here is the files' own doing.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Iterable
from typing import Any

from PIL import Image

from study.trials import images
from study.wsgi import application as careful


def as_usual(content: bytes, *_place: str | int) -> bytes:
    """The picture as image libraries save it by default."""
    buffer = io.BytesIO()
    with Image.open(io.BytesIO(content)) as picture:
        picture.save(buffer, "PNG")
    return buffer.getvalue()


images.dressed = as_usual


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """The study's application, with a file server's header on its images."""
    begun: list[Any] = []
    response = careful(environ, lambda *status_and_headers: begun.extend(status_and_headers))
    body = b"".join(response)
    status, headers = begun[0], begun[1]
    if dict(headers).get("Content-Type") == "image/png":
        headers = [*headers, ("ETag", f'"{hashlib.md5(body, usedforsecurity=False).hexdigest()}"')]
    start_response(status, headers)
    return [body]
