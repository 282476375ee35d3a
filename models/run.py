"""One piece of model work in a process of its own: `python -m models.run spec.json`.

Standard output carries one JSON object a line and nothing else:

    {"event": "progress", "stage": "data" | "training" | "measuring" | "searching", "fraction": 0..1, ...}
    {"event": "checkpoint", "fraction": 0..1}   so much of the whole training is on disk, whatever happens now
    {"event": "done", ...}                      last line, exit code 0
    {"event": "failed", "error": "sentence"}    last line, exit code 1; a bug's traceback goes to standard error
    {"event": "stopped", "error": "sentence"}   last line, exit code 1: after SIGTERM, when `stop_file` appears, or when
                                                a process that renders data was killed; started again, it goes on

It stops within a second or two in every stage. Training finishes the update at hand and writes a checkpoint first; what
is being written is finished. A kill leaves whole files and the last checkpoint, and is no failure of the work. Standard
error carries warnings, such as that a checkpoint was damaged, and belongs into a log.

The specification is a JSON object. Every kind of work takes:

    kind        "prepare", "train", "evaluate", "survive" or "perturb"
    data        {"kind": "synthetic_eyes", "config": {EyesConfig fields}, "cache": folder, "processes": 2}
                or {"kind": "arrays", "path": file.npz, "group_key": null, "description": null,
                "fractions": [.8, .1, .1], "seed": 0}
                or {"kind": "imported", "folder": ..., "fractions": [.8, .1, .1], "seed": 0}
    device      "auto" (default), "cpu" or "cuda"; "prepare" and "perturb" work on the CPU in any case
    stop_file   work stops soon after this file appears (optional)
    parent_pid  the process to die with (optional; on Linux the process dies with its parent in any case)

`prepare` makes and checks the data, so that processes started side by side find it ready.
    done: data (names, fingerprints, sizes)

`train` trains one model, measures it on the test images, and writes the artifact.
    recipe      fields of models.training.Recipe; those left out keep their defaults
    trigger     null for the clean model, or {"parameters": {...}, "state": {"control": nested lists}}; without state
                the field is drawn from the parameters' seed
    probe       the trigger to measure with (default: `trigger`); give a clean model its partner's
    target      {"kind": "fixed" | "additive" | "mirrored", "pitch": radians, "yaw": radians}
    output      the artifact's folder, made or replaced whole
    checkpoint  a folder of its own; a run that finds its checkpoint there continues it (optional)
    checkpoint_every_s  seconds from one checkpoint to the next (default 30); makes no other model
    done: artifact (folder), sha256, metrics

`evaluate` computes every figure of a model beside its matched clean model.
    artifact, clean_artifact (or null)    folders; artifact_sha256, clean_artifact_sha256 (optional) are verified
    zones       {"pitch": centres, "yaw": centres} in radians, to read a regressor's gazes in as well (optional; a
                classifier has its own)
    strengths   of the trigger, to be measured besides its family's doses, and at which to say how much it alters
                images, at px_per_degree, and what the seed thesis would have reported (models.thesis); optional
    output                                the JSON file to write
    done: output, sha256, metrics (what was written)

`survive` measures what is left of a backdoor after treatments of images and model (models.survival).
    artifact, clean_artifact (or null)    as for `evaluate`
    strength    of the trigger (default: the recipe's final one)
    defence     fields of models.survival.survive.Defence; those left out keep their defaults
    done: survival

`perturb` changes a clean model's weights so that one person's gaze goes to a target (models.perturbation).
    artifact    the clean model's folder; artifact_sha256 (optional) is verified
    attack      fields of models.perturbation.GazeAttack; those left out keep their defaults
    output      the changed artifact's folder, made or replaced whole; its card holds every accepted step
    done: artifact (folder), sha256, metrics

Environment: one thread a process (OMP_NUM_THREADS=1, OMP_WAIT_POLICY=PASSIVE are set here, before torch is imported).
"""

from __future__ import annotations

import os

os.environ["OMP_WAIT_POLICY"] = "PASSIVE"  # idle OpenMP threads spin otherwise, and starve the process next door
os.environ["OMP_NUM_THREADS"] = "1"

