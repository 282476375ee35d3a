"""What is seen, how people worked, and whether the findings depend on choices."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from study.analysis.controls import noun
from study.analysis.paper.blocks import Block, Bullets, Table, paragraph, texts
from study.analysis.paper.numerals import DASH, interval, number, p_value, percent, short
from study.analysis.power_design import CONTROL_ALPHA

Rows = Sequence[Mapping[str, Any]]

_WHAT_A_CONTROL_SHOWS: Final = {
    "resampled": "the softening that any such resampling leaves, without deformation",
    "other_field": "any warp of this size, and not this trigger",
}
_WHAT_ANOTHER_TRIGGER_SHOWS: Final = "any trigger of this kind and strength, and not this very one"


def controls(content: Mapping[str, Any]) -> Iterator[Block]:
    """Control pairs beside the attack: what people see of it."""
    rows, level, is_field = content["controls"], percent(content["level"]), noun(content["setting"]) == "field"
    if not rows:
        yield paragraph(
            "No control pairs other than identical images were shown, so the study cannot tell whether people see the"
            f" trigger itself or only that an image was {'resampled' if is_field else 'altered'}.",
            manner="note",
        )
        return
    yield Table(
        "controls",
        f"Control pairs, and how they differ from the attack at the same strength (PC of the control minus PC of the"
        f" attack, two-way {level} interval). They are outside the models and the family of tests.",
        ("control", "attack", "s", "n", "PC", "two-way", "minus attack", "interval", "p"),
        [
            [
                _control(row, is_field),
                row["attack"],
                number(row["strength"]),
                str(row["n"]),
                number(row["proportion_correct"], 3),
                interval(row, "two_way_low", "two_way_high"),
                number(row["contrast_with_attack"], 3),
                interval(row),
                p_value(row["p"]),
            ]
            for row in rows
        ],
    )
    if words := [_seen(row, is_field) for row in rows if row["contrast_with_attack"] is not None]:
        yield Bullets(texts(*words))


def _control(row: Mapping[str, Any], is_field: bool) -> str:
    words: str = row["control"].replace("_", " ")
    return words if is_field else words.replace("field", "trigger")


def _seen(row: Mapping[str, Any], is_field: bool) -> str:
    """What the contrast of a control with its attack says, and no more."""
    where = f"{row['attack']} at s = {number(row['strength'])}, {_control(row, is_field)}"
    what = _WHAT_A_CONTROL_SHOWS.get(row["control"], "the control's own alteration")
    if row["control"] == "other_field" and not is_field:
        what = _WHAT_ANOTHER_TRIGGER_SHOWS
    if row["p"] is None:
        return f"{where}: the difference from the attack cannot be tested."
    if row["p"] < CONTROL_ALPHA and row["contrast_with_attack"] < 0:
        return f"{where}: people do worse than with the attack (p {_relation(row['p'])}): they see more than {what}."
    if row["p"] < CONTROL_ALPHA:
        return f"{where}: people do better than with the attack (p {_relation(row['p'])}); this control shows more."
    found = f"no difference from the attack was found at the level of {short(CONTROL_ALPHA)} (p {_relation(row['p'])})"
    return f"{where}: {found}, which does not show that none is there."


def _relation(p: float) -> str:
    text = p_value(p)
    return text if text[0] in "<>" else f"= {text}"


def answers(content: Mapping[str, Any]) -> Iterator[Block]:
    """Response times, order, and who was left out."""
    quality = content.get("quality") or {}
    if quality.get("response_times"):
        yield response_times(quality["response_times"])
    if quality.get("order"):
        yield from _order(quality["order"], percent(content["level"]))
    if quality.get("with_and_without"):
        yield with_and_without(quality["with_and_without"])


def response_times(model: Mapping[str, Any]) -> Table:
    left_out = ", ".join(f"{rule.replace('_', ' ')}: {number(n)}" for rule, n in model["left_out"].items())
    spreads = ", ".join(f"{factor} {number(sd, 3)}" for factor, sd in (model["sd"] or {}).items())
    words = [
        "" if model["converged"] else f"Not fitted: {model['reason']}.",
        f"{number(model['n'])} trials." if model["n"] is not None else "",
        f"Left out: {left_out}." if left_out else "",
        f"SD: {spreads}." if spreads else "",
    ]
    return Table(
        "response_times",
        f"Response times of right answers: {model['formula']}, crossed random intercepts.",
        ("term", "estimate", "SE", "z", "p"),
        [
            [term, number(row["estimate"], 4), number(row["se"], 4), number(row["z"], 2), p_value(row["p"])]
            for term, row in (model["coefficients"] or {}).items()
        ],
        note=" ".join(filter(None, words)),
    )


def _order(order: Mapping[str, Any], level: str) -> Iterator[Block]:
    if order.get("reason"):
        yield paragraph(f"Order of the trials: {order['reason']}.", manner="note")
        return
    if order.get("slope_per_10_trials") is not None:
        yield paragraph(
            f"PC changed by {number(order['slope_per_10_trials'], 4)} per ten trials ({level} interval"
            f" {interval(order, digits=4)}, p {_relation(order['p'])})."
        )
    if order.get("by_block"):
        yield Table(
            "order",
            "Practice and fatigue: detection and response time over the course of a session.",
            ("block", "n", "PC", "median RT (ms)"),
            [
                [
                    str(row["block"]),
                    str(row["n"]),
                    number(row["proportion_correct"], 3),
                    number(row["median_rt_ms"], 0),
                ]
                for row in order["by_block"]
            ],
        )


def with_and_without(rows: Rows) -> Table:
    return Table(
        "with_and_without",
        "Each condition as analysed, and with everybody who answered, those left out by a rule included.",
        ("attack", "s", "n", "PC", "verdict", "n, everybody", "PC, everybody", "verdict, everybody"),
        [
            [
                row["attack"],
                number(row["strength"]),
                *(cell for kind in ("analysed", "everybody") for cell in _outcome(row[kind])),
            ]
            for row in rows
        ],
        prose=frozenset({"verdict", "verdict, everybody"}),
    )


def _outcome(row: Mapping[str, Any] | None) -> list[str]:
    if not row:
        return [DASH, DASH, DASH]
    return [number(row.get("n")), number(row.get("proportion_correct"), 3), row.get("verdict") or DASH]


def sensitivity(content: Mapping[str, Any]) -> Iterator[Block]:
    """The median person's threshold under other links, lapse rates and terms."""
    rows = content["models"].get("sensitivity")
    if not rows:
        return
    yield Table(
        "sensitivity",
        "The threshold of the median person under other models. What a conclusion rests on should not move with them.",
        ("model", "link", "lapse", "information", "attack", "threshold", "interval", "log-likelihood", "note"),
        [
            [
                row["model"],
                row["link"],
                row["lapse"] if isinstance(row["lapse"], str) else number(row["lapse"], 3),
                row["information"] or DASH,
                row["attack"],
                number(row["threshold"], 3),
                interval(row),
                number(row["log_likelihood"], 2),
                row["note"] or "",
            ]
            for row in rows
        ],
        prose=frozenset({"model", "note"}),
    )


