"""Adaptive sessions: slots come first, each strength is chosen from the answers before it, and nobody can tell."""

from __future__ import annotations

import json
import random
import re
import uuid
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import numpy as np
import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from study.lab.images import decode_png
from study.trials.adaptive import GRID, Quest
from study.trials.models import AdaptiveChoice, Answer, Population, Session, Side, SkippedTrial, Study, Trial
from tests.study.factories import at_once, make_study, start

pytestmark = pytest.mark.django_db

LEVELS = (0.5, 1.0, 2.0)
ADAPTIVE, OTHERS, PRACTICE = 12, 8, 2
TOTAL = PRACTICE + ADAPTIVE + OTHERS


def make_adaptive_study(**fields: Any) -> Study:
    """2 practice trials, 12 adaptive ones at one of 3 strengths, 6 controls and 2 catch trials."""
    return make_study(
        **{
            "strengths": LEVELS,
            "procedure": Study.Procedure.ADAPTIVE,
            "adaptive_trials": ADAPTIVE,
            "adaptive_minimum": 6,
            **fields,
        }
    )


class Page:
    """What a participant's page does, and all that it is told."""

    def __init__(self, study: Study | None = None) -> None:
        self.session, self.token = start(
            study or make_adaptive_study(), Population.SIMULATED
        )  # the same plan each time
        self.client = Client(headers={"Sec-Fetch-Site": "same-origin"})
        self.told: list[Any] = []

    def plan(self) -> dict[str, Any]:
        plan: dict[str, Any] = self.client.get(f"/run/{self.token}/plan").json()
        self.session.refresh_from_db()
        return plan

    def put(self, index: int, choice: str = "left", client_id: str | None = None) -> dict[str, Any]:
        body = {
            "client_id": client_id or str(uuid.uuid4()),
            "attempt": self.session.attempt,
            "choice": choice,
            "rt_ms": 500,
        }
        reply = self.client.put(f"/run/{self.token}/trials/{index}", json.dumps(body), content_type="application/json")
        assert reply.status_code in (200, 201), reply.content
        self.told.append(reply.json())
        return self.told[-1]

    def answer(self, trial: Trial, *, correctly: bool) -> dict[str, Any]:
        wrong = Side.RIGHT if trial.altered_side == Side.LEFT else Side.LEFT
        return self.put(trial.index, trial.altered_side if correctly else wrong)

    def due(self) -> Trial | None:
        return self.session.due_trials().first()

    def answer_until(self, wanted: Callable[[Trial], bool], *, correctly: bool = True) -> Trial:
        """Answers all trials before the first of this description, which is then due."""
        while (trial := self.due()) is not None:
            if wanted(trial):
                return trial
            self.answer(trial, correctly=correctly)
        pytest.fail("The plan has no such trial.")

    def finish(self, observer: Callable[[Trial], bool]) -> None:
        while (trial := self.due()) is not None:
            self.answer(trial, correctly=observer(trial))

    def picture(self, index: int, side: str, number: int) -> Any:
        return self.client.get(f"/run/{self.token}/i/{index}/{side}/{number}")


def is_adaptive(trial: Trial) -> bool:
    return trial.pair_id is None


def is_control(trial: Trial) -> bool:
    return trial.pair is not None and bool(trial.pair.control)


def is_catch(trial: Trial) -> bool:
    return trial.phase == Trial.Phase.CATCH


def sees_all(trial: Trial) -> bool:
    return True


@pytest.fixture
def page() -> Page:
    return Page()


# --- slots first


def test_slots_are_stored_with_image_side_and_rule_before_any_strength_is_chosen() -> None:
    study = make_adaptive_study()
    session, _ = study.start_session()
    slots = session.trials.filter(pair=None)
    assert slots.count() == ADAPTIVE
    assert {side: slots.filter(altered_side=side).count() for side in Side.values} == {"left": 6, "right": 6}
    assert slots.values("base_image").distinct().count() == ADAPTIVE
    assert not AdaptiveChoice.objects.exists()
    rule = {"strengths": list(LEVELS), "most": 12, "minimum": 6, "sd": 0.0, "grid": GRID}
    assert session.design.json["adaptive"] == rule


def test_every_slot_can_show_every_strength_of_its_own_image(page: Page) -> None:
    for slot in page.session.trials.filter(pair=None):
        levels = slot.base_image.pairs.filter(pk__in=slot.candidates, control="")
        assert sorted(levels.values_list("strength", flat=True)) == list(LEVELS)


def test_candidates_are_shuffled_for_each_trial(page: Page) -> None:
    orders = set()
    for slot in page.session.trials.filter(pair=None):
        strength = dict(slot.base_image.pairs.values_list("pk", "strength"))
        orders.add(tuple(strength[pk] for pk in slot.candidates))
    assert len(orders) > 2


