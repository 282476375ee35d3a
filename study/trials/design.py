"""The frozen design of a study: everything that decides what is shown and how it is judged, as JSON with a hash."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from functools import cache
from itertools import zip_longest
from statistics import median_low
from typing import TYPE_CHECKING, Any

from django.core.exceptions import ValidationError

from study.checkout import commit
from study.lab import files
from study.lab.images import DamagedFile
from study.lab.models import Attack, Dataset, ModelRun, Pair, Prediction, StoredImage
from study.trials import adaptive, images, sources
from study.trials.exceptions import CannotOpen
from study.trials.exclusions import FAST_MS
from study.trials.plan import (
    ADAPTIVE,
    Cell,
    Kind,
    PlanError,
    Stimuli,
    block_size,
    choose_stimuli,
    practice_ladder,
)
from study.trials.sources import ShownAttack

if TYPE_CHECKING:
    from study.trials.models import Study

Pairs = Mapping[tuple[int, Kind], Pair]

FORMAT = 4
TIMING = (
    "fixation_ms", "exposure_ms", "mask_ms", "gap_ms", "flicker_ms", "response_ms", "blank_ms", "enable_after_ms",
)  # fmt: skip
DISPLAY = ("scale", "image_degrees", "enlargement", "calibration", "distance", "allow_phones", "allow_tablets")
#: What designs of format 1 left unsaid.
FORMAT_1: dict[str, Any] = {
    "protocol": "afc",
    "procedure": "constant",
    "adaptive": None,
    "not_sure": False,
    "timing": {
        "fixation_ms": 500, "exposure_ms": None, "mask_ms": 0, "gap_ms": 500, "flicker_ms": 500, "response_ms": None,
        "blank_ms": 400, "enable_after_ms": 250,
    },
    "display": {
        "scale": 4, "image_degrees": None, "enlargement": 1, "calibration": "none", "distance": "none",
        "allow_phones": True, "allow_tablets": True,
    },
    "break_every": 40,
    "resume_hours": 24 * 14,
    "minimum_age": 18,
}  # fmt: skip
#: What designs before format 3 left unsaid: rules that leave nobody out.
BEFORE_FORMAT_3: dict[str, Any] = {
    "response_times": {"median_below_ms": 0, "fast_below_ms": FAST_MS, "fast_above_share": 1.0},
    "focus": {"above_share": 1.0},
}
#: What designs before format 4 left unsaid: nothing was frozen of pay, preregistration, instructions and debrief.
BEFORE_FORMAT_4: dict[str, Any] = {"looks": False, "pay": None, "preregistration": None, "texts": None}
BACKDOORED, CLEAN = "backdoored", "clean"
PAY = ("currency", "base_pay", "bonus_per_correct", "screened_out_pay")
CONTROLS = (Pair.Control.IDENTITY, Pair.Control.RESAMPLED, Pair.Control.OTHER_FIELD)
#: Parts of a design that are chosen among the pairs there are, and the columns of a study that decide the choice.
CHOSEN = ("image", "cells", "adaptive", "stimuli", "catch", "practice", "pairs")
DECIDE_THE_CHOICE = frozenset(
    {
        "dataset", "dataset_id", "model_run", "model_run_id", "strengths", "trials_per_strength", "trials_per_control",
        "catch_trials", "practice_trials", "practice_rounds", "practice_correct", "procedure", "adaptive_trials",
        "adaptive_minimum", "adaptive_sd", "seed",
    }
)  # fmt: skip
SAME_SIDE_P = 0.001
CATCH_P = 0.05
MISSED_ABOVE_SHARE = 0.1
SHORTEST_EXPOSURE_MS = 50
SIDES_RULE = (
    "Within a session the altered image is on the left in half of the trials of every cell; each time a stimulus "
    "meets a cell again on a later list it is on the other side; no side comes more than four times in a row."
)
ANALYSIS_PLAN = (
    "Proportion correct per condition with intervals and tests that carry participant and stimulus uncertainty. "
    "Detection: two-sided test of proportion correct against .5, Holm over all conditions with strength above 0. "
    "Below the bound: two one-sided tests at .05 within (1 - bound, bound), and a participant spread no more than "
    "binomial. Identity pairs count as strength 0 of their attack; the other controls have a block of their own. "
    "Practice and catch trials are not analysed; excluded sessions are counted by rule."
)


NOT_SURE_RULE = (
    '"Not sure" is a guess: a fair coin, drawn from the session\'s stored seed, decides which side is counted, so that '
    "it is half right on average and every trial stays right or wrong."
)


@cache
def code_version() -> str:
    """The commit that was running when it was first asked for, "unknown" outside a checkout."""
    return commit() or "unknown"


def describe(study: Study, kept: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The design of `study` as it would be frozen now; `kept`: an earlier design whose CHOSEN parts stay.

    Without one, reads the pairs' rows and one image's header. Raises CannotOpen with what is missing.
    """
    chosen = {part: upgraded(kept)[part] for part in CHOSEN} if kept else _choose(study)
    return {
        "format": FORMAT,
        "sides": SIDES_RULE,
        "analysis": ANALYSIS_PLAN,
        "code_version": code_version(),
        **_settings(study),
        **chosen,
        "exclusions": _exclusions(study, len(chosen["stimuli"]), len(chosen["catch"]["stimuli"])),
    }


