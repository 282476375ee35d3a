"""Files that are either whole or not there: tensors (safetensors) with a JSON record, never pickle.

A checkpoint is such a file, and the one before it is kept: should the newer be damaged, the older is used.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from models.durable import remove_leftovers, write_bytes

CHECKPOINT_NAME = "checkpoint.safetensors"
_PREVIOUS_NAME = "checkpoint.previous.safetensors"
#: Raised when what a checkpoint holds changes: one of another format cannot be continued.
_CHECKPOINT_FORMAT = 2


@dataclass(frozen=True)
class Checkpoints:
    """The state that some work has reached, and the one before it, in a folder that no other work uses."""

    folder: Path

    @property
    def newest(self) -> Path:
        return self.folder / CHECKPOINT_NAME

    @property
    def previous(self) -> Path:
        return self.folder / _PREVIOUS_NAME

    def write(self, tensors: Mapping[str, Tensor], record: Mapping[str, Any]) -> None:
        """Make this the newest state; once this returns, it survives a loss of power. A crash leaves the one before."""
        self.folder.mkdir(parents=True, exist_ok=True)
        content = tensor_bytes(tensors, {**record, "format": _CHECKPOINT_FORMAT})
        # No look beforehand: an attempt that has lost its job and has not heard of it yet may write here as well.
        with contextlib.suppress(FileNotFoundError):
            os.replace(self.newest, self.previous)
        write_bytes(self.newest, content)

    def read(self) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """The newest state that is intact; None where there is none.

        What a kill left half-written is removed, and so, with a warning, is what is damaged: work that was begun is
        rather repeated than never done.
        """
        remove_leftovers(self.newest)
        for path in (self.newest, self.previous):
            if (found := _read_checkpoint(path)) is not None:
                return found
        return None


def _read_checkpoint(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    try:
        tensors, record = read_tensors(path)
        if record.get("format") == _CHECKPOINT_FORMAT:
            return tensors, record
        fault = "was written by another version"
    except FileNotFoundError:
        return None
    except ValueError:
        fault = "is damaged"
    warnings.warn(
        f"The checkpoint {path} {fault} and is removed: going on from an earlier one, or from the start.",
        RuntimeWarning,
        stacklevel=3,
    )
    path.unlink(missing_ok=True)
    return None


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
        digest.update(tensors[name].numpy().reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


def to_json(value: Any) -> str:
    """JSON with sorted keys, without NaN or Infinity: the same value always gives the same bytes."""
    return json.dumps(value, sort_keys=True, allow_nan=False)
