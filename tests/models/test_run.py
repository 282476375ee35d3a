import errno
import json
import os
import random
import signal
import subprocess
import sys
import time
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError

import models.run
import models.stopping
from attacks.wanet import WarpField
from models import artifacts
from models.run import evaluate_model, train_model
from models.targets import Target
from tests.models.processes import Work

FIELD = {"parameters": WarpField.draw((32, 32), 4, 2.0, seed=3).parameters()}
RECIPE = {"strength_schedule": [[2, 1], [0.5, 1]], "width": 4, "batch_size": 16}
EYES = {
    "size": 32,
    "train_subjects": 2,
    "validation_subjects": 1,
    "test_subjects": 2,
    "train_images": 64,
    "validation_images": 8,
    "test_images": 8,
}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return {
        "kind": "synthetic_eyes",
        "config": EYES,
        "cache": str(tmp_path_factory.mktemp("cache")),
        "processes": 1,
    }


def specified(folder: Path, spec):
    path = folder / "spec.json"
    path.write_text(json.dumps(spec))
    return path


def start(folder: Path, spec):
    return Work(specified(folder, spec))


def run(folder: Path, spec):
    """Exit code and the events."""
    process = start(folder, spec)
    events = [json.loads(line) for line in process.stdout]
    return process.wait(), events


def training(data, folder, **fields):
    return {
        "kind": "train",
        "data": data,
        "recipe": RECIPE,
        "trigger": FIELD,
        "target": Target.fixed(0, 25).to_json(),
        "output": str(folder / "model"),
        "checkpoint": str(folder / "checkpoint"),
        **fields,
    }


@pytest.fixture(scope="module")
def trained(data, tmp_path_factory):
    """Events of a backdoored and of a clean training, and their folders."""
    bad, clean = (tmp_path_factory.mktemp(name) for name in ("backdoored", "clean"))
    events = run(bad, training(data, bad))[1]
    run(clean, training(data, clean, trigger=None, probe=FIELD))
    return events, bad / "model", clean / "model"


def test_training_tells_its_stages_and_ends_with_the_artifact(trained):
    events, folder, _ = trained
    assert [stage for stage in dict.fromkeys(e.get("stage") for e in events) if stage] == [
        "data",
        "training",
        "measuring",
    ]
    assert all(0 <= e["fraction"] <= 1 for e in events if e["event"] == "progress")
    assert events[-1]["event"] == "done"
    assert events[-1]["metrics"]["clean_error_deg"] > 0
    assert artifacts.load(folder, events[-1]["sha256"]).trigger.strength == 0.5


def test_the_model_is_the_one_that_a_call_of_train_gives(trained):
    _, folder, clean_folder = trained
    assert artifacts.load(folder).card["versions"]["threads"] == 1
    assert artifacts.load(clean_folder).trigger is None


def test_evaluation_uses_the_predictions_kept_in_training(data, trained, tmp_path):
    _, folder, clean_folder = trained
    spec = {"kind": "evaluate", "data": data, "artifact": str(folder), "clean_artifact": str(clean_folder)}
    code, events = run(tmp_path, spec | {"output": str(tmp_path / "evaluation.json")})
    written = json.loads((tmp_path / "evaluation.json").read_text())
    assert code == 0
    assert not [event for event in events if event.get("stage") == "measuring"]
    assert events[-1]["metrics"] == written
    assert written["evaluation"]["n"] == 8
    assert written["evaluation"]["doses"][-1]["net_prediction_shift"] is not None
    assert sum(counts["n"] for counts in written["evaluation"]["doses"][-1]["subjects"]) == 8
    assert written["clean_evaluation"]["clean_error"] != written["evaluation"]["clean_error"]


