"""The trial table and the session table of a study, row by row."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from django.db.models import Count

from study.lab.models import Pair, Prediction

if TYPE_CHECKING:
    from study.trials.models import Answer, Study

TRIAL_COLUMNS = (
    "participant", "stimulus", "attack", "strength", "error_shift_deg", "clean_side", "response_side", "correct",
    "rt_ms", "is_catch", "control", "field", "model", "item", "px_per_degree", "displacement_px", "displacement_arcmin",
    "study", "session", "session_state", "population", "phase", "trial_index", "received_at", "frame_ms",
    "dropped_frames", "focus_losses", "device_pixel_ratio", "viewport_scale",
)  # fmt: skip
SESSION_COLUMNS = (
    "participant", "session", "study", "population", "state", "list_number", "seed", "design_version", "design_sha256",
    "consent_sha256", "language", "planned", "answered", "attempts", "px_per_degree", "created_at", "completed_at",
)  # fmt: skip
TRACE_COLUMNS = ("frame_ms", "dropped_frames", "focus_losses", "device_pixel_ratio", "viewport_scale")
OPPOSITE = {"left": "right", "right": "left"}
CHUNK = 2000


def trial_rows(study: Study, population: str, *, practice: bool = False) -> Iterator[dict[str, Any]]:
    """One dict per answered trial, keys TRIAL_COLUMNS, by session and index; withdrawn sessions have none.

    `strength` of an identity pair is 0; `error_shift_deg` is that of the study's model run, None where it has no
    prediction; `displacement_arcmin` is None without a measured `px_per_degree`. Practice trials only on request.
    """
    from study.trials.models import Answer, Session, Trial

    shifts = dict(Prediction.objects.filter(model_run=study.model_run).values_list("pair_id", "error_shift"))
    answers = Answer.objects.filter(trial__session__study=study, trial__session__population=population)
    answers = answers.exclude(trial__session__state=Session.State.WITHDRAWN)
    if not practice:
        answers = answers.exclude(trial__phase=Trial.Phase.PRACTICE)
    answers = answers.select_related("trial__session", "trial__pair__attack", "trial__trace")
    answers = answers.order_by("trial__session_id", "trial__index")
    for answer in answers.iterator(chunk_size=CHUNK):
        yield _trial_row(study, answer, shifts)


def _trial_row(study: Study, answer: Answer, shifts: dict[int, float]) -> dict[str, Any]:
    trial, session, pair = answer.trial, answer.trial.session, answer.trial.pair
    trace = getattr(trial, "trace", None)
    displacement = pair.distortions.get("displacement_mean_px")
    other_field = pair.control == Pair.Control.OTHER_FIELD
    return {
        "participant": f"P{session.pk}",
        "stimulus": f"B{pair.base_image_id}",
        "attack": pair.attack.name,
        "strength": 0.0 if pair.control == Pair.Control.IDENTITY else pair.strength,
        "error_shift_deg": shifts.get(pair.pk),
        "clean_side": OPPOSITE[trial.altered_side],
        "response_side": answer.choice,
        "correct": int(answer.correct),
        "rt_ms": answer.rt_ms,
        "is_catch": int(trial.phase == trial.Phase.CATCH),
        "control": pair.control,
        "field": (pair.field_fingerprint if other_field else pair.attack.control_hash)[:12],
        "model": study.model_run.name,
        "item": f"I{pair.pk}",
        "px_per_degree": session.px_per_degree,
        "displacement_px": displacement,
        "displacement_arcmin": _arcmin(displacement, study.scale, session.px_per_degree),
        "study": study.slug,
        "session": session.public_code,
        "session_state": session.state,
        "population": session.population,
        "phase": trial.phase,
        "trial_index": trial.index,
        "received_at": answer.received_at.isoformat(),
        **{name: getattr(trace, name, None) for name in TRACE_COLUMNS},
    }


def _arcmin(displacement_px: float | None, scale: int, px_per_degree: float | None) -> float | None:
    """Displayed displacement; `scale` and `px_per_degree` count device pixels."""
    if displacement_px is None or not px_per_degree:
        return None
    return displacement_px * scale / px_per_degree * 60


def session_rows(study: Study, population: str) -> Iterator[dict[str, Any]]:
    """One dict per session, keys SESSION_COLUMNS, in order of arrival. Recruiters' ids stay in the database."""
    sessions = study.sessions.filter(population=population).select_related("slot", "design").order_by("pk")
    sessions = sessions.annotate(planned=Count("trials"), answered=Count("trials__answer"))
    session: Any  # with the two counts
    for session in sessions.iterator(chunk_size=CHUNK):
        yield {
            "participant": f"P{session.pk}",
            "session": session.public_code,
            "study": study.slug,
            "population": session.population,
            "state": session.state,
            "list_number": session.slot.list_number if session.slot else None,
            "seed": session.seed,
            "design_version": session.design.n,
            "design_sha256": session.design.sha256,
            "consent_sha256": session.consent_sha256,
            "language": session.language,
            "planned": session.planned,
            "answered": session.answered,
            "attempts": session.attempt,
            "px_per_degree": session.px_per_degree,
            "created_at": session.created_at.isoformat(),
            "completed_at": session.completed_at.isoformat() if session.completed_at else None,
        }