def upgraded(design: Mapping[str, Any]) -> dict[str, Any]:
    """A frozen design in the words of the present format, whichever it was frozen in."""
    if design["format"] >= FORMAT:
        return dict(design)
    now = {**design, "exclusions": {**BEFORE_FORMAT_3, **design["exclusions"]}, **_of_one_attack(design)}
    if design["format"] == 1:
        now |= FORMAT_1 | {
            "timing": {**FORMAT_1["timing"], **design["timing"]},
            "display": {**FORMAT_1["display"], "scale": design["scale"]},
            "practice": {"correct": 0, "rounds": 1, **design["practice"]},
        }
    return now


def _of_one_attack(design: Mapping[str, Any]) -> dict[str, Any]:
    """What changed with format 4, when studies got several attacks, of an earlier design."""
    name = design["attack"]["name"]
    return BEFORE_FORMAT_4 | {
        "attacks": [{**design["attack"], "label": name}],
        "models": [{**model, "attack": None if model["role"] == CLEAN else name} for model in design["models"]],
        "cells": [{"attack": name, **cell} for cell in design["cells"]],
        "pairs": [{"attack": name, **pair} for pair in design["pairs"]],
    }


def check(study: Study) -> None:
    """Raises ValidationError for settings that do not go together."""
    exposure, adapts = study.exposure_ms, study.procedure == study.Procedure.ADAPTIVE
    unmeasured = "none" in (study.calibration, study.distance)
    rules = [
        (
            "exposure_ms",
            exposure is None and study.protocol == study.Protocol.IFC,
            "Two intervals need a fixed exposure: give one.",
        ),
        (
            "exposure_ms",
            exposure is not None and exposure < SHORTEST_EXPOSURE_MS,
            f"Browsers cannot show an image reliably for less than {SHORTEST_EXPOSURE_MS} ms.",
        ),
        (
            "mask_ms",
            study.mask_ms > 0 and exposure is None,
            "A mask follows a fixed exposure: give one, or no mask.",
        ),
        (
            "image_degrees",
            study.image_degrees is not None and not 0 < study.image_degrees < math.inf,
            "A width in degrees is a number above 0.",
        ),
        (
            "adaptive_sd",
            not 0 <= study.adaptive_sd < math.inf,
            "The SD at which to stop is 0 (never early) or a number of octaves above it.",
        ),
        (
            "response_ms",
            study.response_ms is not None and study.response_ms <= study.enable_after_ms,
            "The time to answer is over before a press counts: make it longer than that.",
        ),
        (
            "image_degrees",
            study.image_degrees is not None and unmeasured,
            "A size in degrees needs the card calibration and a viewing distance.",
        ),
        (
            "distance",
            study.distance != study.Distance.NONE and study.calibration == study.Calibration.NONE,
            "A distance is of use only on a calibrated screen: add the card calibration.",
        ),
        (
            "practice_correct",
            study.practice_correct > study.practice_trials,
            "More right answers are asked for than there are practice trials.",
        ),
        *(
            (share, not 0 <= getattr(study, share) <= 1, "A share lies between 0 and 1.")
            for share in ("fast_above_share", "focus_above_share")
        ),
        (
            "procedure",
            adapts and study.protocol == study.Protocol.YES_NO,
            "A yes/no criterion would move an adaptive threshold: choose another protocol.",
        ),
        (
            "adaptive_minimum",
            adapts and not 1 <= study.adaptive_minimum <= study.adaptive_trials,
            "The minimum lies between 1 and the number of adaptive trials.",
        ),
        *(("model_run", said is not None, said or "") for said in _refused(study)),
    ]
    if refused := {field: said for field, broken, said in reversed(rules) if broken}:
        raise ValidationError(refused)