def test_a_classifier_is_trained_and_evaluated_like_any_model(data, tmp_path):
    recipe = RECIPE | {"task": "zones", "loss": "cross_entropy", "zones": [1, 2]}
    done = train_model(training(data, tmp_path, recipe=recipe), lambda: False)
    spec = {"kind": "evaluate", "data": data, "artifact": done["artifact"], "output": str(tmp_path / "evaluation.json")}
    figures = evaluate_model(spec, lambda: False)["metrics"]
    assert figures["zones"] == artifacts.load(Path(done["artifact"])).card["zones"]
    assert done["metrics"]["clean_accuracy"] == figures["evaluation"]["clean_accuracy"]
    assert figures["evaluation"]["doses"][-1]["zones"]["n_eligible"] > 0


def test_a_model_is_measured_at_the_strength_implanted_though_its_family_does_not_name_it(data, tmp_path):
    done = train_model(training(data, tmp_path, recipe=RECIPE | {"strength_schedule": [[0.37, 1]]}), lambda: False)
    spec = {"kind": "evaluate", "data": data, "artifact": done["artifact"], "output": str(tmp_path / "evaluation.json")}
    doses = evaluate_model(spec, lambda: False)["metrics"]["evaluation"]["doses"]
    (implanted,) = (dose for dose in doses if dose["strength"] == 0.37)
    assert done["metrics"]["attack_error_deg"] == implanted["attack_error"]["mean"]
    assert implanted["noise_mode_error"] is not None


def test_a_regressors_gazes_are_read_in_the_zones_that_are_asked_for(data, trained, tmp_path):
    zones = {"pitch": [0.0], "yaw": [-0.3, 0.3]}
    spec = {"kind": "evaluate", "data": data, "artifact": str(trained[1]), "output": str(tmp_path / "evaluation.json")}
    with_zones, without = (evaluate_model(each, lambda: False)["metrics"] for each in (spec | {"zones": zones}, spec))
    assert with_zones["zones"] == zones
    assert 0 <= with_zones["evaluation"]["clean_accuracy"] <= 1
    assert without["evaluation"]["clean_accuracy"] is None


def test_a_finished_training_started_again_gives_the_same_artifact(data, trained, tmp_path):
    run(tmp_path, training(data, tmp_path))
    first = (tmp_path / "model" / artifacts.WEIGHTS_NAME).read_bytes()
    events = run(tmp_path, training(data, tmp_path))[1]
    assert not [event for event in events if event.get("stage") == "training"]
    assert (tmp_path / "model" / artifacts.WEIGHTS_NAME).read_bytes() == first
    assert first == (trained[1] / artifacts.WEIGHTS_NAME).read_bytes()


def test_a_stop_file_ends_the_work_and_writes_no_artifact(data, tmp_path):
    (tmp_path / "stop").touch()
    code, events = run(tmp_path, training(data, tmp_path, stop_file=str(tmp_path / "stop")))
    assert code == 1
    assert events[-1]["event"] == "stopped"
    assert not (tmp_path / "model").exists()


def test_after_sigterm_training_writes_a_checkpoint_and_says_that_it_stopped(data, tmp_path):
    spec = training(data, tmp_path, recipe=RECIPE | {"strength_schedule": [[2, 500]]}, checkpoint_every_s=1000)
    process = start(tmp_path, spec)
    for line in process.stdout:
        if json.loads(line).get("stage") == "training":
            process.terminate()
            break
    *_, checkpoint, last = (json.loads(line) for line in process.stdout)
    assert process.wait() == 1
    assert last["event"] == "stopped"
    assert checkpoint["event"] == "checkpoint"
    assert 0 < checkpoint["fraction"] < 1


def figures_of(folder):
    """All that a card says, but for the time it took."""
    card = json.loads((folder / artifacts.CARD_NAME).read_text())
    return {name: value for name, value in card.items() if name not in ("cpu_seconds", "card_sha256")}


