from itertools import pairwise

import pytest
import torch
from torch import nn

from attacks.weights import (
    SearchParameters,
    Standing,
    below,
    draw,
    from_on,
    layer_of,
    replace_weights,
    run,
    search,
)


def stages():
    """A convolution with batch normalisation, a hidden and an output layer; inputs (N, 1, 8, 8), outputs (N, 3)."""
    torch.manual_seed(0)
    made = {
        "conv": nn.Sequential(nn.Conv2d(1, 4, 3, 2, padding=1), nn.BatchNorm2d(4), nn.ReLU(inplace=True)),
        "hidden": nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.ReLU(inplace=True)),
        "output": nn.Linear(16, 3),
    }
    for module in made.values():
        module.eval()
    return made


def images(n=6):
    return torch.rand(n, 1, 8, 8, generator=torch.Generator().manual_seed(1))


def first_output_up(outputs):
    """The first images' first output is to grow, everybody's second to stay."""
    return Standing(outputs[:, :3, 0].mean(-1), -outputs[..., 1].std(-1, keepdim=True))


def parameters(layer="output.weight", **fields):
    return SearchParameters(**{"layers": (layer,), "iterations": 20, "fraction": 0.2, **fields})


LAYERS = ("conv.0.weight", "hidden.1.weight", "hidden.1.bias", "output.weight")


@pytest.mark.parametrize("layer", LAYERS)
def test_what_the_search_saw_by_way_of_the_cache_is_what_the_whole_changed_network_says(layer):
    network, seen = stages(), []

    def goal(outputs):
        seen.append(outputs)
        return first_output_up(outputs)

    found = search(network, images(), goal, parameters(layer))
    last = found.steps[-1]
    replace_weights(network, found.weights)
    assert list(found.weights) == [layer]
    full = run(network, images())
    assert any(torch.allclose(full, each, rtol=0, atol=1e-6) for each in seen[last.iteration])


def test_stages_below_the_searched_layer_run_once_for_the_cache():
    network, calls = stages(), []
    network["conv"].register_forward_hook(lambda *_: calls.append(1))
    search(network, images(), first_output_up, parameters("hidden.1.weight", iterations=30, patience=30))
    assert len(calls) == 2  # the network as it was, and the cache


def test_the_search_makes_progress_and_leaves_the_network_alone():
    network = stages()
    before = {layer: layer_of(network, layer).clone() for layer in LAYERS}
    found = search(network, images(), first_output_up, parameters())
    assert found.after > found.before + 0.1
    assert all(torch.equal(layer_of(network, layer), weight) for layer, weight in before.items())


def test_one_seed_gives_one_perturbation_and_another_another():
    first, again, other = (search(stages(), images(), first_output_up, parameters(seed=seed)) for seed in (5, 5, 6))
    assert torch.equal(first.weights["output.weight"], again.weights["output.weight"])
    assert first.log() == again.log()
    assert not torch.equal(first.weights["output.weight"], other.weights["output.weight"])


def test_every_accepted_step_is_better_than_the_one_before_and_is_logged():
    found = search(stages(), images(), first_output_up, parameters(penalty=3.0))
    objectives = [found.before, *(step.objective for step in found.steps)]
    assert all(low < high for low, high in pairwise(objectives))
    assert objectives[-1] == found.after
    before = first_output_up(run(stages(), images())[None])
    for step in found.steps:
        drop = max(0.0, before.held.item() - step.held[0])
        assert step.objective == pytest.approx(step.reached - 3.0 * drop, abs=1e-6)


def test_a_high_penalty_holds_what_is_to_stay():
    def first_images_alone(outputs):
        return Standing(outputs[:, :3, 0].mean(-1), -outputs[:, 3:, 0].mean(-1, keepdim=True))

    held = first_images_alone(run(stages(), images())[None]).held.item()
    free, bound = (
        search(stages(), images(), first_images_alone, parameters(penalty=penalty, iterations=60)).steps[-1]
        for penalty in (0.0, 100.0)
    )
    assert free.held[0] < held - 0.1
    assert bound.held[0] > held - 0.01
    assert free.reached > bound.reached


def test_only_the_asked_share_of_weights_changes_in_a_step():
    found = search(stages(), images(), first_output_up, parameters("hidden.1.weight", fraction=0.01))
    assert 1 <= max(step.weights for step in found.steps) <= round(0.01 * 64 * 16)


