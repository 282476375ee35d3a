"""What a trial really is, in words, for a researcher who tries the study in a preview. Participants never get it."""

from __future__ import annotations

from typing import Any

from study.lab.models import Pair
from study.trials.models import Answer, Choice, Session, Side, Trial
from study.trials.viewing import arcmin

#: Where the altered image is, in the protocols that have no two sides of a screen.
PLACES: dict[str, dict[str, str]] = {
    "ifc": {Side.LEFT: "first interval", Side.RIGHT: "second interval"},
    "yes_no": {Side.LEFT: "shown: the right answer is yes", Side.RIGHT: "not shown: the right answer is no"},
}


def told(session: Session, index: int) -> dict[str, Any] | None:
    """The truth of trial `index` and what became of the answer to it, as lists of (label, words); None without one."""
    found = session.trials.select_related(
        "answer", "base_image__dataset", "pair__attack", "choice__pair__attack"
    ).filter(index=index)
    trial = found.first()
    if trial is None:
        return None
    answer = getattr(trial, "answer", None)
    return {"index": index, "truth": _truth(session, trial), "answer": _answer(session, answer) if answer else None}


def condition(pair: Pair) -> str:
    """Attack, strength and kind of control."""
    if pair.control == Pair.Control.IDENTITY:
        return f"{pair.attack}: both images are the same (identity control)"
    kind = f", {pair.get_control_display()} control" if pair.control else ", gross" if pair.gross else ""
    return f"{pair.attack}, strength {pair.strength:g}{kind}"


def place(session: Session, trial: Trial) -> str:
    """Where the altered image is."""
    where = PLACES.get(session.design.now["protocol"], {}).get(trial.altered_side, str(trial.altered_side))
    return f"{where}, picture {trial.altered_frame + 1} of 2" if session.layout.frames > 1 else where


def _truth(session: Session, trial: Trial) -> list[tuple[str, str]]:
    pair = trial.shown_pair
    phase = f"practice, round {trial.round}" if trial.phase == Trial.Phase.PRACTICE else f"{trial.phase} trial"
    rows = [("Phase", phase), ("Stimulus", str(trial.base_image))]
    if pair is None:
        return [*rows, ("Condition", "chosen once the answers before it are stored")]
    return [*rows, ("Condition", condition(pair)), ("Altered", place(session, trial)), *_displacement(session, pair)]


def _displacement(session: Session, pair: Pair) -> list[tuple[str, str]]:
    px = pair.distortions.get("displacement_mean_px")
    if px is None:
        return []
    words = f"{px:.3g} px of the image"
    if session.px_per_degree and session.scale:
        magnified = session.scale * session.design.now["display"]["enlargement"]
        words += f", {arcmin(px, magnified, session.px_per_degree):.3g} arcmin"
    return [("Mean displacement", words)]


def _answer(session: Session, answer: Answer) -> dict[str, Any]:
    """Whether it was right: null where no answer came in time."""
    said = {**PLACES.get(session.design.now["protocol"], {}), Choice.UNSURE: "not sure", Choice.NONE: "none in time"}
    if session.design.now["protocol"] == "yes_no":
        said |= {Choice.LEFT: "yes", Choice.RIGHT: "no"}
    return {"said": said.get(answer.choice, answer.choice), "correct": answer.correct, "rt_ms": round(answer.rt_ms)}
