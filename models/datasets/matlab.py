"""MATLAB files of versions 5 to 7: numbers, texts, cells and structures, as MathWorks' "MAT-File Format" lays them out.

scipy.io.loadmat reads these too, but on some damaged files it ends the whole process with a segmentation fault. Here
no length in the file is believed before it is checked. MATLAB 7.3 writes HDF5: see `models.datasets.reading.hdf5`.
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from models.datasets.samples import FormatError

HEADER = 128
MOST_BYTES = 1 << 31
"""A variable that unpacks to more is not what any published file holds."""

_STORED = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
_NUMBERS = {6: "f8", 7: "f4", 8: "i1", 9: "u1", 10: "i2", 11: "u2", 12: "i4", 13: "u4", 14: "i8", 15: "u8"}
_TEXTS = {1: "utf-8", 2: "utf-8", 4: "utf-16", 16: "utf-8", 17: "utf-16", 18: "utf-32"}
_CELL, _STRUCTURE, _TEXT = 1, 2, 4
_MATRIX, _COMPRESSED = 14, 15
_COMPLEX = 0x800
_PEEK = 1 << 10
"""Bytes of a compressed variable that are unpacked to see its name, after a tag of 8."""

_Elements = Iterator[tuple[int, memoryview]]


def load(path: Path, *names: str) -> dict[str, Any]:
    """The variables `names`, or fields of structures ("data.left"): numbers as arrays of the axes they have in MATLAB,
    texts as str, several rows of text and cells as lists, single structures as dicts, others as lists of dicts; lists
    go down the columns first. Other variables are skipped unread.

    Raises:
        FormatError: if the file or a variable is missing, the file is damaged, or of MATLAB 7.3.
    """
    if not path.is_file():
        raise FormatError(f"{path}: no such file.")
    try:
        content = dict(_variables(memoryview(path.read_bytes()), {name.partition(".")[0] for name in names}))
    except NotImplementedError as error:
        raise FormatError(f"{path}: {error}.") from error
    except (
        OSError,
        ValueError,
        LookupError,
        StopIteration,
        RecursionError,
        MemoryError,
        struct.error,
        zlib.error,
    ) as e:
        raise FormatError(f"{path}: the file is damaged or no MATLAB file; fetch it again.") from e
    return {name: _member(content, name, path) for name in names}


def _member(content: Any, name: str, path: Path) -> Any:
    for part in name.split("."):
        if not isinstance(content, dict) or part not in content:
            raise FormatError(f"{path}: no variable {name!r}.")
        content = content[part]
    return content


def _variables(data: memoryview, names: set[str]) -> Iterator[tuple[str, Any]]:
    version, mark = data[124:126].tobytes(), data[126:HEADER].tobytes()
    order = {b"IM": "<", b"MI": ">"}[mark]
    if b"\x02" in version:
        raise NotImplementedError("this is MATLAB 7.3 (HDF5); the published files are of an older version")
    for kind, body in _elements(data[HEADER:], order):
        if kind == _COMPRESSED and _head(_unpacked(body, _PEEK)[8:], order)[2] in names:
            ((inner, variable),) = _elements(_unpacked(body, MOST_BYTES, whole=True), order)
        elif kind == _MATRIX and _head(body, order)[2] in names:
            inner, variable = kind, body
        else:
            continue
        if inner != _MATRIX:
            raise ValueError("no variable")
        yield _head(variable, order)[2], _value(variable, order)


def _unpacked(packed: memoryview, most: int, whole: bool = False) -> memoryview:
    unpacker = zlib.decompressobj()
    data = unpacker.decompress(packed, most)
    if whole and not unpacker.eof:
        raise ValueError("cut short, or too large")
    return memoryview(data)


def _elements(data: memoryview, order: str) -> _Elements:
    """(kind, body) of the elements that follow each other in `data`."""
    at = 0
    while at < len(data):
        (tag,) = struct.unpack_from(f"{order}I", data, at)
        kind, size, start = tag & 0xFFFF, tag >> 16, at + 4
        if not size:  # the common, long form
            kind, size, start = tag, *struct.unpack_from(f"{order}I", data, at + 4), at + 8
        at = at + 8 if start == at + 4 else start + size + (-size % 8 if kind != _COMPRESSED else 0)
        if start + size > min(at, len(data)):
            raise ValueError("an element runs over its end")
        yield kind, data[start : start + size]


def _head(body: memoryview, order: str) -> tuple[int, tuple[int, ...], str, _Elements]:
    """Class, axes, name and what remains of a variable."""
    parts = _elements(body, order)
    flags, axes, name = (_next(parts)[1] for _ in range(3))
    (flag,) = struct.unpack_from(f"{order}I", flags)
    if flag & _COMPLEX:
        raise NotImplementedError("complex numbers are not read")
    shape = tuple(np.frombuffer(axes, f"{order}i4").tolist())
    if len(shape) < 2 or min(shape) < 0:
        raise ValueError("no axes")
    return flag & 0xFF, shape, name.tobytes().decode(), parts


def _value(body: memoryview, order: str) -> Any:
    if not body:  # how an empty cell is written
        return np.zeros((0, 0))
    family, shape, _, parts = _head(body, order)
    entries = math.prod(shape)
    if family in _NUMBERS:
        kind, raw = _next(parts)
        stored = np.frombuffer(raw, order + _STORED[kind])
        return stored.astype(_NUMBERS[family]).reshape(shape, order="F")  # whole doubles are stored as bytes
    if family == _TEXT:
        kind, raw = next(parts, (16, memoryview(b"")))
        ending = "" if _TEXTS[kind] == "utf-8" else {"<": "-le", ">": "-be"}[order]
        text = raw.tobytes().decode(_TEXTS[kind] + ending)
        return text if shape[0] <= 1 else [text[row :: shape[0]] for row in range(_checked(shape[0], body))]
    if family == _CELL:
        return [_value(_matrix(parts), order) for _ in range(_checked(entries, body))]
    if family == _STRUCTURE:
        (width,) = struct.unpack_from(f"{order}i", _next(parts)[1])
        heads = _next(parts)[1].tobytes()
        fields = [heads[at : at + width].split(b"\0")[0].decode() for at in range(0, len(heads), width)]
        records = [{f: _value(_matrix(parts), order) for f in fields} for _ in range(_checked(entries, body))]
        return records[0] if shape == (1, 1) else records
    raise NotImplementedError(f"a variable of class {family} is not read")


def _next(parts: _Elements) -> tuple[int, memoryview]:
    for element in parts:
        return element
    raise ValueError("cut short")


def _matrix(parts: _Elements) -> memoryview:
    kind, body = _next(parts)
    if kind != _MATRIX:
        raise ValueError("no variable")
    return body


def _checked(entries: int, body: memoryview) -> int:
    if entries > len(body):
        raise ValueError("more entries than bytes")
    return entries
