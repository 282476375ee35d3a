"""Queues against theory, days against their sums, and layouts against the loads that they are chosen by."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import marked
from benchmarks.scaling import __main__ as scaling
from benchmarks.scaling import measured, scenarios, theory, trainings
from benchmarks.scaling.crowd import ANSWER, IMAGE, START, Found, Loop, Servers, Work, closed_loop, simulate
from benchmarks.scaling.days import (
    BURST,
    DAY_S,
    HOUR_S,
    PROFILES,
    SPREAD,
    STEP_S,
    Drawn,
    Profile,
    Visit,
    Window,
    demand,
    draw,
)
from benchmarks.scaling.document import Blocks, figure, people, table
from benchmarks.scaling.layouts import DEFAULT, FULL, SERVER, first_to_carry, sized, uses, work
from benchmarks.scaling.measured import SOURCES, Measured, Missing
from benchmarks.scaling.queues import GroupCommit, Station, Times, lognormal, waits

N = 120_000
FIGURES = {
    "answer_ms": 2.0, "answer_database_ms": 0.5, "answer_sqlite_ms": 1.5, "pair_ms": 4.0, "pair_database_ms": 1.0,
    "pair_sqlite_ms": 3.0, "pair_bytes": 25_000.0, "start_ms": 60.0, "start_database_ms": 20.0, "page_ms": 10.0,
    "plan_ms": 15.0, "start_sqlite_ms": 50.0, "page_sqlite_ms": 10.0, "plan_sqlite_ms": 15.0, "rate": 800.0,
    "rate_sqlite": 500.0, "p50_ms": 4.0, "p99_ms": 12.0, "flush_ms": 2.0, "broker_us": 15.0, "web_mb": 80.0,
    "mb_per_million": 1000.0, "report_s": 60.0, "report_mb": 900.0, "training_s": 120.0, "live_s": 2.5,
    "places_ms": 150.0, "few_places_ms": 30.0, "claim_ms": 10.0, "claim_snapshot_ms": 17.0, "audit_per_s": 200.0,
    "multixacts": 0.3,
}  # fmt: skip
MEASURED = Measured(**FIGURES)
VISIT = Visit()


def poisson(rate: float, n: int = N, seed: int = 1) -> Times:
    return np.cumsum(np.random.default_rng(seed).exponential(1 / rate, n))


def exponential(mean: float, n: int = N, seed: int = 2) -> Times:
    return np.random.default_rng(seed).exponential(mean, n)


# --- queues


@pytest.mark.parametrize(("servers", "load"), [(1, 0.5), (1, 0.7), (4, 0.8)])
def test_poisson_arrivals_with_exponential_services_wait_as_erlang_says(servers: int, load: float) -> None:
    found = waits(poisson(load * servers), exponential(1.0), servers).mean()
    assert found == pytest.approx(theory.mean_wait_mmc(load * servers, 1.0, servers), rel=0.06)


def test_equal_services_halve_the_wait() -> None:
    assert waits(poisson(0.7), np.ones(N)).mean() == pytest.approx(theory.mean_wait_md1(0.7, 1.0), rel=0.04)


def test_lognormal_services_wait_as_pollaczek_and_khinchine_say() -> None:
    services = lognormal(np.random.default_rng(3), 1.0, 0.5, N)
    assert waits(poisson(0.7), services).mean() == pytest.approx(theory.mean_wait_mg1(0.7, 1.0, 0.5), rel=0.05)


def test_as_many_are_there_as_come_while_one_is_there() -> None:
    """Little's law; how many are there is counted at moments of its own."""
    arrivals, services = poisson(2.0, 20_000), exponential(0.8, 20_000)
    leaves = arrivals + waits(arrivals, services, 2) + services
    moments = np.random.default_rng(4).uniform(0, arrivals[-1], 20_000)
    there = np.searchsorted(arrivals, moments) - np.searchsorted(np.sort(leaves), moments)
    assert there.mean() == pytest.approx(2.0 * (leaves - arrivals).mean(), rel=0.03)


