"""The trial table and the session table of a study, row by row."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby, islice
from typing import TYPE_CHECKING, Any

from django.db.models import Count, Q

from study.lab.models import Pair, Prediction
from study.trials import robots
from study.trials.design import BACKDOORED
from study.trials.viewing import arcmin

if TYPE_CHECKING:
    from study.trials.models import Session, Study

TRIAL_COLUMNS = (
    "participant", "stimulus", "attack", "strength", "error_shift_deg", "clean_side", "response_side", "correct",
    "rt_ms", "is_catch", "control", "field", "model", "item", "image_subject", "protocol", "procedure", "unsure",
    "scale", "px_per_degree", "displacement_px", "displacement_displayed_px", "displacement_arcmin", "image_width_px",
    "study", "session", "session_state", "population", "phase", "trial_index", "received_at", "onset_ms", "exposure_ms",
    "frame_ms", "dropped_frames", "focus_losses", "device_pixel_ratio", "viewport_scale", "pauses",
)  # fmt: skip
SESSION_COLUMNS = (
    "participant", "session", "study", "population", "state", "reason", "list_number", "seed", "design_version",
    "design_sha256", "consent_sha256", "language", "planned", "skipped", "answered", "judged", "missed", "attempts",
    "device", "scale", "px_per_degree", "calibration", "distance", "flags", "created_at", "seen_at", "completed_at",
)  # fmt: skip
TRACE_COLUMNS = ("frame_ms", "dropped_frames", "focus_losses", "device_pixel_ratio", "viewport_scale", "pauses")
#: What the page may say about the set-up of the screen; other words of its do not get into a table.
SCREEN_WORDS = {
    "device": ("computer", "phone", "tablet"),
    "calibration": ("card_long", "card_short"),
    "distance": ("told", "blind_spot"),
}
OPPOSITE = {"left": "right", "right": "left"}
CHUNK = 2000
#: Sessions whose events and traces are in memory at one time.
SESSIONS = 50


def trial_rows(study: Study, population: str, *, practice: bool = False) -> Iterator[dict[str, Any]]:
    """One dict per answered trial, keys TRIAL_COLUMNS, by session and index; withdrawn sessions have none.

    Trials without an answer in time have no row; `session_rows` counts them. `attack` is one name for all fields of an
    attack, `field` tells them apart (see `study.trials.sources`); `strength` of an identity pair is 0. `model` is the
    study's first model with this field, `error_shift_deg` its shift, None where it has no prediction; `unsure` is 1
    where a coin decided, None where "not sure" was not offered; `image_subject` is whom the picture shows, in the data
    set's own numbers. Displacements are means over the image: in image px, in device px as displayed, and in arcmin,
    None without a measured `px_per_degree`. Practice trials only on request.

    A fixed number of queries, and rows that are made while they are read.
    """
    from study.trials.models import Answer, Choice, Session, Trial

    versions = list(study.designs_that_count.defer("json").order_by("n"))
    shown = _pairs([version.now for version in versions])
    designs = {version.pk: _display(version.now) for version in versions}
    answers = Answer.objects.filter(trial__session__design__in=list(designs), trial__session__population=population)
    answers = answers.exclude(trial__session__state=Session.State.WITHDRAWN).exclude(choice=Choice.NONE)
    if not practice:
        answers = answers.exclude(trial__phase=Trial.Phase.PRACTICE)
    answers = answers.order_by("trial__session_id", "trial__index")
    values: Any  # a named tuple of _ANSWER
    for values in answers.values_list(*_ANSWER, named=True).iterator(chunk_size=CHUNK):
        pair = shown[values.trial__pair_id or values.trial__choice__pair_id]
        yield _trial_row(study.slug, values, pair, designs[values.trial__session__design_id])


#: What a row is made from, beside its pair and its design.
_SESSION = tuple(f"trial__session__{name}" for name in (
    "id", "design_id", "public_code", "state", "population", "scale", "px_per_degree",
))  # fmt: skip
_TRIAL = ("trial__index", "trial__phase", "trial__altered_side", "trial__pair_id", "trial__choice__pair_id")
_TRACE = tuple(f"trial__trace__{name}" for name in ("details", "onset_ms", "offset_ms", *TRACE_COLUMNS))
_ANSWER = ("choice", "side", "correct", "rt_ms", "received_at", *_TRIAL, *_SESSION, *_TRACE)


@dataclass(frozen=True, slots=True)
class _Shown:
    """What the rows of one pair have in common."""

    stimulus: str
    attack: str
    strength: float
    error_shift_deg: float | None
    control: str
    field: str
    model: str
    item: str
    image_subject: str
    displacement_px: float | None


def _pairs(designs: Iterable[Mapping[str, Any]]) -> dict[int, _Shown]:
    """All pairs that these designs name, by primary key; names are those of the last design."""
    named: set[int] = set()
    labels: dict[str, str] = {}
    models: dict[str, str] = {}
    for design in designs:
        named |= {pair["id"] for pair in design["pairs"]}
        labels |= {attack["name"]: attack["label"] for attack in design["attacks"]}
        backdoored = [model for model in design["models"] if model["role"] == BACKDOORED]
        models |= {model["attack"]: model["name"] for model in reversed(backdoored)}  # the first of each attack
    predictions = Prediction.objects.filter(model_run__name__in=models.values(), pair__attack__name__in=labels)
    shifts = {
        (pair, model): shift
        for pair, model, shift in predictions.values_list("pair_id", "model_run__name", "error_shift").iterator()
        if pair in named
    }
    pairs = Pair.objects.filter(attack__name__in=labels).select_related("attack", "base_image")
    return {
        pair.pk: _Shown(
            stimulus=f"B{pair.base_image_id}",
            attack=labels[pair.attack.name],
            strength=0.0 if pair.control == Pair.Control.IDENTITY else pair.strength,
            error_shift_deg=shifts.get((pair.pk, models[pair.attack.name])),
            control=pair.control,
            field=field_name(pair),
            model=models[pair.attack.name],
            item=f"I{pair.pk}",
            image_subject=str(pair.base_image.subject),
            displacement_px=pair.distortions.get("displacement_mean_px"),
        )
        for pair in pairs.iterator(chunk_size=CHUNK)
        if pair.pk in named
    }


def field_name(pair: Pair) -> str:
    """The field that a pair's image was altered with, as the trial table names it: the beginning of its hash."""
    other_field = pair.control == Pair.Control.OTHER_FIELD
    return (pair.field_fingerprint if other_field else pair.attack.control_hash)[:12]


