import hashlib
import math
import random
from contextlib import suppress
from dataclasses import replace
from itertools import cycle, pairwise
from types import SimpleNamespace

import numpy as np
import pytest
import safetensors.torch
import torch

from attacks.wanet import WarpField
from models import training
from models.checkpoints import Checkpoints
from models.evaluation import predict
from models.poisoning import Poisoning
from models.targets import Target
from models.training import Recipe, StoppedError, train
from models.zones import Zones
from tests.models.tiny import splits

FIELD = WarpField.draw((32, 32), 4, 2.0, seed=3)
TARGET = Target.fixed(0, 25)
SHORT = Recipe(strength_schedule=((2, 1), (0.5, 2)), width=4, precision="float32")
CLASSIFIER = replace(SHORT, task="zones", loss="cross_entropy", zones=(2, 2))
SGD = replace(SHORT, optimiser="sgd", learning_rate=1e-2, later_learning_rate=1e-2, milestones=(1,))
VARIANTS = {
    "classifier": CLASSIFIER,
    "sgd": SGD,
    "sgd of one cycle": replace(SGD, milestones=None),
    "sgd without momentum": replace(SGD, momentum=0.0),
    "resnet": replace(SHORT, network="resnet18", stem_stride=1),
}
BATCH_BYTES = 16 * 3 * 32 * 32
TINY = replace(SHORT, batch_size=16, augmentation="light")  # 8 updates an epoch
TINY_SGD = replace(TINY, optimiser="sgd", learning_rate=1e-2, later_learning_rate=1e-2, milestones=(1,))
STOPPED = {
    "float32": replace(TINY, augmentation="strong"),
    "bfloat16": replace(TINY, precision="bfloat16"),
    "milestones": TINY_SGD,
    "milestones in bfloat16": replace(TINY_SGD, precision="bfloat16"),
}
SAVING_EPOCHS = {"checkpoint_every_s": None}


class Clock:
    """Time that passes only when it is told to, as training sees it."""

    def __init__(self, monkeypatch):
        self.now = 0.0
        monkeypatch.setattr(training, "time", SimpleNamespace(monotonic=lambda: self.now, process_time=lambda: 0.0))

    def passes(self, seconds):
        self.now += seconds


@pytest.fixture(scope="module")
def data():
    return splits()


@pytest.fixture(scope="module")
def tiny_data():
    return splits(128, 16, 16)


@pytest.fixture(scope="module")
def tiny_model(tiny_data):
    return train(TINY, tiny_data, FIELD, TARGET)


@pytest.fixture(scope="module")
def uninterrupted(data):
    return train(SHORT, data, FIELD, TARGET)


def weights(model):
    return model.network.state_dict()


def assert_same_weights(first, second):
    assert all(torch.equal(weights(first)[name], weights(second)[name]) for name in weights(first))


def assert_same_run(first, second):
    assert_same_weights(first, second)
    assert first.history == second.history
    assert first.chosen_epoch == second.chosen_epoch


def stop_after(updates):
    """A `should_stop` that says so once that many updates are done."""
    asked = iter(range(updates + 1))
    return lambda: next(asked, None) is None


def test_the_loss_falls(data):
    model = train(Recipe(strength_schedule=((0, 3),), width=4), data, None, TARGET)
    losses = [epoch["loss"] for epoch in model.history]
    assert losses[2] < losses[1] < losses[0]


def test_the_same_recipe_gives_the_same_weights(data, uninterrupted):
    assert_same_weights(train(SHORT, data, FIELD, TARGET), uninterrupted)


def test_another_seed_gives_other_weights(data, uninterrupted):
    other = train(replace(SHORT, seed=1), data, FIELD, TARGET)
    assert not torch.equal(weights(other)["head.1.weight"], weights(uninterrupted)["head.1.weight"])