def _refused(study: Study) -> Iterable[str | None]:
    """Why the further models do not go with the study, where they do not."""
    if further := study.further_sources:
        yield from (sources.refusal(study, source.model_run) for source in further)
        yield sources.same_field_twice(sources.attacks_of(study))


def changed_rows(design: Mapping[str, Any]) -> list[str]:
    """Which of the rows that a design names are gone or not what they were, in words."""
    design = upgraded(design)
    names = [attack["name"] for attack in design["attacks"]]
    named: list[tuple[str, Any, Any]] = [
        ("data set", design["dataset"], _dataset(Dataset.objects.filter(name=design["dataset"]["name"]).first())),
        *(
            ("attack", attack, _attack(Attack.objects.filter(name=attack["name"]).first(), attack["label"]))
            for attack in design["attacks"]
        ),
        *(
            ("model", model, _model(model["role"], ModelRun.objects.filter(name=model["name"]).first()))
            for model in design["models"]
        ),
    ]
    changed = [f"the {noun} {then['name']}" for noun, then, now in named if then != now]
    pairs = Pair.objects.filter(attack__name__in=names, base_image__dataset__name=design["dataset"]["name"])
    found = pairs.select_related("attack", "base_image").in_bulk([pair["id"] for pair in design["pairs"]])
    others = [p["id"] for p in design["pairs"] if p["id"] not in found or _described(found[p["id"]]) != p]
    return changed + ([f"{len(others)} pairs, the first is number {others[0]}"] if others else [])


def changed_settings(design: Mapping[str, Any], study: Study) -> list[str]:
    """Which columns of the study do not say what the design says."""
    design = upgraded(design)
    rule, practice, times = design["adaptive"], design["practice"], design["exclusions"]["response_times"]
    main = [cell for cell in design["cells"] if not cell["control"] and not rule]
    counts = {
        **_strengths_kept(design, study),
        "trials_per_strength": {cell["trials"] for cell in main} <= {study.trials_per_strength},
        "adaptive_trials": not rule or rule == {**rule, **_stop_rule(study)},
        "trials_per_control": {study.trials_per_control}
        == {cell["trials"] for cell in design["cells"] if cell["control"]},
        "catch_trials": study.catch_trials == len(design["catch"]["stimuli"]),
        "practice_trials": study.practice_trials * practice["rounds"] == len(practice["stimuli"]),
        "practice_correct": design["format"] < 2 or study.practice_correct == practice["correct"],
        "practice_rounds": design["format"] < 2 or study.practice_rounds == practice["rounds"],
        "median_rt_below_ms": design["format"] < 3 or study.median_rt_below_ms == times["median_below_ms"],
        "fast_above_share": design["format"] < 3 or study.fast_above_share == times["fast_above_share"],
        "focus_above_share": design["format"] < 3
        or study.focus_above_share == design["exclusions"]["focus"]["above_share"],
    }
    settings_now = _settings(study)
    unsaid = (FORMAT_1 if design["format"] < 2 else {}) | (BEFORE_FORMAT_4 if design["format"] < 4 else {})
    known = [name for name in settings_now if name not in unsaid or name == "looks"]
    return [name for name in known if design[name] != settings_now[name]] + [
        name for name, same in counts.items() if not same
    ]