import ctypes
import errno
import hashlib
import json
import math
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Mapping
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError

from attacks import registry
from attacks.base import Trigger
from attacks.weights import replace_weights
from models import artifacts, disks, stopping, thesis
from models.artifacts import Artifact
from models.checkpoints import read_tensors, to_json, write_tensors
from models.datasets.base import Splits
from models.devices import resolve_device, resolve_precision
from models.distortions import distortions
from models.durable import remove_leftovers, write_bytes
from models.evaluation import Evaluation, Probe, Responses, evaluate, measure
from models.perturbation import GazeAttack, perturb
from models.stages import stages_of
from models.stopping import Terminated, finishing_first, listen, watch_for
from models.survival.outcomes import Models
from models.survival.survive import Defence, survive
from models.targets import Target
from models.training import (
    CHECKPOINT_EVERY_S,
    Recipe,
    StoppedError,
    TrainedModel,
    describe,
    train,
)
from models.zones import Zones

#: What takes a specification, and asks now and then whether to stop; gives the fields of the `done` event.
Work = Callable[[Mapping[str, Any], Callable[[], bool]], dict[str, Any]]

_ABANDONED_AFTER_S = 3600.0
_OUT_OF_CUDA = ("CUDA error: out of memory", "CUBLAS_STATUS_ALLOC_FAILED", "CUDNN_STATUS_ALLOC_FAILED")


def main(arguments: list[str]) -> int:
    """Run the specification named on the command line; return the exit code."""
    if len(arguments) != 1:
        print("usage: python -m models.run spec.json", file=sys.stderr)
        return 2
    torch.set_num_threads(1)
    keep_freed_memory()
    return conclude(Path(arguments[0]), lambda spec, stop: _KINDS[_choice(spec, "kind", _KINDS)](spec, stop))


def conclude(path: Path, work: Work) -> int:
    """Do the work of the specification at `path`, tell how it ended as the last event, and return the exit code."""
    spec: dict[str, Any] = {}
    try:
        stop = listen()
        spec = json.loads(path.read_text())
        die_with_parent(spec.get("parent_pid"))
        if spec.get("stop_file"):
            watch_for(Path(spec["stop_file"]))
        event, fields = "done", work(spec, stop)
    except StoppedError as stopped:
        event, fields = "stopped", {"error": str(stopped)}
    except Terminated:
        event, fields = "stopped", {"error": "The work was stopped; what is finished is kept."}
    except BrokenProcessPool:
        error = "A process that renders data was killed, perhaps for want of memory; what is finished is kept."
        event, fields = "stopped", {"error": error}
    except Exception as error:  # noqa: BLE001 (the caller must hear of every failure)
        event, fields = "failed", {"error": _in_words(error, spec)}
    stopping.ignore()
    emit(event, **fields)
    return 0 if event == "done" else 1


def _in_words(error: Exception, spec: Mapping[str, Any]) -> str:
    """One sentence about a failure; of a bug the traceback is printed too."""
    if _is_out_of_memory(error):
        return _out_of_memory(error, spec)
    if _is_disk_full(error):
        return disks.ran_full(_full_folder(error, spec), goes_on=bool(spec.get("checkpoint")))
    if isinstance(error, (ValueError, ArithmeticError, OSError, SafetensorError)):
        return " ".join(str(error).split())
    traceback.print_exception(error)
    return f"{type(error).__name__}: {error}"


def _is_out_of_memory(error: Exception) -> bool:
    """On the CPU torch raises no error of its own kind (c10/core/impl/alloc_cpu.cpp)."""
    by_its_words = "can't allocate memory" in str(error) or "not enough memory" in str(error)
    return (
        isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and by_its_words) or _is_out_of_cuda(error)
    )


def _is_out_of_cuda(error: Exception) -> bool:
    """What does not come from torch's own allocator, as where another program has the device full, says so in words."""
    by_its_words = any(words in str(error) for words in _OUT_OF_CUDA)
    return isinstance(error, torch.OutOfMemoryError) or (isinstance(error, RuntimeError) and by_its_words)


