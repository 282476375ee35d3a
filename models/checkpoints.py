"""Files that are either whole or not there: tensors (safetensors) with a JSON record, never pickle."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
from safetensors import SafetensorError, safe_open
from torch import Tensor


def write_bytes(path: Path, content: bytes) -> None:
    """Put `content` at `path` so that a crash at any moment leaves the old file or the new one, never half of it."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def tensor_bytes(tensors: Mapping[str, Tensor], record: Mapping[str, Any] | None = None) -> bytes:
    """A safetensors file as bytes, with a JSON-able record in its header."""
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    envelope = {"record": record or {}, "sha256": _digest(plain, record or {})}
    # One key only: safetensors writes several in an order that changes from process to process.
    return safetensors.torch.save(plain, {"json": to_json(envelope)})


def write_tensors(path: Path, tensors: Mapping[str, Tensor], record: Mapping[str, Any]) -> None:
    """Write tensors and their record as one file, atomically."""
    write_bytes(path, tensor_bytes(tensors, record))


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and record of a file of `write_tensors`. Raises ValueError when it is not one or has changed since."""
    try:
        with safe_open(path, framework="pt") as file:
            envelope = json.loads(file.metadata()["json"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
        intact = envelope["sha256"] == _digest(tensors, envelope["record"])
    except (SafetensorError, ValueError, TypeError, KeyError) as error:
        raise ValueError(f"{path} is damaged or not a tensor file of this project: delete it and run again.") from error
    if not intact:
        raise ValueError(f"{path} has changed since it was written: delete it and run again.")
    return tensors, envelope["record"]


def _digest(tensors: Mapping[str, Tensor], record: Mapping[str, Any]) -> str:
    digest = hashlib.sha256(to_json(record).encode())
    for name in sorted(tensors):
        digest.update(f"{name} {tensors[name].dtype} {tuple(tensors[name].shape)}".encode())
        digest.update(tensors[name].numpy().tobytes())
    return digest.hexdigest()


def to_json(value: Any) -> str:
    """JSON with sorted keys, without NaN or Infinity: the same value always gives the same bytes."""
    return json.dumps(value, sort_keys=True, allow_nan=False)