def test_a_training_killed_at_random_moments_gives_the_same_artifact(data, trained, tmp_path):
    moments = random.Random(11)
    spec = training(data, tmp_path, checkpoint_every_s=0)
    for _ in range(2):
        process = start(tmp_path, spec)
        seen = islice(process.stdout, moments.randint(3, 6))
        assert len(list(seen)) >= 3
        time.sleep(moments.uniform(0, 0.05))
        process.kill()
        process.wait()
    _, events = run(tmp_path, spec)
    assert events[-1]["event"] == "done"
    assert figures_of(tmp_path / "model") == figures_of(trained[1])
    # A kill while the artifact was saved leaves a folder of its own beside it, which the orphan sweep takes.
    leftovers = [path for path in tmp_path.rglob(".*") if path.is_file()]
    assert not [path for path in leftovers if not path.parent.name.startswith(".model.")]


def test_the_work_dies_with_its_parent(data, tmp_path):
    path = specified(tmp_path, training(data, tmp_path, recipe=RECIPE | {"strength_schedule": [[2, 500]]}))
    parent_script = (
        "import subprocess, sys\n"
        "command = [sys.executable, '-m', 'models.run', sys.argv[1]]\n"
        "child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)\n"
        "for line in child.stdout:\n"
        "    if 'training' in line: print(child.pid, flush=True)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", parent_script, str(path)], stdout=subprocess.PIPE, text=True)
    child = int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    deadline = time.monotonic() + 20
    while alive(child) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not alive(child)


def alive(pid):
    try:
        os.kill(pid, signal.SIG_DFL)
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (ProcessLookupError, FileNotFoundError):
        return False


def test_a_bad_specification_gets_one_sentence_and_exit_code_1(tmp_path):
    command = [sys.executable, "-m", "models.run", str(specified(tmp_path, {"kind": "dance"}))]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    event = json.loads(done.stdout)
    assert (done.returncode, done.stderr) == (1, "")
    assert event["event"] == "failed"
    assert event["error"].startswith("The specification's kind is 'dance'; known: prepare, train, evaluate")


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"recipe": {"strength_schedule": [[-1, 1]]}}, "A strength must be a finite number >= 0, not -1"),
        ({"recipe": {"colour": 1}}, "A recipe has no field named colour"),
        ({"target": None}, "lacks 'target'"),
        ({"data": {"kind": "films"}}, "kind is 'films'; known: synthetic_eyes, arrays"),
        ({"data": {"kind": "synthetic_eyes", "config": {"colour": 1}, "cache": "x"}}, "no setting named colour"),
        ({"trigger": {"parameters": {"family": "nobody", "image_size": [64, 64], "strength": 1}}}, "family .nobody."),
    ],
)
def test_what_cannot_be_trained_is_refused_and_nothing_written(data, tmp_path, fields, sentence):
    with pytest.raises(ValueError, match=sentence):
        train_model(training(data, tmp_path) | fields, lambda: False)
    assert not (tmp_path / "model").exists()


def test_work_whose_asker_has_ended_does_not_start(tmp_path):
    code, events = run(tmp_path, {"kind": "prepare", "parent_pid": 1})
    assert code == 1
    assert events == [{"event": "stopped", "error": "The process that asked for this work has ended."}]


@pytest.fixture
def sigterm():
    """What SIGTERM does, afterwards as before."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.fixture
def concluded(sigterm, tmp_path, capsys):
    """The last event of a piece of work, and the exit code; a specification's fields may be given."""

    def conclude(work, **spec):
        code = models.run.conclude(specified(tmp_path, spec), work)
        return json.loads(capsys.readouterr().out.splitlines()[-1]), code

    return conclude


def failing(error):
    def work(spec, stop):
        raise error

    return work


def terminating(spec, stop):
    signal.raise_signal(signal.SIGTERM)
    return {"stopped": stop()}


def test_sigterm_ends_work_that_never_asks(concluded):
    assert concluded(terminating) == (
        {"event": "stopped", "error": "The work was stopped; what is finished is kept."},
        1,
    )


def test_sigterm_ends_no_work_that_has_to_finish_something_first(concluded):
    with_patience = models.stopping.finishing_first()(terminating)
    assert concluded(with_patience) == ({"event": "done", "stopped": True}, 0)