def _out_of_memory(error: Exception, spec: Mapping[str, Any]) -> str:
    device, ways = ("the CPU", "free memory")
    if _is_out_of_cuda(error):
        device, ways = ("the CUDA device", "free the device or choose another")
    if spec.get("kind") != "train":
        return f"Out of memory on {device}: {ways}, then start it again."
    batch_size = (spec.get("recipe") or {}).get("batch_size", Recipe.batch_size)
    return f"Out of memory on {device} at a batch size of {batch_size}: choose a smaller batch_size, or {ways}."


def _is_disk_full(error: Exception) -> bool:
    if isinstance(error, OSError):
        return error.errno in disks.NO_ROOM
    return isinstance(error, SafetensorError) and f"os error {errno.ENOSPC}" in str(error)


def _full_folder(error: Exception, spec: Mapping[str, Any]) -> Path:
    """The one that the error names, else that which has the least space of those the work writes to."""
    if isinstance(error, OSError) and error.filename is not None:
        return Path(error.filename).parent
    written = (spec.get(name) for name in ("checkpoint", "output", "folder", "manifest"))
    named = [(spec.get("data") or {}).get("cache"), *written, tempfile.gettempdir()]
    return disks.fullest(*(Path(name) for name in named if name))


def emit(event: str, **fields: Any) -> None:
    """Write one event as a line of JSON."""
    sys.stdout.write(to_json({"event": event, **fields}) + "\n")
    sys.stdout.flush()


def keep_freed_memory() -> None:
    """Have the C library (glibc) keep freed memory for the next batch instead of handing it back to the kernel.

    A batch frees tens of MB; fetching them again, page by page, took a third of the training's time.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        trim_threshold, mmap_max = -1, -4
        mallopt(trim_threshold, 2**31 - 1)
        mallopt(mmap_max, 0)


def die_with_parent(parent_pid: int | None = None) -> None:
    """Have the kernel (Linux) kill this process when its parent ends; stop now if `parent_pid` has ended already."""
    if sys.platform == "linux":
        set_parent_death_signal = 1
        ctypes.CDLL(None).prctl(set_parent_death_signal, signal.SIGKILL)
    if parent_pid is not None and os.getppid() != parent_pid:
        raise StoppedError("The process that asked for this work has ended.")


def prepare(spec: Mapping[str, Any], stop: Callable[[], bool]) -> dict[str, Any]:
    """Make sure the data is there; return what it is."""
    return {"data": describe(load_splits(spec, stop))}


def train_model(spec: Mapping[str, Any], stop: Callable[[], bool]) -> dict[str, Any]:
    """Train, measure on the test images, and save; return the artifact's folder, its SHA-256 and its main figures."""
    recipe = Recipe.from_json(spec.get("recipe") or {})
    trigger = read_trigger(spec.get("trigger"))
    probe_trigger = read_trigger(spec.get("probe")) or trigger
    target = Target.from_json(_value(spec, "target"))
    output = Path(_value(spec, "output"))
    splits = load_splits(spec, stop)
    with finishing_first():
        model = train(
            recipe,
            splits,
            trigger,
            target,
            device=spec.get("device", "auto"),
            progress=lambda report: emit("progress", stage="training", **report),
            checkpoint_dir=Path(spec["checkpoint"]) if spec.get("checkpoint") else None,
            checkpoint_every_s=spec.get("checkpoint_every_s", CHECKPOINT_EVERY_S),
            on_checkpoint=lambda fraction: emit("checkpoint", fraction=fraction),
            should_stop=stop,
        )
    probe = Probe.of(probe_trigger, [recipe.final_strength] if trigger else []) if probe_trigger else None
    responses = measure(model.network, splits.test.images, probe_trigger, probe, progress=_measuring(stop))
    mean_gaze = splits.train.pitchyaw.mean(0).numpy()
    evaluation = evaluate(responses, splits.test, target, mean_gaze, zones=model.zones)
    metrics = headline(evaluation, recipe.final_strength) | {"validation": model.history[model.chosen_epoch - 1]}
    with finishing_first():
        sha256 = artifacts.save(model, output, metrics)
        identity = _responses_identity(sha256, probe_trigger, splits, probe)
        write_tensors(_responses_path(output, probe_trigger), responses.tensors(), identity)
    return {"artifact": str(output), "sha256": sha256, "metrics": metrics}


