"""Reads a study out of the database: the only module of the analysis that knows the tables."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, Final

import pandas as pd
from django.db.models import F, Q

from models.tasks import TASKS
from study.analysis import displacement, frontier, machine_observers, matched
from study.analysis.controls import noun
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
from study.analysis.paper.numerals import listed
from study.analysis.protocols import PROTOCOLS
from study.lab.models import ON_WEIGHTS, Attack, ModelRun, Pair, PairJudgement, Prediction
from study.trials import recruiters
from study.trials.design import BACKDOORED
from study.trials.exclusions import MISSED, ExclusionRules, Missed
from study.trials.export import field_name
from study.trials.models import Population, Session, Study

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
    version = study.designs_that_count.latest("n")
    design, shown = version.now, _Shown.of(version.now)
    present = set(trials["participant"])
    left_out, left_before = _unusable(sessions, present)
    return Material(
        name=study.slug,
        trials=trials,
        rules=ExclusionRules.of_design(version.json),
        bound=design["bound"],
        scope=_scope(design),
        setting=_setting(study, shown, design),
        recruited=len(sessions),
        left_out=left_out,
        left_before=left_before,
        design_sha256=version.sha256,
        design_matches=version.matches(),
        earlier_designs=sum(session["design_version"] != version.n for session in sessions),
        missed={session["participant"]: Missed(session["missed"], session["judged"]) for session in sessions},
        flagged=_flagged(sessions) if population == Population.REAL else None,
        not_sure=design["not_sure"] or "",
        machine=_machine(study, shown, trials),
        predictions=_predictions(study, shown, trials),
        observers=_observers(study, shown),
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


@dataclass(frozen=True)
class _Shown:
    """The attacks and models of a design.

    Attributes:
        labels: {name of an attack: its name in the trial table}, the same for its fields.
        runs: the backdoored models, the primary one first.
    """

    labels: Mapping[str, str]
    runs: Sequence[ModelRun]

    @classmethod
    def of(cls, design: Mapping[str, Any]) -> "_Shown":
        names = [model["name"] for model in design["models"] if model["role"] == BACKDOORED]
        found = {run.name: run for run in ModelRun.objects.filter(name__in=names).select_related("attack")}
        return cls(
            {attack["name"]: attack["label"] for attack in design["attacks"]},
            [found[name] for name in names if name in found],
        )

    def label(self, attack: Attack | None) -> str:
        return self.labels[str(attack)]


def _scope(design: Mapping[str, Any]) -> str:
    display, exposure_ms = design["display"], design["timing"]["exposure_ms"]
    degrees = display["image_degrees"]
    size = f"{degrees:g} degrees wide" if degrees else f"{display['scale']} device pixels per image pixel"
    return (
        f"for {listed(_fields_and_models(design))} on {design['dataset']['name']},"
        f" {PROTOCOLS[design['protocol']].presentation}, at {size}{_enlarged(display['enlargement'])}, shown"
        f" {f'for {exposure_ms} ms' if exposure_ms else 'until the answer'}"
    )


def _fields_and_models(design: Mapping[str, Any]) -> list[str]:
    """The fields and models of a study by name: verdicts hold for these."""
    drawn: dict[str, list[str]] = {}
    for attack in design["attacks"]:
        drawn.setdefault(noun(attack), []).append(attack["control_hash"][:12])
    models = [model["name"] for model in design["models"] if model["role"] == BACKDOORED]
    return [
        *(_these(what, hashes) or f"this {what} {hashes[0]}".strip() for what, hashes in drawn.items()),
        _these("model", models) or f"this model ({models[0]})",
    ]


def _these(what: str, names: Sequence[str]) -> str | None:
    return f"these {len(names)} {what}s ({', '.join(names)})" if len(names) > 1 else None


def _setting(study: Study, shown: _Shown, design: Mapping[str, Any]) -> dict[str, Any]:
    """What studies that are compared may differ in; of several models all that they are, each once."""
    display, runs = design["display"], shown.runs
    attacks = [run.attack for run in runs if run.attack]
    strengths = {attack.strength_in_words() for attack in attacks}
    return {
        "dataset": study.dataset.name,
        "model": _each(run.name for run in runs),
        "network": _each(run.network for run in runs),
        "task": _each(run.task for run in runs),
        "target": _each(matched.target_in_words(run.target) for run in runs),
        "family": _each(attack.family for attack in attacks),
        "strength": strengths.pop() if len(strengths) == 1 else None,
        "citation": _each(attack.citation() for attack in attacks),
        "exposure_ms": design["timing"]["exposure_ms"],
        "scale": display["scale"],
        "image_degrees": display["image_degrees"],
        "enlargement": display["enlargement"],
    }


def _each(words: Iterable[str | None]) -> str | None:
    return "; ".join(dict.fromkeys(word for word in words if word)) or None


def people(study: Study, population: str) -> set[str]:
    """Who took part, by the recruiter's name for them, which no report prints; those without one are not among them."""
    recruiter = recruiters.of(study)
    sessions = study.sessions_of(population).values_list("recruiter_ids", flat=True)
    return {person for ids in sessions if (person := recruiters.person(ids, recruiter))}