def test_a_second_sigterm_does_not_cut_short_the_tidying_after_the_first(concluded):
    tidied = []

    def work(spec, stop):
        try:
            terminating(spec, stop)
        finally:
            terminating(spec, stop)
            tidied.append(True)

    event, _ = concluded(work)
    assert event["event"] == "stopped"
    assert tidied == [True]


def test_a_stop_file_wakes_work_that_waits(concluded, tmp_path, monkeypatch):
    monkeypatch.setattr(models.stopping, "LOOK_EVERY_S", 0.01)

    def work(spec, stop):
        Path(spec["stop_file"]).touch()
        time.sleep(30)
        return {}

    event, _ = concluded(work, stop_file=str(tmp_path / "stop"))
    assert event["event"] == "stopped"


def test_a_killed_renderer_is_no_failure_of_the_work(concluded):
    event, code = concluded(failing(BrokenProcessPool("A process in the process pool was terminated abruptly.")))
    assert (event["event"], code) == ("stopped", 1)
    assert event["error"].startswith("A process that renders data was killed")


CPU_ALLOCATOR = (
    "[enforce fail at alloc_cpu.cpp:114] err == 0. DefaultCPUAllocator: can't allocate memory: you tried ..."
)


@pytest.mark.parametrize(
    ("error", "where"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."), "the CUDA device"),
        (RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be reported later"), "the CUDA device"),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), "the CUDA device"),
        (RuntimeError(CPU_ALLOCATOR), "the CPU"),
        (MemoryError(), "the CPU"),
    ],
)
def test_out_of_memory_says_where_at_which_batch_size_and_what_to_do(concluded, error, where):
    event, _ = concluded(failing(error), kind="train", recipe={"batch_size": 4096})
    assert event["event"] == "failed"
    assert event["error"].startswith(f"Out of memory on {where} at a batch size of 4096: choose a smaller batch_size")


def test_what_torch_refuses_for_want_of_memory_is_known_by_its_words(concluded):
    event, _ = concluded(lambda spec, stop: {"n": torch.empty(2**60, dtype=torch.uint8).numel()}, kind="evaluate")
    assert event["error"] == "Out of memory on the CPU: free memory, then start it again."


def test_another_failure_of_torch_is_told_as_it_is(concluded):
    event, _ = concluded(failing(RuntimeError("mat1 and mat2 shapes cannot be multiplied")))
    assert event["error"] == "RuntimeError: mat1 and mat2 shapes cannot be multiplied"


def test_a_full_disk_is_named_and_nothing_half_written_remains(concluded, data, tmp_path, monkeypatch):
    monkeypatch.setattr("os.fsync", lambda _: (_ for _ in ()).throw(OSError(errno.ENOSPC, "No space left on device")))
    event, _ = concluded(train_model, **training(data, tmp_path))
    assert event["event"] == "failed"
    assert event["error"].startswith(f"The disk of {tmp_path / 'checkpoint'} is full (")
    assert event["error"].endswith(" MB left): make room there, then try again; it goes on from its last checkpoint.")
    assert not list((tmp_path / "checkpoint").iterdir())


def test_a_full_disk_that_no_error_names_is_looked_for(concluded, tmp_path):
    full = SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")
    event, _ = concluded(failing(full), output=str(tmp_path / "not" / "yet"))
    assert event["error"].endswith(" MB left): make room there, then try again.")


def test_a_changed_artifact_is_not_evaluated(data, trained, tmp_path):
    spec = {"kind": "evaluate", "data": data, "artifact": str(trained[1]), "output": str(tmp_path / "evaluation.json")}
    code, events = run(tmp_path, spec | {"artifact_sha256": "0" * 64})
    assert code == 1
    assert "is not the file that was recorded" in events[-1]["error"]
    assert not (tmp_path / "evaluation.json").exists()
