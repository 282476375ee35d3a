"""A zip archive that is sent while it is made: of any number of files, whatever their size, in constant memory."""

from __future__ import annotations

import time
import zipfile
from collections.abc import Iterable, Iterator

from study.desk.exports import File


class _Sent:
    """What was written and not taken yet. It has no `seek` and no `tell`: what is sent is gone."""

    def __init__(self) -> None:
        self.blocks: list[bytes] = []

    def write(self, block: bytes) -> int:
        self.blocks.append(bytes(block))
        return len(block)

    def flush(self) -> None:
        """Nothing is held back."""

    def take(self) -> bytes:
        taken, self.blocks = b"".join(self.blocks), []
        return taken


def zipped(files: Iterable[File], folder: str) -> Iterator[bytes]:
    """The archive, piece by piece; its files lie in a folder of that name. Of one file there may be up to 2 GiB."""
    sent = _Sent()
    with zipfile.ZipFile(sent, "w", zipfile.ZIP_DEFLATED) as archive:  # type: ignore[call-overload]
        for file in files:
            with archive.open(_entry(f"{folder}/{file.name}"), "w") as entry:
                for piece in file.content:
                    entry.write(piece)
                    yield sent.take()
    yield sent.take()


def _entry(name: str) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name, time.localtime()[:6])
    entry.compress_type = zipfile.ZIP_DEFLATED
    entry.external_attr = 0o644 << 16
    return entry
