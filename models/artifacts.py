"""A trained model on disk: `weights.safetensors` and `card.json`, each of which shows when it was touched.

The weights file holds the network's tensors (`network.*`) and the trigger's (`trigger.*`), so that the trigger can be
rebuilt exactly. The card holds everything else, the SHA-256 of the weights file, and a digest of itself. The SHA-256 of
the card's bytes therefore stands for the whole artifact. Nothing is pickled.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from attacks import registry
from attacks.base import Trigger
from models.checkpoints import read_tensors, tensor_bytes, to_json
from models.durable import write_bytes
from models.filenames import CARD_NAME, WEIGHTS_NAME
from models.networks import NetworkSpec
from models.targets import Target
from models.training import Recipe, TrainedModel
from models.zones import Zones, as_gaze_model

#: 2: stems, outputs and zones to choose, and ResNets with torchvision's names and a width.
FORMAT_VERSION = 2


@dataclass(frozen=True, eq=False)
class Artifact:
    """A model as loaded: ready to predict, with its trigger at the final strength (None: clean) and its whole card.

    network: predicts gazes (N, 2), a classifier of `zones` too.
    """

    network: nn.Module
    spec: NetworkSpec
    recipe: Recipe
    trigger: Trigger | None
    target: Target
    card: dict[str, Any]
    sha256: str
    zones: Zones | None = None


def save(model: TrainedModel, folder: Path, metrics: Mapping[str, Any] | None = None) -> str:
    """Write the artifact folder, whole or not at all, replacing one that is there; return the artifact's SHA-256.

    metrics: JSON-able figures to keep on the card. Raises ValueError when they hold NaN or Infinity.
    """
    tensors = {f"network.{name}": tensor for name, tensor in model.network.state_dict().items()}
    if model.trigger is not None:
        tensors |= {f"trigger.{name}": tensor for name, tensor in model.trigger.state.items()}
    weights = tensor_bytes(tensors)
    card = _card_bytes(_card(model, hashlib.sha256(weights).hexdigest(), metrics))
    folder.parent.mkdir(parents=True, exist_ok=True)
    fresh = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        fresh.chmod(0o755)
        write_bytes(fresh / WEIGHTS_NAME, weights)
        write_bytes(fresh / CARD_NAME, card)
        _put_in_place(fresh, folder)
    except BaseException:
        shutil.rmtree(fresh, ignore_errors=True)
        raise
    return hashlib.sha256(card).hexdigest()


def _put_in_place(fresh: Path, folder: Path) -> None:
    """Rename, never delete, until the new folder has the name: a folder cannot replace one that is not empty."""
    if not folder.exists():
        os.replace(fresh, folder)
        return
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent) as aside:
        old = Path(aside) / folder.name
        os.replace(folder, old)
        try:
            os.replace(fresh, folder)
        except BaseException:
            os.replace(old, folder)
            raise


def load(folder: Path, sha256: str | None = None, device: str = "cpu") -> Artifact:
    """The artifact in `folder`, verified; with `sha256`, that very one.

    Raises ValueError, naming the file and both hashes, when a file is missing, changed, or not the one asked for.
    """
    card_bytes = _read(folder / CARD_NAME)
    found = hashlib.sha256(card_bytes).hexdigest()
    if sha256 is not None and found != sha256:
        raise ValueError(f"{folder / CARD_NAME} is not the file that was recorded: SHA-256 {found}, expected {sha256}.")
    card = _verified_card(folder / CARD_NAME, card_bytes)
    weights = hashlib.sha256(_read(folder / WEIGHTS_NAME)).hexdigest()
    if weights != card["weights_sha256"]:
        raise ValueError(
            f"{folder / WEIGHTS_NAME} has changed since it was written: SHA-256 {weights}, "
            f"expected {card['weights_sha256']}. Train this model again."
        )
    tensors, _ = read_tensors(folder / WEIGHTS_NAME)
    zones = Zones.from_json(card["zones"]) if card.get("zones") else None
    spec, state = _network(card, _part(tensors, "network"))
    network = as_gaze_model(spec.build(), zones)
    network.load_state_dict(state)
    recorded = card["trigger"]
    trigger = (
        registry.rebuild(recorded["parameters"], _part(tensors, "trigger"), recorded["control_hash"])
        if recorded
        else None
    )
    return Artifact(
        network=network.to(device).eval(),
        spec=spec,
        recipe=Recipe.from_record(card["recipe"]),
        trigger=trigger,
        target=Target.from_json(card["target"]),
        card=card,
        sha256=found,
        zones=zones,
    )


def _network(card: Mapping[str, Any], state: dict[str, Tensor]) -> tuple[NetworkSpec, dict[str, Tensor]]:
    """What to build and load. Format 1 knew one ResNet-18, of width 64 whatever its card says, under another name."""
    spec = NetworkSpec.from_json(card["network"])
    if card["format"] == 1 and spec.name == "resnet18":
        return replace(spec, width=64), {name.removeprefix("backbone."): tensor for name, tensor in state.items()}
    return spec, state


def _card(model: TrainedModel, weights_sha256: str, metrics: Mapping[str, Any] | None) -> dict[str, Any]:
    trigger = model.trigger
    return {
        "format": FORMAT_VERSION,
        "weights_sha256": weights_sha256,
        "network": model.spec.to_json(),
        "recipe": model.recipe.to_json(),
        "data": model.data,
        "trigger": (
            {
                "parameters": trigger.parameters(),
                "fingerprint": trigger.fingerprint(),
                "control_hash": getattr(trigger, "control_hash", lambda: None)(),
            }
            if trigger is not None
            else None
        ),
        "target": model.target.to_json(),
        "zones": model.zones.to_json() if model.zones is not None else None,
        "initial_weights_sha256": model.initial_weights_sha256,
        "seed": model.recipe.seed,
        "chosen_epoch": model.chosen_epoch,
        "history": model.history,
        "metrics": dict(metrics or {}),
        "cpu_seconds": model.cpu_seconds,
        "versions": {
            "torch": torch.__version__,
            "python": platform.python_version(),
            "machine": platform.machine(),
            "cpu_capability": torch.backends.cpu.get_cpu_capability(),
            "device": model.device,
            **({"device_name": torch.cuda.get_device_name()} if model.device == "cuda" else {}),
            "precision": model.precision,
            "threads": torch.get_num_threads(),
        },
    }


def _card_bytes(card: Mapping[str, Any]) -> bytes:
    digest = hashlib.sha256(to_json(card).encode()).hexdigest()
    return (json.dumps({**card, "card_sha256": digest}, sort_keys=True, allow_nan=False, indent=1) + "\n").encode()


def _verified_card(path: Path, content: bytes) -> dict[str, Any]:
    """The card in these bytes. Whatever is not exactly what `_card_bytes` writes, to the last space, is refused."""
    try:
        card = json.loads(content)
        recorded = card.pop("card_sha256")
        computed = hashlib.sha256(to_json(card).encode()).hexdigest()
        intact = _card_bytes(card) == content
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"{path} is damaged or not a model card. Train this model again.") from error
    if not intact:
        raise ValueError(
            f"{path} has changed since it was written: its content has SHA-256 {computed}, it says {recorded}. "
            "Train this model again."
        )
    if card.get("format") not in range(1, FORMAT_VERSION + 1):
        raise ValueError(f"{path} has format {card.get('format')}; this version reads formats 1 to {FORMAT_VERSION}.")
    return dict(card)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ValueError(f"{path} cannot be read ({error.strerror}).") from error


def _part(tensors: Mapping[str, Tensor], part: str) -> dict[str, Tensor]:
    return {name.removeprefix(f"{part}."): t for name, t in tensors.items() if name.startswith(f"{part}.")}
