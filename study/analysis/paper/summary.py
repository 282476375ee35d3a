"""What may be claimed, in the words of the verdicts, before anything else is said."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any, Final

from study.analysis.censoring import bound_in_words
from study.analysis.equivalence import PAIRS_NEVER
from study.analysis.paper.blocks import (
    Block,
    Bullets,
    Figure,
    Paragraph,
    Section,
    Small,
    Strong,
    Table,
    Text,
    paragraph,
)
from study.analysis.paper.numerals import DASH, interval, listed, number, percent, short
from study.analysis.protocols import ADAPTIVE
from study.analysis.psychometric import MEDIAN_PERSON, POOLED

ADAPTIVE_NOTE: Final = (
    "The strengths of this study were chosen from the answers. It gives thresholds only: no verdict, no test of a"
    " proportion correct, no comparison of conditions."
)
#: People at PC .75 over models at a success rate of .9.
HEADLINE_MARGIN: Final = ("PC .75", "success rate .9")
_NO_EVIDENCE: Final = (
    "“Inconclusive” is no evidence that people cannot see the alteration. “Below the bound” is a test passed, never a"
    " difference missed: equivalence within the bound at .05 and no more spread between participants than chance gives."
)

Rows = Sequence[Mapping[str, Any]]


def section(content: Mapping[str, Any], figures: Sequence[Figure]) -> Section:
    """The summary, with the figures that stand in it."""
    is_adaptive = content["procedure"] == ADAPTIVE
    blocks: list[Block] = [*_faults(content["checks"]), *_departures(content)]
    blocks.append(Bullets(tuple(_claims(content))))
    blocks.append(paragraph(f"Every statement of this report holds {content['scope']}.", manner="note"))
    blocks.append(Paragraph((ADAPTIVE_NOTE,), "note") if is_adaptive else verdicts(content))
    blocks += figures
    return Section("summary", "Summary", tuple(blocks))


def verdicts(content: Mapping[str, Any]) -> Table:
    """What may be claimed in each condition, and how many pairs a person would have to see."""
    return Table(
        "verdicts",
        f"What may be claimed at each strength, for the bound {short(content['bound'])}. {_NO_EVIDENCE} PC: proportion"
        f" correct with its two-way {percent(content['level'])} interval. Pairs needed: how many a person would have to"
        " see to tell with 95 % certainty which images are altered, at the end of the interval farther from chance. A"
        " dash: not known.",
        ("attack", "s", "px", "arcmin", "PC", "interval", "verdict", "pairs needed"),
        [_verdict(row) for row in content["conditions"]],
        prose=frozenset({"verdict"}),
    )


def headline_threshold(thresholds: Rows, attack: str) -> Mapping[str, Any] | None:
    """At PC .75 on the Weibull: of the median person where a crossed model gave one, else of the pooled curve."""
    for population in (MEDIAN_PERSON, POOLED):
        for row in thresholds:
            is_it = (row["attack"], row["population"], row["level"]) == (attack, population, "PC .75")
            if is_it and "Weibull" in row["method"] and row["threshold"] is not None:
                return row
    return None


def in_px(row: Mapping[str, Any]) -> str:
    """The row's displacement, in brackets; nothing where it is not known."""
    units = [
        f"{number(row[f'threshold_{name}'], 2)} {words}"
        for name, words in (("px", "px"), ("arcmin", "arcmin"))
        if row.get(f"threshold_{name}") is not None
    ]
    return f" ({', '.join(units)})" if units else ""


def _faults(checks: Rows) -> list[Block]:
    return [
        Paragraph((Strong(f"{check['name']}."), f" {check['detail']}."), "fault")
        for check in checks
        if not check["ok"] and check["name"].startswith("identity")
    ]


def _departures(content: Mapping[str, Any]) -> list[Block]:
    if not content["exploratory"]:
        return []
    points = "; ".join(content["exploratory"])
    words = f" This analysis departs from the frozen plan and confirms nothing: {points}."
    return [Paragraph((Strong("Exploratory."), words), "fault")]


def _claims(content: Mapping[str, Any]) -> Iterator[Text]:
    """One item per attack, and how the checks went."""
    for attack in sorted({row["attack"] for row in content["conditions"]}):
        yield tuple(filter(None, _claims_on(attack, content)))
    yield (_check_words(content["checks"]),)