def test_one_server_by_its_formula_and_one_by_one_agree() -> None:
    arrivals, services = poisson(0.9, 500), exponential(1.0, 500)
    station = Station(1)
    one_by_one = [station.serve(came, takes) - takes - came for came, takes in zip(arrivals, services, strict=True)]
    np.testing.assert_allclose(waits(arrivals, services), one_by_one, atol=1e-9)


def test_nobody_waits_for_a_free_server() -> None:
    assert waits(np.array([0.0, 1.0, 2.0]), np.array([5.0, 5.0, 5.0]), 2).tolist() == [0.0, 0.0, 3.0]


def test_arrivals_out_of_order_and_queues_without_a_server_are_refused() -> None:
    with pytest.raises(ValueError, match="order"):
        waits(np.array([1.0, 0.0]), np.ones(2))
    with pytest.raises(ValueError, match="at least one server"):
        waits(np.zeros(1), np.ones(1), 0)


def test_theory_has_no_mean_wait_for_a_queue_that_grows() -> None:
    with pytest.raises(ValueError, match="grows for ever"):
        theory.mean_wait_mmc(2.0, 1.0, 2)


def test_a_flush_takes_all_who_came_before_it() -> None:
    disk = GroupCommit(10.0)
    assert [disk.serve(came) for came in (0.0, 1.0, 9.0, 10.0, 35.0)] == [10.0, 20.0, 20.0, 20.0, 45.0]
    assert disk.busy_s == 30.0


def test_lognormal_draws_have_the_mean_and_the_variation_that_was_asked_for() -> None:
    drawn = lognormal(np.random.default_rng(5), 3.0, 0.5, N)
    assert (drawn.mean(), drawn.std() / drawn.mean()) == pytest.approx((3.0, 0.5), rel=0.02)


# --- days


@pytest.mark.parametrize("profile", PROFILES, ids=lambda profile: profile.name)
def test_a_day_has_its_people_with_all_their_images_and_answers(profile: Profile) -> None:
    asked = demand(profile, 1000, VISIT)
    sums = [each.sum() * STEP_S for each in (asked.starts, asked.images, asked.answers)]
    assert sums == pytest.approx([1000, 400_000, 200_000], rel=0.01)


def test_a_burst_is_over_within_its_hour_and_begins_with_its_most() -> None:
    at, rates = BURST.rates(1000)
    coming = at[rates > 0]
    assert (coming[0], coming[-1] + STEP_S) == (12 * HOUR_S, 13 * HOUR_S)
    assert rates.argmax() == np.flatnonzero(rates)[0]


def test_a_drawn_day_has_about_as_much_as_is_expected_and_the_same_again() -> None:
    window = Window(12 * HOUR_S, HOUR_S)
    drawn, again = (draw(BURST, 300, VISIT, window, seed=1) for _ in range(2))
    np.testing.assert_array_equal(drawn.answers, again.answers)
    asked = demand(BURST, 300, VISIT)
    inside = (asked.at >= window.began) & (asked.at < window.began + window.seconds)
    assert len(drawn.starts) == pytest.approx(300, rel=0.2)
    assert len(drawn.answers) == pytest.approx(asked.answers[inside].sum() * STEP_S, rel=0.2)
    assert np.all(np.diff(drawn.answers) >= 0)
    assert drawn.answers[-1] < HOUR_S


# --- people at the servers


def served(answers: list[float], servers: Servers, starts: tuple[float, ...] = (), visit: Visit = VISIT) -> Found:
    return simulate(Drawn(1000.0, np.array(starts), np.array(answers)), visit, servers, seed=1)


def exactly(web: int = 1, database: int = 0, flush_s: float | None = None, **work: Work) -> Servers:
    return Servers(work, web, database, flush_s, variation=0.0)


def test_answers_wait_for_each_other_at_one_processor_and_not_at_two() -> None:
    one = {"answer": Work(1.0, 0.5, stores=False)}
    assert served([0.0, 0.0], exactly(**one)).latencies[ANSWER] == pytest.approx([1.5, 3.0])
    assert served([0.0, 0.0], exactly(2, **one)).latencies[ANSWER] == pytest.approx([1.5, 1.5])


