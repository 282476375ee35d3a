"""Who sees what, where and when: the balanced plan of a session, from the frozen design, a list number and a seed.

The trials of every cell (an attack at a strength, or a control of it) come in blocks of equal size, the blocks stand in
a circle, and the stimuli are cut into as many groups as there are blocks. On list l, group g meets block g + l, so
after a whole turn every stimulus has met every block once: a Latin square of groups, blocks and lists. Each time a
stimulus meets a cell again the altered image is on the other side, and each block is half left, half right.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, NamedTuple, TypeVar

from study.trials.protocols import LEFT, RIGHT

T = TypeVar("T")

PRACTICE: Final = "practice"
MAIN: Final = "main"
CATCH: Final = "catch"
LONGEST_RUN: Final = 4
PRACTICE_STEPS: Final = 3


class PlanError(ValueError):
    """No balanced plan can be made. The message is one sentence: what is wrong and what to do."""


class Kind(NamedTuple):
    """What is done to a stimulus: one control kind ("" = the attack itself) of one attack at one strength."""

    attack: str
    control: str
    strength: float
    gross: bool = False

    def __str__(self) -> str:
        return f"{self.attack}: {self.done}"

    @property
    def done(self) -> str:
        """In words, but for the attack."""
        return f"{self.control or ('grossly altered' if self.gross else 'altered')} at strength {self.strength:g}"


#: The cell of an adaptive study: the attack, at a strength that is chosen from the answers.
ADAPTIVE: Final = Kind("", "adaptive", 0.0)


@dataclass(frozen=True)
class Cell:
    """One condition or control with its number of main trials in a session."""

    kind: Kind
    trials: int


@dataclass(frozen=True)
class Stimuli:
    """Base images by use, each in the order in which lists and practice go through them. No image has two uses."""

    main: tuple[int, ...]
    catch: tuple[int, ...]
    practice: tuple[int, ...]


@dataclass(frozen=True)
class PlannedTrial:
    """A trial to be.

    Attributes:
        phase: practice, main or catch.
        stimulus: id of the base image.
        pair: id of the pair; None where its strength is chosen from the answers before it.
        altered_side: left or right.
        altered_frame: which of two pictures at the altered side is the altered one, where a place has two: 0 or 1.
        round: of practice, from 1; 0 elsewhere.
        candidates: ids of the pairs that the page loads, one of which is shown; empty when there is only one.
    """

    phase: str
    stimulus: int
    pair: int | None
    altered_side: str
    altered_frame: int = 0
    round: int = 0
    candidates: tuple[int, ...] = ()


def make_plan(design: Mapping[str, Any], list_number: int, seed: int) -> list[PlannedTrial]:
    """The trials of one session in order: practice first, then main and catch trials mixed.

    `design` is the frozen design (`DesignVersion.now`), `list_number` >= 0 decides which stimulus meets which cell on
    which side, `seed` the order. The same arguments give the same plan. Within the mixed part no side comes more than
    four times in a row, and one catch trial lies in each of as many equal stretches as there are catch trials.

    In an adaptive study every trial of the mixed part has one candidate for each strength, in an order of its own;
    those of catch and control trials are all the same pair, so that the trials look alike.
    """
    rng = random.Random(seed)  # noqa: S311  (a reproducible order is wanted, not a secret)
    pair = {(p["stimulus"], Kind(p["attack"], p["control"], p["strength"])): p["id"] for p in design["pairs"]}
    cells = cells_of(design)
    first = design["attacks"][0]["name"]
    gross = Kind(first, "", design["catch"]["strength"])
    strengths = design["adaptive"]["strengths"] if design["adaptive"] else []

    def planned(phase: str, stimulus: int, kind: Kind, side: str) -> PlannedTrial:
        if kind == ADAPTIVE:
            levels = tuple(pair[stimulus, Kind(first, "", strength)] for strength in strengths)
            return PlannedTrial(phase, stimulus, None, side, candidates=levels)
        shown = pair[stimulus, kind]
        return PlannedTrial(phase, stimulus, shown, side, candidates=(shown,) * len(strengths))

    ladder = [Kind(first, "", strength) for strength in design["practice"]["strengths"]]
    practice = _practice(design["practice"], ladder, pair, list_number, rng)
    main = [
        planned(MAIN, stimulus, kind, side) for stimulus, kind, side in rotate(design["stimuli"], cells, list_number)
    ]
    caught = design["catch"]["stimuli"]
    catch = [
        planned(CATCH, stimulus, gross, side)
        for stimulus, side in zip(caught, _alternating(len(caught), start=list_number), strict=True)
    ]
    return _arranged(practice + _mixed(main, catch, rng), seed)


def cells_of(design: Mapping[str, Any]) -> list[Cell]:
    """The conditions and controls of a frozen design, in its order."""
    return [_cell(described) for described in design["cells"]]


def _cell(described: Mapping[str, Any]) -> Cell:
    if described["strength"] is None:
        return Cell(ADAPTIVE, described["trials"])
    return Cell(Kind(described["attack"], described["control"], described["strength"]), described["trials"])


def _practice(
    described: Mapping[str, Any],
    ladder: Sequence[Kind],
    pair: Mapping[tuple[int, Kind], int],
    list_number: int,
    rng: random.Random,
) -> list[PlannedTrial]:
    """All rounds of practice, each from the clearest alteration to the finest, each half left and half right."""
    stimuli = described["stimuli"]
    a_round = len(stimuli) // described["rounds"]
    sides = [
        side
        for n in range(described["rounds"])
        for side in _shuffled(_alternating(a_round, start=list_number + n), rng)
    ]
    return [
        PlannedTrial(PRACTICE, stimulus, pair[stimulus, kind], side, round=i // a_round + 1)
        for i, (stimulus, kind, side) in enumerate(zip(stimuli, ladder, sides, strict=True))
    ]


def _arranged(trials: Sequence[PlannedTrial], seed: int) -> list[PlannedTrial]:
    """The trials with the order of their pictures and candidates.

    Drawn apart from the rest of the plan, which so is the same for every protocol.
    """
    rng = random.Random(f"pictures {seed}")  # noqa: S311
    return [
        replace(trial, altered_frame=rng.randrange(2), candidates=tuple(_shuffled(trial.candidates, rng)))
        for trial in trials
    ]


def rotate(stimuli: Sequence[int], cells: Sequence[Cell], list_number: int) -> list[tuple[int, Kind, str]]:
    """Which stimulus meets which cell on which side on one list: (stimulus, kind, side of the altered image).

    Exactly: every stimulus once; every cell its number of trials, half of them on each side; over any consecutive
    lists a stimulus meets every block equally often to within one, and its meetings with a cell alternate in side; over
    as many lists as there are blocks it meets every cell in proportion to the cell's trials. In between, two stimuli's
    meetings with a cell differ by three at most, and by one with the default numbers (5 cells of 8 trials, 3 of 4).
    """
    size = block_size(cells)
    circle = _spread([cell.trials // size for cell in cells])
    if len(stimuli) != size * len(circle):
        raise PlanError(f"The cells need {size * len(circle)} base images, not {len(stimuli)}.")
    planned = []
    for i, stimulus in enumerate(stimuli):
        place, group = divmod(i, len(circle))
        turn, block = divmod(group + list_number, len(circle))
        cell, nth = circle[block]
        meeting = turn * (cells[cell].trials // size) + nth
        planned.append((stimulus, cells[cell].kind, RIGHT if (place + meeting) % 2 else LEFT))
    return planned


def block_size(cells: Sequence[Cell]) -> int:
    """Trials per block: the largest number that divides the trials of every cell.

    Raises PlanError when a cell's trials cannot be shared out equally between the two sides.
    """
    for cell in cells:
        if cell.trials < 2 or cell.trials % 2:
            raise PlanError(
                f"The cell {cell.kind} has {cell.trials} trials per session: give it an even number, at least 2, "
                "so that the altered image is equally often on either side."
            )
    if not cells:
        raise PlanError("The study has no strengths: make pairs of its attack first.")
    return math.gcd(*(cell.trials for cell in cells))


def choose_stimuli(
    kinds: Mapping[int, Iterable[Kind]],
    cells: Sequence[Cell],
    *,
    gross: Kind,
    catch_trials: int,
    practice_kinds: Sequence[Kind],
    seed: int,
    adaptive: Sequence[Kind] = (),
) -> Stimuli:
    """Share the base images out between main, catch and practice trials, at random from `seed`.

    `kinds` says which pairs each base image has; `adaptive` are those that an adaptive cell chooses from.
    Images that lack a pair for the main trials go to catch and practice first. Raises PlanError when there are too few.
    """
    order = sorted(kinds)
    random.Random(f"stimuli {seed}").shuffle(order)  # noqa: S311
    has = {stimulus: frozenset(of) for stimulus, of in kinds.items()}
    everything = {cell.kind for cell in cells} - {ADAPTIVE} | set(adaptive)
    for_main = [s for s in order if has[s] >= everything]
    spared_first = [s for s in order if s not in set(for_main)] + for_main[::-1]
    size = block_size(cells)
    needed = size * sum(cell.trials // size for cell in cells)

    catch = _take(spared_first, catch_trials, {gross}, has, "catch trials")
    rest = [s for s in spared_first if s not in catch]
    practice = _take(rest, len(practice_kinds), set(practice_kinds), has, "practice trials")
    used = {*catch, *practice}
    main = _take([s for s in for_main if s not in used], needed, everything, has, "main trials")
    return Stimuli(main, catch, practice)


def practice_ladder(strengths: Sequence[float], gross: Kind, trials: int) -> list[Kind]:
    """What practice trials show: from the gross alteration down to the second strongest strength of its attack."""
    finer = (Kind(gross.attack, "", strength) for strength in sorted(strengths, reverse=True))
    ladder = [gross, *finer][:PRACTICE_STEPS]
    return [ladder[i * len(ladder) // trials] for i in range(trials)]


def _take(
    candidates: Sequence[int], n: int, kinds: set[Kind], has: Mapping[int, frozenset[Kind]], use: str
) -> tuple[int, ...]:
    able = [s for s in candidates if has[s] >= kinds]
    if len(able) < n:
        raise PlanError(
            f"{n} {use} need {n} base images of their own, but only {len(able)} are left that have the pairs "
            f"({_listed(kinds)}): make pairs of more base images, or ask for fewer trials."
        )
    return tuple(able[:n])


def _listed(kinds: Iterable[Kind]) -> str:
    """What each attack is wanted for."""
    of_attack: dict[str, list[str]] = {}
    for kind in sorted(kinds):
        of_attack.setdefault(kind.attack, []).append(kind.done)
    return "; ".join(f"{attack}: {', '.join(done)}" for attack, done in of_attack.items())


def _spread(counts: Sequence[int]) -> list[tuple[int, int]]:
    """A circle of sum(counts) blocks with each cell's blocks as evenly apart as can be: (cell, which of its blocks).

    Earliest deadline first: block j of a cell with c of n blocks has its place in [jn/c, (j+1)n/c).
    """
    n = sum(counts)
    met = [0] * len(counts)
    circle = []
    for place in range(n):
        waiting = [c for c, count in enumerate(counts) if met[c] < count and met[c] * n // count <= place]
        cell = min(waiting, key=lambda c: (-(-(met[c] + 1) * n // counts[c]), c))
        circle.append((cell, met[cell]))
        met[cell] += 1
    return circle


def _mixed(main: Sequence[PlannedTrial], catch: Sequence[PlannedTrial], rng: random.Random) -> list[PlannedTrial]:
    while True:
        order = _attempt_to_mix(_shuffled(main, rng), _shuffled(catch, rng), rng)
        if order is not None:
            return order


def _attempt_to_mix(
    main: list[PlannedTrial], catch: list[PlannedTrial], rng: random.Random
) -> list[PlannedTrial] | None:
    """Main trials drawn one by one around the catch trials; None when a run of one side cannot be avoided any more."""
    total = len(main) + len(catch)
    fixed = {
        rng.randrange(j * total // len(catch), (j + 1) * total // len(catch)): trial for j, trial in enumerate(catch)
    }
    waiting = {side: [t for t in main if t.altered_side == side] for side in (LEFT, RIGHT)}
    order: list[PlannedTrial] = []
    for place in range(total):
        open_sides = [s for s in (LEFT, RIGHT) if _run(order, s) + 1 + _ahead(fixed, place, s) <= LONGEST_RUN]
        if place in fixed:
            trial = fixed[place]
            if _run(order, trial.altered_side) >= LONGEST_RUN:
                return None
        else:
            left = [len(waiting[s]) for s in open_sides]
            if not sum(left):
                return None
            trial = waiting[rng.choices(open_sides, left)[0]].pop()
        order.append(trial)
    return order


def _run(order: Sequence[PlannedTrial], side: str) -> int:
    """How many trials at the end of `order` have this side."""
    length = 0
    for trial in reversed(order):
        if trial.altered_side != side:
            break
        length += 1
    return length


def _ahead(fixed: Mapping[int, PlannedTrial], place: int, side: str) -> int:
    """How many fixed trials of this side follow `place` directly."""
    length = 0
    while (trial := fixed.get(place + 1 + length)) is not None and trial.altered_side == side:
        length += 1
    return length


def _alternating(n: int, start: int) -> list[str]:
    return [RIGHT if (start + i) % 2 else LEFT for i in range(n)]


def _shuffled(items: Sequence[T], rng: random.Random) -> list[T]:
    return rng.sample(items, len(items))
