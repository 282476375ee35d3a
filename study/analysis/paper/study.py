"""Who took part, how they saw the images, what was checked, what the study cannot show, and what it was made with."""

from collections.abc import Iterator, Mapping
from typing import Any

from study.analysis.paper.blocks import Block, Bullets, Code, Paragraph, Strong, Table, Terms, Text, paragraph, texts
from study.analysis.paper.numerals import number, short
from study.analysis.protocols import ADAPTIVE


def participants(content: Mapping[str, Any], is_drawn: bool) -> Iterator[Block]:
    """Who began, who was left out, who is analysed; in words where no flow diagram says it."""
    if not is_drawn:
        yield Bullets(flow(content["flow"]))
    if content["flow"]["excluded"]:
        yield paragraph(
            "Rules take out whole participants. The trials of those left out are kept in ",
            Code("excluded_trials.csv"),
            ".",
            manner="note",
        )
    elif content["design"]["sha256"]:
        yield paragraph("Nobody is left out by the rules that were declared beforehand.", manner="note")
    else:
        yield paragraph("No exclusion rules: the table came without a study.", manner="note")


def flow(found: Mapping[str, Any]) -> tuple[Text, ...]:
    """Began, left out, analysed."""
    missed = f" (and {found['trials_missed']} without an answer in time, which are left out)"
    left_out = sum(found["excluded"].values())
    analysed = f" analysed, {found['trials_analysed']} trials{missed if found['trials_missed'] else ''}"
    return (
        (Strong(str(found["recruited"])), " began"),
        (Strong(str(left_out)), " left out", *_by_rule(found["excluded"])),
        (Strong(str(found["analysed"])), analysed),
    )


def _by_rule(excluded: Mapping[str, int]) -> Text:
    return (f": {'; '.join(f'{rule} {n}' for rule, n in sorted(excluded.items()))}",) if excluded else ()


def viewing(content: Mapping[str, Any]) -> Iterator[Block]:
    moves = any(row["displacement_px"] is not None for row in content["conditions"])
    yield paragraph(_screens(content["screens"], moves))
    if unsure := content["not_sure"]:
        yield paragraph(f"{unsure['share']:.1%} of the answers were “not sure”. {unsure['scoring']}")


def _screens(found: Mapping[str, Any], moves: bool) -> str:
    """What is known of the size at which images were seen, and, of an attack that moves pixels, what follows for it."""
    scales = ", ".join(number(scale) for scale in found["scales"])
    shown = f"Device pixels per image pixel: {scales}. " if scales else ""
    if not found["measured"]:
        so = ", so displacement is given in pixels and not in arcmin" if moves else ""
        return f"{shown}No participant's screen was measured{so}."
    low, high = (number(found[name], 1) for name in ("px_per_degree_low", "px_per_degree_high"))
    return (
        f"{shown}Screens measured by {found['measured']} of {found['sessions']} participants:"
        f" {number(found['px_per_degree'], 1)} device pixels per degree at the median, {low} to {high}."
        f"{' Displacement in arcmin is the median over these participants, with the range.' if moves else ''}"
    )


def question(content: Mapping[str, Any]) -> Text:
    """What people had to say, the bound, and what it asks of the eye."""
    protocol = content["protocol"]
    parts = [f" {protocol['question']} Chance is .5"]
    if content["procedure"] == ADAPTIVE:
        parts.append("; the strengths were chosen from the answers (QUEST+).")
    else:
        limit = protocol["dprime_at_bound"]
        eye = f", where an unbiased observer has a d′ of {number(limit, 2)} ({protocol['dprime']})" if limit else ""
        parts.append(f"; the bound is {short(content['bound'])}{eye}.")
    return (Strong(f"{protocol['title']}."), *parts)


def checks(content: Mapping[str, Any]) -> Iterator[Block]:
    yield Table(
        "checks",
        "What the study and the fits were checked for.",
        ("check", "passed", "detail"),
        [[check["name"], "yes" if check["ok"] else (Strong("NO"),), check["detail"]] for check in content["checks"]],
        prose=frozenset({"check", "detail"}),
    )


def limits(content: Mapping[str, Any]) -> Iterator[Block]:
    is_adaptive = content["procedure"] == ADAPTIVE
    models = {row["model"] for row in content["machine"] if row["strength"] is not None}
    trained = f"the {len(models)} trained models" if len(models) > 1 else "the one trained model"
    items = [
        f"Nothing beyond its scope: {content['scope']}.",
        *([] if is_adaptive else ["A verdict “inconclusive” is no evidence that people cannot see the alteration."]),
        "People see images, never the model: an association of detection with error shift is no cause.",
        f"Intervals of what people do take the pictures as made by {trained}; another training or another trigger may"
        " give other pictures.",
        "Below 10 participants or images per condition the two-way tests are unproven.",
        "A low detection rate under these instructions does not bound what trained, warned or unhurried observers, or"
        " a program, would find.",
        *(["Simulated answers say nothing about people."] if content["simulated"] else []),
        *(["An exploratory analysis suggests; it confirms nothing."] if content["exploratory"] else []),
    ]
    yield Bullets(texts(*items))


def provenance(content: Mapping[str, Any]) -> Iterator[Block]:
    versions = ", ".join(f"{name} {version}" for name, version in content["versions"].items())
    commit: Text = (
        (Code(content["commit"]), f"; {versions}") if content["commit"] else (f"no commit known; {versions}",)
    )
    rows: list[tuple[str, Text]] = [
        ("Frozen design", _design(content["design"])),
        ("Analysis", (_analysis(content),)),
        ("Trials analysed", (Code("trials.csv"), ", SHA-256 ", Code(content["data_sha256"]))),
        ("Code", commit),
    ]
    if content["seed"] is not None:
        rows.append(("Seed of the plan", (str(content["seed"]),)))
    yield Terms(tuple(rows))
    yield _again(content)


def _design(design: Mapping[str, Any]) -> Text:
    if not design["sha256"]:
        return ("none: the table came without a study",)
    agrees = "content matches its hash" if design["matches"] else "CONTENT DOES NOT MATCH ITS HASH"
    return (Code(design["sha256"]), f", {agrees}")


def _analysis(content: Mapping[str, Any]) -> str:
    if content["exploratory"]:
        return f"exploratory: {'; '.join(content['exploratory'])}"
    return (
        "as frozen: bound, rules and primary model are those of the design"
        if content["design"]["sha256"]
        else ("as documented for a table without a study: no exclusion rules")
    )


def _again(content: Mapping[str, Any]) -> Paragraph:
    return paragraph(
        "All numbers are in ",
        Code("report.json"),
        " and, as tables, in the CSV files; ",
        Code("codebook.md"),
        " explains each. In this folder, ",
        Code(f"manage.py {command(content)}"),
        " computes them again from ",
        Code("trials.csv"),
        "; those on people left out and on machine observers need the study itself.",
        *(
            (
                " The models’ figures come from their evaluation on their test images and are kept in ",
                Code("machine.json"),
                ".",
            )
            if content["machine"]
            else ()
        ),
        manner="note",
    )


def command(content: Mapping[str, Any]) -> str:
    """What, run in the report's folder, gives the same numbers again."""
    machine = " --machine machine.json" if content["machine"] else ""
    predictions = " --predictions predictions.csv" if content["predictions"] else ""
    label = " --exploratory" if content["exploratory"] else ""
    return f"analyze_study --csv trials.csv --bound {short(content['bound'])}{machine}{predictions}{label} --out again"