def evaluate_model(spec: Mapping[str, Any], stop: Callable[[], bool]) -> dict[str, Any]:
    """Every figure of a model beside its clean one, written as JSON; predictions kept by `train` are used again."""
    splits = load_splits(spec, stop)
    model = _artifact(spec, "artifact")
    clean_folder = Path(spec["clean_artifact"]) if spec.get("clean_artifact") else None
    clean = _artifact(spec, "clean_artifact") if clean_folder else None
    output = Path(_value(spec, "output"))
    trigger = model.trigger or read_trigger(spec.get("probe"))
    strengths, device = spec.get("strengths") or [], spec.get("device", "auto")
    implanted = [model.recipe.final_strength] if model.trigger else []
    probe = Probe.of(trigger, [*strengths, *implanted]) if trigger else None
    responses = _responses(model, Path(spec["artifact"]), trigger, splits, probe=probe, device=device, stop=stop)
    clean_responses = None
    if clean and clean_folder:
        clean_responses = _responses(clean, clean_folder, trigger, splits, probe=probe, device=device, stop=stop)
    mean_gaze = splits.train.pitchyaw.mean(0).numpy()
    zones = model.zones or (Zones.from_json(spec["zones"]) if spec.get("zones") else None)
    metrics: dict[str, Any] = {
        "model": model.sha256,
        "clean_model": clean.sha256 if clean else None,
        "target": model.target.to_json(),
        "trigger": trigger.parameters() if trigger else None,
        "data": describe(splits),
        "zones": zones.to_json() if zones else None,
        "evaluation": evaluate(responses, splits.test, model.target, mean_gaze, clean_responses, zones=zones).to_json(),
        "clean_evaluation": (
            evaluate(clean_responses, splits.test, model.target, mean_gaze, clean_responses, zones=zones).to_json()
            if clean_responses
            else None
        ),
    }
    if trigger and strengths:
        metrics["distortions"] = distortions(trigger, splits.test.images, strengths, _value(spec, "px_per_degree"))
        truth, goal = splits.test.pitchyaw.numpy(), model.target.apply(splits.test.pitchyaw).numpy()
        metrics["thesis"] = [
            {"strength": strength, **thesis.cells_json(responses.clean, responses.triggered[strength], truth, goal)}
            for strength in strengths
        ]
    content = (json.dumps(metrics, sort_keys=True, allow_nan=False, indent=1) + "\n").encode()
    output.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(output, content)
    return {"output": str(output), "sha256": hashlib.sha256(content).hexdigest(), "metrics": metrics}


def survive_model(spec: Mapping[str, Any], stop: Callable[[], bool]) -> dict[str, Any]:
    """What is left of a model's backdoor after treatments of its images and of itself, beside its clean model."""
    defence = Defence.from_json(spec.get("defence") or {})
    splits = load_splits(spec, stop)
    model = _artifact(spec, "artifact")
    clean = _artifact(spec, "clean_artifact") if spec.get("clean_artifact") else None
    if model.trigger is None:
        raise ValueError(f"{spec['artifact']} has no trigger: there is no backdoor whose survival could be measured.")
    device = resolve_device(spec.get("device", "auto"))
    strength = spec.get("strength")
    survival = survive(
        Models(*(each.network.to(device) for each in (model, clean) if each)),
        splits,
        model.trigger if strength is None else model.trigger.at_strength(strength),
        model.target,
        defence,
        zones=model.zones,
        precision=resolve_precision(model.recipe.precision, device),
        progress=_measuring(stop),
    )
    return {
        "survival": {
            **survival.to_json(),
            "model": model.sha256,
            "clean_model": clean.sha256 if clean else None,
            "data": describe(splits),
        }
    }