@dataclass(frozen=True)
class _Display:
    """What the rows under one design have in common."""

    protocol: str
    procedure: str
    not_sure: bool
    scale: float | None
    enlargement: int
    image_width_px: int


def _display(design: Mapping[str, Any]) -> _Display:
    display = design["display"]
    return _Display(
        protocol=design["protocol"],
        procedure=design["procedure"],
        not_sure=bool(design["not_sure"]),
        scale=None if display["image_degrees"] else display["scale"],
        enlargement=display["enlargement"],
        image_width_px=design["image"]["width"],
    )


def _trial_row(study: str, values: Any, pair: _Shown, design: _Display) -> dict[str, Any]:
    px_per_degree, scale = values.trial__session__px_per_degree, _scale(values, design)
    return {
        "participant": f"P{values.trial__session__id}",
        "stimulus": pair.stimulus,
        "attack": pair.attack,
        "strength": pair.strength,
        "error_shift_deg": pair.error_shift_deg,
        "clean_side": OPPOSITE[values.trial__altered_side],
        "response_side": values.side,
        "correct": int(bool(values.correct)),
        "rt_ms": values.rt_ms,
        "is_catch": int(values.trial__phase == "catch"),
        "control": pair.control,
        "field": pair.field,
        "model": pair.model,
        "item": pair.item,
        "image_subject": pair.image_subject,
        "protocol": design.protocol,
        "procedure": design.procedure,
        "unsure": int(values.choice == "unsure") if design.not_sure else None,
        "scale": scale,
        "px_per_degree": px_per_degree,
        **_displacement(pair.displacement_px, scale and scale * design.enlargement, px_per_degree),
        "image_width_px": design.image_width_px,
        "study": study,
        "session": values.trial__session__public_code,
        "session_state": values.trial__session__state,
        "population": values.trial__session__population,
        "phase": values.trial__phase,
        "trial_index": values.trial__index,
        "received_at": values.received_at.isoformat(),
        "onset_ms": values.trial__trace__onset_ms,
        "exposure_ms": _exposure(values.trial__trace__onset_ms, values.trial__trace__offset_ms),
        **{name: getattr(values, f"trial__trace__{name}") for name in TRACE_COLUMNS},
    }


def _scale(values: Any, design: _Display) -> float | None:
    """Device pixels per served pixel: of this trial as its page found it, else of the session, else of the design.

    None where the design leaves it to each screen and nothing is known of this one.
    """
    shown = (values.trial__trace__details or {}).get("scale")
    if isinstance(shown, int | float) and not isinstance(shown, bool) and 0 < shown < math.inf:
        return float(shown)
    return values.trial__session__scale or design.scale


