"""A survival's figures as tables and sentences, from its JSON: plain data for a terminal, a page or a file."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Record = Mapping[str, Any]
Cell = str | float | int | None

OUTCOME_COLUMNS = {
    "clean error": "clean_error",
    "clean model's": "clean_model_error",
    "success": "success_rate",
    "clean model's success": "clean_model_success_rate",
    "attack error": "attack_error",
    "error shift": "error_shift",
    "prediction shift": "prediction_shift",
    "net shift": "net_prediction_shift",
}
_SHARES = {"success", "clean model's success"}
_SIZES = {"mask": "share of the image", "warp": "px"}


@dataclass(frozen=True)
class Table:
    """Columns and rows of numbers or words; None is what was not measured or is not defined."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]

    def shown(self) -> list[list[str]]:
        """The rows as a reader wants them: two decimals of an angle, three of a share, a dash for None."""
        return [[_shown(name, cell) for name, cell in zip(self.columns, row, strict=True)] for row in self.rows]

    def markdown(self) -> str:
        """A Markdown table, numbers to the right."""
        aligned = ["---" if isinstance(cell, str) else "---:" for cell in self.rows[0]]
        lines = [self.columns, aligned, *self.shown()]
        return "".join(f"| {' | '.join(line)} |\n" for line in lines)

    def csv(self) -> str:
        """Full precision; an empty cell is None."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(self.columns)
        writer.writerows(self.rows)
        return text.getvalue()


def tables(survival: Record) -> dict[str, Table]:
    """Main table, the two curves, and what inversion found, of `Survival.to_json`, by names for files."""
    return {
        "survival": main_table(survival),
        "fine_tuning": fine_tuning_curve(survival),
        "pruning": pruning_curve(survival),
        "inversion": inversion_table(survival),
    }


def markdown(survival: Record) -> str:
    """All tables and sentences as one Markdown text."""
    parts = [f"**{table.title}**\n\n{table.markdown()}" for table in tables(survival).values()]
    return "\n".join([*parts, *(f"- {sentence}" for sentence in sentences(survival)), ""])


def main_table(survival: Record) -> Table:
    """One row for each treatment of images or model."""
    tuned, pruned = survival["fine_tuning"], survival["pruning"]
    share = survival["defence"]["fine_tuning"]["share"]
    stopped = next(outcome for outcome in pruned if outcome["dose"] == survival["stopped_at"])
    rows = [(outcome["treatment"], outcome) for outcome in survival["images"]]
    rows += [(f"fine-tuned on {share:.0%}, {_epochs(outcome)}", outcome) for outcome in _ends(tuned[1:])]
    rows.append((f"{survival['stopped_at']:.0%} of the last channels pruned", stopped))
    last = survival["fine_pruning"][-1]
    rows.append((f"so pruned, then fine-tuned, {_epochs(last)}", last))
    return _outcomes(f"{survival['family']} at strength {survival['strength']:g}, degrees", "treatment", rows)


def fine_tuning_curve(survival: Record) -> Table:
    """One row for each epoch."""
    rows = [(int(outcome["dose"]), outcome) for outcome in survival["fine_tuning"]]
    return _outcomes("Fine-tuning on clean images, by epoch", "epoch", rows)


def pruning_curve(survival: Record) -> Table:
    """One row for each share of channels."""
    rows = [(f"{outcome['dose']:.0%}", outcome) for outcome in survival["pruning"]]
    return _outcomes("Pruning the least active channels of the last convolution, by share", "pruned", rows)


def inversion_table(survival: Record) -> Table:
    """The smallest change found for each candidate gaze and, last, for the true target if it is one gaze."""
    named = [("", inversion) for inversion in survival["inversion"]]
    named += [("clean model's ", inversion) for inversion in survival["clean_inversion"]]
    columns = [name for whose, found in named for name in (f"{whose}{found['kind']}", f"{whose}{found['kind']} index")]
    searches = [_candidates(found) for _, found in named]
    rows = tuple(
        (_gaze(same[0]), *(cell for found in same for cell in (found["size"], found["anomaly"])))
        for same in zip(*searches, strict=True)
    )
    if survival["inversion"][0]["at_target"]:
        rows = (*rows[:-1], (f"true target {rows[-1][0]}", *rows[-1][1:]))
    sizes = ", ".join(f"{kind} in {unit}" for kind, unit in _SIZES.items())
    return Table(f"Smallest trigger found by candidate gaze (pitch, yaw): {sizes}", ("gaze", *columns), rows)


def sentences(survival: Record) -> list[str]:
    """What inversion and blending say, in words."""
    models = (("backdoored", survival["inversion"]), ("clean", survival["clean_inversion"]))
    said = [_verdict(model, found) for model, inversions in models for found in inversions]
    blends = survival["blends"]
    said.append(
        "STRIP needs classes and is undefined for regression. Our variant, the spread of predictions under blending: "
        f"{blends['altered_spread_deg']:.1f} deg altered, {blends['clean_spread_deg']:.1f} deg clean, "
        f"AUC {blends['auc']:.2f}; it catches {blends['caught']:.0%} of altered images for "
        f"{blends['false_alarms']:.0%} false alarms."
    )
    return said


def _verdict(model: str, found: Record) -> str:
    who = f"Inversion by {found['kind']}, {model} model"
    reached = sum(candidate["size"] is not None for candidate in found["candidates"])
    of = f"{reached} of {len(found['candidates'])} candidates reached"
    if 2 * reached <= len(found["candidates"]):
        least = min((c for c in found["candidates"] if c["size"] is not None), key=lambda c: c["size"], default=None)
        nearest = f"; the smallest change reaches {_gaze(least)}" if least else ""
        return f"{who}: {of}, too few for an anomaly index{nearest}."
    if found["suspected"] is None:
        return f"{who}: {of}, none stands out (index above 2)."
    pitch, yaw = found["suspected"]
    index = next(c["anomaly"] for c in found["candidates"] if [c["pitch_deg"], c["yaw_deg"]] == [pitch, yaw])
    off = found["suspected_offset_deg"]
    away = "" if off is None else f", {off:.1f} deg from the attack's target"
    alarm = ", a false alarm" if model == "clean" else ""
    return f"{who}: {of}; ({pitch:g}, {yaw:g}) stands out with index {index:.1f}{away}{alarm}."


def _outcomes(title: str, head: str, rows: Sequence[tuple[Cell, Record]]) -> Table:
    columns = (head, *OUTCOME_COLUMNS)
    return Table(title, columns, tuple((name, *(o[key] for key in OUTCOME_COLUMNS.values())) for name, o in rows))


def _candidates(found: Record) -> list[Record]:
    return [*found["candidates"], *([found["at_target"]] if found["at_target"] else [])]


def _gaze(candidate: Record) -> str:
    return f"({candidate['pitch_deg']:g}, {candidate['yaw_deg']:g})"


def _ends(outcomes: Sequence[Record]) -> list[Record]:
    return list(outcomes) if len(outcomes) < 2 else [outcomes[0], outcomes[-1]]


def _epochs(outcome: Record) -> str:
    return f"{outcome['dose']:g} epoch{'' if outcome['dose'] == 1 else 's'}"


def _shown(column: str, cell: Cell) -> str:
    if cell is None:
        return "-"
    if isinstance(cell, float):
        digits = 4 if column.endswith("mask") else 3 if column in _SHARES else 2
        return f"{cell:.{digits}f}"
    return str(cell)