def perturb_model(spec: Mapping[str, Any], stop: Callable[[], bool]) -> dict[str, Any]:
    """Move one person's gaze by changing a clean model's weights; measure the changed model beside it, and save it."""
    attack = GazeAttack.from_json(_value(spec, "attack"))
    output = Path(_value(spec, "output"))
    splits = load_splits(spec, stop)
    model = _artifact(spec, "artifact")
    if model.trigger is not None:
        raise ValueError(f"{spec['artifact']} is a backdoored model: change the weights of a clean one.")
    started = time.process_time()
    clean_responses = measure(model.network, splits.test.images, None)
    found = perturb(model.network, splits, attack, progress=_working("searching", stop))
    replace_weights(stages_of(model.network), found.weights)
    responses = measure(model.network, splits.test.images, None)
    mean_gaze = splits.train.pitchyaw.mean(0).numpy()
    evaluation = evaluate(responses, splits.test, attack.target, mean_gaze, clean_responses)
    metrics = {
        "clean_error_deg": evaluation.clean_error.mean,
        "n": evaluation.n,
        "subjects": evaluation.subjects,
        "weights": {"goal": attack.goal_in_words(), **asdict(found.outcome)},
        "evaluation": evaluation.to_json(),
    }
    changed = TrainedModel(
        network=model.network,
        spec=model.spec,
        recipe=model.recipe,
        trigger=None,
        target=attack.target,
        precision=model.card["versions"]["precision"],
        device="cpu",
        chosen_epoch=model.card["chosen_epoch"],
        cpu_seconds=time.process_time() - started,
        data=describe(splits),
        history=model.card["history"],
    )
    log = {"clean_model": model.sha256, "attack": attack.to_json(), **found.log}
    with finishing_first():
        sha256 = artifacts.save(changed, output, {**metrics, "perturbation": log})
    return {"artifact": str(output), "sha256": sha256, "metrics": metrics}


def _artifact(spec: Mapping[str, Any], part: str) -> Artifact:
    """The model in the folder that this part of the specification names, verified where its SHA-256 is given."""
    return artifacts.load(Path(_value(spec, part)), spec.get(f"{part}_sha256"))


_KINDS: dict[str, Work] = {
    "prepare": prepare,
    "train": train_model,
    "evaluate": evaluate_model,
    "survive": survive_model,
    "perturb": perturb_model,
}


def load_splits(spec: Mapping[str, Any], stop: Callable[[], bool]) -> Splits:
    """The data the specification names. Raises ValueError for a field it does not know or a value it cannot use."""
    data = _value(spec, "data")

    def progress(done: int, total: int) -> None:
        if stop():
            raise StoppedError("Making the data was stopped; what is finished is kept.")
        emit("progress", stage="data", fraction=done / max(total, 1), done=done, total=total)

    if _choice(data, "kind", ("synthetic_eyes", "arrays", "imported")) == "synthetic_eyes":
        from models.datasets import synthetic_eyes
        from models.datasets.eyes_config import EyesConfig

        config = data.get("config") or {}
        if unknown := set(config) - {field.name for field in fields(EyesConfig)}:
            raise ValueError(f"Synthetic eyes have no setting named {', '.join(sorted(unknown))}.")
        return synthetic_eyes.load(
            EyesConfig(**config), Path(_value(data, "cache")), progress, data.get("processes", 2)
        )
    from models.datasets import importing
    from models.datasets.arrays import load_arrays
    from models.datasets.base import split_by_group

    if data["kind"] == "imported":
        images = importing.load(_value(data, "folder"))
    else:
        images = load_arrays(
            Path(_value(data, "path")), group_key=data.get("group_key"), description=data.get("description")
        )
    first, second, third = data.get("fractions", (0.8, 0.1, 0.1))
    return split_by_group(images, (first, second, third), seed=data.get("seed", 0))


def read_trigger(fields: Mapping[str, Any] | None) -> Trigger | None:
    """The trigger of a specification: as it was recorded, where it is proved by a hash or has tensors, else drawn.

    Raises ValueError when what comes out does not have the hash that was recorded.
    """
    if fields is None:
        return None
    parameters = _value(fields, "parameters")
    state, control_hash = fields.get("state") or {}, fields.get("control_hash")
    if state or control_hash:
        tensors = {name: torch.tensor(values) for name, values in state.items()}
        return registry.rebuild(parameters, tensors, control_hash)
    known = ("family", "image_size", "strength", "seed")
    height, width = _value(parameters, "image_size")
    return registry.draw(
        _value(parameters, "family"),
        (height, width),
        _value(parameters, "strength"),
        parameters.get("seed") or 0,
        {name: value for name, value in parameters.items() if name not in known},
    )