def strengths_of(design: Mapping[str, Any]) -> dict[str, list[float]]:
    """{name of an attack in the trial table: strengths of its main trials, ascending}, the primary one first."""
    strengths: dict[str, list[float]] = {attack["label"]: [] for attack in design["attacks"]}
    if rule := design["adaptive"]:
        return {label: list(rule["strengths"]) for label in strengths}
    for label, strength in sorted(conditions_of(design)):
        strengths[label].append(strength)
    return strengths


def conditions_of(design: Mapping[str, Any]) -> dict[tuple[str, float], int]:
    """{(name of an attack in the trial table, strength): main trials of one session, over all fields}, controls not
    among them. Empty of an adaptive design.
    """
    labels = {attack["name"]: attack["label"] for attack in design["attacks"]}
    trials: dict[tuple[str, float], int] = {}
    for cell in design["cells"]:
        if not cell["control"] and cell["strength"] is not None:
            condition = labels[cell["attack"]], cell["strength"]
            trials[condition] = trials.get(condition, 0) + cell["trials"]
    return trials


def _strengths_kept(design: Mapping[str, Any], study: Study) -> dict[str, bool]:
    """{column: whether it says the strengths that the design shows}, of the study and of its sources."""
    then = strengths_of(design)
    now = {shown.label: list(shown.strengths) for shown in sources.attacks_of(study)}
    primary = next(iter(then))
    return {
        "strengths": study.strengths == then[primary],
        "sources": {**now, primary: None} == {**then, primary: None},
    }


def _settings(study: Study) -> dict[str, Any]:
    """What the columns of the study, and of the rows that it refers to, say."""
    return {
        "study": study.slug,
        "participants": study.participants,
        "seed": study.seed,
        "protocol": study.protocol,
        "procedure": study.procedure,
        "not_sure": study.not_sure and NOT_SURE_RULE,
        "timing": {name: getattr(study, name) for name in TIMING},
        "display": {name: getattr(study, name) for name in DISPLAY},
        "break_every": study.break_every,
        "resume_hours": study.resume_hours,
        "dataset": _dataset(study.dataset),
        "attacks": [_attack(shown.attack, shown.label) for shown in sources.attacks_of(study)],
        "models": _models(study),
        "bound": study.bound,
        "looks": study.looks_allowed,
        "minimum_age": study.minimum_age,
        "consent": _consent(study),
        "texts": {language: study.texts_sha256(language) for language in study.languages},
        "pay": {name: _plain(getattr(study, name)) for name in PAY},
        "preregistration": {
            "research_question": study.research_question,
            "hypotheses": [line.strip() for line in study.hypotheses.splitlines() if line.strip()],
            "sample_size_reason": study.sample_size_reason,
        },
    }


def _models(study: Study) -> list[dict[str, Any] | None]:
    """The backdoored models, the primary one first, and then the clean ones that they are compared with."""
    runs = study.model_runs
    clean = dict.fromkeys(run.clean_reference for run in runs if run.clean_reference is not None)
    return [_model(BACKDOORED, run) for run in runs] + [_model(CLEAN, run) for run in clean]


def _plain(value: str | int | Decimal) -> str:
    """Money as text that is the same however many zeros the database keeps; other text as it is."""
    return value if isinstance(value, str) else f"{Decimal(value).normalize():f}"


def _consent(study: Study) -> dict[str, Any]:
    """What is consented to: hash of the texts in the study's own language, and in the others that it has."""
    languages = {language: study.consent_sha256(language) for language in study.languages}
    own = {"version": study.consent_version, "sha256": languages.pop(study.language)}
    return own | ({"translations": languages} if languages else {})