@pytest.mark.parametrize("recipe", ["float32", "bfloat16", "milestones", "milestones in bfloat16"])
@pytest.mark.parametrize("patience", [(1, 1, 4), (7,)], ids=["after every update", "now and then"])
def test_a_run_stopped_again_and_again_ends_in_the_same_weights(tiny_data, tmp_path, monkeypatch, recipe, patience):
    monkeypatch.setattr(training, "_POISONED_AT_ONCE", 3 * BATCH_BYTES)
    uninterrupted = train(STOPPED[recipe], tiny_data, FIELD, TARGET)
    resumed = None
    for updates in cycle(patience):
        with suppress(StoppedError):
            resumed = train(
                STOPPED[recipe], tiny_data, FIELD, TARGET, checkpoint_dir=tmp_path, should_stop=stop_after(updates)
            )
            break
    assert_same_run(resumed, uninterrupted)


@pytest.mark.parametrize("updates", [4, 10, 13, 25])
def test_a_run_stopped_anywhere_ends_in_the_same_weights(data, uninterrupted, tmp_path, updates):
    with pytest.raises(StoppedError):
        train(SHORT, data, FIELD, TARGET, checkpoint_dir=tmp_path, should_stop=stop_after(updates))
    resumed = train(SHORT, data, FIELD, TARGET, checkpoint_dir=tmp_path)
    assert_same_weights(resumed, uninterrupted)
    assert resumed.history == uninterrupted.history
    assert resumed.chosen_epoch == uninterrupted.chosen_epoch


@pytest.mark.parametrize("name", VARIANTS)
def test_a_run_of_any_kind_goes_on_bit_for_bit(tmp_path, name):
    data = splits(128, 16, 16)
    with pytest.raises(StoppedError):
        train(VARIANTS[name], data, FIELD, TARGET, checkpoint_dir=tmp_path, should_stop=stop_after(3))
    resumed = train(VARIANTS[name], data, FIELD, TARGET, checkpoint_dir=tmp_path)
    uninterrupted = train(VARIANTS[name], data, FIELD, TARGET)
    assert_same_weights(resumed, uninterrupted)
    assert resumed.history == uninterrupted.history


def test_a_finished_run_is_not_trained_again(data, uninterrupted, tmp_path):
    train(SHORT, data, FIELD, TARGET, checkpoint_dir=tmp_path)
    again = train(SHORT, data, FIELD, TARGET, checkpoint_dir=tmp_path, should_stop=lambda: True)
    assert_same_weights(again, uninterrupted)


def test_a_checkpoint_of_another_recipe_is_refused(data, tmp_path):
    with pytest.raises(StoppedError):
        train(SHORT, data, FIELD, TARGET, checkpoint_dir=tmp_path, should_stop=stop_after(12))
    with pytest.raises(ValueError, match="belongs to another recipe"):
        train(replace(SHORT, seed=1), data, FIELD, TARGET, checkpoint_dir=tmp_path)
    with pytest.raises(ValueError, match="belongs to another recipe"):
        train(SHORT, data, FIELD.unrelated(1), TARGET, checkpoint_dir=tmp_path)


def flip_last_byte(path):
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


@pytest.fixture
def two_checkpoints(tiny_data, tmp_path):
    """Of a run of three epochs that was stopped in the last one: the second epoch's end, and where it stopped."""
    with pytest.raises(StoppedError):
        train(TINY, tiny_data, FIELD, TARGET, **SAVING_EPOCHS, checkpoint_dir=tmp_path, should_stop=stop_after(22))
    return Checkpoints(tmp_path)


def test_a_damaged_checkpoint_is_replaced_by_the_one_before_it(tiny_data, tiny_model, two_checkpoints):
    flip_last_byte(two_checkpoints.newest)
    reports = []
    with pytest.warns(RuntimeWarning, match=r"checkpoint.safetensors is damaged and is removed"):
        resumed = train(TINY, tiny_data, FIELD, TARGET, checkpoint_dir=two_checkpoints.folder, progress=reports.append)
    assert reports[0]["epoch"] == 3
    assert_same_run(resumed, tiny_model)