# --- strengths chosen and logged


def test_the_first_strength_is_chosen_when_the_first_trial_is_due_and_is_the_one_the_prior_asks_for(page: Page) -> None:
    first = page.answer_until(is_adaptive)
    quest = Quest.of(LEVELS)
    assert not AdaptiveChoice.objects.filter(trial__index__gt=first.index).exists()
    chosen = AdaptiveChoice.objects.get(trial=first)
    assert chosen.pair.strength == quest.next_strength(quest.prior)


def test_every_strength_follows_from_the_answers_before_it_and_is_logged_with_the_posterior(page: Page) -> None:
    rng = random.Random(3)
    page.finish(lambda trial: rng.random() < 0.8)
    quest, history = Quest.of(LEVELS), []
    choices = list(AdaptiveChoice.objects.filter(trial__pair=None).order_by("trial__index").select_related("pair"))
    assert len(choices) == ADAPTIVE
    for choice in choices:
        posterior = quest.posterior(history)
        assert choice.pair.strength == quest.next_strength(posterior)
        assert choice.pair_id in choice.trial.candidates
        assert choice.posterior == pytest.approx(asdict(quest.summary(posterior)))
        history.append((choice.pair.strength, choice.trial.answer.correct))
    assert len({choice.pair.strength for choice in choices}) > 1


def test_only_answers_to_adaptive_trials_move_the_strength() -> None:
    study = make_adaptive_study()
    pages = [Page(study), Page(study)]
    for page, correctly in zip(pages, (True, False), strict=True):
        page.finish(lambda trial, correctly=correctly: correctly or is_adaptive(trial))  # type: ignore[misc]
    chosen = [
        list(
            AdaptiveChoice.objects.filter(trial__session=page.session, trial__pair=None)
            .order_by("trial__index")
            .values_list("pair__strength", flat=True)
        )
        for page in pages
    ]
    assert chosen[0] == chosen[1]


def test_an_answer_that_did_not_come_in_time_tells_nothing() -> None:
    page = Page(make_adaptive_study(response_ms=2000))
    first = page.answer_until(is_adaptive)
    page.put(first.index, "none")
    page.answer_until(is_adaptive)
    before, after = AdaptiveChoice.objects.filter(trial__pair=None).order_by("trial__index")
    assert before.posterior == after.posterior
    assert before.pair.strength == after.pair.strength


def test_a_not_sure_counts_as_the_coin_fell() -> None:
    page = Page(make_adaptive_study(not_sure=True))
    first = page.answer_until(is_adaptive)
    page.put(first.index, "unsure")
    page.answer_until(is_adaptive)
    quest, correct = Quest.of(LEVELS), Answer.objects.get(trial=first).correct
    shown, last = AdaptiveChoice.objects.filter(trial__pair=None).order_by("trial__index")
    assert correct is not None
    assert last.posterior == pytest.approx(asdict(quest.summary(quest.posterior([(shown.pair.strength, correct)]))))


def test_the_log_can_be_neither_changed_nor_deleted(page: Page) -> None:
    from study.trials.exceptions import Frozen

    page.answer_until(is_adaptive)
    choice = AdaptiveChoice.objects.latest("trial__index")
    for act in (choice.save, choice.delete, AdaptiveChoice.objects.all().delete):
        with pytest.raises(Frozen):
            act()


def test_the_trial_table_holds_the_strengths_that_were_chosen(page: Page) -> None:
    page.finish(lambda trial: trial.index % 2 == 0)
    rows = {row["trial_index"]: row for row in page.session.study.trial_rows(Population.SIMULATED)}
    choices = AdaptiveChoice.objects.filter(trial__pair=None).select_related("trial", "pair")
    assert choices.count() == ADAPTIVE
    for choice in choices:
        row = rows[choice.trial.index]
        assert (row["strength"], row["stimulus"]) == (choice.pair.strength, f"B{choice.trial.base_image_id}")


# --- replays and resuming


def test_an_answer_sent_again_does_not_choose_again(page: Page) -> None:
    first = page.answer_until(is_adaptive)
    client_id = str(uuid.uuid4())
    reply = page.put(first.index, "left", client_id)
    logged = list(AdaptiveChoice.objects.values_list("trial", "pair", "posterior"))
    assert page.put(first.index, "left", client_id) == reply
    assert list(AdaptiveChoice.objects.values_list("trial", "pair", "posterior")) == logged


def test_an_old_answer_sent_again_at_the_end_gets_its_old_reply(page: Page) -> None:
    first = page.answer_until(is_adaptive)
    client_id = str(uuid.uuid4())
    reply = page.put(first.index, "left", client_id)
    page.finish(sees_all)
    assert page.put(first.index, "left", client_id) == reply


