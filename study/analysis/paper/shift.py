"""Detection against the model's error shift, and what people see where models differ but pictures do not."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from study.analysis.paper.blocks import Block, Strong, Table, paragraph
from study.analysis.paper.numerals import DASH, interval, number, p_value, percent
from study.analysis.protocols import ADAPTIVE

Rows = Sequence[Mapping[str, Any]]

_QUESTIONS: Final = (
    "Error shift and detection both grow with strength. The unadjusted association answers “do they go together?”; the"
    " adjusted one “do they still, with strength taken out?”; the one within conditions “do they still, among pairs of"
    " one strength?”. None says that a shift causes detection: people see images, never the model."
)


def blocks(content: Mapping[str, Any]) -> Iterator[Block]:
    if matched := content.get("matched_visibility"):
        yield paragraph(Strong("At matched visibility. "), matched["note"])
        yield matched_visibility(matched, percent(content["level"]))
        if matched.get("contrasts"):
            yield contrasts(matched["contrasts"])
    if content["procedure"] == ADAPTIVE:
        return
    if content["error_shift"] is None:
        yield paragraph("The table has no error shifts.", manner="note")
        return
    yield paragraph(_QUESTIONS)
    yield regressions(content["error_shift"], percent(content["level"]))
    yield from _notes(content["error_shift"])


def matched_visibility(matched: Mapping[str, Any], level: str) -> Table:
    return Table(
        "matched_visibility",
        f"The error shift that each model reaches on the same pictures, which therefore are equally visible. {level}"
        " intervals: of the mean shift over pictures; of PC over participants and images.",
        ("attack", "s", "model", "target", "pairs", "error shift (deg)", "interval", "PC", "two-way"),
        [
            [
                row["attack"],
                number(row["strength"]),
                row["model"],
                row["target"] or DASH,
                str(row["pairs"]),
                number(row["mean_error_shift_deg"], 2),
                interval(row, digits=2),
                number(row["proportion_correct"], 3),
                interval(row, "two_way_low", "two_way_high"),
            ]
            for row in matched["rows"]
        ],
    )


def contrasts(rows: Rows) -> Table:
    """At the strongest strength of each attack; matched_contrasts.csv has all of them."""
    strongest = {row["attack"]: row["strength"] for row in sorted(rows, key=lambda row: float(row["strength"]))}
    return Table(
        "matched_contrasts",
        "Two models on the same pictures, at the strongest strength of each attack: difference of their mean error"
        " shifts, second minus first, paired. The file matched_contrasts.csv has all strengths.",
        ("attack", "s", "first", "second", "pairs", "difference (deg)", "interval", "p", "over"),
        [
            [
                row["attack"],
                number(row["strength"]),
                f"{row['first']}, {row['first_target']}",
                f"{row['second']}, {row['second_target']}",
                str(row["pairs"]),
                number(row["difference"], 2),
                interval(row, digits=2),
                p_value(row["p"]),
                row["over"],
            ]
            for row in rows
            if row["strength"] == strongest[row["attack"]]
        ],
    )


def regressions(summary: Mapping[str, Any], level: str) -> Table:
    rho = summary["per_participant_spearman"]
    person = f"Spearman’s ρ, mean of {rho['n']} participants (s > 0)"
    return Table(
        "error_shift",
        f"Detection against error shift, with {level} intervals: logistic regressions, robust to clusters of"
        " participants and of images, and crossed mixed models above the guess rate.",
        ("question", "model", "log odds per degree", "interval", "p"),
        [
            *(
                [question, formula, number(row["estimate"], 3), interval(row), p_value(row["p"])]
                for question, formula, row in _asked(summary)
            ),
            ["per participant", person, f"ρ = {number(rho['rho'], 3)}", interval(rho), p_value(rho["p"])],
        ],
        prose=frozenset({"model"}),
    )


def _asked(summary: Mapping[str, Any]) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    """(question, formula, row) of every slope."""
    split = summary["within_between"]
    yield "association, unadjusted", summary["unadjusted"]["formula"], summary["unadjusted"]
    yield "adjusted for strength", summary["strength_adjusted"]["formula"], summary["strength_adjusted"]
    yield "between conditions", split["formula"], split["between"]
    yield "within conditions", split["formula"], split["within"]
    if crossed := summary.get("glmm"):
        adjusted, parts = crossed["strength_adjusted"], crossed["within_between"]
        yield "adjusted for log₂ strength, crossed", adjusted["formula"], adjusted
        yield "between conditions, crossed", parts["formula"], parts["between"]
        yield "within conditions, crossed", parts["formula"], parts["within"]


def _notes(summary: Mapping[str, Any]) -> Iterator[Block]:
    reliability = summary.get("reliability") or {}
    if reliability.get("reliability") is not None:
        corrected = number(reliability.get("estimate_corrected"), 3)
        share = number(reliability["reliability"], 3)
        yield paragraph(
            f"Reliability of the error shift over models: {share}; the slope corrected for it is {corrected}.",
            manner="note",
        )
    for words in (reliability.get("note"), (summary.get("models") or {}).get("note"), summary["note"]):
        if words:
            yield paragraph(words, manner="note")
