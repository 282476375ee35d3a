"""The paired network: it cannot know the side, it is never shown whom it judges, and it finds what there is."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from models import observer
from models.observer import ObserverRecipe, PairObserver, judge

QUICK = ObserverRecipe(updates=30, folds=3, width=4, batch_size=16)


def pairs(n: int = 72, people: int = 12, seed: int = 0) -> tuple[Tensor, Tensor, np.ndarray]:
    """Noise pictures and their versions with every second column a little darker; whose they are."""
    generator = torch.Generator().manual_seed(seed)
    clean = torch.randint(40, 200, (n, 1, 16, 16), generator=generator, dtype=torch.uint8)
    altered = clean.clone()
    altered[..., ::2] -= 12
    return clean, altered, np.arange(n) % people


def test_exchanging_the_pictures_changes_the_sign_and_nothing_else() -> None:
    network = PairObserver(3)
    first, second = torch.rand(2, 5, 3, 20, 24)
    assert torch.equal(network(first, second), -network(second, first))


def test_two_equal_pictures_are_a_tie() -> None:
    picture = torch.rand(4, 1, 16, 16)
    assert torch.equal(PairObserver(1)(picture, picture), torch.zeros(4))


def test_an_alteration_that_is_there_is_found_in_pictures_of_others() -> None:
    clean, altered, group = pairs()
    evidence = judge(clean, altered, group, np.ones(72), recipe=QUICK)
    assert (evidence > 0).mean() > 0.9


def test_what_is_not_there_is_not_found() -> None:
    clean, _, group = pairs()
    other = pairs(seed=1)[0]
    evidence = judge(clean, other, group, np.ones(72), recipe=QUICK)
    assert 0.25 < (evidence > 0).mean() < 0.75


def test_no_pair_is_judged_by_a_network_that_saw_its_group(monkeypatch: pytest.MonkeyPatch) -> None:
    clean, altered, group = pairs()
    trains = np.arange(72) < 60
    seen: list[set[int]] = []

    def remember(of_clean: Tensor, *rest: object) -> PairObserver:
        indices = [int((clean == picture).flatten(1).all(1).nonzero()[0, 0]) for picture in of_clean]
        assert trains[indices].all()
        seen.append(set(group[indices].tolist()))
        return PairObserver(1)

    monkeypatch.setattr(observer, "_trained", remember)
    evidence = judge(clean, altered, group, trains, recipe=QUICK)
    held_out = [set(range(12)) - people for people in seen]
    assert sorted(person for people in held_out for person in people) == list(range(12))
    assert np.count_nonzero(evidence) == 72


def test_the_same_seed_gives_the_same_bits_and_another_seed_others() -> None:
    clean, altered, group = pairs(24)
    quick = ObserverRecipe(updates=2, folds=2, width=2)
    first, again = (judge(clean, altered, group, np.ones(24), recipe=quick) for _ in range(2))
    other = judge(clean, altered, group, np.ones(24), recipe=ObserverRecipe(seed=1, updates=2, folds=2, width=2))
    assert (first == again).all()
    assert (first != other).any()


def test_training_leaves_the_global_random_state_alone() -> None:
    clean, altered, group = pairs(24)
    before = torch.random.get_rng_state()
    judge(clean, altered, group, np.ones(24), recipe=ObserverRecipe(updates=2, folds=2, width=2))
    assert torch.equal(before, torch.random.get_rng_state())


def test_progress_ends_at_one() -> None:
    clean, altered, group = pairs(24)
    told: list[float] = []
    judge(clean, altered, group, np.ones(24), recipe=ObserverRecipe(updates=40, folds=2, width=2), progress=told.append)
    assert told == pytest.approx([0.25, 0.5, 0.75, 1.0])


def test_one_person_cannot_be_judged_by_others() -> None:
    clean, altered, _ = pairs(24)
    with pytest.raises(ValueError, match="at least two people"):
        judge(clean, altered, np.zeros(24), np.ones(24))


def test_without_altered_pairs_of_others_there_is_nothing_to_learn() -> None:
    clean, altered, group = pairs(24)
    with pytest.raises(ValueError, match="no altered pair of other people"):
        judge(clean, altered, group, np.zeros(24))


def test_a_training_that_diverges_is_no_answer() -> None:
    clean, altered, group = pairs(24)
    with pytest.raises(ValueError, match="did not learn anything finite: choose another seed"):
        judge(clean, altered, group, np.ones(24), recipe=ObserverRecipe(updates=3, folds=2, learning_rate=1e30))


@pytest.mark.parametrize("fields", [{"folds": 1}, {"updates": 0}, {"width": 0}, {"batch_size": 0}, {"seed": -1}])
def test_a_recipe_that_trains_nothing_is_refused(fields: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=r"An observer's .* must be"):
        ObserverRecipe(**fields)
