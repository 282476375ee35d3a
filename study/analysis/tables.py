"""Reads a study out of the database: the only module of the analysis that knows the tables."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from study.analysis import displacement, frontier
from study.analysis.exclusions import SCREENED_OUT, TIMED_OUT, UNFINISHED, WITHDRAWN
from study.analysis.frames import (
    OPTIONAL_FLAGS,
    OPTIONAL_NUMBERS,
    OPTIONAL_TEXT,
    REQUIRED,
    TrialTableError,
    from_records,
)
from study.analysis.protocols import PROTOCOLS
from study.analysis.report import Material
from study.lab.models import ModelRun
from study.trials.exclusions import MISSED, ExclusionRules, Missed
from study.trials.models import DesignVersion, Population, Session, Study

#: Columns of the trial table that leave the database. Not among them: what ties a row to a person's own code or clock.
COLUMNS: Final = (
    *REQUIRED,
    *OPTIONAL_TEXT,
    *OPTIONAL_NUMBERS,
    *OPTIONAL_FLAGS,
    "frame_ms",
    "dropped_frames",
    "focus_losses",
    "device_pixel_ratio",
    "viewport_scale",
)


def read_study(study: Study, population: str = Population.REAL) -> Material:
    """Everything that a report on one population of `study` is made from.

    Raises TrialTableError when nobody of that population has answered yet, naming the population that has.
    """
    sessions = list(study.session_rows(population))
    rows: list[dict[str, Any]] = [
        {name: row[name] for name in COLUMNS if name in row} for row in study.trial_rows(population)
    ]
    if not rows:
        raise TrialTableError(_nobody(study, population))
    trials = from_records(rows, f"study {study.slug}")
    design = study.current_design
    present = set(trials["participant"])
    left_out, left_before = _unusable(sessions, present)
    return Material(
        name=study.slug,
        trials=trials,
        rules=ExclusionRules.of_design(design.json if design else {}),
        bound=design.json["bound"] if design else study.bound,
        scope=_scope(study, design.now) if design else "",
        recruited=len(sessions),
        left_out=left_out,
        left_before=left_before,
        design_sha256=design.sha256 if design else None,
        design_matches=design.matches() if design else None,
        earlier_designs=_under_earlier_designs(sessions, design),
        missed={session["participant"]: Missed(session["missed"], session["judged"]) for session in sessions},
        flagged=_flagged(sessions) if population == Population.REAL else None,
        not_sure=(design.now["not_sure"] or "") if design else "",
        machine=_machine(study, rows),
        seed=study.seed,
    )


def _nobody(study: Study, population: str) -> str:
    answered = [
        other
        for other in (Population.REAL, Population.SIMULATED)
        if other != population and any(True for _ in study.trial_rows(other))
    ]
    if answered:
        return (
            f"Study {study.slug} has no answers from {population} participants, only from {answered[0].value} ones;"
            f" to analyse those, add --population {answered[0].value}."
        )
    return f"Study {study.slug} has no answers from {population} participants yet; there is nothing to analyse."


def _unusable(sessions: list[dict[str, Any]], present: set[str]) -> tuple[dict[str, str], dict[str, int]]:
    """Participants to leave out though they have rows, {participant: why}; and those without rows, {why: how many}."""
    left_out: dict[str, str] = {}
    left_before: dict[str, int] = {}
    for session in sessions:
        is_present = session["participant"] in present
        why = _why_unusable(session) or (None if is_present else MISSED)
        if why and is_present:
            left_out[session["participant"]] = why
        elif why:
            left_before[why] = left_before.get(why, 0) + 1
    return left_out, left_before


def _why_unusable(session: Mapping[str, Any]) -> str | None:
    """None for a session that came to its end. Trials that became unnecessary are no loss."""
    match session["state"]:
        case Session.State.WITHDRAWN:
            return WITHDRAWN
        case Session.State.TIMED_OUT:
            return TIMED_OUT
        case Session.State.SCREENED_OUT:
            return f"{SCREENED_OUT}: {session['reason']}" if session["reason"] else SCREENED_OUT
    return UNFINISHED if session["answered"] + session["skipped"] < session["planned"] else None


def _flagged(sessions: list[dict[str, Any]]) -> dict[str, list[str]]:
    return {session["participant"]: session["flags"].split() for session in sessions}


def _under_earlier_designs(sessions: list[dict[str, Any]], current: DesignVersion | None) -> int:
    return sum(session["design_version"] != current.n for session in sessions) if current else 0


def _scope(study: Study, design: Mapping[str, Any]) -> str:
    attack = study.model_run.attack
    field = f"field {attack.control_hash[:12]}" if attack and attack.control_hash else "trigger"
    display, exposure_ms = design["display"], design["timing"]["exposure_ms"]
    degrees = display["image_degrees"]
    size = f"{degrees:g} degrees wide" if degrees else f"{display['scale']} device pixels per image pixel"
    return (
        f"for this {field} and this model ({study.model_run.name}) on {study.dataset.name},"
        f" {PROTOCOLS[design['protocol']].presentation}, at {size}{_enlarged(display['enlargement'])}, shown"
        f" {f'for {exposure_ms} ms' if exposure_ms else 'until the answer'}"
    )


def _enlarged(times: int) -> str:
    return f" after smooth enlargement by {times}" if times > 1 else ""


def _machine(study: Study, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Dose-response of every evaluated model with this attack and this target on these data."""
    shown = [row for row in rows if not row["control"] and not row["is_catch"]]
    px = displacement.px_per_strength(shown, str(study.model_run.attack))
    return [
        row
        for run, doses in _evaluations(study)
        for row in frontier.machine_rows(run.name, str(run.attack), doses, px, run.target)
    ]


def _evaluations(study: Study) -> Iterator[tuple[ModelRun, list[dict[str, Any]]]]:
    runs = ModelRun.objects.filter(dataset=study.dataset, attack=study.model_run.attack).exclude(attack=None)
    for run in runs.select_related("attack").order_by("name"):
        if run.target == study.model_run.target and (
            doses := ((run.metrics or {}).get("evaluation") or {}).get("doses")
        ):
            yield run, doses
