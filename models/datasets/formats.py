"""Every published format that can be imported, by name. A new one is a module of its own and one line here.

A reader's module imports `Sample`, `Format` and `FormatError` from `models.datasets.samples`, and ends in a constant
`FORMAT`.
"""

from __future__ import annotations

from models.datasets import (
    arrays,
    columbia,
    eth_xgaze,
    gaze360,
    gazehub,
    mpiifacegaze,
    mpiifacegaze_raw,
    mpiigaze,
    pytorch_mpiigaze,
    unityeyes,
)
from models.datasets.samples import Format

FORMATS: dict[str, Format] = {
    reader.FORMAT.kind: reader.FORMAT
    for reader in (
        arrays,
        mpiigaze,
        mpiifacegaze,
        mpiifacegaze_raw,
        pytorch_mpiigaze,
        eth_xgaze,
        gaze360,
        columbia,
        unityeyes,
        gazehub,
    )
}


def format_of(kind: str) -> Format:
    """The format of this name. Raises ValueError, with the names there are, for another."""
    if kind not in FORMATS:
        raise ValueError(f"Unknown data format {kind!r}; known: {', '.join(sorted(FORMATS))}.")
    return FORMATS[kind]
