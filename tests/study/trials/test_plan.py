"""Balance of the plans: what holds exactly, for any numbers of cells, trials and lists."""

from __future__ import annotations

from collections import Counter, defaultdict
from itertools import groupby, pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from study.trials.plan import (
    CATCH,
    LEFT,
    LONGEST_RUN,
    MAIN,
    PRACTICE,
    RIGHT,
    Cell,
    Kind,
    PlanError,
    choose_stimuli,
    make_plan,
    practice_ladder,
    rotate,
)

DEFAULT = [
    *(Cell(Kind("a", "", s), 8) for s in (0.25, 0.5, 1.0, 2.0, 4.0)),
    *(Cell(Kind("a", c, s), 4) for c, s in (("identity", 0.0), ("resampled", 2.0), ("other_field", 2.0))),
]
GROSS = 7.3
SEEN_BY_ALL = Kind("a", "", GROSS, gross=True)

cell_lists = st.lists(st.integers(1, 6).map(lambda n: 2 * n), min_size=1, max_size=8).map(
    lambda sizes: [Cell(Kind("a", "", float(i + 1)), n) for i, n in enumerate(sizes)]
)


def stimuli_for(cells: list[Cell]) -> list[int]:
    return list(range(100, 100 + sum(cell.trials for cell in cells)))


def design_of(cells: list[Cell] = DEFAULT, catch: int = 8, practice: int = 6) -> dict[str, Any]:
    """The parts of a design that a plan is made from; a pair's id tells stimulus and condition."""
    main = stimuli_for(cells)
    catch_images = list(range(1000, 1000 + catch))
    practice_images = list(range(2000, 2000 + practice))
    ladder = practice_ladder([4.0, 2.0], SEEN_BY_ALL, practice) if practice else []
    shown = [
        *((s, cell.kind) for s in main for cell in cells),
        *((s, SEEN_BY_ALL) for s in catch_images),
        *zip(practice_images, ladder, strict=True),
    ]
    return {
        "attacks": [{"name": name} for name in dict.fromkeys(cell.kind.attack for cell in cells)],
        "cells": [
            {"attack": c.kind.attack, "control": c.kind.control, "strength": c.kind.strength, "trials": c.trials}
            for c in cells
        ],
        "stimuli": main,
        "catch": {"strength": GROSS, "stimuli": catch_images},
        "adaptive": None,
        "practice": {
            "strengths": [kind.strength for kind in ladder],
            "stimuli": practice_images,
            "correct": 0,
            "rounds": 1,
        },
        "pairs": [
            {"id": i, "stimulus": s, "attack": kind.attack, "control": kind.control, "strength": kind.strength}
            for i, (s, kind) in enumerate(shown)
        ],
    }


def longest_run(sides: list[str]) -> int:
    return max(len(list(run)) for _, run in groupby(sides))


@given(cell_lists, st.integers(0, 500))
def test_every_stimulus_is_shown_once_and_every_cell_has_its_trials(cells: list[Cell], list_number: int) -> None:
    planned = rotate(stimuli_for(cells), cells, list_number)
    assert [stimulus for stimulus, _, _ in planned] == stimuli_for(cells)
    assert Counter(kind for _, kind, _ in planned) == {cell.kind: cell.trials for cell in cells}