def _claims_on(attack: str, content: Mapping[str, Any]) -> Iterator[str]:
    if content["procedure"] == ADAPTIVE:
        yield f"{attack}:"
    else:
        yield from _verdicts_of(attack, content["conditions"])
    if threshold := headline_threshold(content["thresholds"], attack):
        yield _threshold_words(threshold, content["level"], _tested(attack, content["conditions"]))
    for row in content.get("stealth_margin") or []:
        if row["attack"] == attack and (row["human_level"], row["machine_level"]) == HEADLINE_MARGIN:
            yield _margin_words(row, content["level"])


def _verdicts_of(attack: str, conditions: Rows) -> Text:
    rows = [row for row in conditions if row["attack"] == attack and row["strength"] > 0]
    if not rows:
        return (f"{attack}: only identical images were shown, so nothing can be claimed about the alteration.",)
    parts: list[str] = [f"{attack}: "]
    for verdict, run in groupby(rows, key=lambda row: row["verdict"]):
        strengths = [number(row["strength"]) for row in run]
        span = strengths[0] if len(strengths) == 1 else f"{strengths[0]} to {strengths[-1]}"
        parts += [Strong(verdict), f" at s = {span}; "]
    return (*parts[:-1], parts[-1].removesuffix("; ") + ".")


def _tested(attack: str, conditions: Rows) -> list[float]:
    return [row["strength"] for row in conditions if row["attack"] == attack and row["strength"] > 0]


def _threshold_words(row: Mapping[str, Any], level: float, tested: Sequence[float]) -> str:
    who = "The median person" if row["population"] == MEDIAN_PERSON else "The curve pooled over people"
    is_within = min(tested) <= row["threshold"] <= max(tested)
    outside = "" if is_within else " (outside the tested strengths: an extrapolation)"
    return (
        f" {who} reaches PC {number(row['level_of_pc'], 2)} at s = {number(row['threshold'], 3)}{in_px(row)}"
        f"{f', {percent(level)} interval {interval(row)}' if interval(row) != DASH else ''}{outside}."
    )


def _margin_words(row: Mapping[str, Any], level: float) -> str:
    of_model = f"the {row['machine_level']}"
    if row["margin"] is None:
        limits = f" ({percent(level)} interval {interval(row, digits=2)})" if interval(row) != DASH else ""
        known = bound_in_words(row.get("at_least"), row.get("at_most"))
        return f" Its stealth margin over {of_model} is {known}{limits}: {row['note']}." if row["note"] else ""
    when = "the attack works before people see it" if row["margin"] > 1 else "people see it before the attack works"
    spans = row["low"] is None or row["high"] is None or row["low"] < 1 < row["high"]
    doubt = "; the interval includes 1 or is open, so which comes first is not settled" if spans else ""
    return (
        f" The threshold of the curve pooled over people, s = {number(row['human_threshold'], 3)}, is"
        f" {number(row['margin'], 2)} times the strength at which the models reach {of_model} (stealth margin,"
        f" {percent(level)} interval {interval(row, digits=2)}): {when}{doubt}."
    )


def _check_words(checks: Rows) -> str:
    failed = [check["name"] for check in checks if not check["ok"]]
    if not failed:
        return f"All {len(checks)} checks passed."
    return f"{len(checks) - len(failed)} of {len(checks)} checks passed; not passed: {listed(failed)}."


def _verdict(row: Mapping[str, Any]) -> list[Text | str]:
    words = row["verdict"] if row["strength"] > 0 else f"identical images: {row['verdict']}"
    remarks = [Small(remark) for remark in (row["verdict_reason"], row["note"]) if remark]
    return [
        row["attack"],
        number(row["strength"]),
        number(row.get("displacement_px"), 2),
        number(row.get("displacement_arcmin"), 2),
        number(row["proportion_correct"], 3),
        interval(row, "two_way_low", "two_way_high"),
        (Strong(words), *remarks),
        _pairs(row),
    ]


def _pairs(row: Mapping[str, Any]) -> str:
    if row["strength"] == 0 or row["two_way_high"] is None:
        return DASH
    return PAIRS_NEVER if row["pairs_needed"] is None else str(row["pairs_needed"])
