"""A frozen design as a preregistration, in the order in which OSF asks; written from the design's JSON alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

from study.analysis.paper.blocks import Block, Bullets, Code, Document, Paragraph, Section, Strong, Table, Text
from study.desk.applicability import is_of_use
from study.desk.counterbalancing import condition_name, turn_of
from study.trials.design import upgraded
from study.trials.duration import estimate, trials_of_a_session
from study.trials.exclusions import ExclusionRules

NOT_SAID: Final = "Not said."
DRAFT_BANNER: Final = "DRAFT: not frozen"
SHOWN: Final = {
    "afc": "Two images side by side: which one has been altered?",
    "ifc": "Two images one after the other: has the first or the second been altered?",
    "flicker": "Two places, one of which toggles between the clean and the altered image: which one changes?",
    "oddity": "Two pairs of images, one of which differs: in which pair do the images differ?",
    "yes_no": "One image, altered in half of the trials: has it been altered or not?",
}
TIMES: Final = {
    "fixation_ms": "fixation cross",
    "exposure_ms": "exposure",
    "mask_ms": "mask",
    "gap_ms": "blank between two intervals",
    "flicker_ms": "each picture of a flickering place",
    "response_ms": "time to answer",
    "blank_ms": "blank after an answer",
    "enable_after_ms": "presses count after",
}
#: What a time says that is not given.
NO_LIMIT: Final = {"exposure_ms": "until the answer", "response_ms": "any"}


@dataclass(frozen=True)
class Frozen:
    """A design in the present format, and what is known of its freezing.

    Attributes:
        sha256: of the JSON as it was frozen.
        version: its number; 0 for a draft, which is not frozen.
        reason: of the version, as an amendment gives it.
        on: the day, as in 2026-11-22; "" for a draft.
    """

    design: Mapping[str, Any]
    sha256: str
    version: int = 0
    reason: str = ""
    on: str = ""


def document(design: Mapping[str, Any], sha256: str, *, version: int = 0, reason: str = "", on: str = "") -> Document:
    """The preregistration. `design`: JSON of any format; the rest as in `Frozen`."""
    frozen = Frozen(upgraded(design), sha256, version, reason, on)
    state = f"version {version}, frozen on {on}" if version else "a draft, as it would be frozen now"
    return Document(
        title=f"Preregistration of the study {design['study']}",
        subtitle=(f"{state.capitalize()}. SHA-256 of the design: ", Code(sha256)),
        sections=tuple(Section(name, title, tuple(write(frozen))) for name, title, write in _SECTIONS),
        banners=() if version else (DRAFT_BANNER,),
    )


def markdown(registered: Document) -> str:
    """The same document as Markdown."""
    marks = [f"> **{mark}**" for mark in registered.banners]
    parts = [f"# {registered.title}", *marks, _words(registered.subtitle)]
    for section in registered.sections:
        parts += [f"## {section.title}", *map(_block, section.blocks)]
    return "\n\n".join(parts) + "\n"


def pdf(registered: Document) -> bytes:
    """The same document as PDF/UA-1."""
    from study.analysis import pdf as typesetting

    return typesetting.render(registered, {})


# --- the sections


def _information(frozen: Frozen) -> Iterator[Block]:
    said = _said(frozen.design)
    yield from _answer("Title", str(frozen.design["study"]))
    yield from _answer("Authors", "As listed with the registration.")
    yield from _answer("Description", *_paragraphs(said["research_question"]))
    yield _question("Hypotheses")
    hypotheses = said["hypotheses"]
    yield Bullets(tuple((one,) for one in hypotheses)) if hypotheses else Paragraph((NOT_SAID,))


def _plan(frozen: Frozen) -> Iterator[Block]:
    design = frozen.design
    yield from _answer("Study type", "Experiment: what is shown is assigned at random.")
    looks = (
        "The plan allows researchers to look at detection rates before the study closes."
        if design["looks"]
        else "Researchers see no detection rate of participants before the study closes."
    )
    yield from _answer(
        "Blinding",
        "Participants do not know which image is altered, nor which trials are controls or catch trials; after the "
        "practice there is no feedback. The truth of a trial stays on the server. " + looks,
    )
    yield _question("Study design")
    yield Paragraph(
        (
            f"{SHOWN[design['protocol']]} {_procedure(design)} Within participants; stimuli (base images) are crossed "
            f"with the conditions and each is shown at most once in a session. A session has "
            f"{trials_of_a_session(design)} trials with one round of practice, and takes {_minutes(design)}.",
        )
    )
    yield _conditions(design)
    yield _screen(design)
    yield _timing(design)
    yield from _answer(
        "Randomisation",
        "The plan of a session is made and stored before its first trial, from a stored seed and the number of a list. "
        f"{turn_of(design)} lists make a full turn, on which every stimulus meets every block of trials once. "
        f"{design['sides']} The base images were shared out between main, catch and practice trials at random "
        f"(seed {design['seed']}).",
    )


def _sampling(frozen: Frozen) -> Iterator[Block]:
    design = frozen.design
    yield from _answer("Existing data", "Registration prior to creation of data." if frozen.version <= 1 else AMENDED)
    if frozen.version > 1:
        yield from _answer("Reason of this amendment", frozen.reason)
    yield from _answer(
        "Data collection procedures",
        " ".join(filter(None, ("Online, in the browser.", *(said(design) for said in _PROCEDURES)))),
    )
    yield from _answer("Sample size", f"{design['participants']} participants who complete the study and stay in it.")
    yield from _answer("Sample size rationale", *_paragraphs(_said(design)["sample_size_reason"]))
    yield from _answer(
        "Stopping rule",
        f"Data collection ends when {design['participants']} participants have completed the study and broken no "
        "exclusion rule; the place of one who is left out goes to somebody else. The number may be raised by an "
        "amendment with a reason, never lowered, and does not depend on the detection rates.",
        *([_adaptive_stop(design)] if design["adaptive"] else []),
    )


AMENDED: Final = "An amendment of a design that was frozen before: earlier versions, with their hashes, are kept."


def _variables(frozen: Frozen) -> Iterator[Block]:
    design = frozen.design
    yield _question("Manipulated variables")
    yield Paragraph(("Attack and strength of the alteration, and the kind of control.",))
    yield Bullets(
        tuple(
            (f"{attack['name']} ({attack['family']}), control hash ", Code(attack["control_hash"] or "none"))
            for attack in design["attacks"]
        )
    )
    yield _question("Measured variables")
    unsure = f" {design['not_sure']}" if design["not_sure"] else ""
    yield Paragraph(
        (
            f"The answer to each trial (right or wrong) and its response time.{unsure} For each pair and model the "
            "error shift: error to the true gaze on the altered image minus on the clean image, in degrees.",
        )
    )
    yield _question("Models")
    yield Bullets(
        tuple(
            (f"{model['name']} ({model['role']}), SHA-256 ", Code(model["artifact_sha256"]))
            for model in design["models"]
        )
    )
    yield from _answer(
        "Indices",
        "Proportion correct (chance .5) and d′ = √2 z(proportion correct) for each condition; d′ and criterion with "
        "log-linear correction beside them.",
    )


def _analysis(frozen: Frozen) -> Iterator[Block]:
    design = frozen.design
    yield from _answer("Statistical models", design["analysis"], *([THRESHOLDS_ONLY] if design["adaptive"] else []))
    yield from _answer(
        "Transformations", "Strength enters the models as its base-2 logarithm. No answer is transformed or weighted."
    )
    bound = design["bound"]
    yield from _answer(
        "Inference criteria",
        f"The bound is {bound:.2f}: a condition is below it when two one-sided tests at .05 place its proportion "
        f"correct within ({1 - bound:.2f}, {bound:.2f}). It is detectable when its proportion correct differs from .5 "
        "at .05 after Holm's adjustment. When neither is shown the condition is inconclusive.",
    )
    yield _question("Data exclusion")
    rules = ExclusionRules.of_design(design).in_words()
    yield Paragraph(("Whole participants are left out; those who do not finish, and those with",))
    yield Bullets(tuple((rule,) for rule in rules))
    yield from _answer(
        "Missing data",
        "Nothing is imputed. Sessions that were not completed are not analysed; a trial whose time to answer has "
        "passed has no answer and is left out.",
    )
    yield from _answer(
        "Exploratory analysis", "Whatever departs from this plan is reported as exploratory, beside what was planned."
    )


THRESHOLDS_ONLY: Final = (
    "Strengths are chosen from the answers, so the report gives thresholds only: no proportion correct is tested."
)


def _other(frozen: Frozen) -> Iterator[Block]:
    design = frozen.design
    consent = design["consent"]
    yield _question("Frozen with this design")
    yield Bullets(
        (
            ("SHA-256 of the design: ", Code(frozen.sha256)),
            (f"Data set {design['dataset']['name']}, fingerprint ", Code(design["dataset"]["fingerprint"])),
            (f"{len(design['pairs'])} image pairs, each with the SHA-256 of both files.",),
            (f"Information and consent, version {consent['version']}, SHA-256 ", Code(consent["sha256"])),
            ("Code version ", Code(design["code_version"])),
        )
    )
    yield from _answer(
        "Scope", "Claims hold for these fields and models, for these images, at this scale and exposure."
    )


_SECTIONS: Final[tuple[tuple[str, str, Callable[[Frozen], Iterator[Block]]], ...]] = (
    ("information", "Study information", _information),
    ("plan", "Design plan", _plan),
    ("sampling", "Sampling plan", _sampling),
    ("variables", "Variables", _variables),
    ("analysis", "Analysis plan", _analysis),
    ("other", "Other", _other),
)


# --- parts of a design in words


def _said(design: Mapping[str, Any]) -> Mapping[str, Any]:
    """What the researchers wrote for it; designs before format 4 hold nothing of it."""
    return design["preregistration"] or {"research_question": "", "hypotheses": [], "sample_size_reason": ""}


def _procedure(design: Mapping[str, Any]) -> str:
    if design["adaptive"]:
        return "Adaptive: the strength of each trial of the attack is chosen from the answers before it (QUEST+)."
    return "Constant stimuli: the strengths are planned beforehand."


def _adaptive_stop(design: Mapping[str, Any]) -> str:
    rule = design["adaptive"]
    strengths = ", ".join(f"{strength:g}" for strength in rule["strengths"])
    early = (
        f"; from the {rule['minimum']}th on it stops early when the posterior SD of log2 threshold is below "
        f"{rule['sd']:g}"
        if rule["sd"]
        else ""
    )
    return f"Within a session there are at most {rule['most']} trials of the attack, at strengths {strengths}{early}."


def _minutes(design: Mapping[str, Any]) -> str:
    shortest, longest = estimate(design)
    return f"about {shortest} minutes" if shortest == longest else f"{shortest} to {longest} minutes"


def _conditions(design: Mapping[str, Any]) -> Table:
    several = len(design["attacks"]) > 1
    rows = [
        (
            condition_name(cell["control"], cell["strength"], cell["attack"] if several else ""),
            "control" if cell["control"] else "condition",
            f"{cell['trials']}",
        )
        for cell in design["cells"]
    ]
    catch = design["catch"]
    rows.append((f"gross alteration at strength {catch['strength']:g}", "catch", f"{len(catch['stimuli'])}"))
    return Table("conditions", "Conditions and controls of one session.", ("shown", "use", "trials"), rows)


def _screen(design: Mapping[str, Any]) -> Paragraph:
    display = design["display"]
    size = (
        f"{display['image_degrees']:g} degrees wide"
        if display["image_degrees"]
        else f"at {display['scale']} device pixels per image pixel"
    )
    enlarged = f", enlarged {display['enlargement']} times" if display["enlargement"] > 1 else ""
    calibration, distance = display["calibration"].replace("_", " "), display["distance"].replace("_", " ")
    return Paragraph((f"Images are shown {size}{enlarged}. Calibration: {calibration}. Distance: {distance}.",))


def _timing(design: Mapping[str, Any]) -> Table:
    rows = [
        (words, NO_LIMIT.get(name, "none") if (time := design["timing"].get(name)) is None else f"{time} ms")
        for name, words in TIMES.items()
        if is_of_use(name, {**design, **design["timing"]})
    ]
    return Table("timing", "Timing of a trial.", ("what", "how long"), rows)


def _age(design: Mapping[str, Any]) -> str:
    return f"Participants are at least {design['minimum_age']} years old." if design["minimum_age"] else ""


def _devices(design: Mapping[str, Any]) -> str:
    refused = [name for name in ("phones", "tablets") if not design["display"][f"allow_{name}"]]
    return f"No {' and no '.join(refused)}." if refused else "Computers, tablets and phones may be used."


def _pay(design: Mapping[str, Any]) -> str:
    pay = design["pay"]
    if pay is None:
        return ""
    bonus = f", and {pay['bonus_per_correct']} for each right answer to a pair that differs"
    given = bonus if Decimal(pay["bonus_per_correct"]) else ""
    return f"A complete session is paid {pay['base_pay']} {pay['currency']}{given}."


def _practice(design: Mapping[str, Any]) -> str:
    practice = design["practice"]
    if not practice["stimuli"]:
        return "There is no practice."
    a_round = len(practice["stimuli"]) // practice["rounds"]
    needed = f"{practice['correct']} of {a_round} right answers are needed" if practice["correct"] else "none is needed"
    rounds = "one round" if practice["rounds"] == 1 else f"{practice['rounds']} rounds at most"
    return f"Practice with feedback: {a_round} trials, {rounds}; {needed} to go on."


_PROCEDURES: Final[tuple[Callable[[Mapping[str, Any]], str], ...]] = (_age, _devices, _pay, _practice)


# --- blocks


def _question(title: str) -> Paragraph:
    return Paragraph((Strong(title),))


def _answer(title: str, *paragraphs: str) -> Iterator[Block]:
    yield _question(title)
    yield from (Paragraph((text,)) for text in paragraphs)


def _paragraphs(text: str) -> list[str]:
    return [part.strip() for part in text.split("\n\n") if part.strip()] or [NOT_SAID]


def _block(block: Block) -> str:
    match block:
        case Paragraph(text=(Strong() as title,)):
            return f"### {title}"
        case Paragraph():
            return _words(block.text)
        case Bullets():
            return "\n".join(f"- {_words(item)}" for item in block.items)
        case Table():
            lines = [block.head, ["---"] * len(block.head), *block.rows]
            return "\n".join("| " + " | ".join(map(_cell, line)) + " |" for line in lines)
        case _:
            raise TypeError(f"A preregistration has no {type(block).__name__}.")


def _cell(cell: Text | str) -> str:
    return _words((cell,) if isinstance(cell, str) else cell).replace("|", "\\|")


def _words(text: Text) -> str:
    return "".join(f"`{part}`" if isinstance(part, Code) else part for part in text)
