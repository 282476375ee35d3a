"""Proportion correct, d' and the tests of each condition."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from study.analysis.paper.blocks import Block, Table, paragraph
from study.analysis.paper.numerals import DASH, interval, number, p_value, percent, short
from study.analysis.protocols import ADAPTIVE

Rows = Sequence[Mapping[str, Any]]


def blocks(content: Mapping[str, Any]) -> Iterator[Block]:
    if content["procedure"] == ADAPTIVE:
        yield shown(content["conditions"])
        return
    yield conditions(content)
    yield tests(content)
    if content["protocol"]["name"] == "yes_no":
        yield yes_no_tests(content)
    if note := (content.get("signal_detection") or {}).get("note"):
        yield paragraph(note)
        yield per_participant(content["conditions"])


def conditions(content: Mapping[str, Any]) -> Table:
    """Proportion correct with its intervals, d' and criterion."""
    protocol, unsure = content["protocol"], content["not_sure"] is not None
    answers, level = protocol["answers"], percent(content["level"])
    return Table(
        "conditions",
        f"Detection in each condition. Wilson and Clopper-Pearson {level} intervals take trials as independent and are"
        f" descriptive; the two-way interval carries participants and images. {protocol['dprime']}. Criterion: below 0,"
        f" people prefer {answers['left']}; above 0, {answers['right']}. A dash: not defined, or not measured.",
        [
            "attack", "s", "px", "arcmin", "n", *(["not sure"] if unsure else []), "PC", "two-way", "Wilson",
            "Clopper-Pearson", "d′", "bias-free d′", "criterion",
        ],
        [
            [
                row["attack"],
                number(row["strength"]),
                number(row["displacement_px"], 2),
                number(row["displacement_arcmin"], 2),
                str(row["n"]),
                *([number(row["unsure_share"], 3)] if unsure else []),
                number(row["proportion_correct"], 3),
                interval(row, "two_way_low", "two_way_high"),
                interval(row, "wilson_low", "wilson_high"),
                interval(row, "clopper_pearson_low", "clopper_pearson_high"),
                number(row["dprime"], 2),
                number(row["dprime_unbiased"], 2),
                number(row["criterion"], 2),
            ]
            for row in content["conditions"]
        ],
    )  # fmt: skip


def shown(rows: Rows) -> Table:
    """Of an adaptive study: what was shown, which estimates nothing."""
    return Table(
        "conditions",
        "How often each strength was shown, which the answers decided, and what was answered. These proportions"
        " estimate nothing by themselves. Strength 0: identical images, whose trials were planned.",
        ("attack", "s", "image px", "arcmin", "n", "correct", "participants", "images"),
        [
            [
                row["attack"],
                number(row["strength"]),
                number(row["displacement_px"], 2),
                arcmin(row),
                *(str(row[name]) for name in ("n", "correct", "participants", "stimuli")),
            ]
            for row in rows
        ],
    )


def arcmin(row: Mapping[str, Any]) -> str:
    """Median over sessions and, where screens differ, the range."""
    text, low, high = (number(row[f"displacement_arcmin{end}"], 2) for end in ("", "_low", "_high"))
    return text if low == high else f"{text} ({low} to {high})"


def tests(content: Mapping[str, Any]) -> Table:
    """p of the tests that decide, and of their companions."""
    rows, b = content["conditions"], short(content["bound"])
    deciding = ("two_way_tost_p", "two_way_upper_bound_p", "two_way_difference_p", "two_way_holm_p")
    companions = ("tost_p", "upper_bound_p", "holm_p")
    return Table(
        "tests",
        "Tests (p values). The two-way tests and the spread between participants decide; those on one proportion per"
        f" participant are companions, which take images as fixed. Bound {b}; Holm over the strengths above 0.",
        (
            "attack", "s", "equivalence", f"PC < {b}", "PC ≠ .5", "PC ≠ .5, Holm", "spread",
            "share off chance, at most", "participants: equivalence", f"participants: PC < {b}",
            "participants: PC > .5, Holm",
        ),
        [
            [
                row["attack"],
                number(row["strength"]),
                *(p_value(row[name]) for name in deciding),
                p_value(row["participant_spread"]["p"]),
                number(row["participant_spread"]["off_chance_share_upper"], 2),
                *(p_value(row[name]) for name in companions),
            ]
            for row in rows
        ],
        note=_spread_note(rows),
    )  # fmt: skip


def yes_no_tests(content: Mapping[str, Any]) -> Table:
    limit = number(content["protocol"]["dprime_at_bound"], 2)
    return Table(
        "yes_no",
        "d′ of single images, with two-way intervals. People who hardly ever say “altered” have a PC near .5 whatever"
        f" they can see, so a claim below the bound needs this test as well: d′ within ±{limit}, what unbiased people"
        f" have at PC {short(content['bound'])}.",
        ("attack", "s", "d′", "two-way", "criterion", "equivalence"),
        [
            [
                row["attack"],
                number(row["strength"]),
                number(row["dprime"], 2),
                interval(row, "two_way_dprime_low", "two_way_dprime_high", 2),
                number(row["criterion"], 2),
                p_value(row["two_way_dprime_tost_p"]),
            ]
            for row in content["conditions"]
        ],
    )


def per_participant(rows: Rows) -> Table:
    """d' of the pooled answers beside the mean of people's own."""
    return Table(
        "participant_dprime",
        "d′ of the answers pooled over people, beside the mean of each person’s own (log-linear), with a t interval"
        " over people, and how far their criteria spread. The marginal PC is the crossed model’s, averaged over people"
        " and images.",
        ("attack", "s", "pooled d′", "mean of people’s d′", "interval", "people", "SD of criteria", "marginal PC"),
        [
            [
                row["attack"],
                number(row["strength"]),
                number(row["dprime"], 2),
                number(own.get("mean"), 2),
                interval(own, digits=2),
                number(own.get("n")),
                number(own.get("criterion_sd"), 2),
                _marginal(row),
            ]
            for row in rows
            for own in [row.get("participant_dprime") or {}]
        ],
    )


def _marginal(row: Mapping[str, Any]) -> str:
    if row.get("glmm_marginal_pc") is None:
        return DASH
    return f"{number(row['glmm_marginal_pc'], 3)} {interval(row, 'glmm_marginal_low', 'glmm_marginal_high')}"


def _spread_note(rows: Rows) -> str:
    reasons = sorted({row["participant_spread"]["reason"] for row in rows if row["participant_spread"]["reason"]})
    return f"The share of people off chance is not told: {'; '.join(reasons)}." if reasons else ""