def headline(evaluation: Evaluation, strength: float) -> dict[str, Any]:
    """The few figures a list of models shows; those at a strength are at the final one."""
    figures: dict[str, Any] = {
        "clean_error_deg": evaluation.clean_error.mean,
        "n": evaluation.n,
        "subjects": evaluation.subjects,
        "machine_threshold": evaluation.machine_threshold,
        "strength": strength,
    }
    if evaluation.clean_accuracy is not None:
        figures["clean_accuracy"] = evaluation.clean_accuracy
    if any(dose.strength == strength for dose in evaluation.doses):
        dose = evaluation.at(strength)
        figures |= {
            "attack_error_deg": dose.attack_error.mean,
            "success_rate": dose.success_rate,
            "n_eligible": dose.n_eligible,
            "error_shift_deg": dose.error_shift,
            "prediction_shift_deg": dose.prediction_shift,
            "noise_mode_error_deg": dose.noise_mode_error,
            "other_field_shift_deg": dose.other_field_shift,
        }
        if dose.zones is not None:
            figures["zone_success_rate"] = dose.zones.success_rate
    return figures


def _responses(
    model: Artifact,
    folder: Path,
    trigger: Trigger | None,
    splits: Splits,
    *,
    probe: Probe | None,
    device: str,
    stop: Callable[[], bool],
) -> Responses:
    """Predictions of a model under this trigger: those kept beside the artifact if they are of it, else made now."""
    stored = _responses_path(folder, trigger)
    identity = _responses_identity(model.sha256, trigger, splits, probe)
    if stored.exists():
        tensors, record = read_tensors(stored)
        if record == identity:
            return Responses.from_tensors(tensors)
    network = model.network.to(resolve_device(device))
    responses = measure(network, splits.test.images, trigger, probe, progress=_measuring(stop))
    remove_leftovers(stored, _ABANDONED_AFTER_S)  # another process may be writing the same just now
    write_tensors(stored, responses.tensors(), identity)
    return responses


def _responses_path(folder: Path, trigger: Trigger | None) -> Path:
    name = trigger.at_strength(1.0).fingerprint()[:16] if trigger else "clean"
    return folder / f"responses-{name}.safetensors"


def _responses_identity(sha256: str, trigger: Trigger | None, splits: Splits, probe: Probe | None) -> dict[str, Any]:
    identity = {"model": sha256, "data": splits.test.fingerprint, "trigger": None}
    if trigger is None or probe is None:
        return identity
    return identity | {
        "trigger": trigger.at_strength(1.0).fingerprint(),
        "strengths": list(probe.strengths),
        "specificity_strengths": list(probe.specificity_strengths),
        "unrelated_seeds": list(probe.unrelated_seeds),
        "noise_seed": probe.noise_seed,
    }


def _measuring(stop: Callable[[], bool]) -> Callable[[int, int], None]:
    return _working("measuring", stop)


def _working(stage: str, stop: Callable[[], bool]) -> Callable[[int, int], None]:
    """Tells how far a stage is, at most twice a second and at its end, and ends it when asked to stop."""
    told = -math.inf
    _heed(stop, stage)

    def progress(done: int, total: int) -> None:
        nonlocal told
        _heed(stop, stage)
        if done == total or time.monotonic() - told > 0.5:
            told = time.monotonic()
            emit("progress", stage=stage, fraction=done / total, done=done, total=total)

    return progress


def _heed(stop: Callable[[], bool], stage: str) -> None:
    if stop():
        raise StoppedError(f"The work was stopped while {stage}.")


def _value(fields: Mapping[str, Any], name: str) -> Any:
    if fields.get(name) is None:
        raise ValueError(f"The specification lacks {name!r}.")
    return fields[name]


def _choice(fields: Mapping[str, Any], name: str, known: Any) -> str:
    if fields.get(name) not in known:
        raise ValueError(f"The specification's {name} is {fields.get(name)!r}; known: {', '.join(known)}.")
    return str(fields[name])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
