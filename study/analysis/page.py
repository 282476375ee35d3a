"""report.html: the report as one self-contained page to read and to print."""

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from django.template.loader import render_to_string
from django.utils.safestring import mark_safe

from study.analysis.equivalence import PAIRS_NEVER
from study.analysis.figures import SIMULATED
from study.analysis.protocols import ADAPTIVE
from study.analysis.psychometric import POOLED
from study.analysis.report import Report

DASH: Final = "–"

#: What each figure shows, in the order of the page.
CAPTIONS: Final = {
    "human_and_machine": (
        "What the attack achieves, and what people detect, over one axis of strength. Blue circles: detection above"
        " chance, 2·PC − 1, with its two-way 95 % interval; dashed: the fitted curve, with the threshold at half of F"
        " and its 95 % interval. Orange squares, where models were evaluated: the success rate on their test images."
        " Shaded: from the strength at which every model succeeds on half of the images to people's threshold. Below:"
        " how far the model's error moves."
    ),
    "detection": (
        "Proportion correct at each strength, with 95 % intervals that carry the uncertainty of participants and of"
        " images. Grey band: the bound. Dotted: chance. Hollow markers: control pairs at the strength beside which they"
        " stand. Orange: threshold at half of F with its 95 % interval."
    ),
    "error_shift": (
        "Detection against the model's error shift. Left: each point is one pair; ringed points are conditions. Right:"
        " the same pairs as deviations from their condition, where strength plays no part."
    ),
    "bias": (
        "Preference for one answer. Left: criterion of each condition. Right: each participant's share of {left}"
        " answers and the range in which 95 % of unbiased people would lie."
    ),
}
#: In place of those above where strengths were chosen from the answers.
ADAPTIVE_CAPTIONS: Final = {
    "human_and_machine": (
        "What the attack achieves, over strength, and the strength that people need. Blue: threshold of the pooled"
        " curve (dashed) at half of F with its 95 % interval. Orange squares, where models were evaluated: the success"
        " rate on their test images. Below: how far the model's error moves."
    ),
    "detection": (
        "The pooled curve and its threshold at half of F with the 95 % interval. Circles: answers at each strength,"
        " larger where more were given; they describe the path of the procedure and estimate nothing by themselves."
        " Hollow markers: control pairs, whose trials were planned."
    ),
}
ADAPTIVE_NOTE: Final = (
    "The strengths of this study were chosen from the answers. It gives thresholds only: no verdict, no test of a"
    " proportion correct, no comparison of conditions."
)


def render(report: Report, figures: Mapping[str, str]) -> str:
    """The page's HTML. `figures`: SVG text by name, as `figures.draw` returns them."""
    content = report.content
    is_adaptive = content["procedure"] == ADAPTIVE
    captions = _captions(content)
    context = {
        "report": content,
        "banner": _banner(content["simulated"]),
        "level": f"{content['level']:.0%}".replace("%", " %"),
        "bound": _short(content["bound"]),
        "protocol": content["protocol"],
        "dprime_at_bound": _number(content["protocol"]["dprime_at_bound"], 2),
        "adaptive": ADAPTIVE_NOTE if is_adaptive else "",
        "not_sure": _not_sure(content["not_sure"]),
        "screens": _screens(content["screens"]),
        "verdicts": [] if is_adaptive else [_verdict(row) for row in content["conditions"]],
        "flow": _flow(content["flow"]),
        "tables": _tables(content),
        "figures": [
            {"caption": captions[name], "svg": inline_svg(svg, name, captions[name])} for name, svg in figures.items()
        ],
        "error_shift": content["error_shift"],
        "checks": content["checks"],
        "faults": [check for check in content["checks"] if not check["ok"] and check["name"].startswith("identity")],
        "versions": ", ".join(f"{name} {version}" for name, version in content["versions"].items()),
        "lapse": _lapse(content["thresholds"]),
        "again": _command(content),
    }
    return render_to_string("analysis/report.html", context)