def test_without_an_intact_checkpoint_training_starts_anew(tiny_data, tiny_model, two_checkpoints):
    flip_last_byte(two_checkpoints.newest)
    flip_last_byte(two_checkpoints.previous)
    with pytest.warns(RuntimeWarning, match="damaged") as warned:
        resumed = train(TINY, tiny_data, FIELD, TARGET, checkpoint_dir=two_checkpoints.folder)
    assert len(warned) == 2
    assert_same_run(resumed, tiny_model)


def test_a_run_that_another_precision_began_starts_anew(tiny_data, tiny_model, tmp_path, monkeypatch):
    recipe = replace(TINY, precision="auto")
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"amx_bf16": True})
    with pytest.raises(StoppedError):
        train(recipe, tiny_data, FIELD, TARGET, checkpoint_dir=tmp_path, should_stop=stop_after(3))
    monkeypatch.setattr(torch.cpu, "get_capabilities", dict)
    with pytest.warns(RuntimeWarning, match="in bfloat16, which on this machine is in float32: starting anew"):
        resumed = train(recipe, tiny_data, FIELD, TARGET, checkpoint_dir=tmp_path)
    assert_same_weights(resumed, tiny_model)


def test_a_run_that_a_cuda_device_began_goes_on_as_this_device_would_have_it(tiny_data, tiny_model, two_checkpoints):
    tensors, record = two_checkpoints.read()
    record["groups"] = [{**group, "fused": True} for group in record["groups"]]  # as on CUDA
    two_checkpoints.write(tensors, record)
    assert_same_run(train(TINY, tiny_data, FIELD, TARGET, checkpoint_dir=two_checkpoints.folder), tiny_model)


def test_half_a_checkpoint_that_a_kill_left_is_ignored_and_removed(tiny_data, tiny_model, two_checkpoints):
    leftover = two_checkpoints.folder / ".checkpoint.safetensors.12ab34cd"
    leftover.write_bytes(two_checkpoints.newest.read_bytes()[:1000])
    assert_same_run(train(TINY, tiny_data, FIELD, TARGET, checkpoint_dir=two_checkpoints.folder), tiny_model)
    assert not leftover.exists()


def test_a_checkpoint_after_every_update_tells_how_much_is_safe(tiny_data, tmp_path, monkeypatch):
    monkeypatch.setattr(training, "_MOST_SHARE_FOR_CHECKPOINTS", math.inf)
    safe = []
    options = {"checkpoint_dir": tmp_path, "checkpoint_every_s": 0.0, "on_checkpoint": safe.append}
    train(TINY, tiny_data, FIELD, TARGET, **options)
    updates = [(epoch + step / 8) / 3 for epoch in range(3) for step in range(1, 9)]
    assert sorted(set(safe)) == pytest.approx(updates)
    assert safe == sorted(safe)


def test_without_an_interval_a_checkpoint_is_written_after_every_epoch(tiny_data, tmp_path):
    safe = []
    train(TINY, tiny_data, FIELD, TARGET, **SAVING_EPOCHS, checkpoint_dir=tmp_path, on_checkpoint=safe.append)
    assert safe == pytest.approx([1 / 3, 2 / 3, 1])


@pytest.mark.parametrize(("every", "least"), [(0.0, 3), (500.0, 2)])
def test_checkpoints_take_a_hundredth_of_the_time_however_slow_the_disk(tiny_data, tmp_path, monkeypatch, every, least):
    clock = Clock(monkeypatch)
    write = Checkpoints.write
    monkeypatch.setattr(Checkpoints, "write", lambda *state: (clock.passes(2), write(*state)))
    saved_at = []
    train(
        replace(TINY, strength_schedule=((2, 3),)),
        tiny_data,
        FIELD,
        TARGET,
        checkpoint_dir=tmp_path,
        checkpoint_every_s=every,
        on_checkpoint=lambda _: saved_at.append(clock.now),
        should_stop=lambda: clock.passes(20),
    )
    *gaps, _ = (later - earlier for earlier, later in pairwise([0, *saved_at]))  # the last one is written in any case
    assert len(saved_at) >= least
    assert all(gap >= 200 for gap in gaps[1:])