def test_a_database_of_its_own_works_while_the_web_server_does() -> None:
    found = served([0.0, 0.0], exactly(1, 1, answer=Work(1.0, 0.5, stores=False)))
    assert found.latencies[ANSWER] == pytest.approx([1.5, 2.5])


def test_what_is_stored_waits_for_the_flush_or_for_the_one_writer() -> None:
    answer = Work(0.1, 0.0, writer_s=1.0)
    assert served([0.0, 0.5], exactly(4, flush_s=2.0, answer=answer)).latencies[ANSWER] == pytest.approx([2.1, 3.6])
    assert served([0.0, 0.5], exactly(4, answer=answer)).latencies[ANSWER] == pytest.approx([1.1, 1.6])


def test_a_page_fetches_so_many_images_at_a_time_and_tells_when_its_first_block_is_there() -> None:
    visit = replace(VISIT, trials=4, block=2, at_once=2, network_s=1.0)
    servers = exactly(9, start=Work(0.5, 0.0, stores=False), image=Work(2.0, 0.0, stores=False))
    found = served([], servers, (0.0,), visit)
    assert len(found.latencies[IMAGE]) == 8
    assert found.first_block_s == pytest.approx([0.5 + 2 * (1.0 + 2.0)])
    assert found.unfinished == 0


def test_people_who_do_not_pause_get_what_the_processors_give() -> None:
    servers = Servers({ANSWER: Work(0.002, 0.0)}, 2, 0, 0.001, variation=0.5)
    found = closed_loop(Loop(50, 5.0), servers, seed=1)
    assert len(found.latencies[ANSWER]) / 5.0 == pytest.approx(1000, rel=0.03)
    assert found.load["web"] == pytest.approx(1.0, rel=0.02)


def test_a_part_of_the_servers_is_as_loaded_as_all_of_them() -> None:
    whole, part = (scenarios.part_of(SERVER, parts, MEASURED) for parts in (1, 3))
    assert (part.web, part.database) == (1, 1)
    load = whole.work[ANSWER].web_s / whole.web, whole.work[ANSWER].database_s / whole.database
    assert (part.work[ANSWER].web_s, part.work[ANSWER].database_s) == pytest.approx((3 * load[0], 3 * load[1]))


# --- layouts


def test_twice_as_many_people_use_twice_as_much() -> None:
    once, twice = (uses(DEFAULT, BURST, n, VISIT, MEASURED) for n in (100, 200))
    assert [use.share for use in twice] == pytest.approx([2 * use.share for use in once])
    assert once[0].people_at(1.0) == pytest.approx(twice[0].people_at(1.0))


def test_the_web_processors_are_used_by_what_their_requests_take() -> None:
    asked, each = demand(SPREAD, 1000, VISIT), work(SERVER, MEASURED)
    busy = sum(
        one.web_s * rate for one, rate in zip(each.values(), (asked.starts, asked.images, asked.answers), strict=True)
    )
    (share,) = [use.share for use in uses(SERVER, SPREAD, 1000, VISIT, MEASURED) if use.part == "web processors"]
    assert share == pytest.approx(np.max(busy) / SERVER.web)
    assert list(each) == [START, IMAGE, ANSWER]


def test_ten_a_day_are_carried_by_the_default_and_very_many_by_as_much_as_they_need() -> None:
    assert first_to_carry((DEFAULT, SERVER), BURST, 10, VISIT, MEASURED) is DEFAULT
    layout = first_to_carry((DEFAULT, SERVER), BURST, 300_000, VISIT, MEASURED)
    assert layout == sized(BURST, 300_000, VISIT, MEASURED)
    queueing = [use for use in uses(layout, BURST, 300_000, VISIT, MEASURED) if use.part != "broker's counting"]
    assert queueing[0].share <= FULL


# --- trainings