def _captions(content: Mapping[str, Any]) -> dict[str, str]:
    captions = CAPTIONS | (ADAPTIVE_CAPTIONS if content["procedure"] == ADAPTIVE else {})
    return {
        name: caption.replace("{left}", content["protocol"]["answers"]["left"]) for name, caption in captions.items()
    }


def _not_sure(found: Mapping[str, Any] | None) -> str:
    return f"{found['share']:.1%} of the answers were “not sure”. {found['scoring']}" if found else ""


def _screens(found: Mapping[str, Any]) -> str:
    """What is known of the size at which images were seen, in words."""
    scales = ", ".join(_number(scale) for scale in found["scales"])
    shown = f"Device pixels per image pixel: {scales}. " if scales else ""
    if not found["measured"]:
        return f"{shown}No participant's screen was measured, so displacement is given in pixels and not in arcmin."
    low, high = (_number(found[name], 1) for name in ("px_per_degree_low", "px_per_degree_high"))
    return (
        f"{shown}Screens measured by {found['measured']} of {found['sessions']} participants:"
        f" {_number(found['px_per_degree'], 1)} device pixels per degree at the median, {low} to {high}. Displacement"
        " in arcmin is the median over these participants, with the range."
    )


def inline_svg(svg: str, name: str, description: str) -> str:
    """An SVG file's text made fit to stand in a page: no prologue, ids of its own, a text alternative."""
    body = svg[svg.index("<svg") :]
    body = re.sub(r"<metadata>.*?</metadata>", "", body, flags=re.DOTALL)
    body = re.sub(r'\bid="', f'id="{name}-', body)
    body = re.sub(r"url\(#", f"url(#{name}-", body)
    body = re.sub(r'href="#', f'href="#{name}-', body)
    label = description.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;")
    return mark_safe(body.replace("<svg", f'<svg role="img" aria-label="{label}"', 1))  # noqa: S308 our own drawing


def _banner(simulated: bool | None) -> str | None:
    if simulated:
        return SIMULATED
    if simulated is None:
        return "This table does not say whether its answers come from people."
    return None


def _verdict(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "attack": row["attack"],
        "strength": _number(row["strength"]),
        "words": row["verdict"] if row["strength"] > 0 else f"identical images: {row['verdict']}",
        "reason": row["verdict_reason"] or "",
        "note": row["note"] or "",
        "interval": f"{_number(row['proportion_correct'], 3)} {_interval(row, 'two_way_low', 'two_way_high', 3)}",
        "pairs": _pairs(row),
    }


def _pairs(row: Mapping[str, Any]) -> str:
    if row["strength"] == 0 or row["two_way_high"] is None:
        return DASH
    return PAIRS_NEVER if row["pairs_needed"] is None else str(row["pairs_needed"])


def _flow(flow: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "recruited": flow["recruited"],
        "left_out": sum(flow["excluded"].values()),
        "excluded": sorted(flow["excluded"].items()),
        "analysed": flow["analysed"],
        "trials": flow["trials_analysed"],
        "missed": flow["trials_missed"],
    }


def _command(content: Mapping[str, Any]) -> str:
    """What, run in the report's folder, gives the same numbers again."""
    machine = " --machine machine.json" if content["machine"] else ""
    return f"analyze_study --csv trials.csv --bound {_short(content['bound'])}{machine} --out again"


def _lapse(thresholds: Sequence[Mapping[str, Any]]) -> str:
    return thresholds[0]["lapse_source"] if thresholds else ""