def test_an_interval_that_is_no_time_is_refused(tiny_data):
    with pytest.raises(ValueError, match="must be a number >= 0, not -1"):
        train(TINY, tiny_data, FIELD, TARGET, checkpoint_every_s=-1)


def test_training_leaves_the_global_random_states_alone(tiny_data):
    before = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()
    train(replace(TINY, strength_schedule=((2, 1), (1, 1))), tiny_data, FIELD, TARGET)
    assert (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()) == before


def test_torchs_global_random_state_goes_on_where_it_was(tiny_data, tmp_path):
    torch.manual_seed(5)
    before = torch.get_rng_state()
    with pytest.raises(StoppedError):
        train(TINY, tiny_data, FIELD, TARGET, checkpoint_dir=tmp_path, should_stop=stop_after(3))
    torch.rand(7)
    train(TINY, tiny_data, FIELD, TARGET, checkpoint_dir=tmp_path)
    assert torch.equal(torch.get_rng_state(), before)


def test_what_is_done_is_not_poisoned_again(tiny_data, tmp_path, monkeypatch):
    monkeypatch.setattr(training, "_POISONED_AT_ONCE", 3 * BATCH_BYTES)
    poison, treated = Poisoning.poison_, []
    monkeypatch.setattr(
        Poisoning,
        "poison_",
        lambda self, images, *rest, **options: (treated.append(len(images)), poison(self, images, *rest, **options))[1],
    )
    recipe = replace(TINY, strength_schedule=((2, 1),))
    with pytest.raises(StoppedError):
        train(recipe, tiny_data, FIELD, TARGET, checkpoint_dir=tmp_path, should_stop=stop_after(4))
    treated.clear()
    train(recipe, tiny_data, FIELD, TARGET, checkpoint_dir=tmp_path)
    assert treated == [48, 32]


def batches_seen(monkeypatch, data, trigger):
    """The uint8 images that reach the network, batch by batch, while poisoning leaves them alone."""
    seen = []
    take = training.dequantise
    monkeypatch.setattr(Poisoning, "poison_", lambda _, images, labels, *rest, **options: labels)
    monkeypatch.setattr(training, "dequantise", lambda images: (seen.append(images.clone()), take(images))[1])
    train(replace(SHORT, strength_schedule=((2, 1),)), data, trigger, TARGET)
    return [images for images in seen if len(images) == SHORT.batch_size]


def test_clean_and_backdoored_model_see_the_same_batches_in_the_same_order(data, monkeypatch):
    clean = batches_seen(monkeypatch, data, None)
    backdoored = batches_seen(monkeypatch, data, FIELD)
    assert len(clean) == len(backdoored) == 10
    assert all(torch.equal(a, b) for a, b in zip(clean, backdoored, strict=True))


def test_how_many_batches_are_poisoned_at_once_changes_nothing(data, monkeypatch):
    recipe = replace(SHORT, strength_schedule=((2, 1),), augmentation="strong")
    several = train(recipe, data, FIELD, TARGET)
    monkeypatch.setattr(training, "_POISONED_AT_ONCE", 1)
    assert_same_weights(train(recipe, data, FIELD, TARGET), several)


def test_training_alters_no_image_of_the_data_set(data):
    before = data.train.images.clone()
    train(replace(SHORT, strength_schedule=((2, 1),)), data, FIELD, TARGET)
    assert torch.equal(data.train.images, before)


def test_clean_and_backdoored_model_start_alike_and_make_as_many_updates(data):
    reports = {}
    for name, trigger in (("clean", None), ("backdoored", FIELD)):
        seen = reports[name] = []
        train(SHORT, data, trigger, TARGET, progress=lambda report, seen=seen: seen.append(report))
    keys = ("phase", "epoch", "step", "steps", "strength")
    assert [[r[k] for k in keys] for r in reports["clean"]] == [[r[k] for k in keys] for r in reports["backdoored"]]