def test_a_year_of_trainings_is_submitted_by_day_and_keeps_its_workers_as_busy_as_it_must() -> None:
    came = trainings.submitted(10, seed=1)
    assert len(came) == pytest.approx(520, rel=0.15)
    assert np.all((came % DAY_S >= 9 * HOUR_S) & (came % DAY_S < 18 * HOUR_S))
    assert np.all(came % trainings.WEEK_S < 5 * DAY_S)
    assert trainings.year(10, 3600.0, 1, seed=1).load == pytest.approx(10 / 168)


def test_more_workers_wait_less_and_as_many_are_found_as_keep_the_promise() -> None:
    few, more = (trainings.year(100, 3600.0, n, seed=1).hours(0.95) for n in (1, 2))
    assert more < few
    assert trainings.workers_for(100, 8 * 3600.0, seed=1).hours(0.95) <= trainings.PATIENCE_H


# --- what was measured, and the document


def recorded() -> dict[str, dict[str, Any]]:
    rows: dict[str, dict[str, Any]] = {}
    for name, source in SOURCES.items():
        row = rows.setdefault(source.row, {"id": source.row, "peer": None, "commit": "c0ffee", "measured": "a day"})
        value = FIGURES[name] / source.times
        costs = row.setdefault("costs", {}).setdefault("ours", {})
        (costs if source.of in (measured.CPU, measured.MEMORY) else row)[source.of] = value
    return rows


def test_what_was_measured_is_read_from_the_rows() -> None:
    assert measured.read(list(recorded().values())) == MEASURED


@pytest.mark.parametrize("name", ["answers.p50_ms.think", "contending.flush_ms"])
def test_a_row_that_is_missing_is_named_in_one_sentence(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results = tmp_path / "results.json"
    results.write_text(json.dumps({"rows": [row for row in recorded().values() if row["id"] != name]}))
    assert scaling.main(["--results", str(results)]) == 1
    said = capsys.readouterr().err
    assert name in said
    assert said.count("\n") == 1


def test_a_row_without_the_cpu_time_that_is_wanted_is_named() -> None:
    rows = recorded()
    rows["attack.s050.success"]["costs"] = {}
    with pytest.raises(Missing, match=r"attack\.s050\.success"):
        measured.read(list(rows.values()))


def test_every_table_of_the_program_has_its_place_in_the_document_once() -> None:
    text = scaling.DOCUMENT.read_text()
    for name in blocks(recorded()).makers():
        assert text.count(f"<!-- {name}: begin -->") == text.count(f"<!-- {name}: end -->") == 1


def blocks(rows: Mapping[str, Mapping[str, Any]]) -> Blocks:
    return Blocks(MEASURED, rows, VISIT, [], [])


def test_the_document_says_what_breaks_first_and_what_carries_it() -> None:
    lines = blocks(recorded()).short().splitlines()
    assert lines[2].startswith("| 10 people a day | spread |")
    assert DEFAULT.what in lines[2]
    assert "web hosts of 16 processors" in lines[7]


def test_every_figure_that_was_measured_names_its_row_and_commit() -> None:
    lines = blocks(recorded()).costs().splitlines()[2:]
    assert len(lines) == len(SOURCES)
    assert all("c0ffee" in line for line in lines)


def test_figures_are_rounded_and_people_rounded_down() -> None:
    assert [figure(value) for value in (float("nan"), 0.01234, 12.34, 123_456.0)] == ["—", "0.012", "12", "120,000"]
    assert [people(value) for value in (9.9, 1999.0, 123_456.0)] == ["9", "1,900", "120,000"]


def test_a_table_takes_its_place_between_its_marks_or_nothing_is_written(tmp_path: Path) -> None:
    text, document = "before\n<!-- a: begin -->\nold\n<!-- a: end -->\nafter\n", tmp_path / "scaling.md"
    document.write_text(text)
    inside = table(("x",), [("1",)])
    with pytest.raises(ValueError, match=r"scaling\.md has no place for 'b'"):
        marked.write(document, {"a": inside, "b": inside})
    assert document.read_text() == text
    marked.write(document, {"a": inside})
    assert document.read_text() == text.replace("old", "| x |\n| --- |\n| 1 |")
