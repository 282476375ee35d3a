"""Reads a study out of the database: the only module of the analysis that knows the tables."""

from collections.abc import Iterator, Mapping
from itertools import chain
from typing import Any, Final

import pandas as pd
from django.db.models import Q

from models.tasks import TASKS
from study.analysis import displacement, frontier, machine_observers, matched
from study.analysis.exclusions import SCREENED_OUT, TIMED_OUT, UNFINISHED, WITHDRAWN
from study.analysis.frames import (
    OPTIONAL_FLAGS,
    OPTIONAL_NUMBERS,
    OPTIONAL_TEXT,
    REQUIRED,
    TrialTableError,
    from_records,
    main_trials,
)
from study.analysis.material import Material
from study.analysis.protocols import PROTOCOLS
from study.lab.models import ON_WEIGHTS, ModelRun, Pair, PairJudgement, Prediction
from study.trials import recruiters
from study.trials.exclusions import MISSED, ExclusionRules, Missed
from study.trials.export import field_name
from study.trials.models import DesignVersion, Population, Session, Study

#: Columns of the trial table that leave the database. Not among them: what ties a row to a person's own code or clock.
COLUMNS: Final[tuple[str, ...]] = (
    *REQUIRED,
    *OPTIONAL_TEXT,
    *OPTIONAL_NUMBERS,
    *OPTIONAL_FLAGS,
    matched.IMAGE_SUBJECT,
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
    rows = _rows(study, population)
    first = next(rows, None)
    if first is None:
        raise TrialTableError(_nobody(study, population))
    trials = from_records(chain([first], rows), f"study {study.slug}")
    design = study.current_design
    present = set(trials["participant"])
    left_out, left_before = _unusable(sessions, present)
    return Material(
        name=study.slug,
        trials=trials,
        rules=ExclusionRules.of_design(design.json if design else {}),
        bound=design.json["bound"] if design else study.bound,
        scope=_scope(study, design.now) if design else "",
        setting=_setting(study, design.now) if design else {},
        recruited=len(sessions),
        left_out=left_out,
        left_before=left_before,
        design_sha256=design.sha256 if design else None,
        design_matches=design.matches() if design else None,
        earlier_designs=_under_earlier_designs(sessions, design),
        missed={session["participant"]: Missed(session["missed"], session["judged"]) for session in sessions},
        flagged=_flagged(sessions) if population == Population.REAL else None,
        not_sure=(design.now["not_sure"] or "") if design else "",
        machine=_machine(study, trials),
        predictions=_predictions(study, trials),
        observers=_observers(study),
        seed=study.seed,
    )


def _rows(study: Study, population: str) -> Iterator[dict[str, Any]]:
    for row in study.trial_rows(population):
        yield {name: row[name] for name in COLUMNS if name in row}


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
    noun = "field" if attack and attack.family == "wanet" else "trigger"
    drawn = f"{noun} {attack.control_hash[:12]}" if attack and attack.control_hash else "trigger"
    display, exposure_ms = design["display"], design["timing"]["exposure_ms"]
    degrees = display["image_degrees"]
    size = f"{degrees:g} degrees wide" if degrees else f"{display['scale']} device pixels per image pixel"
    return (
        f"for this {drawn} and this model ({study.model_run.name}) on {study.dataset.name},"
        f" {PROTOCOLS[design['protocol']].presentation}, at {size}{_enlarged(display['enlargement'])}, shown"
        f" {f'for {exposure_ms} ms' if exposure_ms else 'until the answer'}"
    )


def _setting(study: Study, design: Mapping[str, Any]) -> dict[str, Any]:
    """What studies that are compared may differ in."""
    run, display = study.model_run, design["display"]
    return {
        "dataset": study.dataset.name,
        "model": run.name,
        "network": run.network,
        "task": run.task,
        "target": matched.target_in_words(run.target),
        "family": run.attack.family if run.attack else None,
        "strength": run.attack.strength_in_words() if run.attack else None,
        "citation": run.attack.citation() if run.attack else None,
        "exposure_ms": design["timing"]["exposure_ms"],
        "scale": display["scale"],
        "image_degrees": display["image_degrees"],
        "enlargement": display["enlargement"],
    }


def people(study: Study, population: str) -> set[str]:
    """Who took part, by the recruiter's name for them, which no report prints; those without one are not among them."""
    recruiter = recruiters.of(study)
    sessions = study.sessions.filter(population=population).values_list("recruiter_ids", flat=True)
    return {person for ids in sessions if (person := recruiters.person(ids, recruiter))}


def _enlarged(times: int) -> str:
    return f" after smooth enlargement by {times}" if times > 1 else ""


def _machine(study: Study, trials: pd.DataFrame) -> list[dict[str, Any]]:
    """Dose-response of every evaluated model with this attack and this target on these data, whatever its task.

    After these, what attacks on the weights of models of these data do, for which no image is altered.
    """
    if (attack := study.model_run.attack) is None:
        return []
    px = displacement.per_strength(main_trials(trials), str(attack))["px"]
    field = attack.control_hash or None
    rows = [
        row
        for run, doses in _evaluations(study)
        for row in frontier.machine_rows(run.name, str(attack), doses, px, run.target, field=field, task=run.task)
    ]
    on_weights = ModelRun.objects.filter(dataset=study.dataset, attack__family=ON_WEIGHTS).order_by("name")
    return rows + [
        frontier.weights_row(run.name, figures, run.target, run.task)
        for run in on_weights
        if (figures := (run.metrics or {}).get("weights"))
    ]


def _evaluations(study: Study) -> Iterator[tuple[ModelRun, list[dict[str, Any]]]]:
    runs = ModelRun.objects.filter(dataset=study.dataset, attack=study.model_run.attack)
    for run in runs.select_related("attack").order_by("name"):
        if run.target == study.model_run.target and (
            doses := ((run.metrics or {}).get("evaluation") or {}).get("doses")
        ):
            yield run, [frontier.in_zones(dose) for dose in doses] if run.task == TASKS["zones"] else doses


def _predictions(study: Study, trials: pd.DataFrame) -> pd.DataFrame | None:
    """What every model with this attack, whatever its target, and every clean model makes of the pairs people saw.

    None where no model has been given them. Controls and strength 0 stay out: they are not the attack.
    """
    attack = study.model_run.attack_id
    of_the_attack = Prediction.objects.filter(
        Q(model_run__attack=attack) | Q(model_run__attack=None),
        pair__attack=attack,
        pair__base_image__dataset=study.dataset_id,
        pair__control=Pair.Control.NONE,
    )
    seen = set(main_trials(trials)["item"])
    rows = [
        _prediction_row(prediction)
        for prediction in of_the_attack.select_related("pair__attack", "pair__base_image", "model_run")
        if f"I{prediction.pair_id}" in seen
    ]
    return matched.from_rows(rows, with_subject=True) if rows else None


def _prediction_row(prediction: Prediction) -> tuple[Any, ...]:
    """In the order of `matched.COLUMNS`, and whom the picture shows."""
    pair, run = prediction.pair, prediction.model_run
    return (
        f"B{pair.base_image_id}",
        pair.attack.name,
        field_name(pair),
        pair.strength,
        run.name,
        run.seed,
        matched.target_in_words(run.attack_target, run.task),
        matched.target_degrees(run.attack_target),
        prediction.error_shift,
        prediction.prediction_shift,
        prediction.attack_error,
        str(pair.base_image.subject),
    )


def _observers(study: Study) -> pd.DataFrame | None:
    """What machine observers made of the pairs; None where none was asked (`manage.py observe_pairs`)."""
    attack = study.model_run.attack
    return machine_observers.table(PairJudgement.objects.trial_rows(study.dataset, attack)) if attack else None
