"""Several studies side by side, from what their reports say, with differences only where these mean something.

Participants of different studies are independent, so an interval of a difference follows from the two studies' own
(Zou & Donner 2008). Strengths are compared within one attack only, proportions correct within one protocol only.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any, Final

from study.analysis.paper.arrangement import arranged
from study.analysis.paper.blocks import Block, Bullets, Cite, Document, Figure, Section, Table, paragraph, texts
from study.analysis.paper.document import banners
from study.analysis.paper.machine import margin_in_words
from study.analysis.paper.numerals import DASH, interval, listed, number, percent, short
from study.analysis.paper.summary import HEADLINE_MARGIN, headline_threshold
from study.analysis.protocols import ADAPTIVE
from study.analysis.psychometric import POOLED, Curve
from study.analysis.references import bibliography

Content = Mapping[str, Any]
Rows = list[dict[str, Any]]
#: (estimate, low, high)
Estimate = tuple[float, float, float]

#: Where designs may differ: key of a study's row, and in words.
DESIGN: Final = {
    "protocol": "protocol",
    "procedure": "procedure",
    "attacks": "attack",
    "dataset": "data set",
    "network": "network",
    "task": "task of the model",
    "target": "target of the attack",
    "family": "family of the attack",
    "exposure_ms": "exposure (ms)",
    "scale": "device pixels per image pixel",
    "image_degrees": "width of the image (degrees)",
    "enlargement": "enlargement",
    "bound": "bound",
}
_CONDITION: Final = (
    "attack", "strength", "displacement_px", "n", "proportion_correct", "two_way_low", "two_way_high", "dprime",
    "verdict",
)  # fmt: skip
_MARGIN: Final = (
    "attack", "human_level", "machine_level", "human_threshold", "machine_threshold", "margin", "low", "high",
    "at_least", "at_most", "censored",
)  # fmt: skip
_THRESHOLD: Final = (
    "attack", "population", "level", "threshold", "low", "high", "threshold_px", "low_px", "high_px",
    "threshold_arcmin", "low_arcmin", "high_arcmin",
)  # fmt: skip
_SUCCESS: Final = ("model", "attack", "task", "strength", "displacement_px", "success_rate", "mean_error_shift_deg")
INDEPENDENT: Final = (
    "Participants are taken as independent between studies; intervals of differences follow from each study’s own ",
    Cite("zou2008"),
    ".",
)

FIGURE: Final = Figure(
    "comparison",
    "What people detect in each study over strength, with 95 % intervals; below, each study’s threshold and stealth"
    " margin. Strengths of two attacks have no common unit.",
    "Chart of proportion correct over strength for each study, and two forest plots. The values drawn are in"
    " figures/comparison.csv.",
)


def compare(contents: Sequence[Content], shared: Mapping[tuple[str, str], int] | None = None) -> dict[str, Any]:
    """What comparison.json holds.

    Args:
        contents: report.json of two or more studies.
        shared: {(study, study): how many people took part in both}, where it is known.

    Raises ValueError for studies of one name, or fewer than two.
    """
    names = [content["study"] for content in contents]
    if len(names) < 2 or len(set(names)) < len(names):
        raise ValueError("A comparison needs two or more studies, each with a name of its own.")
    pairs = list(combinations(contents, 2))
    studies = [_study(content) for content in contents]
    return {
        "studies": studies,
        "design_differences": [row for first, second in combinations(studies, 2) for row in _design(first, second)],
        "participants_shared": [
            {"first": first, "second": second, "people": people} for (first, second), people in (shared or {}).items()
        ],
        "conditions": _rows(contents, "conditions", _CONDITION),
        "thresholds": [row for content in contents for row in _headlines(content)],
        "stealth_margin": _rows(contents, "stealth_margin", _MARGIN),
        "machine": _rows(contents, "machine", _SUCCESS),
        "differences": [row for first, second in pairs for row in _differences(first, second)],
        "notes": list(_notes(pairs, shared or {})),
        "simulated": _any(content["simulated"] for content in contents),
        "exploratory": [f"{content['study']}: {point}" for content in contents for point in content["exploratory"]],
        "level": contents[0]["level"],
    }


def difference(first: Estimate, second: Estimate) -> Estimate:
    """(first minus second, low, high) of two independent estimates, each (estimate, low, high).

    The interval keeps each estimate's own asymmetry (MOVER; Zou & Donner 2008, equations 4 and 5).
    """
    (a, a_low, a_high), (b, b_low, b_high) = first, second
    estimate = a - b
    return estimate, estimate - math.hypot(a - a_low, b_high - b), estimate + math.hypot(a_high - a, b - b_low)


def curves(content: Content) -> dict[str, Curve]:
    """The pooled Weibull of each attack, out of the thresholds that report.json holds."""
    return {
        row["attack"]: Curve("Weibull", row["threshold"], row["slope"], row["lapse"])
        for row in content["thresholds"]
        if row["population"] == POOLED
        and row["level"] == "half of F"
        and row["method"].startswith("Weibull")
        and row["threshold"] is not None
    }


def document(compared: Content, figures: Sequence[Figure] = ()) -> Document:
    """comparison.html as a document."""
    level = percent(compared["level"])
    names = [row["study"] for row in compared["studies"]]
    sections = [
        Section("summary", "Summary", (Bullets(texts(*_in_words(compared), *compared["notes"])), *figures)),
        Section("designs", "What differs in design", tuple(_designs(compared))),
        Section("differences", "Differences", tuple(_difference_blocks(compared["differences"], level))),
        Section("conditions", "Conditions", (_conditions(compared["conditions"], level),)),
        Section("thresholds", "Thresholds and margins", tuple(_threshold_blocks(compared, level))),
    ]
    if compared["machine"]:
        sections.append(Section("machine", "What the attacks do to their models", (_success(compared["machine"]),)))
    works = [work.full for work in bibliography({"zou2008"})]
    sections.append(Section("references", "References", (Bullets(texts(*works)),)))
    return Document(
        f"{listed(names)} side by side", INDEPENDENT, tuple(map(arranged, sections)), tuple(banners(compared))
    )


def _any(values: Iterator[bool | None]) -> bool | None:
    found = set(values)
    return True if True in found else None if None in found else False


def _study(content: Content) -> dict[str, Any]:
    return {
        "study": content["study"],
        "protocol": content["protocol"]["title"],
        "procedure": content["procedure"],
        "attacks": ", ".join(sorted({row["attack"] for row in content["conditions"]})),
        "bound": content["bound"],
        "participants": content["flow"]["analysed"],
        "trials": content["flow"]["trials_analysed"],
        "simulated": content["simulated"],
        "design_sha256": content["design"]["sha256"],
        **{name: content["setting"].get(name) for name in DESIGN if name in content["setting"]},
    }


def _design(first: Mapping[str, Any], second: Mapping[str, Any]) -> Rows:
    return [
        {
            "first": first["study"],
            "second": second["study"],
            "what": words,
            "in_first": _text(first.get(name)),
            "in_second": _text(second.get(name)),
        }
        for name, words in DESIGN.items()
        if first.get(name) != second.get(name)
    ]


def _text(value: Any) -> str:
    return "not known" if value is None else number(value) if isinstance(value, int | float) else str(value)


def _rows(contents: Sequence[Content], section: str, names: Sequence[str]) -> Rows:
    return [
        {"study": content["study"]} | {name: row.get(name) for name in names}
        for content in contents
        for row in content.get(section) or []
    ]


def _headlines(content: Content) -> Iterator[dict[str, Any]]:
    for attack in sorted({row["attack"] for row in content["conditions"]}):
        if row := headline_threshold(content["thresholds"], attack):
            yield {"study": content["study"]} | {name: row.get(name) for name in _THRESHOLD}


def _differences(first: Content, second: Content) -> Iterator[dict[str, Any]]:
    """Where both studies measured the same thing."""
    if _same_question(first, second):
        yield from _of_conditions(first, second)
    yield from _of_thresholds(first, second)
    yield from _of_margins(first, second)


def _same_question(first: Content, second: Content) -> bool:
    kinds = [(content["protocol"]["name"], content["procedure"]) for content in (first, second)]
    return kinds[0] == kinds[1] and ADAPTIVE not in kinds[0]


def _of_conditions(first: Content, second: Content) -> Iterator[dict[str, Any]]:
    others = {(row["attack"], row["strength"]): row for row in second["conditions"] if row["strength"] > 0}
    names = ("proportion_correct", "two_way_low", "two_way_high")
    for row in first["conditions"]:
        other = others.get((row["attack"], row["strength"]), {})
        if all(one.get(name) is not None for one in (row, other) for name in names):
            found = difference(*((one[names[0]], one[names[1]], one[names[2]]) for one in (row, other)))
            what = f"PC at s = {row['strength']:g}"
            yield _row(first, second, attack=row["attack"], what=what, found=found, scale="difference")


def _of_thresholds(first: Content, second: Content) -> Iterator[dict[str, Any]]:
    """As ratios, within an attack: strengths of two attacks have no common unit."""
    others = {(row["attack"], row["population"], row["level"]): row for row in _headlines(second)}
    for row in _headlines(first):
        other = others.get((row["attack"], row["population"], row["level"]), {})
        if (found := _ratio(row, other, "threshold")) is not None:
            what = f"threshold, {row['population']} ({row['level']})"
            yield _row(first, second, attack=row["attack"], what=what, found=found, scale="ratio")


def _of_margins(first: Content, second: Content) -> Iterator[dict[str, Any]]:
    """As ratios. Margins have no unit, so those of two attacks can be compared."""
    for row in first.get("stealth_margin") or []:
        for other in second.get("stealth_margin") or []:
            levels = [(one["human_level"], one["machine_level"]) for one in (row, other)]
            if levels[0] == levels[1] == HEADLINE_MARGIN and (found := _ratio(row, other, "margin")) is not None:
                attack = row["attack"] if row["attack"] == other["attack"] else f"{row['attack']}, {other['attack']}"
                what = f"stealth margin ({row['human_level']} over {row['machine_level']})"
                yield _row(first, second, attack=attack, what=what, found=found, scale="ratio")


def _ratio(first: Mapping[str, Any], second: Mapping[str, Any], name: str) -> Estimate | None:
    """First over second with its interval, on the log scale; None where an end is not known."""
    values: list[Any] = [[row.get(key) for key in (name, "low", "high")] for row in (first, second)]
    if any(value is None or value <= 0 for row in values for value in row):
        return None
    a, b = ((math.log(row[0]), math.log(row[1]), math.log(row[2])) for row in values)
    estimate, low, high = (math.exp(value) for value in difference(a, b))
    return estimate, low, high


def _row(first: Content, second: Content, *, attack: str, what: str, found: Estimate, scale: str) -> dict[str, Any]:
    return {
        "first": first["study"],
        "second": second["study"],
        "attack": attack,
        "what": what,
        "scale": scale,
        "estimate": found[0],
        "low": found[1],
        "high": found[2],
    }


def _notes(pairs: Sequence[tuple[Content, Content]], shared: Mapping[tuple[str, str], int]) -> Iterator[str]:
    """What keeps studies apart, in words."""
    for first, second in pairs:
        names = f"{first['study']} and {second['study']}"
        both = shared.get((first["study"], second["study"]))
        if both:
            yield (
                f"{both} people took part in both {names}; the intervals of differences take them as different people"
                " and are then only roughly right."
            )
        if first["protocol"]["name"] != second["protocol"]["name"]:
            yield (
                f"{names} asked different questions ({first['protocol']['title']}; {second['protocol']['title']}): the"
                " same proportion correct asks more or less of the eye, so no difference of proportions is given."
            )
        if first["procedure"] != second["procedure"]:
            yield f"Only one of {names} chose its strengths from the answers; its proportions estimate nothing."
        attacks = [{row["attack"] for row in content["conditions"]} for content in (first, second)]
        if not attacks[0] & attacks[1]:
            yield (
                f"{names} showed different attacks, whose strengths have no common unit: only margins, which have no"
                " unit, are compared."
            )
        tasks = [content["setting"].get("task") for content in (first, second)]
        if None not in tasks and tasks[0] != tasks[1]:
            yield f"The models of {names} do different tasks ({tasks[0]}; {tasks[1]}): success does not mean the same."
    yield (
        "Studies that show the same images share what is particular to these; intervals of differences are then too"
        " wide."
    )


def _in_words(compared: Content) -> Iterator[str]:
    """The ratios of thresholds and margins, and whether they are settled."""
    for row in compared["differences"]:
        if row["scale"] == "ratio":
            settled = "" if row["low"] > 1 or row["high"] < 1 else "; the interval includes 1, no difference is shown"
            yield (
                f"{row['attack']}, {row['what']}: {row['first']} over {row['second']} is {number(row['estimate'], 2)},"
                f" {percent(compared['level'])} interval {interval(row, digits=2)}{settled}."
            )


def _designs(compared: Content) -> Iterator[Block]:
    rows = compared["studies"]
    yield Table(
        "studies",
        "The studies.",
        ("study", "protocol", "attacks", "participants", "trials", "bound", "simulated"),
        [
            [
                row["study"],
                row["protocol"],
                row["attacks"],
                str(row["participants"]),
                str(row["trials"]),
                short(row["bound"]),
                {True: "yes", False: "no", None: "not known"}[row["simulated"]],
            ]
            for row in rows
        ],
        prose=frozenset({"protocol", "attacks"}),
    )
    if not compared["design_differences"]:
        yield paragraph("No difference of design is known of.", manner="note")
        return
    yield Table(
        "design_differences",
        "In what the designs differ. What differs beside the attack may be the reason of any difference below.",
        ("first", "second", "what", "in the first", "in the second"),
        [
            [row["first"], row["second"], row["what"], row["in_first"], row["in_second"]]
            for row in compared["design_differences"]
        ],
        prose=frozenset({"second", "what", "in the first", "in the second"}),
    )


def _difference_blocks(rows: Rows, level: str) -> Iterator[Block]:
    if not rows:
        yield paragraph("The studies measured nothing that can be subtracted.", manner="note")
        return
    yield Table(
        "differences",
        f"Differences (first minus second) and ratios (first over second) between studies, with {level} intervals. A"
        " ratio of 1 is no difference.",
        ("first", "second", "attack", "what", "as", "estimate", "interval"),
        [
            [
                row["first"],
                row["second"],
                row["attack"],
                row["what"],
                row["scale"],
                number(row["estimate"], 3),
                interval(row),
            ]
            for row in rows
        ],
        prose=frozenset({"what"}),
    )


def _conditions(rows: Rows, level: str) -> Table:
    return Table(
        "conditions",
        f"Detection in each condition of each study, with two-way {level} intervals.",
        ("study", "attack", "s", "px", "n", "PC", "interval", "d′", "verdict"),
        [
            [
                row["study"],
                row["attack"],
                number(row["strength"]),
                number(row["displacement_px"], 2),
                str(row["n"]),
                number(row["proportion_correct"], 3),
                interval(row, "two_way_low", "two_way_high"),
                number(row["dprime"], 2),
                row["verdict"] or DASH,
            ]
            for row in rows
        ],
        prose=frozenset({"attack", "verdict"}),
    )


def _threshold_blocks(compared: Content, level: str) -> Iterator[Block]:
    yield Table(
        "thresholds",
        f"What people need: the headline threshold of each study and attack, with {level} intervals. Strengths of two"
        " attacks have no common unit.",
        ("study", "attack", "population", "at", "threshold", "interval", "px", "arcmin"),
        [
            [
                row["study"],
                row["attack"],
                row["population"],
                row["level"] or DASH,
                number(row["threshold"], 3),
                interval(row),
                number(row["threshold_px"], 2),
                number(row["threshold_arcmin"], 2),
            ]
            for row in compared["thresholds"]
        ],
        prose=frozenset({"attack", "population"}),
    )
    if compared["stealth_margin"]:
        yield Table(
            "stealth_margin",
            f"Stealth margins: the strength at which people detect over the one at which the attack works, {level}"
            " intervals.",
            ("study", "attack", "people at", "model at", "margin", "interval", "censored"),
            [
                [
                    row["study"],
                    row["attack"],
                    row["human_level"],
                    row["machine_level"],
                    margin_in_words(row),
                    interval(row, digits=2),
                    row["censored"] or "no",
                ]
                for row in compared["stealth_margin"]
            ],
            prose=frozenset({"attack"}),
        )


def _success(rows: Rows) -> Table:
    return Table(
        "machine",
        "Success rate and error shift of the evaluated models.",
        ("study", "model", "attack", "s", "px", "success rate", "error shift (deg)"),
        [
            [
                row["study"],
                row["model"],
                row["attack"],
                number(row["strength"]),
                number(row["displacement_px"], 2),
                number(row["success_rate"], 3),
                number(row["mean_error_shift_deg"], 2),
            ]
            for row in rows
        ],
        prose=frozenset({"model", "attack"}),
    )