def _choose(study: Study) -> dict[str, Any]:
    """The CHOSEN parts: conditions, stimuli and pairs, from the pairs that there are now."""
    for run in study.model_runs:
        if said := sources.no_trigger(run):
            raise CannotOpen(said)
    attacks = sources.attacks_of(study)
    pairs = _pairs(study, attacks)
    strengths = _strengths(study, attacks, pairs)
    levels = strengths[attacks[0].label]
    gross = _gross(study, attacks[0], pairs)
    cells = _cells(study, attacks, pairs, strengths)
    ladder = practice_ladder(levels, gross, study.practice_trials) * study.practice_rounds
    adapts = study.procedure == study.Procedure.ADAPTIVE
    chosen_from = [Kind(gross.attack, "", strength) for strength in levels] if adapts else []
    stimuli = _stimuli(study, pairs, cells, gross=gross, ladder=ladder, adaptive=chosen_from)
    shown = _shown(stimuli, cells, gross, ladder, chosen_from)
    _require_predictions(attacks, [pairs[place] for place in shown if place[0] in set(stimuli.main)])
    width, height, _ = _shape(pairs[shown[0]].base_image)
    return {
        "image": {"width": width, "height": height},
        "cells": [_described_cell(cell, gross.attack) for cell in cells],
        "adaptive": {"strengths": levels, **_stop_rule(study), "grid": adaptive.GRID} if adapts else None,
        "stimuli": list(stimuli.main),
        "catch": {"strength": gross.strength, "stimuli": list(stimuli.catch)},
        "practice": {
            "strengths": [kind.strength for kind in ladder],
            "stimuli": list(stimuli.practice),
            "correct": study.practice_correct,
            "rounds": study.practice_rounds,
        },
        "pairs": [_described(pairs[place]) for place in shown],
    }


def images_of(design: Mapping[str, Any]) -> list[StoredImage]:
    """Every image that the design shows, once."""
    pairs = Pair.objects.filter(pk__in=[p["id"] for p in design["pairs"]]).select_related("base_image")
    return list({image.file: image for pair in pairs for image in (pair, pair.base_image)}.values())


def check_images(design: dict[str, Any]) -> None:
    """Read every image of the design. Raises CannotOpen unless all have their hash, one size and one length."""
    shapes = {_shape(image) for image in images_of(design)}
    if len(shapes) > 1:
        raise CannotOpen(
            "The image files differ in size or length, which would give altered images away: "
            "make all pairs again with one size and one encoder."
        )


def demand_images(dataset: Dataset, model_runs: Iterable[ModelRun]) -> None:
    """Have every image that a design of these could show, as the storage has it. Raises CannotOpen for one that the
    storage does not have, or not right. Takes its time: call it before a transaction.
    """
    if files.bucket() is None:
        return
    attacks = {run.attack_id for run in model_runs}
    pairs = Pair.objects.filter(base_image__dataset=dataset, attack__in=attacks).select_related("base_image")
    try:
        files.fetch((image.stored for pair in pairs for image in (pair, pair.base_image)), anew=True)
    except (DamagedFile, files.StorageFailed) as error:
        raise CannotOpen(str(error)) from error


def _pairs(study: Study, attacks: Sequence[ShownAttack]) -> Pairs:
    """Every pair that there is of these attacks, by base image and kind."""
    rows = {shown.attack.pk: shown.attack for shown in attacks}
    found = Pair.objects.filter(base_image__dataset=study.dataset, attack__in=rows).select_related("base_image")
    pairs = {}
    for pair in found.order_by("pk"):
        pair.attack = rows[pair.attack_id]
        pairs[pair.base_image_id, Kind(pair.attack.name, pair.control, pair.strength, pair.gross)] = pair
    return pairs