def _tables(content: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Caption, column heads and rows of text of every table below the verdicts; empty tables are left out."""
    level = f"{content['level']:.0%}".replace("%", " %")
    is_adaptive = content["procedure"] == ADAPTIVE
    thresholds = [
        _thresholds([row for row in content["thresholds"] if row["population"] == POOLED], level),
        _personal_thresholds([row for row in content["thresholds"] if row["population"] != POOLED], level),
    ]
    tables = [
        *(thresholds if is_adaptive else []),
        _adaptive_conditions(content["conditions"]) if is_adaptive else _conditions(content, level),
        *([] if is_adaptive else _tests(content)),
        _controls(content["controls"], level),
        *([] if is_adaptive else thresholds),
        *([] if is_adaptive else [_regression(content["models"]["gee"]), _error_shift(content["error_shift"], level)]),
        _frontier(content["frontier"]),
        _machine(content["machine"]),
    ]
    return [table for table in tables if table["rows"] or table["note"]]


def _table(
    identifier: str, caption: str, head: Sequence[str], rows: Sequence[Sequence[str]], note: str = ""
) -> dict[str, Any]:
    return {"id": identifier, "caption": caption, "head": head, "rows": rows, "note": note}


def _conditions(content: Mapping[str, Any], level: str) -> dict[str, Any]:
    rows, protocol = content["conditions"], content["protocol"]
    unsure = content["not_sure"] is not None
    answers = protocol["answers"]
    return _table(
        "conditions",
        f"Detection in each condition. Wilson and Clopper-Pearson {level} intervals take trials as independent and are"
        f" descriptive; the two-way interval carries participants and images. {protocol['dprime']}. Criterion: below 0,"
        f" people prefer {answers['left']}; above 0, {answers['right']}. A dash: not defined, or not measured.",
        [
            "attack", "s", "px", "arcmin", "n", *(["not sure"] if unsure else []), "PC", "two-way",
            "Wilson", "Clopper-Pearson", "d′", "bias-free d′", "criterion",
        ],
        [
            [
                row["attack"],
                _number(row["strength"]),
                _number(row["displacement_px"], 2),
                _number(row["displacement_arcmin"], 2),
                str(row["n"]),
                *([_number(row["unsure_share"], 3)] if unsure else []),
                _number(row["proportion_correct"], 3),
                _interval(row, "two_way_low", "two_way_high", 3),
                _interval(row, "wilson_low", "wilson_high", 3),
                _interval(row, "clopper_pearson_low", "clopper_pearson_high", 3),
                _number(row["dprime"], 2),
                _number(row["dprime_unbiased"], 2),
                _number(row["criterion"], 2),
            ]
            for row in rows
        ],
    )  # fmt: skip


def _adaptive_conditions(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    return _table(
        "conditions",
        "How often each strength was shown, which the answers decided, and what was answered. These proportions"
        " estimate nothing by themselves. Strength 0: identical images, whose trials were planned.",
        ["attack", "s", "image px", "arcmin", "n", "correct", "participants", "images"],
        [
            [
                row["attack"],
                _number(row["strength"]),
                _number(row["displacement_px"], 2),
                _arcmin(row),
                *(str(row[name]) for name in ("n", "correct", "participants", "stimuli")),
            ]
            for row in rows
        ],
    )


def _arcmin(row: Mapping[str, Any]) -> str:
    """Median over sessions and, where screens differ, the range."""
    text, low, high = (_number(row[f"displacement_arcmin{end}"], 2) for end in ("", "_low", "_high"))
    return text if low == high else f"{text} ({low} to {high})"


def _tests(content: Mapping[str, Any]) -> list[dict[str, Any]]:
    rows, b = content["conditions"], _short(content["bound"])
    names = ("two_way_tost_p", "two_way_upper_bound_p", "two_way_difference_p", "two_way_holm_p")
    companions = ("tost_p", "upper_bound_p", "holm_p")
    tables = [
        _table(
            "tests",
            f"Tests (p values). The two-way tests and the spread between participants decide; those on one proportion"
            f" per participant are companions, which take images as fixed. Bound {b}; Holm over the strengths above 0.",
            [
                "attack", "s", "equivalence", f"PC < {b}", "PC ≠ .5", "PC ≠ .5, Holm", "spread",
                "share off chance, at most", "participants: equivalence", f"participants: PC < {b}",
                "participants: PC > .5, Holm",
            ],
            [
                [
                    row["attack"],
                    _number(row["strength"]),
                    *(_p(row[name]) for name in names),
                    _p(row["participant_spread"]["p"]),
                    _number(row["participant_spread"]["off_chance_share_upper"], 2),
                    *(_p(row[name]) for name in companions),
                ]
                for row in rows
            ],
            note=_spread_note(rows),
        )
    ]  # fmt: skip
    if content["protocol"]["name"] == "yes_no":
        tables.append(_yes_no_tests(rows, content))
    return tables


def _yes_no_tests(rows: Sequence[Mapping[str, Any]], content: Mapping[str, Any]) -> dict[str, Any]:
    limit = _number(content["protocol"]["dprime_at_bound"], 2)
    return _table(
        "yes_no",
        "d′ of single images, with two-way intervals. People who hardly ever say “altered” have a PC near .5 whatever"
        f" they can see, so a claim below the bound needs this test as well: d′ within ±{limit}, what unbiased people"
        f" have at PC {_short(content['bound'])}.",
        ["attack", "s", "d′", "two-way", "criterion", "equivalence"],
        [
            [
                row["attack"],
                _number(row["strength"]),
                _number(row["dprime"], 2),
                _interval(row, "two_way_dprime_low", "two_way_dprime_high", 2),
                _number(row["criterion"], 2),
                _p(row["two_way_dprime_tost_p"]),
            ]
            for row in rows
        ],
    )


def _spread_note(rows: Sequence[Mapping[str, Any]]) -> str:
    reasons = sorted({row["participant_spread"]["reason"] for row in rows if row["participant_spread"]["reason"]})
    return f"A dash for the share of people off chance: {'; '.join(reasons)}." if reasons else ""


def _controls(rows: Sequence[Mapping[str, Any]], level: str) -> dict[str, Any]:
    return _table(
        "controls",
        f"Control pairs, and how they differ from the attack at the same strength (PC of the control minus PC of the"
        f" attack, two-way {level} interval). They are outside the models and the family of tests.",
        ["control", "attack", "s", "n", "PC", "two-way", "minus attack", "interval", "p"],
        [
            [
                row["control"].replace("_", " "),
                row["attack"],
                _number(row["strength"]),
                str(row["n"]),
                _number(row["proportion_correct"], 3),
                _interval(row, "two_way_low", "two_way_high", 3),
                _number(row["contrast_with_attack"], 3),
                _interval(row, "low", "high", 3),
                _p(row["p"]),
            ]
            for row in rows
        ],
    )


def _thresholds(rows: Sequence[Mapping[str, Any]], level: str) -> dict[str, Any]:
    return _table(
        "thresholds",
        f"Thresholds of the curve pooled over participants, in units of strength, with {level} profile-likelihood"
        " intervals widened for clusters; in image px and arcmin where they grow in proportion to strength, arcmin on"
        " the median of the screens that were measured.",
        ["attack", "curve", "at", "PC there", "threshold", "interval", "px", "arcmin", "slope", "lapse", "note"],
        [
            [
                row["attack"],
                row["method"].split(" on ")[0],
                row["level"],
                _number(row["level_of_pc"], 3),
                _number(row["threshold"], 3),
                _interval(row, "low", "high", 3),
                _number(row["threshold_px"], 2),
                _number(row["threshold_arcmin"], 2),
                _number(row["slope"], 2),
                _number(row["lapse"], 3),
                row["note"] or "",
            ]
            for row in rows
        ],
    )


def _personal_thresholds(rows: Sequence[Mapping[str, Any]], level: str) -> dict[str, Any]:
    return _table(
        "personal_thresholds",
        f"Threshold of each participant at half of F, in units of strength: mean and central {level} interval of the"
        " posterior of QUEST+ given the stored answers, over all slopes and lapse rates. Arcmin: on the participant's"
        " own screen, where it was measured.",
        ["participant", "attack", "answers", "threshold", "interval", "px", "arcmin", "note"],
        [
            [
                row["population"],
                row["attack"],
                str(row["n"]),
                _number(row["threshold"], 3),
                _interval(row, "low", "high", 3),
                _number(row["threshold_px"], 2),
                _number(row["threshold_arcmin"], 2),
                row["note"] or "",
            ]
            for row in rows
        ],
    )


def _regression(gee: Mapping[str, Any]) -> dict[str, Any]:
    note = "" if gee["converged"] else f"Not fitted: {gee['reason']}."
    return _table(
        "gee",
        f"Generalised estimating equations, {gee['formula']}: logit, participants as exchangeable clusters,"
        " robust standard errors. Images that differ are not allowed for here.",
        ["term", "estimate", "SE", "z", "p"],
        [
            [name, _number(row["estimate"], 3), _number(row["se"], 3), _number(row["z"], 2), _p(row["p"])]
            for name, row in gee["coefficients"].items()
        ],
        note=note,
    )


def _error_shift(summary: Mapping[str, Any] | None, level: str) -> dict[str, Any]:
    head = ["question", "model", "log odds per degree", "interval", "p"]
    caption = f"Detection against error shift: logistic regressions with two-way cluster-robust {level} intervals."
    if summary is None:
        return _table("error_shift", caption, head, [], "The table has no error shifts.")
    split = summary["within_between"]
    asked = [
        ("association, unadjusted", summary["unadjusted"], summary["unadjusted"]["formula"]),
        ("adjusted for strength (linear)", summary["strength_adjusted"], summary["strength_adjusted"]["formula"]),
        ("between conditions", split["between"], split["formula"]),
        ("within conditions", split["within"], split["formula"]),
    ]
    rows = [
        [question, formula, _number(row["estimate"], 3), _interval(row, "low", "high", 3), _p(row["p"])]
        for question, row, formula in asked
    ]
    rho = summary["per_participant_spearman"]
    person = f"Spearman's ρ, mean of {rho['n']} participants (s > 0)"
    rows.append(
        ["per participant", person, f"ρ = {_number(rho['rho'], 3)}", _interval(rho, "low", "high", 3), _p(rho["p"])]
    )
    return _table("error_shift", caption, head, rows, summary["note"])


def _frontier(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    return _table(
        "frontier",
        "What the attack does to the model beside how well it is detected.",
        ["attack", "s", "image px", "arcmin", "success rate", "error shift (deg)", "PC", "d′"],
        [
            [
                row["attack"],
                _number(row["strength"]),
                _number(row["displacement_px"], 2),
                _arcmin(row),
                _number(row["success_rate"], 3),
                _number(row["mean_error_shift_deg"], 2),
                _number(row["proportion_correct"], 3),
                _number(row["dprime"], 2),
            ]
            for row in rows
        ],
    )


def _machine(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    names = ("mean_error_shift_deg", "mean_prediction_shift_deg", "net_prediction_shift_deg")
    return _table(
        "machine",
        "The models' own dose-response on their whole test split. Net: minus the clean model's shift on these images."
        " Noise mode: error under the per-pixel noise field. Other fields: prediction shift under unrelated fields.",
        [
            "model", "attack", "target (pitch, yaw)", "s", "image px", "error shift", "prediction shift", "net shift",
            "success rate", "eligible images", "noise-mode error", "other fields",
        ],
        [
            [
                row["model"],
                row["attack"],
                _target(row["target"]),
                _number(row["strength"]),
                _number(row["displacement_px"], 2),
                *(_number(row[name], 2) for name in names),
                _number(row["success_rate"], 3),
                _number(row["n_eligible"]),
                _number(row["noise_mode_error_deg"], 2),
                _number(row["other_field_shift_deg"], 2),
            ]
            for row in rows
        ],
    )  # fmt: skip


def _target(target: Mapping[str, Any] | None) -> str:
    if target is None:
        return DASH
    angles = ", ".join(f"{_number(math.degrees(target[name]), 1)}°" for name in ("pitch", "yaw"))
    return f"{target['kind']} ({angles})"


def _number(value: float | None, digits: int | None = None) -> str:
    if value is None:
        return DASH
    text = f"{value:g}" if digits is None else f"{value:.{digits}f}"
    return text.replace("-", "−")


def _short(value: float) -> str:
    return f"{value:.2f}".lstrip("0")


def _interval(row: Mapping[str, Any], low: str, high: str, digits: int) -> str:
    if row[low] is None and row[high] is None:
        return DASH
    return f"[{_number(row[low], digits)}, {_number(row[high], digits)}]"


def _p(value: float | None) -> str:
    if value is None:
        return DASH
    return "< .001" if value < 0.001 else f"{value:.3f}".lstrip("0") if value < 0.9995 else "1"