@given(cell_lists, st.integers(0, 500))
def test_the_altered_image_is_on_the_left_in_exactly_half_of_each_cell(cells: list[Cell], list_number: int) -> None:
    left = Counter(kind for _, kind, side in rotate(stimuli_for(cells), cells, list_number) if side == LEFT)
    assert left == {cell.kind: cell.trials // 2 for cell in cells}


@given(cell_lists, st.integers(0, 100))
def test_as_many_lists_as_blocks_show_every_stimulus_in_proportion_to_the_cells(cells: list[Cell], first: int) -> None:
    size = min_gcd(cells)
    blocks = sum(cell.trials for cell in cells) // size
    met = meetings(cells, range(first, first + blocks))
    for stimulus in stimuli_for(cells):
        assert {kind: len(sides) for kind, sides in met[stimulus].items()} == {c.kind: c.trials // size for c in cells}


@given(cell_lists, st.integers(0, 100), st.integers(1, 60))
@settings(deadline=None)
def test_a_stimulus_meets_a_cell_on_alternating_sides(cells: list[Cell], first: int, n: int) -> None:
    for of_stimulus in meetings(cells, range(first, first + n)).values():
        for sides in of_stimulus.values():
            assert all(one != other for one, other in pairwise(sides))


@given(cell_lists, st.integers(0, 100), st.integers(1, 60))
@settings(deadline=None)
def test_stimuli_never_differ_by_more_than_three_meetings_with_a_cell(cells: list[Cell], first: int, n: int) -> None:
    assert uneven(cells, range(first, first + n)) <= 3


@pytest.mark.parametrize("n", [1, 5, 12, 13, 14, 40, 100])
@pytest.mark.parametrize("first", [0, 7])
def test_by_default_stimuli_differ_by_one_meeting_with_a_cell_at_most(first: int, n: int) -> None:
    assert uneven(DEFAULT, range(first, first + n)) <= 1


@given(st.integers(0, 200), st.integers(0, 2**63 - 1))
@settings(max_examples=60, deadline=None)
def test_a_session_has_practice_first_and_then_main_and_catch_trials_mixed(list_number: int, seed: int) -> None:
    planned = make_plan(design_of(), list_number, seed)
    phases = [trial.phase for trial in planned]
    assert phases[:6] == [PRACTICE] * 6
    assert Counter(phases) == {PRACTICE: 6, MAIN: 52, CATCH: 8}
    assert [sum(p == CATCH for p in phases[6 + a : 6 + b]) for a, b in stretches(60, 8)] == [1] * 8


@given(st.integers(0, 200), st.integers(0, 2**63 - 1))
@settings(max_examples=60, deadline=None)
def test_no_side_comes_more_than_four_times_in_a_row(list_number: int, seed: int) -> None:
    judged = make_plan(design_of(), list_number, seed)[6:]
    assert longest_run([trial.altered_side for trial in judged]) <= LONGEST_RUN
    assert Counter(t.altered_side for t in judged if t.phase == CATCH) == {"left": 4, "right": 4}


@given(cell_lists, st.integers(0, 20), st.integers(0, 7), st.integers(0, 2**32))
@settings(max_examples=60, deadline=None)
def test_any_numbers_of_catch_and_practice_trials_can_be_mixed_in(
    cells: list[Cell], catch: int, practice: int, seed: int
) -> None:
    planned = make_plan(design_of(cells, catch, practice), 3, seed)
    assert len(planned) == sum(cell.trials for cell in cells) + catch + practice
    assert longest_run([trial.altered_side for trial in planned[practice:]]) <= LONGEST_RUN


def test_a_plan_never_shows_a_base_image_twice() -> None:
    design = design_of()
    stimulus = {pair["id"]: pair["stimulus"] for pair in design["pairs"]}
    for list_number in range(30):
        shown = [stimulus[trial.pair] for trial in make_plan(design, list_number, seed=list_number)]
        assert len(set(shown)) == len(shown) == 66


def test_the_same_seed_and_list_give_the_same_plan() -> None:
    assert make_plan(design_of(), 5, seed=11) == make_plan(design_of(), 5, seed=11)


def test_another_seed_gives_another_order_of_the_same_trials() -> None:
    one, other = (make_plan(design_of(), 5, seed=seed)[6:] for seed in (1, 2))
    assert one != other
    assert Counter(trial.pair for trial in one) == Counter(trial.pair for trial in other)


def test_catch_images_change_sides_from_list_to_list() -> None:
    one, other = (
        {trial.pair: trial.altered_side for trial in make_plan(design_of(), n, seed=1) if trial.phase == CATCH}
        for n in (0, 1)
    )
    assert all(one[pair] != other[pair] for pair in one)


def test_an_odd_number_of_trials_in_a_cell_is_refused() -> None:
    with pytest.raises(PlanError, match="altered at strength 1 has 3 trials per session: give it an even number"):
        rotate([1, 2, 3], [Cell(Kind("a", "", 1.0), 3)], 0)


def test_practice_goes_from_the_gross_alteration_to_weaker_ones() -> None:
    four, two = Kind("a", "", 4.0), Kind("a", "", 2.0)
    ladder = practice_ladder([0.25, 0.5, 1, 2, 4], SEEN_BY_ALL, 6)
    assert ladder == [SEEN_BY_ALL, SEEN_BY_ALL, four, four, two, two]


# --- several attacks, or fields of one


@st.composite
def studies_of_several_fields(draw: st.DrawFn) -> list[Cell]:
    """As many strengths and controls, with as many trials, under each of two to four fields."""
    fields, strengths = draw(st.integers(2, 4)), draw(st.integers(1, 3))
    trials, of_controls = (2 * draw(st.integers(1, 4)) for _ in range(2))
    kinds = [*((("", float(s + 1)), trials) for s in range(strengths)), (("identity", 0.0), of_controls)]
    return [Cell(Kind(field, *kind), n) for kind, n in kinds for field in "abcd"[:fields]]


@given(studies_of_several_fields(), st.integers(0, 200), st.integers(0, 2**63 - 1))
@settings(max_examples=40, deadline=None)
def test_a_session_shows_every_field_at_every_strength_equally_often_on_either_side(
    cells: list[Cell], list_number: int, seed: int
) -> None:
    design = design_of(cells, catch=4, practice=4)
    planned = make_plan(design, list_number, seed)
    shown = {pair["id"]: pair for pair in design["pairs"]}
    met = Counter(
        (shown[trial.pair]["attack"], shown[trial.pair]["control"], shown[trial.pair]["strength"], trial.altered_side)
        for trial in planned
        if trial.phase == MAIN
    )
    assert met == {
        (cell.kind.attack, cell.kind.control, cell.kind.strength, side): cell.trials // 2
        for cell in cells
        for side in (LEFT, RIGHT)
    }
    assert len({shown[trial.pair]["stimulus"] for trial in planned}) == len(planned)
    assert longest_run([trial.altered_side for trial in planned if trial.phase != PRACTICE]) <= LONGEST_RUN


@given(studies_of_several_fields(), st.integers(0, 100))
@settings(max_examples=40, deadline=None)
def test_a_turn_of_lists_shows_every_stimulus_under_every_field_at_every_strength_equally_often(
    cells: list[Cell], first: int
) -> None:
    size = min_gcd(cells)
    turn = sum(cell.trials for cell in cells) // size
    met = meetings(cells, range(first, first + 2 * turn))
    for stimulus in stimuli_for(cells):
        sides = {cell.kind: Counter(met[stimulus][cell.kind]) for cell in cells}
        assert sides == {cell.kind: {LEFT: cell.trials // size, RIGHT: cell.trials // size} for cell in cells}


def test_catch_and_practice_trials_show_the_first_attack() -> None:
    cells = [Cell(Kind(attack, "", 1.0), 4) for attack in ("a", "b")]
    design = design_of(cells, catch=2, practice=2)
    attack = {pair["id"]: pair["attack"] for pair in design["pairs"]}
    shown = [(trial.phase, attack[trial.pair]) for trial in make_plan(design, 0, seed=1)]
    assert {attack for phase, attack in shown if phase != MAIN} == {"a"}
    assert Counter(attack for phase, attack in shown if phase == MAIN) == {"a": 4, "b": 4}


# --- sharing out the base images

COMPLETE = (*(cell.kind for cell in DEFAULT), SEEN_BY_ALL)
LADDER = practice_ladder([4.0, 2.0], SEEN_BY_ALL, 4)
SHARES = {"gross": SEEN_BY_ALL, "catch_trials": 8, "practice_kinds": LADDER, "seed": 1}


def test_no_base_image_has_two_uses() -> None:
    chosen = choose_stimuli(dict.fromkeys(range(80), COMPLETE), DEFAULT, **SHARES)
    together = [*chosen.main, *chosen.catch, *chosen.practice]
    assert (len(chosen.main), len(chosen.catch), len(chosen.practice)) == (52, 8, 4)
    assert len(set(together)) == len(together)


def test_base_images_without_all_conditions_go_to_the_catch_trials_first() -> None:
    kinds = dict.fromkeys(range(56), COMPLETE) | dict.fromkeys(range(100, 108), (SEEN_BY_ALL,))
    assert set(choose_stimuli(kinds, DEFAULT, **SHARES).catch) == set(range(100, 108))


def test_too_few_base_images_are_refused_with_the_number_that_is_needed() -> None:
    with pytest.raises(PlanError, match="52 main trials need 52 base images of their own, but only 51 are left"):
        choose_stimuli(dict.fromkeys(range(63), COMPLETE), DEFAULT, **SHARES)


def test_too_few_images_with_a_gross_alteration_are_refused() -> None:
    kinds = dict.fromkeys(range(80), tuple(cell.kind for cell in DEFAULT))
    with pytest.raises(PlanError, match="8 catch trials need 8 base images of their own, but only 0 are left"):
        choose_stimuli(kinds, DEFAULT, **SHARES)


# --- counting


def min_gcd(cells: list[Cell]) -> int:
    sizes = [cell.trials for cell in cells]
    return next(n for n in range(min(sizes), 0, -1) if all(size % n == 0 for size in sizes))


def meetings(cells: list[Cell], lists: range) -> dict[int, dict[Kind, list[str]]]:
    """Sides on which each stimulus met each kind, in the order of the lists."""
    met: dict[int, dict[Kind, list[str]]] = defaultdict(lambda: {cell.kind: [] for cell in cells})
    for list_number in lists:
        for stimulus, kind, side in rotate(stimuli_for(cells), cells, list_number):
            met[stimulus][kind].append(side)
    return met


def uneven(cells: list[Cell], lists: range) -> int:
    """The largest difference between two stimuli in how often they met the same cell."""
    met = meetings(cells, lists).values()
    counts = [[len(of_stimulus[cell.kind]) for of_stimulus in met] for cell in cells]
    return max(max(of_cell) - min(of_cell) for of_cell in counts)


def stretches(total: int, n: int) -> list[tuple[int, int]]:
    return [(j * total // n, (j + 1) * total // n) for j in range(n)]
