"""The trial table and the session table of a study, row by row."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import groupby
from typing import TYPE_CHECKING, Any, cast

from django.db.models import Count, Q

from study.lab.models import Pair, Prediction
from study.trials import robots
from study.trials.design import upgraded
from study.trials.viewing import arcmin

if TYPE_CHECKING:
    from study.trials.models import Answer, Session, Study

TRIAL_COLUMNS = (
    "participant", "stimulus", "attack", "strength", "error_shift_deg", "clean_side", "response_side", "correct",
    "rt_ms", "is_catch", "control", "field", "model", "item", "protocol", "procedure", "unsure", "scale",
    "px_per_degree", "displacement_px", "displacement_displayed_px", "displacement_arcmin", "study", "session",
    "session_state", "population", "phase", "trial_index", "received_at", "onset_ms", "exposure_ms", "frame_ms",
    "dropped_frames", "focus_losses", "device_pixel_ratio", "viewport_scale", "pauses",
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


def trial_rows(study: Study, population: str, *, practice: bool = False) -> Iterator[dict[str, Any]]:
    """One dict per answered trial, keys TRIAL_COLUMNS, by session and index; withdrawn sessions have none.

    Trials without an answer in time have no row; `session_rows` counts them. `strength` of an identity pair is 0;
    `error_shift_deg` is that of the study's model run, None where it has no prediction; `unsure` is 1 where a coin
    decided, None where "not sure" was not offered. Displacements are means over the image: in image px, in device px
    as displayed, and in arcmin, None without a measured `px_per_degree`. Practice trials only on request.
    """
    from study.trials.models import Answer, Choice, Session, Trial

    shifts = dict(Prediction.objects.filter(model_run=study.model_run).values_list("pair_id", "error_shift"))
    designs = {version.pk: upgraded(version.json) for version in study.design_versions.all()}
    answers = Answer.objects.filter(trial__session__study=study, trial__session__population=population)
    answers = answers.exclude(trial__session__state=Session.State.WITHDRAWN).exclude(choice=Choice.NONE)
    if not practice:
        answers = answers.exclude(trial__phase=Trial.Phase.PRACTICE)
    answers = answers.select_related(
        "trial__session", "trial__pair__attack", "trial__choice__pair__attack", "trial__trace"
    )
    answers = answers.order_by("trial__session_id", "trial__index")
    for answer in answers.iterator(chunk_size=CHUNK):
        yield _trial_row(study, answer, designs[answer.trial.session.design_id], shifts)


def _trial_row(study: Study, answer: Answer, design: Mapping[str, Any], shifts: Mapping[int, float]) -> dict[str, Any]:
    trial, session = answer.trial, answer.trial.session
    pair = cast(Pair, trial.shown_pair)  # what was answered has been shown
    trace = getattr(trial, "trace", None)
    other_field = pair.control == Pair.Control.OTHER_FIELD
    return {
        "participant": f"P{session.pk}",
        "stimulus": f"B{pair.base_image_id}",
        "attack": pair.attack.name,
        "strength": 0.0 if pair.control == Pair.Control.IDENTITY else pair.strength,
        "error_shift_deg": shifts.get(pair.pk),
        "clean_side": OPPOSITE[trial.altered_side],
        "response_side": answer.side,
        "correct": int(bool(answer.correct)),
        "rt_ms": answer.rt_ms,
        "is_catch": int(trial.phase == trial.Phase.CATCH),
        "control": pair.control,
        "field": (pair.field_fingerprint if other_field else pair.attack.control_hash)[:12],
        "model": study.model_run.name,
        "item": f"I{pair.pk}",
        "protocol": design["protocol"],
        "procedure": design["procedure"],
        "unsure": int(answer.choice == "unsure") if design["not_sure"] else None,
        **_displacement(pair, session, _scale(trace, session, design), design["display"]["enlargement"]),
        "study": study.slug,
        "session": session.public_code,
        "session_state": session.state,
        "population": session.population,
        "phase": trial.phase,
        "trial_index": trial.index,
        "received_at": answer.received_at.isoformat(),
        "onset_ms": getattr(trace, "onset_ms", None),
        "exposure_ms": _exposure(trace),
        **{name: getattr(trace, name, None) for name in TRACE_COLUMNS},
    }


def _scale(trace: Any, session: Session, design: Mapping[str, Any]) -> float | None:
    """Device pixels per served pixel: of this trial as its page found it, else of the session, else of the design.

    None where the design leaves it to each screen and nothing is known of this one.
    """
    shown = trace.details.get("scale") if trace else None
    if isinstance(shown, int | float) and not isinstance(shown, bool) and shown > 0:
        return float(shown)
    display = design["display"]
    return session.scale or (None if display["image_degrees"] else display["scale"])


def _displacement(pair: Pair, session: Session, scale: float | None, enlargement: int) -> dict[str, float | None]:
    px, px_per_degree = pair.distortions.get("displacement_mean_px"), session.px_per_degree
    found = {"scale": scale, "px_per_degree": px_per_degree, "displacement_px": px}
    if px is None or scale is None:
        return {**found, "displacement_displayed_px": None, "displacement_arcmin": None}
    magnified = scale * enlargement
    return {
        **found,
        "displacement_displayed_px": px * magnified,
        "displacement_arcmin": arcmin(px, magnified, px_per_degree) if px_per_degree else None,
    }


def _exposure(trace: Any) -> float | None:
    """How long the images were there, in ms."""
    if trace is None or trace.onset_ms is None or trace.offset_ms is None:
        return None
    return float(trace.offset_ms - trace.onset_ms)


def session_rows(study: Study, population: str) -> Iterator[dict[str, Any]]:
    """One dict per session, keys SESSION_COLUMNS, in order of arrival. Recruiters' ids stay in the database.

    `planned` counts all trials, `skipped` those that became unnecessary, `judged` the rest without practice and
    `missed` those of them that passed without an answer. `flags` are signs of a script, see `robots.MEANINGS`;
    `reason` says why somebody was screened out.
    """
    from study.trials.models import Choice, Session, Trial

    judged = Q(trials__phase__in=[Trial.Phase.MAIN, Trial.Phase.CATCH], trials__skipped__isnull=True)
    sessions = study.sessions.filter(population=population).order_by("pk")
    sessions = (
        sessions.select_related("slot", "design")
        .defer("design__json")
        .annotate(
            planned=Count("trials"),
            skipped=Count("trials__skipped"),
            answered=Count("trials__answer"),
            judged=Count("trials", filter=judged),
            missed=Count("trials", filter=judged & Q(trials__answer__choice=Choice.NONE)),
        )
    )
    events = _events(study, population)
    flags = _flags(study, population, events)
    session: Any  # with the counts
    for session in sessions.iterator(chunk_size=CHUNK):
        said = events.get(session.pk, {})
        yield {
            "participant": f"P{session.pk}",
            "session": session.public_code,
            "study": study.slug,
            "population": session.population,
            "state": session.state,
            "reason": said.get(Session.State.SCREENED_OUT, {}).get("reason"),
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
            "flags": " ".join(flags.get(session.pk, robots.flags((), said))),
            "created_at": session.created_at.isoformat(),
            "seen_at": session.seen_at.isoformat(),
            "completed_at": session.completed_at.isoformat() if session.completed_at else None,
        }


def _screen(device: Mapping[str, Any]) -> dict[str, str | None]:
    return {name: device.get(name) if device.get(name) in words else None for name, words in SCREEN_WORDS.items()}


def _events(study: Study, population: str) -> dict[int, dict[str, dict[str, Any]]]:
    """{session: {kind of event: data of the last of its kind}}."""
    from study.trials.models import SessionEvent

    events = SessionEvent.objects.filter(session__study=study, session__population=population).order_by("pk")
    told: dict[int, dict[str, dict[str, Any]]] = {}
    for session, kind, data in events.values_list("session_id", "kind", "data").iterator(chunk_size=CHUNK):
        told.setdefault(session, {})[kind] = data
    return told


def _flags(study: Study, population: str, events: Mapping[int, Mapping[str, Any]]) -> dict[int, list[str]]:
    """{session: signs of a script}, as `Session.flags` gives them, for all sessions that answered at once."""
    from study.trials.models import Choice, TrialTrace

    given = TrialTrace.objects.filter(trial__session__study=study, trial__session__population=population)
    given = given.exclude(trial__answer__choice=Choice.NONE).order_by("trial__session_id")
    answers = given.values_list("trial__session_id", "trial__answer__rt_ms", "details").iterator(chunk_size=CHUNK)
    return {
        session: robots.flags([{**details, "rt_ms": rt_ms} for _, rt_ms, details in of_one], events.get(session, ()))
        for session, of_one in groupby(answers, key=lambda answer: answer[0])
    }