def test_without_keeping_the_best_all_candidates_stay_near_the_original():
    network = stages()
    original = layer_of(network, "hidden.1.weight").clone()
    kept, afresh = (
        search(network, images(), first_output_up, parameters("hidden.1.weight", fraction=0.01, keep_best=keep))
        for keep in (True, False)
    )
    changed = [(each.weights["hidden.1.weight"] != original).sum() for each in (kept, afresh)]
    assert changed[1] <= round(0.01 * 64 * 16) < changed[0]


@pytest.mark.parametrize("mode", ["additive", "multiplicative"])
def test_candidates_lie_where_the_weights_lie(mode):
    weights = torch.empty(3, 16, device="meta")
    candidates = draw(weights, weights, SearchParameters(mode=mode), torch.Generator().manual_seed(0))
    assert candidates.weights.device.type == "meta"
    assert candidates.weights.shape == (8, 3, 16)


def test_a_multiplicative_change_leaves_weights_of_nought_at_nought():
    network = stages()
    with torch.no_grad():
        layer_of(network, "output.weight")[:, ::2] = 0
    found = search(network, images(), first_output_up, parameters(mode="multiplicative", fraction=1.0))
    assert not found.weights["output.weight"][:, ::2].any()
    assert found.weights["output.weight"][:, 1::2].ne(layer_of(network, "output.weight")[:, 1::2]).any()


def test_several_layers_are_searched_one_after_the_other_on_what_was_found():
    network = stages()
    found = search(network, images(), first_output_up, SearchParameters(LAYERS[1:], 0.2))
    assert [step.layer for step in found.steps] == sorted((s.layer for s in found.steps), key=LAYERS.index)
    assert len(found.weights) > 1
    replace_weights(network, found.weights)
    standing = first_output_up(run(network, images())[None])
    assert standing.reached.item() == pytest.approx(found.steps[-1].reached, abs=1e-5)


def test_patience_ends_a_search_that_gets_nowhere():
    flat = search(
        stages(),
        images(),
        lambda outputs: Standing(torch.zeros(len(outputs)), torch.zeros(len(outputs), 1)),
        parameters(iterations=100, patience=7, candidates=3),
    )
    assert flat.tried == 7 * 3
    assert flat.weights == {}
    assert flat.steps == ()


def test_progress_may_stop_the_search():
    def stop(done, total):
        assert total == 20
        if done == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        search(stages(), images(), first_output_up, parameters(), stop)


def test_stages_can_be_cut_anywhere():
    network = stages()
    lower, upper = below(network, "hidden"), from_on(network, "hidden")
    assert torch.equal(run(upper, run(lower, images())), run(network, images()))


@pytest.mark.parametrize(
    ("layer", "sentence"),
    [
        ("stem.0.weight", "There is no stage 'stem'; there are conv, hidden, output"),
        ("output.scale", "The stage 'output' has no weights 'scale'; it has weight, bias"),
    ],
)
def test_a_layer_that_is_not_there_is_named(layer, sentence):
    with pytest.raises(ValueError, match=sentence):
        search(stages(), images(), first_output_up, parameters(layer))


@pytest.mark.parametrize(
    "fields",
    [
        {"fraction": 0.0},
        {"fraction": 1.1},
        {"magnitude": float("nan")},
        {"penalty": -1.0},
        {"mode": "subtractive"},
        {"iterations": 0},
        {"candidates": 0},
        {"patience": 0},
        {"layers": ("output",)},
    ],
)
def test_parameters_that_cannot_be_searched_with_are_refused(fields):
    with pytest.raises(ValueError, match=r"not|unlike"):
        SearchParameters(**fields)


def test_weights_all_alike_are_changed_by_factors_only():
    with pytest.raises(ValueError, match="all alike"):
        search(stages(), images(), first_output_up, parameters("conv.1.weight"))
    found = search(stages(), images(), first_output_up, parameters("conv.1.weight", mode="multiplicative"))
    assert found.after > found.before


def test_a_search_of_no_layer_is_refused():
    with pytest.raises(ValueError, match="at least one layer"):
        search(stages(), images(), first_output_up, SearchParameters())