def test_a_reload_shows_the_same_candidate(page: Page) -> None:
    trial = page.answer_until(is_adaptive)
    acknowledged = page.told[-1]
    plans = [page.plan() for _ in range(3)]
    assert {plan["next_index"] for plan in plans} == {trial.index} == {acknowledged["next_index"]}
    assert {plan["candidate"] for plan in plans} == {acknowledged["candidate"]}
    assert AdaptiveChoice.objects.filter(trial=trial).count() == 1


def test_after_a_reload_the_choice_goes_on_from_all_answers(page: Page) -> None:
    for _ in range(4):
        page.answer(page.answer_until(is_adaptive), correctly=False)
        page.plan()
    page.answer_until(is_adaptive)
    history = AdaptiveChoice.objects.filter(trial__pair=None, trial__answer__correct=False)
    last = AdaptiveChoice.objects.filter(trial__pair=None).latest("trial__index")
    quest = Quest.of(LEVELS)
    posterior = quest.posterior([(choice.pair.strength, False) for choice in history])
    assert history.count() == 4
    assert last.posterior == pytest.approx(asdict(quest.summary(posterior)))


@pytest.mark.store
@pytest.mark.django_db(transaction=True)
def test_one_answer_and_page_loads_at_once_choose_one_strength() -> None:
    page = Page()
    first = page.answer_until(is_adaptive)
    client_id = uuid.uuid4()

    def act(n: int) -> None:
        session = Session.objects.get(pk=page.session.pk)
        if n % 4 == 3:
            session.begin_attempt()
            return
        from study.trials.exceptions import Superseded

        try:
            session.record_answer(first.index, client_id=client_id, attempt=1, choice="left", rt_ms=500.0)
        except Superseded:
            return

    at_once(8, act)
    for trial in page.session.trials.filter(index__lte=first.index + 1, pair=None):
        assert AdaptiveChoice.objects.filter(trial=trial).count() <= 1


# --- stopping


def early(**fields: Any) -> Page:
    """A session whose threshold counts as known from the sixth answer on."""
    return Page(make_adaptive_study(adaptive_minimum=6, adaptive_sd=50.0, **fields))


def test_an_early_stop_skips_the_remaining_slots_and_nothing_else() -> None:
    page = early()
    page.finish(sees_all)
    assert Answer.objects.filter(trial__pair=None).count() == 6
    assert SkippedTrial.objects.filter(trial__pair=None).count() == SkippedTrial.objects.count() == ADAPTIVE - 6
    assert Answer.objects.exclude(trial__pair=None).count() == PRACTICE + OTHERS
    assert page.session.complete() == "THANKS"
    assert page.session.progress == (TOTAL - 6, TOTAL - 6)


def test_a_skipped_slot_is_neither_in_the_plan_nor_taken_as_an_answer() -> None:
    page = early()
    page.answer_until(lambda _: SkippedTrial.objects.exists())
    skipped = list(SkippedTrial.objects.values_list("trial__index", flat=True))
    plan = page.plan()
    assert skipped
    assert not {trial["index"] for trial in plan["trials"]} & set(skipped)
    assert len(plan["trials"]) + len(skipped) == TOTAL
    reply = page.client.put(
        f"/run/{page.token}/trials/{skipped[-1]}",
        json.dumps({"client_id": str(uuid.uuid4()), "attempt": page.session.attempt, "choice": "left", "rt_ms": 1}),
        content_type="application/json",
    )
    assert reply.status_code == 425


def test_without_an_sd_every_slot_is_used(page: Page) -> None:
    page.finish(sees_all)
    assert Answer.objects.filter(trial__pair=None).count() == ADAPTIVE
    assert not SkippedTrial.objects.exists()


def test_what_was_chosen_and_skipped_goes_with_the_answers_of_somebody_who_withdraws() -> None:
    page = early()
    page.finish(sees_all)
    page.session.withdraw()
    assert not AdaptiveChoice.objects.exists()
    assert not SkippedTrial.objects.exists()


# --- nobody can tell


def test_catch_and_control_trials_look_like_any_other_in_plan_and_replies(page: Page) -> None:
    plan = page.plan()
    page.finish(sees_all)
    mixed = [trial for trial in plan["trials"] if trial["phase"] == "trial"]
    assert [set(trial) for trial in mixed] == [{"index", "phase", "candidates"}] * (ADAPTIVE + OTHERS)
    assert {trial["candidates"] for trial in mixed} == {len(LEVELS)}
    replies = page.told[PRACTICE:]
    assert [set(reply) for reply in replies[:-1]] == [{"id", "next_index", "candidate"}] * (len(replies) - 1)
    assert set(replies[-1]) == {"id", "next_index"}  # nothing comes after the last