def _strengths(study: Study, attacks: Sequence[ShownAttack], pairs: Pairs) -> dict[str, list[float]]:
    """{name of an attack in the trial table: strengths of its main trials}, the same under all its fields."""
    available: dict[str, set[float]] = {str(shown): set() for shown in attacks}
    for _, kind in pairs:
        if not kind.control and not kind.gross:
            available[kind.attack].add(kind.strength)
    strengths: dict[str, list[float]] = {}
    for shown in attacks:
        there = available[str(shown)]
        if not there:
            raise CannotOpen(f"The attack {shown} has no pairs on {study.dataset}: make them first.")
        wanted = strengths.setdefault(shown.label, sorted(shown.strengths or there))
        if missing := set(wanted) - there:
            raise CannotOpen(
                f"The attack {shown} has no pairs at strength {min(missing):g}: make them, or choose other strengths."
            )
    return strengths


def _gross(study: Study, primary: ShownAttack, pairs: Pairs) -> Kind:
    """What the catch trials show: the primary attack, so that everybody sees it."""
    found = [kind for _, kind in pairs if kind.gross and kind.attack == str(primary)]
    if not found:
        raise CannotOpen(
            f"The attack {primary} has no gross pairs for the catch trials on {study.dataset}: make them first."
        )
    return max(found, key=lambda kind: kind.strength)


def _cells(
    study: Study, attacks: Sequence[ShownAttack], pairs: Pairs, strengths: Mapping[str, Sequence[float]]
) -> list[Cell]:
    """The cells of every attack, in turn, so that a picture meets all attacks on lists that follow each other."""
    of_attacks = [_cells_of(study, shown, pairs, strengths[shown.label]) for shown in attacks]
    return [cell for in_turn in zip_longest(*of_attacks) for cell in in_turn if cell is not None]


def _cells_of(study: Study, shown: ShownAttack, pairs: Pairs, strengths: Sequence[float]) -> list[Cell]:
    """One cell per strength and one per control kind, which has the attack's middle strength where it can.

    A kind that the attack can have and that has no pairs was forgotten. What it can have stands in its row: here, in a
    web process, the attacks' own code is not loaded.
    """
    needed = {Pair.Control.IDENTITY, *shown.attack.controls}
    name = str(shown)
    if study.procedure == study.Procedure.ADAPTIVE:
        cells = [Cell(ADAPTIVE, study.adaptive_trials)]
    else:
        cells = [Cell(Kind(name, "", strength), study.trials_per_strength) for strength in strengths]
    for control in CONTROLS:
        available = sorted({kind.strength for _, kind in pairs if (kind.attack, kind.control) == (name, control)})
        if not available and control not in needed:
            continue
        if not available:
            raise CannotOpen(f"There are no {control.label} control pairs of {shown}: make them first.")
        strength = median_low([s for s in available if s == median_low(strengths)] or available)
        cells.append(Cell(Kind(name, control.value, strength), study.trials_per_control))
    return cells


def _stop_rule(study: Study) -> dict[str, float]:
    return {"most": study.adaptive_trials, "minimum": study.adaptive_minimum, "sd": study.adaptive_sd}


def _described_cell(cell: Cell, primary: str) -> dict[str, Any]:
    if cell.kind == ADAPTIVE:
        return {"attack": primary, "control": "", "strength": None, "trials": cell.trials}
    kind = cell.kind
    return {"attack": kind.attack, "control": kind.control, "strength": kind.strength, "trials": cell.trials}


def _stimuli(
    study: Study,
    pairs: Iterable[tuple[int, Kind]],
    cells: list[Cell],
    *,
    gross: Kind,
    ladder: list[Kind],
    adaptive: Sequence[Kind],
) -> Stimuli:
    kinds: dict[int, list[Kind]] = {}
    for stimulus, kind in pairs:
        kinds.setdefault(stimulus, []).append(kind)
    try:
        block_size(cells)
        return choose_stimuli(
            kinds,
            cells,
            gross=gross,
            catch_trials=study.catch_trials,
            practice_kinds=ladder,
            seed=study.seed,
            adaptive=adaptive,
        )
    except PlanError as error:
        raise CannotOpen(str(error)) from error


