"""Machine observers at the stored pairs: programs that say which picture is altered, or how different the two are.

Runs as a process of its own, `python -m study.lab.observing specification.json`, and reports as `models.run` does. It
reads the stored files, verified and decoded as for predictions, writes one JSON file and knows no database.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from models.observer import ObserverRecipe, judge
from models.run import conclude, emit
from models.similarity import Picture, flip, picture, sharpness, ssim
from study.lab.images import read_verified, write_once
from study.lab.pairs import from_png


def main(arguments: Sequence[str]) -> int:
    """Do the work of the specification named on the command line; return the exit code."""
    torch.set_num_threads(1)
    return conclude(Path(arguments[0]), lambda specification, stop: observe(specification))


def observe(specification: Mapping[str, Any]) -> dict[str, Any]:
    """Let every observer judge every pair of the specification; return the numbers of pairs and observers.

    The file `output` then holds {"pairs": ids, "observers": [{"observer", "chooses", "values": one per pair}]}: of one
    that chooses the evidence for the altered picture (above 0 is right, 0 a tie), else a distance (0: equal).
    """
    pairs = specification["pairs"]
    emit("progress", stage="reading", fraction=0.0)
    folder = Path(specification["folder"])
    decoded = {row["file"]: from_png(read_verified(folder / row["file"], row["sha256"])) for row in _files(pairs)}
    clean, altered = (torch.stack([decoded[pair[which]["file"]] for pair in pairs]) for which in ("clean", "altered"))
    observers = [
        *_rules(clean, altered, specification["px_per_degree"]),
        _network(pairs, clean, altered, specification["seed"]),
    ]
    judged = {"pairs": [pair["id"] for pair in pairs], "observers": observers}
    write_once(Path(specification["output"]), json.dumps(judged, allow_nan=False).encode())
    return {"pairs": len(pairs), "observers": [observer["observer"] for observer in observers]}


def _files(pairs: Sequence[Mapping[str, Any]]) -> Iterator[Mapping[str, str]]:
    for pair in pairs:
        yield from (pair["clean"], pair["altered"])


def _rules(clean: Tensor, altered: Tensor, px_per_degree: float) -> Iterator[dict[str, Any]]:
    """Observers that need no training."""
    emit("progress", stage="rules", fraction=0.0)
    pictures = [(picture(one), picture(other)) for one, other in zip(clean, altered, strict=True)]
    softer = [_log_sharpness(before) - _log_sharpness(after) for before, after in pictures]
    yield {"observer": "softer picture", "chooses": True, "values": softer}
    distances = [max(0.0, 1 - ssim(before, after)) for before, after in pictures]
    yield {"observer": "1 - SSIM", "chooses": False, "values": distances}
    flips = [flip(before, after, px_per_degree) for before, after in pictures]
    yield {"observer": f"FLIP at {px_per_degree:g} px per degree", "chooses": False, "values": flips}


def _network(pairs: Sequence[Mapping[str, Any]], clean: Tensor, altered: Tensor, seed: int) -> dict[str, Any]:
    """The trained observer. It learns from the attack's own pairs; the controls it only judges."""
    evidence = judge(
        clean,
        altered,
        _groups(pairs),
        np.array([pair["control"] == "" for pair in pairs]),
        recipe=ObserverRecipe(seed=seed),
        progress=lambda share: emit("progress", stage="network", fraction=share),
    )
    return {"observer": f"paired network, seed {seed}", "chooses": True, "values": evidence.tolist()}


def _groups(pairs: Sequence[Mapping[str, Any]]) -> np.ndarray[Any, Any]:
    """Whom each pair shows; where that is the same person throughout, or nobody knows, which base image it is of."""
    subjects = np.array([pair["subject"] for pair in pairs])
    return subjects if len(np.unique(subjects)) > 1 else np.array([pair["clean"]["file"] for pair in pairs])


def _log_sharpness(picture: Picture) -> float:
    return math.log(max(sharpness(picture), 1e-12))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