def _enlarged(times: int) -> str:
    return f" after smooth enlargement by {times}" if times > 1 else ""


def _machine(study: Study, shown: _Shown, trials: pd.DataFrame) -> list[dict[str, Any]]:
    """Dose-response of every evaluated model with these attacks and their targets on these data, whatever its task.

    After these, what attacks on the weights of models of these data do, for which no image is altered.
    """
    main = main_trials(trials)
    px = {label: displacement.per_strength(main, label)["px"] for label in dict.fromkeys(shown.labels.values())}
    rows = [
        row
        for run, attack, doses in _evaluations(study, shown)
        for label in [shown.label(attack)]
        for row in frontier.machine_rows(
            run.name, label, doses, px[label], run.target, field=attack.control_hash or None, task=run.task
        )
    ]
    on_weights = ModelRun.objects.filter(dataset=study.dataset, attack__family=ON_WEIGHTS).order_by("name")
    return rows + [
        frontier.weights_row(run.name, figures, run.target, run.task)
        for run in on_weights
        if (figures := (run.metrics or {}).get("weights"))
    ]


def _evaluations(study: Study, shown: _Shown) -> Iterator[tuple[ModelRun, Attack, list[dict[str, Any]]]]:
    """Each model, its attack and its evaluation, of those that are pulled where a model of the study with the same
    attack is pulled to.
    """
    targets: dict[str, list[Any]] = {label: [] for label in shown.labels.values()}
    for run in shown.runs:
        targets[shown.label(run.attack)].append(run.target)
    runs = ModelRun.objects.filter(dataset=study.dataset, attack__name__in=shown.labels)
    for run in runs.select_related("attack").order_by("name"):
        doses = ((run.metrics or {}).get("evaluation") or {}).get("doses")
        if run.attack and doses and run.target in targets[shown.label(run.attack)]:
            yield run, run.attack, [frontier.in_zones(d) for d in doses] if run.task == TASKS["zones"] else doses


def _predictions(study: Study, shown: _Shown, trials: pd.DataFrame) -> pd.DataFrame | None:
    """What every model with these attacks, whatever its target, and every clean model makes of the pairs people saw.

    None where no model has been given them. Controls and strength 0 stay out: they are not the attack.
    """
    of_the_attacks = Prediction.objects.filter(
        Q(model_run__attack=F("pair__attack")) | Q(model_run__attack=None),
        pair__attack__name__in=shown.labels,
        pair__base_image__dataset=study.dataset_id,
        pair__control=Pair.Control.NONE,
    )
    seen = set(main_trials(trials)["item"])
    rows = [
        _prediction_row(prediction, shown.label(prediction.pair.attack))
        for prediction in of_the_attacks.select_related("pair__attack", "pair__base_image", "model_run")
        if f"I{prediction.pair_id}" in seen
    ]
    return matched.from_rows(rows, with_subject=True) if rows else None


def _prediction_row(prediction: Prediction, attack: str) -> tuple[Any, ...]:
    """In the order of `matched.COLUMNS`, and whom the picture shows."""
    pair, run = prediction.pair, prediction.model_run
    return (
        f"B{pair.base_image_id}",
        attack,
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


def _observers(study: Study, shown: _Shown) -> pd.DataFrame | None:
    """What machine observers made of the pairs; None where none was asked (`manage.py observe_pairs`)."""
    return machine_observers.table(
        {**row, "attack": shown.label(attack)}
        for attack in Attack.objects.filter(name__in=shown.labels)
        for row in PairJudgement.objects.trial_rows(study.dataset, attack)
    )