def _displacement(px: float | None, magnified: float | None, px_per_degree: float | None) -> dict[str, float | None]:
    """Mean displacement in image px, in device px where an image px is shown `magnified` times, and as an angle."""
    if px is None or magnified is None:
        return {"displacement_px": px, "displacement_displayed_px": None, "displacement_arcmin": None}
    return {
        "displacement_px": px,
        "displacement_displayed_px": px * magnified,
        "displacement_arcmin": arcmin(px, magnified, px_per_degree) if px_per_degree else None,
    }


def _exposure(onset_ms: float | None, offset_ms: float | None) -> float | None:
    """How long the images were there, in ms."""
    return None if onset_ms is None or offset_ms is None else float(offset_ms - onset_ms)


def session_rows(study: Study, population: str) -> Iterator[dict[str, Any]]:
    """One dict per session, keys SESSION_COLUMNS, in order of arrival. Recruiters' ids stay in the database.

    `planned` counts all trials, `skipped` those that became unnecessary, `judged` the rest without practice and
    `missed` those of them that passed without an answer. `flags` are signs of a script, see `robots.MEANINGS`;
    `reason` says why somebody was screened out.

    Two queries for every SESSIONS of them, and rows that are made while they are read.
    """
    from study.trials.models import Choice, Trial

    judged = Q(trials__phase__in=[Trial.Phase.MAIN, Trial.Phase.CATCH], trials__skipped__isnull=True)
    sessions = (
        study.sessions_of(population)
        .order_by("pk")
        .select_related("slot", "design")
        .defer("design__json")
        .annotate(
            planned=Count("trials"),
            skipped=Count("trials__skipped"),
            answered=Count("trials__answer"),
            judged=Count("trials", filter=judged),
            missed=Count("trials", filter=judged & Q(trials__answer__choice=Choice.NONE)),
        )
    )
    found = sessions.iterator(chunk_size=SESSIONS)
    while some := list(islice(found, SESSIONS)):
        events = _events(some)
        flags = _flags(some, events)
        for session in some:
            said = events.get(session.pk, {})
            yield _session_row(study.slug, session, said, flags.get(session.pk, robots.flags((), said)))


def _session_row(
    study: str, session: Any, events: Mapping[str, Mapping[str, Any]], flags: Iterable[str]
) -> dict[str, Any]:
    """Of a session with its counts."""
    from study.trials.models import Session

    return {
        "participant": f"P{session.pk}",
        "session": session.public_code,
        "study": study,
        "population": session.population,
        "state": session.state,
        "reason": events.get(Session.State.SCREENED_OUT, {}).get("reason"),
        "list_number": session.slot.list_number if session.slot else None,
        "seed": session.seed,
        "design_version": session.design.n,
        "design_sha256": session.design.sha256,
        "consent_sha256": session.consent_sha256,
        "language": session.language,
        **{name: getattr(session, name) for name in ("planned", "skipped", "answered", "judged", "missed")},
        "attempts": session.attempt,
        "scale": session.scale,
        "px_per_degree": session.px_per_degree,
        **_screen(session.device),
        "flags": " ".join(flags),
        "created_at": session.created_at.isoformat(),
        "seen_at": session.seen_at.isoformat(),
        "completed_at": session.completed_at.isoformat() if session.completed_at else None,
    }


def _screen(device: Mapping[str, Any]) -> dict[str, str | None]:
    return {name: device.get(name) if device.get(name) in words else None for name, words in SCREEN_WORDS.items()}


def _events(sessions: Iterable[Session]) -> dict[int, dict[str, dict[str, Any]]]:
    """{session: {kind of event: data of the last of its kind}}."""
    from study.trials.models import SessionEvent

    events = SessionEvent.objects.filter(session__in=list(sessions)).order_by("pk")
    told: dict[int, dict[str, dict[str, Any]]] = {}
    for session, kind, data in events.values_list("session_id", "kind", "data").iterator(chunk_size=CHUNK):
        told.setdefault(session, {})[kind] = data
    return told


def _flags(sessions: Iterable[Session], events: Mapping[int, Mapping[str, Any]]) -> dict[int, list[str]]:
    """{session: signs of a script}, as `Session.flags` gives them, for those of these sessions that answered."""
    from study.trials.models import Choice, TrialTrace

    given = TrialTrace.objects.filter(trial__session__in=list(sessions)).exclude(trial__answer__choice=Choice.NONE)
    given = given.order_by("trial__session_id")
    answers = given.values_list("trial__session_id", "trial__answer__rt_ms", "details").iterator(chunk_size=CHUNK)
    return {
        session: robots.flags([{**details, "rt_ms": rt_ms} for _, rt_ms, details in of_one], events.get(session, ()))
        for session, of_one in groupby(answers, key=lambda answer: answer[0])
    }