def test_the_candidate_says_nothing_of_kind_or_strength() -> None:
    study = make_adaptive_study(participants=12)
    shown: dict[str, list[int]] = {"adaptive": [], "catch": [], "control": []}
    for _ in range(12):
        page = Page(study)
        page.finish(lambda trial: trial.index % 3 > 0)
        candidate = {reply["next_index"]: reply.get("candidate") for reply in page.told}
        for trial in page.session.trials.exclude(phase=Trial.Phase.PRACTICE).select_related("pair"):
            kind = "adaptive" if is_adaptive(trial) else "control" if is_control(trial) else "catch"
            shown[kind].append(candidate[trial.index])
    for numbers in shown.values():
        assert set(numbers) == set(range(len(LEVELS)))
        for number in range(len(LEVELS)):
            expected, spread = len(numbers) / 3, (len(numbers) * 2 / 9) ** 0.5
            assert abs(numbers.count(number) - expected) < 4 * spread


def test_catch_and_control_trials_are_logged_with_the_pair_that_was_planned(page: Page) -> None:
    page.finish(sees_all)
    logged = AdaptiveChoice.objects.exclude(trial__pair=None)
    assert logged.count() == OTHERS
    assert all(choice.pair_id == choice.trial.pair_id for choice in logged.select_related("trial"))


def test_a_page_learns_no_strength_pair_or_posterior(page: Page) -> None:
    plan = page.plan()
    rng = random.Random(1)
    page.finish(lambda _: rng.random() < 0.7)
    text = json.dumps([plan, *page.told])
    words = "strength|pair|posterior|threshold|entropy|sd|level|slope|lapse|catch|control|identity|quest"
    assert not re.findall(rf'"[^"]*({words})[^"]*"', text, re.IGNORECASE)
    numbers = {value for reply in page.told for value in reply.values() if isinstance(value, float)}
    assert not numbers


@pytest.mark.parametrize("kind", [is_adaptive, is_catch, is_control])
def test_every_trial_has_as_many_pictures_of_one_length_and_each_its_own_hash(
    page: Page, kind: Callable[[Trial], bool]
) -> None:
    trial = next(trial for trial in page.session.trials.exclude(phase="practice").select_related("pair") if kind(trial))
    replies = [page.picture(trial.index, side, n) for side in Side.values for n in range(len(LEVELS))]
    assert {reply.status_code for reply in replies} == {200}
    assert len({len(reply.content) for reply in replies}) == 1
    assert len({reply["Repr-Digest"] for reply in replies}) == len(replies)
    assert page.picture(trial.index, "left", len(LEVELS)).status_code == 404


def test_the_candidate_that_is_named_shows_the_chosen_strength_and_every_candidate_one_clean_image(page: Page) -> None:
    trial = page.answer_until(is_adaptive)
    clean_side = {"left": "right", "right": "left"}[trial.altered_side]
    chosen = AdaptiveChoice.objects.get(trial=trial).pair
    named = page.told[-1]["candidate"]
    shown = decode_png(page.picture(trial.index, trial.altered_side, named).content)
    assert np.array_equal(shown, decode_png(chosen.read()))
    for n in range(len(LEVELS)):
        clean = decode_png(page.picture(trial.index, clean_side, n).content)
        assert np.array_equal(clean, decode_png(chosen.base_image.read()))


@pytest.mark.parametrize("make", [make_study, make_adaptive_study])
def test_an_answer_takes_twelve_statements_at_most_however_many_came_before(make: Callable[[], Study]) -> None:
    page, work = Page(make()), []
    while (trial := page.due()) is not None:
        with CaptureQueriesContext(connection) as queries:
            page.put(trial.index)
        work.append(sum("SAVEPOINT" not in query["sql"] for query in queries))
    assert len(set(work[PRACTICE:-1])) == 1
    assert max(work[PRACTICE:]) <= 12


def test_acknowledging_takes_the_same_work_whatever_kind_of_trial_is_next(page: Page) -> None:
    """Otherwise the time a reply takes would tell an adaptive trial from a catch or control trial."""
    page.answer_until(lambda trial: trial.phase != Trial.Phase.PRACTICE)
    work: dict[str, set[int]] = {"adaptive": set(), "other": set()}
    while (trial := page.due()) is not None and trial.index < TOTAL - 1:
        following = page.session.trials.select_related("pair").get(index=trial.index + 1)
        with CaptureQueriesContext(connection) as queries:
            page.put(trial.index)
        work["adaptive" if is_adaptive(following) else "other"].add(len(queries))
    assert len(work["adaptive"]) == 1
    assert work["adaptive"] == work["other"]
