"""Thresholds, the curves they come from, how well these fit, and the regressions beside them."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from study.analysis.paper.arrangement import sentence
from study.analysis.paper.blocks import Block, Table, paragraph
from study.analysis.paper.numerals import interval, number, p_value, percent
from study.analysis.protocols import ADAPTIVE
from study.analysis.psychometric import MEDIAN_PERSON, POOLED

Rows = Sequence[Mapping[str, Any]]

_TOLD_APART: Final = (
    "A curve pooled over people is shallower than any person’s, because people differ. The median person’s curve is the"
    " crossed model’s with participant and image at 0. At half of F, PC is .75 less half of the lapse rate; PC .75"
    " itself lies a little higher. Both are given and named."
)
#: Each regression of the report with what its table says of it.
_MODELS: Final = {
    "glmm_lapse": (
        "Crossed mixed model, the headline: complementary log-log link (the Weibull function) above the guess rate,"
        " with the lapse rate that the catch trials share, a slope for each attack and the side as a covariate."
    ),
    "glmm": "Crossed mixed model with lapse 0, the companion that equals lme4’s: logit above the guess rate.",
    "gee": "Generalised estimating equations: participants as exchangeable clusters, robust standard errors. Images"
    " that differ are not allowed for here.",
    "gee_bias_reduced": "The same equations with the bias-reduced covariance, for few clusters.",
    "glm_two_way": "Logistic regression with a covariance that is robust to clusters of participants and of images.",
    "betabinomial": "Beta-binomial regression of the counts of each person and condition.",
}


def blocks(content: Mapping[str, Any]) -> Iterator[Block]:
    is_adaptive, level = content["procedure"] == ADAPTIVE, percent(content["level"])
    rows = content["thresholds"]
    medians = [row for row in rows if row["population"] == MEDIAN_PERSON]
    pooled = [row for row in rows if row["population"] == POOLED]
    people = [row for row in rows if row["population"] not in (MEDIAN_PERSON, POOLED)]
    if medians:
        yield paragraph(_TOLD_APART)
        yield of_median_person(medians, level)
    if pooled:
        yield of_pooled_curve(pooled, level)
    if people:
        yield of_people(people, level)
    if content.get("goodness_of_fit"):
        yield goodness_of_fit(content["goodness_of_fit"])
    if not is_adaptive:
        yield from regressions(content["models"])


def of_median_person(rows: Rows, level: str) -> Table:
    return Table(
        "thresholds_median_person",
        f"Thresholds of the median person, from the crossed model, with {level} intervals, in units of strength and,"
        " where displacement grows in proportion to strength, in the units of the image and of the eye.",
        _HEAD,
        [_threshold(row) for row in rows],
        prose=frozenset({"note"}),
    )


def of_pooled_curve(rows: Rows, level: str) -> Table:
    profile = f", with {level} profile-likelihood intervals widened for clusters"
    return Table(
        "thresholds",
        "Thresholds of the curve pooled over participants, in units of strength"
        f"{profile if any(row['low'] is not None for row in rows) else ''}; in image px and arcmin where they grow in"
        " proportion to strength, arcmin on the median of the screens that were measured.",
        (*_HEAD[:-1], "slope", "lapse", "note"),
        [[*_threshold(row)[:-1], number(row["slope"], 2), number(row["lapse"], 3), row["note"] or ""] for row in rows],
        prose=frozenset({"note"}),
    )


_HEAD: Final = (
    "attack", "curve", "at", "PC there", "threshold", "interval", "px", "% of width", "displayed px", "arcmin", "note",
)  # fmt: skip


def _threshold(row: Mapping[str, Any]) -> list[str]:
    return [
        row["attack"],
        row["method"].split(",")[0].split(" on ")[0],
        row.get("level", ""),
        number(row["level_of_pc"], 3),
        number(row["threshold"], 3),
        interval(row),
        number(row.get("threshold_px"), 2),
        number(row.get("threshold_percent_of_width"), 2),
        number(row.get("threshold_displayed_px"), 2),
        number(row.get("threshold_arcmin"), 2),
        row["note"] or "",
    ]


def of_people(rows: Rows, level: str) -> Table:
    return Table(
        "personal_thresholds",
        f"Threshold of each participant at half of F, in units of strength: mean and central {level} interval of the"
        " posterior of QUEST+ given the stored answers, over all slopes and lapse rates. Arcmin: on the participant's"
        " own screen, where it was measured.",
        ("participant", "attack", "answers", "threshold", "interval", "px", "arcmin", "note"),
        [
            [
                row["population"],
                row["attack"],
                str(row["n"]),
                number(row["threshold"], 3),
                interval(row),
                number(row["threshold_px"], 2),
                number(row["threshold_arcmin"], 2),
                row["note"] or "",
            ]
            for row in rows
        ],
        prose=frozenset({"note"}),
    )


def goodness_of_fit(rows: Rows) -> Table:
    return Table(
        "goodness_of_fit",
        "How well the pooled curves fit: deviance of the observed proportions, its p by a parametric bootstrap, and the"
        " correlation of the deviance residuals with strength, which would show a curve of the wrong form.",
        ("attack", "curve", "deviance", "df", "p", "simulations", "residuals against strength", "note"),
        [
            [
                row["attack"],
                row["sigmoid"],
                number(row["deviance"], 2),
                number(row["df"]),
                p_value(row["p"]),
                number(row["simulations"]),
                number(row["residuals_against_strength"], 2),
                row["note"] or "",
            ]
            for row in rows
        ],
        prose=frozenset({"note"}),
    )


def regressions(models: Mapping[str, Any]) -> Iterator[Table]:
    """One table of coefficients for each model of the report."""
    return (regression(name, models[name]) for name in _MODELS if name in models)


def regression(name: str, model: Mapping[str, Any]) -> Table:
    with_interval = any("low" in row for row in model["coefficients"].values())
    return Table(
        name,
        f"{_MODELS[name]} Formula: {model['formula']}.",
        ("term", "estimate", "SE", "z", "p", *(["interval"] if with_interval else [])),
        [
            [
                term,
                number(row["estimate"], 3),
                number(row["se"], 3),
                number(row["z"], 2),
                p_value(row["p"]),
                *([interval(row)] if with_interval else []),
            ]
            for term, row in model["coefficients"].items()
        ],
        note=" ".join(_fit_words(model)),
    )


def _fit_words(model: Mapping[str, Any]) -> Iterator[str]:
    """What a reader must know of the fit besides its coefficients."""
    if not model["converged"]:
        yield f"Not fitted: {model['reason']}."
    if spreads := model.get("sd"):
        shown = ", ".join(f"{factor} {number(sd, 3)}" for factor, sd in spreads.items())
        yield f"SD of the random intercepts: {shown}."
    if model.get("lapse_source"):
        limits = f" {interval(model, 'lapse_low', 'lapse_high')}" if model.get("lapse_low") is not None else ""
        yield f"Lapse {number(model['lapse'], 3)}{limits}, {model['lapse_source']}."
    if model.get("information"):
        yield f"Laplace approximation with {model['information']} information."
    if model.get("dispersion") is not None:
        yield f"Dispersion {number(model['dispersion'], 2)}."
    if model.get("log_likelihood") is not None:
        yield f"Log-likelihood {number(model['log_likelihood'], 2)}."
    yield from (sentence(note) for note in (model.get("diagnostics") or {}).get("notes", ()))
