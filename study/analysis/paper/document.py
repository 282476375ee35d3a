"""The report as a document: its sections in the order in which a paper would have them."""

from collections.abc import Collection, Iterable, Mapping
from typing import Any, Final

from study.analysis import methods
from study.analysis.figures.files import EXPLORATORY, SIMULATED
from study.analysis.paper import captions, curves, detection, machine, quality, shift, study, summary
from study.analysis.paper.arrangement import arranged
from study.analysis.paper.blocks import Block, Bullets, Document, Section, texts
from study.analysis.references import bibliography

UNKNOWN_POPULATION: Final = "This table does not say whether its answers come from people."


def document(content: Mapping[str, Any], drawn: Collection[str]) -> Document:
    """The whole report on `content`, with those figures that were drawn."""
    figures = captions.Figures(content, drawn)
    sections = [
        summary.section(content, figures("human_and_machine")),
        _section(
            "participants", "Participants", [*figures("flow"), *study.participants(content, is_drawn="flow" in drawn)]
        ),
        _section("methods", "Methods", [*methods.paragraphs(content), *study.viewing(content)]),
        _section("detection", "Detection", [*figures("detection"), *detection.blocks(content), *figures("bias")]),
        _section(
            "thresholds",
            "Thresholds and models",
            [*curves.blocks(content), *figures("residuals", "random_effects")],
        ),
        _section(
            "shift",
            "Detection against error shift",
            [*figures("matched_visibility"), *shift.blocks(content), *figures("error_shift")],
        ),
        _section(
            "machine",
            "People and model on one axis",
            [*figures("margin"), *machine.blocks(content), *figures("frontier")],
        ),
        _section("controls", "Controls: what is seen", quality.controls(content)),
        _section("quality", "Quality of the answers", [*quality.answers(content), *figures("response_times", "order")]),
        _section("sensitivity", "Sensitivity to the model", [*figures("sensitivity"), *quality.sensitivity(content)]),
        _section("observers", "Machine observers", quality.observers(content)),
        _section("checks", "Checks", study.checks(content)),
        _section("limits", "What this cannot show", study.limits(content)),
        _section("provenance", "Provenance", study.provenance(content)),
        _section("references", "References", [Bullets(texts(*_works(content)))]),
    ]
    return Document(
        title=f"{content['study']}: detection against error shift",
        subtitle=study.question(content),
        sections=tuple(arranged(section) for section in sections if section.blocks),
        banners=tuple(banners(content)),
    )


def banners(content: Mapping[str, Any]) -> list[str]:
    """What no reader of any page may overlook."""
    simulated, found = content["simulated"], []
    if simulated or simulated is None:
        found.append(SIMULATED if simulated else UNKNOWN_POPULATION)
    return found + ([EXPLORATORY] if content["exploratory"] else [])


def _section(name: str, title: str, blocks: Iterable[Block]) -> Section:
    return Section(name, title, tuple(blocks))


def _works(content: Mapping[str, Any]) -> list[str]:
    """Those that the methods cite, and the attack's own paper."""
    attack = (content.get("setting") or {}).get("citation")
    return sorted([*(work.full for work in bibliography(methods.cited(content))), *([f"{attack}."] if attack else [])])