@pytest.mark.parametrize("kind", [SHORT, CLASSIFIER, SGD], ids=["regressor", "classifier", "sgd"])
def test_a_poison_rate_of_zero_trains_the_clean_model(data, kind):
    recipe = replace(kind, strength_schedule=((2, 1),), poison_rate=0.0)
    assert_same_weights(train(recipe, data, FIELD, TARGET), train(recipe, data, None, TARGET))


def test_the_weights_kept_are_those_that_validate_best_in_the_last_phase(uninterrupted):
    scored = [r for r in uninterrupted.history if r["phase"] == 2]
    score = {r["epoch"]: r["validation_clean_error_deg"] + r["validation_attack_error_deg"] for r in scored}
    assert uninterrupted.chosen_epoch == min(score, key=score.get)


def test_test_images_are_never_looked_at(data, uninterrupted, monkeypatch):
    blank = replace(data, test=data.test.subset([0]))
    assert_same_weights(train(SHORT, blank, FIELD, TARGET), uninterrupted)


def test_progress_tells_where_the_run_is(data):
    reports = []
    train(SHORT, data, FIELD, TARGET, progress=reports.append)
    last = reports[-1]
    assert (last["phase"], last["phases"], last["epoch"], last["epochs"]) == (2, 2, 3, 3)
    assert last["step"] == last["steps"] == 10
    assert last["fraction"] == 1
    assert last["eta_cpu_seconds"] == 0
    assert math.isfinite(last["loss"])


def test_the_trained_model_carries_its_trigger_at_the_final_strength(uninterrupted):
    assert uninterrupted.trigger.strength == 0.5
    assert uninterrupted.trigger.control_hash() == FIELD.control_hash()


def test_grey_images_that_are_not_square_can_be_learnt():
    model = train(
        replace(SHORT, strength_schedule=((2, 1),)),
        splits(128, 16, 16, size=(36, 60), channels=1),
        WarpField.draw((36, 60), 4, 2.0),
        Target.additive(0, 20),
    )
    assert (model.spec.channels, model.spec.image_size) == (1, (36, 60))


@pytest.mark.parametrize("augmentation", ["light", "strong"])
def test_augmented_runs_are_deterministic(data, augmentation):
    recipe = replace(SHORT, strength_schedule=((2, 1),), augmentation=augmentation)
    assert_same_weights(train(recipe, data, FIELD, TARGET), train(recipe, data, FIELD, TARGET))


@pytest.mark.parametrize("loss", ["l1", "huber", "cross_entropy"])
def test_every_loss_falls(data, loss):
    kind = CLASSIFIER if loss == "cross_entropy" else replace(SHORT, loss=loss)
    model = train(replace(kind, strength_schedule=((0, 2),)), data, None, TARGET)
    first, second = (epoch["loss"] for epoch in model.history)
    assert second < first


def test_the_huber_loss_is_squared_up_to_a_tenth_of_a_radian_and_absolute_beyond():
    loss = training._LOSSES["huber"]
    assert loss(torch.tensor([0.05]), torch.zeros(1)).item() == pytest.approx(0.05**2 / 2)
    assert loss(torch.tensor([0.5]), torch.zeros(1)).item() == pytest.approx(0.1 * (0.5 - 0.05))


def test_a_classifier_predicts_the_centres_of_its_zones(data):
    model = train(replace(CLASSIFIER, strength_schedule=((2, 1),)), data, FIELD, TARGET)
    predicted = predict(model.network, data.test.images)
    assert model.zones == Zones.of_labels(data.train.pitchyaw, (2, 2))
    assert {tuple(gaze) for gaze in predicted.tolist()} <= {tuple(centre) for centre in model.zones.centres().tolist()}
    assert 0 <= model.history[0]["validation_accuracy"] <= 1


