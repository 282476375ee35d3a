"""What the attack does to the model, and people and model on one axis of strength."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from study.analysis.censoring import NOT_ESTIMABLE, bound_in_words
from study.analysis.controls import noun
from study.analysis.frontier import NO_TRIGGER, names_tasks
from study.analysis.matched import target_in_words
from study.analysis.paper.blocks import Block, Table, paragraph
from study.analysis.paper.detection import arcmin
from study.analysis.paper.numerals import DASH, interval, number, percent

Rows = Sequence[Mapping[str, Any]]

_OPEN: Final = "An ellipsis: this end lies beyond the tested strengths."

_MARGIN: Final = (
    "The stealth margin is the strength at which people detect the alteration, divided by the strength at which the"
    " attack works. Above 1 the attack works before people see it."
)


def blocks(content: Mapping[str, Any]) -> Iterator[Block]:
    level = percent(content["level"])
    named = names_tasks(content["machine"])
    if content.get("stealth_margin"):
        yield paragraph(_MARGIN)
        yield margin(content["stealth_margin"], level, named)
    if content.get("machine_thresholds"):
        yield thresholds(content["machine_thresholds"], level, named)
    if content["frontier"]:
        yield frontier(content["frontier"], level, named)
    if content.get("attacks_compared"):
        yield from attacks_compared(content["attacks_compared"], level, named)
    if content["machine"]:
        yield machine(content["machine"], noun(content["setting"]), named)
        if of_weights := [row for row in content["machine"] if row["strength"] is None]:
            yield on_weights(of_weights)
    else:
        yield paragraph("No model was evaluated with this attack and target.", manner="note")


def _attack(row: Mapping[str, Any], named: bool, prefix: str = "attack") -> str:
    """The attack, with the task of its models where several are told apart."""
    task = row.get("task" if prefix == "attack" else f"{prefix}_task")
    return f"{row[prefix]}, {task}" if named and task else row[prefix]


def margin(rows: Rows, level: str, named: bool = False) -> Table:
    return Table(
        "stealth_margin",
        f"Stealth margin within each attack, with {level} intervals from a bootstrap over participants and images and"
        " over the models’ subjects. Censored: a threshold lies outside the tested range, so the margin is a bound."
        f" {NOT_ESTIMABLE.capitalize()}: there is no threshold, and no bound of it; the note says why."
        f" {_OPEN}",
        ("attack", "people at", "threshold", "model at", "threshold of the model", "margin", "interval", "censored",
         "draws censored", "note"),
        [
            [
                _attack(row, named),
                row["human_level"],
                number(row["human_threshold"], 3),
                row["machine_level"],
                number(row["machine_threshold"], 3),
                margin_in_words(row),
                interval(row, digits=2),
                row["censored"] or "no",
                percent(row["draws_censored"]),
                row.get("note") or "",
            ]
            for row in rows
        ],
        prose=frozenset({"note"}),
    )  # fmt: skip


def margin_in_words(row: Mapping[str, Any]) -> str:
    """The estimate of a row of `stealth_margin`, or what is known instead."""
    if row["margin"] is None:
        return bound_in_words(row.get("at_least"), row.get("at_most"))
    return number(row["margin"], 2)


def thresholds(rows: Rows, level: str, named: bool = False) -> Table:
    return Table(
        "machine_thresholds",
        f"The smallest strength at which each measure of the attack is reached, with {level} intervals.",
        ("model", "attack", "target", "measure", "threshold", "interval", "over", "note"),
        [
            [
                row["model"] or f"mean of {row['models']}",
                _attack(row, named),
                target(row["target"]),
                row["measure"],
                _or(number(row["threshold"], 3), row["censored"]),
                interval(row),
                row.get("over") or DASH,
                row.get("note") or "",
            ]
            for row in rows
        ],
        prose=frozenset({"note", "target"}),
    )


def frontier(rows: Rows, level: str, named: bool = False) -> Table:
    return Table(
        "frontier",
        f"What the attack does to the model beside how well it is detected, with two-way {level} intervals.",
        ("attack", "s", "image px", "arcmin", "success rate", "error shift (deg)", "PC", "two-way", "d′", "interval"),
        [
            [
                _attack(row, named),
                number(row["strength"]),
                number(row["displacement_px"], 2),
                arcmin(row),
                number(row["success_rate"], 3),
                number(row["mean_error_shift_deg"], 2),
                number(row["proportion_correct"], 3),
                interval(row, "two_way_low", "two_way_high"),
                number(row["dprime"], 2),
                interval(row, "dprime_low", "dprime_high", 2),
            ]
            for row in rows
        ],
    )


def attacks_compared(rows: Rows, level: str, named: bool = False) -> Iterator[Table]:
    """Each attack at the same d', and then two by two."""
    yield Table(
        "attacks_compared",
        f"The attacks where people’s d′ is the same: the strength, and what the attack does there, with {level}"
        f" intervals. Success below: the mean success rate over all d′ from 0 to there. {_OPEN}",
        ("d′", "attack", "target", "s", "interval", "px", "success rate", "interval of it", "success below",
         "error shift (deg)", "of the shift", "note"),
        [
            [
                number(row["dprime"], 2),
                _attack(row, named),
                target(row["target"]),
                _or(number(row["strength"], 3), row["censored"]),
                interval(row),
                number(row["displacement_px"], 2),
                number(row["success_rate"], 3),
                interval(row, "success_rate_low", "success_rate_high"),
                number(row["mean_success_rate_below"], 3),
                number(row["mean_error_shift_deg"], 2),
                interval(row, "mean_error_shift_deg_low", "mean_error_shift_deg_high", 2),
                row["note"] or "",
            ]
            for row in rows
            if "attack" in row
        ],
        prose=frozenset({"note"}),
    )  # fmt: skip
    if pairs := [row for row in rows if "first" in row]:
        yield _differences(pairs, level, named)


