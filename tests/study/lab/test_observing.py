"""Machine observers at stored pairs: from the files, once, and replaced as a whole."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from models.observer import ObserverRecipe
from study.lab import jobs, kinds, observing
from study.lab.images import DamagedFile
from study.lab.models import Attack, Dataset, Job, Pair, PairJudgement
from tests.study import factories

pytestmark = pytest.mark.django_db

NETWORK, SOFTER, SSIM, FLIP = "paired network, seed 0", "softer picture", "1 - SSIM", "FLIP at 10.5 px per degree"


@pytest.fixture
def pairs(dataset: Dataset, attack: Attack) -> list[Pair]:
    """Six base images under two strengths, the gross one and every control."""
    run = factories.make_run("run", dataset, attack=attack)
    factories.make_pairs(dataset, attack, run, base_images=6)
    return list(Pair.objects.order_by("pk"))


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        observing, "ObserverRecipe", lambda seed: ObserverRecipe(seed=seed, folds=2, updates=2, width=2)
    )


def observe(job: Job) -> Job:
    """What a worker does with the job, in this process."""
    assert job.claim("here")
    folder = kinds.working_folder(job)
    work = kinds.observing(job, folder)
    result = observing.observe(work.specification)
    assert job.finish(job.attempt, result)
    work.record(result)
    job.refresh_from_db()
    return job


def test_every_observer_judges_every_pair_once(pairs: list[Pair], attack: Attack, dataset: Dataset) -> None:
    job = observe(attack.submit_judgements(dataset))
    assert job.result == {"pairs": 36, "observers": [SOFTER, SSIM, FLIP, NETWORK]}
    assert PairJudgement.objects.count() == 4 * 36
    assert set(PairJudgement.objects.values_list("observer", "chooses")) == {
        (SOFTER, True), (SSIM, False), (FLIP, False), (NETWORK, True),
    }  # fmt: skip


def test_two_equal_pictures_are_a_tie_at_distance_zero(pairs: list[Pair], attack: Attack, dataset: Dataset) -> None:
    observe(attack.submit_judgements(dataset))
    of_identity = PairJudgement.objects.filter(pair__control=Pair.Control.IDENTITY)
    assert of_identity.count() == 4 * 6
    assert {round(value, 12) for value in of_identity.values_list("value", flat=True)} == {0.0}


def test_distances_grow_with_the_alteration(pairs: list[Pair], attack: Attack, dataset: Dataset) -> None:
    observe(attack.submit_judgements(dataset))
    for observer in (SSIM, FLIP):
        of_one = PairJudgement.objects.filter(observer=observer, pair__control="")
        means = [
            np.mean(of_one.filter(pair__strength=strength).values_list("value", flat=True))
            for strength in (*factories.STRENGTHS, factories.GROSS)
        ]
        assert means == sorted(means)
        assert means[0] > 0


def test_the_same_pairs_are_judged_once_and_new_ones_call_for_a_new_judgement(
    pairs: list[Pair], attack: Attack, dataset: Dataset
) -> None:
    first = observe(attack.submit_judgements(dataset))
    assert attack.submit_judgements(dataset) == first
    assert attack.submit_judgements(dataset, seed=1) != first
    pairs[0].delete()
    assert attack.submit_judgements(dataset) != first


def test_an_observer_that_judges_again_replaces_all_that_it_said_and_leaves_the_others(
    pairs: list[Pair], attack: Attack, dataset: Dataset
) -> None:
    observe(attack.submit_judgements(dataset))
    PairJudgement.objects.update(value=-77)
    pairs[-1].predictions.all().delete()
    pairs[-1].delete()
    observe(attack.submit_judgements(dataset, seed=1))
    left = PairJudgement.objects.filter(value=-77).values_list("observer", flat=True)
    assert set(left) == {NETWORK}
    assert PairJudgement.objects.filter(observer="paired network, seed 1").count() == 35


def test_rows_are_named_as_in_the_trial_table(pairs: list[Pair], attack: Attack, dataset: Dataset) -> None:
    observe(attack.submit_judgements(dataset))
    rows = list(PairJudgement.objects.trial_rows(dataset, attack))
    assert len(rows) == 4 * 36
    gross, identity = (next(row for row in rows if row["item"] == f"I{pair.pk}") for pair in (pairs[2], pairs[3]))
    assert (gross["is_catch"], gross["strength"], gross["control"]) == (1, factories.GROSS, "")
    assert (identity["strength"], identity["control"], identity["stimulus"]) == (
        0.0, "identity", f"B{pairs[3].base_image_id}",
    )  # fmt: skip


def test_people_are_dealt_to_folds_and_base_images_where_there_is_one_person() -> None:
    rows: list[dict[str, Any]] = [{"subject": s, "clean": {"file": f"{i}.png"}} for i, s in enumerate((3, 3, 4))]
    assert observing._groups(rows).tolist() == [3, 3, 4]
    assert observing._groups(rows[:2]).tolist() == ["0.png", "1.png"]


def test_a_damaged_file_is_not_judged(pairs: list[Pair], attack: Attack, dataset: Dataset) -> None:
    path = pairs[0].path
    path.write_bytes(path.read_bytes()[:-1])
    job = attack.submit_judgements(dataset)
    with pytest.raises(DamagedFile):
        observing.observe(kinds.observing(job, kinds.working_folder(job)).specification)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"seed": -1}, "A seed must be a whole number from 0"),
        ({"px_per_degree": 0.0}, "Pixels per degree must be a finite number > 0"),
        ({"px_per_degree": float("nan")}, "Pixels per degree must be a finite number > 0"),
    ],
)
def test_what_cannot_be_judged_is_refused(
    pairs: list[Pair], attack: Attack, dataset: Dataset, options: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(ValueError, match=sentence):
        attack.submit_judgements(dataset, **options)


def test_without_pairs_there_is_nothing_to_judge(attack: Attack, dataset: Dataset) -> None:
    with pytest.raises(ValueError, match="There are no pairs of warp on blobs"):
        attack.submit_judgements(dataset)


@pytest.mark.django_db(transaction=True)
def test_a_worker_does_it_in_a_process_of_its_own(pairs: list[Pair], attack: Attack, dataset: Dataset) -> None:
    job = attack.submit_judgements(dataset)
    jobs.perform(str(job.pk), kinds.observing)
    job.refresh_from_db()
    assert (job.state, job.error) == (Job.State.SUCCEEDED, "")
    assert PairJudgement.objects.count() == 4 * 36
    assert not kinds.working_folder(job).exists()