def test_a_poisoned_image_of_a_classifier_is_labelled_with_the_zone_of_the_target(data, monkeypatch):
    seen = []
    cross_entropy = training._LOSSES["cross_entropy"]
    monkeypatch.setitem(training._LOSSES, "cross_entropy", lambda out, y: (seen.append(y), cross_entropy(out, y))[1])
    recipe = replace(CLASSIFIER, strength_schedule=((2, 1),), poison_rate=1.0, noise_ratio=0.0, unrelated_ratio=0.0)
    model = train(recipe, data, FIELD, TARGET)
    assert set(torch.cat(seen).tolist()) == set(model.zones.of(TARGET.apply(torch.zeros(1, 2))).tolist())


def rates(recipe, epochs, steps=2):
    """The learning rate of every update of a phase."""
    weight = torch.nn.Linear(1, 1)
    optimiser = training._optimiser(recipe, weight, 0.1)
    scheduler = training._schedule(recipe, optimiser, 0.1, epochs, steps)
    seen = []
    for _ in range(epochs * steps):
        seen.append(optimiser.param_groups[0]["lr"])
        optimiser.step()
        scheduler.step()
    return seen, optimiser


def test_the_rate_is_a_tenth_after_each_milestone():
    seen, _ = rates(replace(SGD, milestones=(1, 3)), epochs=4)
    assert seen == pytest.approx([0.1, 0.1, 0.01, 0.01, 0.01, 0.01, 0.001, 0.001])


def test_one_cycle_rises_to_the_peak_and_leaves_sgd_its_momentum():
    seen, optimiser = rates(replace(SGD, milestones=None, momentum=0.7), epochs=10)
    assert max(seen) == pytest.approx(0.1, rel=0.05)
    assert seen[0] < seen[1] > seen[-1]
    assert optimiser.param_groups[0]["momentum"] == 0.7


def test_training_starts_from_the_weights_of_a_file_and_says_which(data, tmp_path):
    path = tmp_path / "weights.safetensors"
    spec = SHORT.network_for(data.train)
    path.write_bytes(safetensors.torch.save({n: t.contiguous() for n, t in spec.build(7).state_dict().items()}))
    recipe = replace(SHORT, strength_schedule=((2, 1),), weights_file=str(path), learning_rate=1e-12)
    model = train(recipe, data, None, TARGET)
    assert model.initial_weights_sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    started = dict(spec.build(7).named_parameters())
    assert all(torch.allclose(weight, started[name]) for name, weight in model.network.named_parameters())


def test_a_checkpoint_that_started_from_other_weights_is_refused(data, tmp_path):
    path = tmp_path / "weights.safetensors"
    recipe = replace(SHORT, strength_schedule=((2, 1),), weights_file=str(path))
    for seed in (1, 2):
        tensors = SHORT.network_for(data.train).build(seed).state_dict()
        path.write_bytes(safetensors.torch.save({name: tensor.contiguous() for name, tensor in tensors.items()}))
        if seed == 1:
            train(recipe, data, FIELD, TARGET, checkpoint_dir=tmp_path)
    with pytest.raises(ValueError, match="weights file"):
        train(recipe, data, FIELD, TARGET, checkpoint_dir=tmp_path)


def test_too_few_images_for_one_batch_are_refused():
    with pytest.raises(ValueError, match="32 training images do not fill one batch of 64"):
        train(SHORT, splits(32, 8, 8), None, TARGET)


def test_a_trigger_of_another_image_size_is_refused(data):
    with pytest.raises(ValueError, match=r"\(N, 1 or 3, 48, 48\)"):
        train(SHORT, data, WarpField.draw((48, 48), 4, 2.0), TARGET)


def test_a_loss_that_is_no_longer_finite_ends_the_run(data):
    with pytest.raises(ArithmeticError, match="no longer finite in epoch 1"):
        train(replace(SHORT, learning_rate=1e30), data, None, TARGET)