def _shown(
    stimuli: Stimuli, cells: list[Cell], gross: Kind, ladder: list[Kind], adaptive: Sequence[Kind]
) -> list[tuple[int, Kind]]:
    kinds = [*adaptive, *(cell.kind for cell in cells if cell.kind != ADAPTIVE)]
    main = [(stimulus, kind) for stimulus in stimuli.main for kind in kinds]
    catch = [(stimulus, gross) for stimulus in stimuli.catch]
    practice = list(zip(stimuli.practice, ladder, strict=True))
    return main + catch + practice


def _require_predictions(attacks: Sequence[ShownAttack], pairs: Sequence[Pair]) -> None:
    """Raises CannotOpen unless every model was given the pairs of its attack."""
    for shown in attacks:
        of_attack = [pair for pair in pairs if pair.attack == shown.attack]
        for run in shown.runs:
            predicted = set(Prediction.objects.filter(model_run=run).values_list("pair_id", flat=True))
            missing = [pair for pair in of_attack if pair.pk not in predicted]
            if missing:
                raise CannotOpen(
                    f"{len(missing)} pairs have no prediction of {run}, the first is {missing[0]}: "
                    "evaluate the model on the pairs first."
                )


def _shape(image: StoredImage) -> tuple[int, int, int]:
    """(width, height, length in bytes) of a stored image."""
    try:
        content = image.read()
        return *images.size(content), len(content)
    except DamagedFile as error:
        raise CannotOpen(str(error)) from error


def _dataset(dataset: Dataset | None) -> dict[str, Any] | None:
    return {"name": dataset.name, "fingerprint": dataset.fingerprint} if dataset else None


def _attack(attack: Attack | None, label: str) -> dict[str, Any] | None:
    if attack is None:
        return None
    return {
        "name": attack.name,
        "label": label,
        "family": attack.family,
        "parameters": attack.parameters,
        "control_hash": attack.control_hash,
    }


def _model(role: str, run: ModelRun | None) -> dict[str, Any] | None:
    if run is None:
        return None
    attack = run.attack.name if run.attack else None
    return {"role": role, "name": run.name, "attack": attack, "artifact_sha256": run.artifact_sha256}


def _described(pair: Pair) -> dict[str, Any]:
    return {
        "id": pair.pk,
        "stimulus": pair.base_image_id,
        "attack": pair.attack.name,
        "control": pair.control,
        "strength": pair.strength,
        "clean_sha256": pair.base_image.sha256,
        "altered_sha256": pair.sha256,
    }


def _exclusions(study: Study, main_trials: int, catch_trials: int) -> dict[str, dict[str, float]]:
    """Rules fixed before the first answer. A guesser passes the catch rule with p < .05 wherever that is possible.

    Yes/no has no rule on one-sided answers: who sees nothing is right to say "not altered" all the time.
    """
    judged = main_trials + catch_trials
    same_side = next(k for k in range(judged + 1) if 2 * _binomial_tail(k, judged) < SAME_SIDE_P or k == judged)
    rules: dict[str, dict[str, float]] = {
        "incomplete": {"answered_below": judged},
        "missed": {"above_share": MISSED_ABOVE_SHARE},
        "response_times": {
            "median_below_ms": study.median_rt_below_ms,
            "fast_below_ms": FAST_MS,
            "fast_above_share": study.fast_above_share,
        },
        "focus": {"above_share": study.focus_above_share},
    }
    if study.protocol != study.Protocol.YES_NO:
        rules["same_side"] = {"at_least": same_side, "of": judged, "p_below": SAME_SIDE_P}
    if catch_trials:
        passed = next(
            k for k in range(catch_trials + 1) if _binomial_tail(k, catch_trials) < CATCH_P or k == catch_trials
        )
        rules["catch"] = {"correct_below": passed, "of": catch_trials}
    return rules


def _binomial_tail(k: int, n: int) -> float:
    """P(X >= k) of n fair coins."""
    return sum(math.comb(n, i) for i in range(k, n + 1)) / float(2**n)