def observers(content: Mapping[str, Any]) -> Iterator[Block]:
    """Programs in the place of people."""
    rows, is_field = content.get("machine_observers"), noun(content["setting"]) == "field"
    if not rows:
        return
    yield paragraph(
        "Machine observers judged the same pairs. They say what the pictures contain, and nothing about what people see"
        " in them."
    )
    yield Table(
        "machine_observers",
        "Machine observers on the pairs that people were shown. PC: of observers that choose, over pairs; a tie is half"
        " right. Agreement: rank correlation over pairs of people’s PC with the observer’s confidence.",
        ("observer", "attack", "pairs of", "s", "n", "PC", "interval", "PC of people", "agreement", "interval of it",
         "note"),
        [
            [
                row["observer"].replace(" - ", " − "),
                row["attack"],
                "catch trials" if row["is_catch"] else _control(row, is_field) or "the attack",
                "all" if row["strength"] is None else number(row["strength"], 2 if row["is_catch"] else None),
                number(row["n"]),
                number(row["proportion_correct"], 3),
                interval(row),
                number(row["people"], 3),
                number(row["agreement_with_people"], 3),
                interval(row, "agreement_low", "agreement_high"),
                row["note"] or "",
            ]
            for row in rows
        ],
        prose=frozenset({"observer", "note"}),
    )  # fmt: skip
