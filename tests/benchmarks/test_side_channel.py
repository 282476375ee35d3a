"""The attacker finds whatever is planted in what a browser sees, and nothing where there is nothing."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

from benchmarks.side_channel import __main__ as side_channel
from benchmarks.side_channel.__main__ import Sample, judged, summary
from benchmarks.side_channel.attack import Finding, attack
from benchmarks.side_channel.browser import Exchange, Run, Shown
from benchmarks.side_channel.features import image_numbers, table
from study.lab.images import encode_png
from study.trials.images import dressed

SESSIONS, PAIRS = 5, 24
PERMUTATIONS = 999
Leak = Callable[[Run, int, str], None]


def nothing(run: Run, index: int, altered: str) -> None:
    """Both sides, right and wrong answers alike."""


def image_of(run: Run, index: int, side: str) -> Exchange:
    return next(e for e in run.exchanges if e.path == f"i/{index}/{side}")


def reply_to(run: Run, index: int) -> Exchange:
    return next(e for e in run.exchanges if e.path == f"trials/{index}")


def one_byte_of_length(run: Run, index: int, altered: str) -> None:
    image = image_of(run, index, altered)
    image.wire_bytes += 1


def a_byte_of_the_random_chunk(run: Run, index: int, altered: str) -> None:
    image = image_of(run, index, altered)
    assert image.body is not None
    image.body = image.body[:-30] + bytes([image.body[-30] % 64]) + image.body[-29:]


def a_header(run: Run, index: int, altered: str) -> None:
    image_of(run, index, altered).headers["X-Cache"] = "MISS"


def the_order_of_headers(run: Run, index: int, altered: str) -> None:
    image = image_of(run, index, altered)
    image.headers = dict(reversed(image.headers.items()))


def two_milliseconds(run: Run, index: int, altered: str) -> None:
    image = image_of(run, index, altered)
    image.response["timing"]["receiveHeadersEnd"] += 2.0
    image.finished += 0.002


def the_order_of_requests(run: Run, index: int, altered: str) -> None:
    left, right = (image_of(run, index, side) for side in ("left", "right"))
    first, second = sorted((left.number, right.number))
    left.number, right.number = (first, second) if altered == "left" else (second, first)


def one_file_for_all(run: Run, index: int, altered: str) -> None:
    image = image_of(run, index, {"left": "right", "right": "left"}[altered])
    image.body = encode_png(np.zeros((4, 4), dtype=np.uint8))


def an_attribute(run: Run, index: int, altered: str) -> None:
    shown = next(trial for trial in run.trials if trial.index == index)
    node = shown.states[0]["pictures"][0 if altered == "left" else 1]
    node["html"] = node["html"].replace("<canvas", "<canvas data-role")


def a_word_in_the_plan(run: Run, index: int, altered: str) -> None:
    run.plan["trials"][index]["first"] = altered


def a_reply_that_knows_what_is_right(run: Run, index: int, altered: str) -> None:
    choice = next(trial.choice for trial in run.trials if trial.index == index)
    reply = reply_to(run, index)
    assert reply.body is not None
    reply.body = reply.body + b" " * (choice == altered)


LEAKS = [
    one_byte_of_length,
    a_byte_of_the_random_chunk,
    a_header,
    the_order_of_headers,
    two_milliseconds,
    the_order_of_requests,
    one_file_for_all,
    an_attribute,
    a_word_in_the_plan,
    a_reply_that_knows_what_is_right,
]


def sample(leak: Leak) -> Sample:
    """What a browser would have seen of a flawless server, with one thing added on account of the altered side."""
    runs, left = [], []
    for session in range(SESSIONS):
        rng = random.Random(session)
        run = make_run(f"token{session}", rng)
        for index in range(PAIRS):
            altered = rng.choice(("left", "right"))
            leak(run, index, altered)
            left.append(altered == "left")
        runs.append(run)
    return Sample(table(runs), np.array(left), np.array(left))


def make_run(token: str, rng: random.Random) -> Run:
    exchanges: list[Exchange] = []
    for index in range(PAIRS):
        for side in ("left", "right"):
            picture = np.random.default_rng(rng.randrange(2**32)).integers(0, 255, (4, 4), dtype=np.uint8)
            body = dressed(encode_png(picture), token, index, side)
            exchanges.append(make_exchange(len(exchanges), f"{token}/i/{index}/{side}", "GET", body, rng))
    trials = []
    for index in range(PAIRS):
        reply = json.dumps({"id": 100 + index, "next_index": index + 1}).encode()
        exchanges.append(make_exchange(len(exchanges), f"{token}/trials/{index}", "PUT", reply, rng))
        trials.append(Shown(index, [make_state()], [], rng.choice(("left", "right"))))
    planned = [{"index": index, "phase": "trial"} for index in range(PAIRS)]
    return Run(token, {"sides": ["left", "right"], "trials": planned}, trials, exchanges)


def make_exchange(number: int, path: str, method: str, body: bytes, rng: random.Random) -> Exchange:
    wait = rng.gammavariate(9, 0.3)
    timing = {"requestTime": number + 0.001, "sendStart": 0.1, "sendEnd": 0.2, "receiveHeadersEnd": 0.2 + wait}
    return Exchange(
        number,
        f"http://localhost/run/{path}",
        method,
        float(number),
        {"postData": json.dumps({"trace": {"frame_ms": rng.gauss(16.7, 0.1)}})},
        headers={"Content-Type": "image/png", "Content-Length": str(len(body)), "Repr-Digest": "random"},
        response={"status": 200, "timing": timing, "encodedDataLength": 400},
        pieces=[(len(body), len(body))],
        finished=number + 0.002 + wait / 1000,
        wire_bytes=400.0 + len(body),
        body=body,
    )


def make_state() -> dict[str, Any]:
    def node(tag: str) -> dict[str, Any]:
        return {"html": f"<{tag}></{tag}>", "box": [0, 0, 10, 10], "style": "opacity 1"}

    return {
        "state": "shown",
        "at": 1.0,
        "html": "<main></main>",
        "elements": 9,
        "resources": 3,
        "pictures": [node("canvas"), node("canvas")],
        "answers": [node("button"), node("button")],
    }


# --- leaks


@pytest.mark.parametrize("leak", LEAKS, ids=lambda leak: leak.__name__)
def test_a_planted_leak_is_found(leak: Leak) -> None:
    found = sample(leak).tell_side(permutations=PERMUTATIONS)
    assert found.p <= side_channel.LEAST_P
    assert found.auc > 0.6


def test_nothing_is_found_where_nothing_leaks() -> None:
    found = sample(nothing).tell_side(permutations=PERMUTATIONS)
    assert found.p > 0.01


def test_what_leaked_is_named() -> None:
    found = sample(two_milliseconds).tell_side(permutations=PERMUTATIONS)
    assert found.strongest is not None
    assert found.strongest.feature == "image.first_byte_ms.difference"


def test_a_catch_pair_that_takes_longer_on_both_sides_is_found() -> None:
    def both_sides(run: Run, index: int, altered: str) -> None:
        if altered == "left":  # here the label of catch pairs
            two_milliseconds(run, index, "left")
            two_milliseconds(run, index, "right")

    assert sample(both_sides).tell_catch(permutations=PERMUTATIONS).p <= side_channel.LEAST_P
    assert sample(both_sides).tell_side(permutations=PERMUTATIONS).p > side_channel.LEAST_P


def test_the_picture_itself_is_no_feature() -> None:
    black, white = (
        make_exchange(0, "token/i/0/left", "GET", encode_png(np.full((4, 4), grey, np.uint8)), random.Random(1))
        for grey in (0, 255)
    )
    black, white = (image_numbers(exchange, exchange, Counter()) for exchange in (black, white))
    assert {name for name in black if black[name] != white[name] and not name.startswith("hash.")} == set()


# --- the statistics


def noise(rows: int = 240) -> tuple[pd.DataFrame, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(2)
    features = pd.DataFrame(rng.normal(size=(rows, 5)), columns=list("abcde"))
    return features, rng.random(rows) < 0.5, np.repeat(np.arange(8), rows // 8)


def test_p_is_uniform_without_a_leak() -> None:
    features, _, sessions = noise(120)
    draws = np.random.default_rng(3).random((40, 120)) < 0.5
    ps = [attack(features, labels, sessions, permutations=99, seed=i).p for i, labels in enumerate(draws)]
    assert 0.3 < np.mean(ps) < 0.7


def test_a_leak_without_a_direction_is_found() -> None:
    features, labels, sessions = noise()
    features["b"] *= np.where(labels, 3.0, 1.0)
    found = attack(features, labels, sessions, permutations=PERMUTATIONS)
    assert found.classifiers["boosted stumps"]["p"] <= side_channel.LEAST_P
    assert found.classifiers["logistic regression"]["p"] > side_channel.LEAST_P


def test_differences_between_sessions_are_no_leak() -> None:
    features, labels, sessions = noise()
    features["a"] += 100 * sessions
    features["c"] = sessions
    found = attack(features, labels, sessions, permutations=200)
    assert found.features == 4
    assert found.p > side_channel.LEAST_P


def test_features_that_never_vary_leave_nothing_to_go_by() -> None:
    features, labels, sessions = noise()
    found = attack(features * 0, labels, sessions, permutations=99)
    assert (found.auc, found.p, found.features, found.strongest) == (0.5, 1.0, 0, None)


def test_one_session_is_refused() -> None:
    features, labels, _ = noise()
    with pytest.raises(ValueError, match="at least two sessions"):
        attack(features, labels, np.zeros(len(labels)))


# --- the result


def finding(auc: float, p: float) -> Finding:
    return Finding(auc, p, 2000, 1000, 20, 90, 2000, {}, None)


@pytest.mark.parametrize(
    ("side", "catch", "naive", "passed"),
    [
        (finding(0.51, 0.2), finding(0.5, 0.5), finding(0.99, 0.0005), True),
        (finding(0.55, 0.001), finding(0.5, 0.5), finding(0.99, 0.0005), False),
        (finding(0.51, 0.2), finding(0.6, 0.0005), finding(0.99, 0.0005), False),
        (finding(0.51, 0.2), finding(0.5, 0.5), finding(0.9, 0.0005), False),
    ],
)
def test_it_passes_when_both_attacks_fail_and_the_attacker_can_see(
    side: Finding, catch: Finding, naive: Finding, passed: bool
) -> None:
    report = judged("afc", side, catch, naive, naive)
    assert report["passed"] is passed
    assert ("NOT PASSED" in summary(report)) is not passed


@pytest.mark.parametrize("arguments", [["--pairs", "0"], ["--pairs", "many"], ["--protocol", "other"]])
def test_bad_options_are_refused_before_anything_starts(arguments: list[str]) -> None:
    with pytest.raises(SystemExit):
        side_channel.main(arguments)