def _differences(rows: Rows, level: str, named: bool) -> Table:
    return Table(
        "attacks_differences",
        "Two attacks at the same d′: differences of success rate and error shift (first minus second) and, where both"
        f" move pixels, the ratio of their mean displacements (first over second), with {level} intervals. Strengths of"
        f" two attacks have no common unit, so no ratio of them is given. {_OPEN}",
        ("d′", "first", "second", "ratio of px", "interval", "success rate", "interval of it", "error shift (deg)",
         "of the shift", "note"),
        [
            [
                number(row["dprime"], 2),
                _attack(row, named, "first"),
                _attack(row, named, "second"),
                number(row["displacement_ratio"], 2),
                interval(row, "displacement_ratio_low", "displacement_ratio_high", 2),
                number(row["success_rate_difference"], 3),
                interval(row, "success_rate_difference_low", "success_rate_difference_high"),
                number(row["error_shift_difference_deg"], 2),
                interval(row, "error_shift_difference_deg_low", "error_shift_difference_deg_high", 2),
                row["note"] or "",
            ]
            for row in rows
        ],
        prose=frozenset({"note"}),
    )  # fmt: skip


def _or(value: str, otherwise: str | None) -> str:
    """What is known instead of a threshold that lies outside the tested strengths."""
    return otherwise or DASH if value == DASH else value


def machine(rows: Rows, noun: str = "field", named: bool = False) -> Table:
    """Every evaluated model at every strength, and those whose weights were attacked, which have none."""
    shifts = ("mean_error_shift_deg", "mean_prediction_shift_deg", "net_prediction_shift_deg")
    has_noise_mode = any(row["noise_mode_error_deg"] is not None for row in rows)
    noise_mode = " Noise mode: error under the per-pixel noise field." if has_noise_mode else ""
    return Table(
        "machine",
        "The models' own dose-response on their whole test split. Net: minus the clean model's shift on these images."
        f"{noise_mode} Other {noun}s: prediction shift under unrelated {noun}s.",
        (
            "model", "attack", "target (pitch, yaw)", "s", "image px", "error shift", "prediction shift", "net shift",
            "success rate", "eligible images", "noise-mode error", f"other {noun}s",
        ),
        [
            [
                row["model"],
                _attack(row, named),
                target(row["target"]),
                number(row["strength"]),
                number(row["displacement_px"], 2),
                *(number(row[name], 2) for name in shifts),
                number(row["success_rate"], 3),
                number(row["n_eligible"]),
                number(row["noise_mode_error_deg"], 2),
                number(row["other_field_shift_deg"], 2),
            ]
            for row in rows
        ],
    )  # fmt: skip


def on_weights(rows: Rows) -> Table:
    return Table(
        "weights",
        f"{NO_TRIGGER[0].upper()}{NO_TRIGGER[1:]}: attacks that change a trained model’s weights, on the same data. No"
        " image is altered, so there is nothing for people to detect. Others are test people of whom the attacker had"
        " no picture: shift of their error, and their error with it.",
        ("model", "goal", "target (pitch, yaw)", "success rate", "eligible images", "error shift", "prediction shift",
         "shift of others", "error of others"),
        [
            [
                row["model"],
                row.get("goal") or DASH,
                target(row["target"]),
                number(row["success_rate"], 3),
                number(row["n_eligible"]),
                number(row["mean_error_shift_deg"], 2),
                number(row["mean_prediction_shift_deg"], 2),
                number(row.get("others_error_shift_deg"), 2),
                number(row.get("clean_error_deg"), 2),
            ]
            for row in rows
        ],
        prose=frozenset({"goal"}),
    )  # fmt: skip


def target(aim: Mapping[str, Any] | str | None) -> str:
    return target_in_words(aim) if isinstance(aim, Mapping) else aim or DASH
