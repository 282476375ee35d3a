"""Signs of a script: each is found when it is there, and a person shows none."""

from __future__ import annotations

import random
from typing import Any

import pytest

from study.trials.robots import MEANINGS, flags


def person(n: int = 40, **more: Any) -> list[dict[str, Any]]:
    """Traces as a person's browser sends them: log-normal response times, frames counted, keys pressed."""
    rng = random.Random(3)
    times = [rng.lognormvariate(6.8, 0.35) for _ in range(n)]
    return [{"rt_ms": rt, "trusted": True, "input": "key", "frames": int(rt / 16.7), **more} for rt in times]


def test_a_person_shows_no_sign() -> None:
    assert flags(person(), ["started", "complete"]) == []


def test_a_session_without_answers_shows_no_sign() -> None:
    assert flags([], ["started"]) == []


def test_one_event_made_by_a_script_is_enough() -> None:
    traces = person()
    traces[7]["trusted"] = False
    assert flags(traces, []) == ["untrusted"]


def test_a_filled_honeypot_is_a_sign() -> None:
    assert flags(person(), ["started", "honeypot"]) == ["honeypot"]


@pytest.mark.parametrize(("rt_ms", "expected"), [(199.0, True), (201.0, False)])
def test_a_median_below_200_ms_is_too_fast(rt_ms: float, expected: bool) -> None:
    traces = [{**trace, "rt_ms": rt_ms * (0.9 if i % 2 else 1.1)} for i, trace in enumerate(person(21))]
    traces[0]["rt_ms"] = rt_ms
    assert ("too_fast" in flags(traces, [])) is expected


@pytest.mark.parametrize(("jitter", "expected"), [(0.03, True), (0.08, False)])
def test_response_times_that_hardly_differ_are_too_regular(jitter: float, expected: bool) -> None:
    traces = [{**trace, "rt_ms": 900 * (1 + (jitter if i % 2 else -jitter))} for i, trace in enumerate(person())]
    assert ("too_regular" in flags(traces, [])) is expected


def test_a_few_answers_do_not_tell_a_pace() -> None:
    assert flags([{**trace, "rt_ms": 150.0} for trace in person(9)], []) == []


def test_answers_without_an_input_are_a_sign() -> None:
    traces = person()
    assert flags(traces[:19] + [{**trace, "input": None} for trace in traces[19:]], []) == ["no_input"]


def test_answers_without_a_frame_are_a_sign() -> None:
    assert flags(person(frames=0), []) == ["no_frames"]


def test_an_answer_quicker_than_a_frame_need_not_have_seen_one() -> None:
    traces = person() + [{"rt_ms": 10.0, "trusted": True, "input": "key", "frames": 0}] * 60
    assert "no_frames" not in flags(traces, [])


def test_bare_requests_show_every_sign_that_a_page_would_have_hidden() -> None:
    assert flags([{"rt_ms": 500.0}] * 20, []) == ["too_regular", "no_input", "no_frames"]


def test_every_sign_has_a_sentence_for_the_researcher() -> None:
    assert all(sentence.endswith(".") for sentence in MEANINGS.values())
