"""What holds for every figure: three forms, the same bytes, marks, letters that can be read."""

import hashlib
import io
import random
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image

from study.analysis import figures, report
from study.analysis.figures import KINDS, files, response_times
from study.analysis.figures.source import Source
from study.analysis.figures.style import RC, SMALL
from study.analysis.report import Material
from tests.study.analysis.test_figures import sections

EVERY = list(KINDS)
OF_ADAPTIVE = ("human_and_machine", "flow", "detection", "residuals", "margin")


@dataclass(frozen=True)
class Printed:
    """A figure as it is printed, with the letters in it: what they say and where they stand (px, 100 per inch)."""

    figure: Figure
    letters: list[tuple[str, Any]]
    smallest: float

    @property
    def words(self) -> set[str]:
        return {text for text, _ in self.letters}


def printed(name: str, source: Source) -> Printed:
    kind, written = KINDS[name], []

    draw = Text.draw
    with mpl.rc_context(RC), pytest.MonkeyPatch.context() as patched:
        figure = kind.figure(kind.data(source), source)
        files.mark(figure, [source.report])
        files.freeze(figure)
        # An axis keeps ticks beyond its limits, which nobody sees: what counts is what is drawn.
        patched.setattr(Text, "draw", lambda text, renderer: (written.append(text), draw(text, renderer))[1])
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        letters = {id(text): text for text in written if text.get_text().strip()}.values()
        boxes = [(text.get_text(), Text.get_window_extent(text, canvas.get_renderer())) for text in letters]
    return Printed(figure, boxes, min(text.get_fontsize() for text in letters))


def overlapping(figure: Printed) -> list[tuple[str, str]]:
    found, letters = [], [(text, box) for text, box in figure.letters if text != "SIMULATED"]
    for (first, box), (second, other) in combinations(letters, 2):
        width = min(box.x1, other.x1) - max(box.x0, other.x0)
        height = min(box.y1, other.y1) - max(box.y0, other.y0)
        if width > 1.5 and height > 2.5:  # boxes are a little higher than their letters
            found.append((first, second))
    return found


def cut_off(figure: Printed) -> list[str]:
    page = figure.figure.bbox
    return [
        text
        for text, box in figure.letters
        if box.x0 < page.x0 - 1 or box.x1 > page.x1 + 1 or box.y0 < page.y0 - 1 or box.y1 > page.y1 + 1
    ]


def assert_legible(figure: Printed) -> None:
    assert overlapping(figure) == []
    assert cut_off(figure) == []
    assert figure.smallest >= SMALL


def with_long_names(source: Source) -> Source:
    """The same report, its attacks and models named at length."""
    long = {attack: f"{attack}, control 8 x 8, additive target of 20 degrees" for attack in sections.ATTACKS}

    def renamed(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {key: renamed(item) for key, item in value.items()}
        if isinstance(value, list):
            return [renamed(item) for item in value]
        is_model = isinstance(value, str) and "seed" in value
        return f"{value} of 5, full-resolution stem, annealed" if is_model else long.get(value, value)

    trials = source.trials.replace({"attack": long})
    return Source(renamed(source.report), trials, {long[attack]: curve for attack, curve in source.curves.items()})


def of_one_attack(source: Source) -> Source:
    """A study of WaNet alone."""
    kept = {
        name: [row for row in section if row.get("attack", "wanet") == "wanet"]
        if isinstance(section, list)
        else section
        for name, section in source.report.items()
    }
    models = source.report["models"]
    sensitivity = [row for row in models["sensitivity"] if row["attack"] == "wanet"]
    trials = source.trials[source.trials["attack"] == "wanet"]
    return Source(kept | {"models": models | {"sensitivity": sensitivity}}, trials, {"wanet": source.curves["wanet"]})


def censored(source: Source) -> Source:
    """People never reach PC .75 under WaNet, and one model never succeeds."""
    content, nothing = source.report, {"threshold": None, "low": None, "high": None}
    thresholds = [row | (nothing if row["attack"] == "wanet" else {}) for row in content["thresholds"]]
    limit = {"margin": None, "low": None, "high": None, "human_threshold": None, "at_least": 6.5, "at_most": None}
    margins = [
        row | (limit | {"censored": "human"} if row["attack"] == "wanet" else {}) for row in content["stealth_margin"]
    ]
    machine = [
        row | (nothing | {"censored": "above"} if row["model"] == "wanet, seed 2" else {})
        for row in content["machine_thresholds"]
    ]
    changes = {"thresholds": thresholds, "stealth_margin": margins, "machine_thresholds": machine}
    return replace(source, report=dict(content) | changes)


def bare(content: Mapping[str, Any]) -> dict[str, Any]:
    """Conditions and nothing else, as of a table of a few trials."""
    absent = dict.fromkeys(("random_effects", "matched_visibility", "quality", "error_shift", "models"))
    empty = ("controls", "machine", "frontier", "machine_thresholds", "stealth_margin", "attacks_compared")
    return dict(content) | absent | {name: [] for name in (*empty, "goodness_of_fit", "thresholds")}


# --- three forms, the same bytes


def test_every_figure_is_drawn_as_svg_as_png_and_with_its_data(drawn) -> None:
    assert list(drawn) == EVERY
    for drawing in drawn.values():
        assert drawing.svg.lstrip().startswith("<?xml")
        assert "<svg" in drawing.svg
        picture = Image.open(io.BytesIO(drawing.png))
        assert picture.size[0] == 1400  # 7 inches at 200 dots
        assert round(picture.info["dpi"][0]) == 200
        table = pd.read_csv(io.BytesIO(drawing.csv))
        assert len(table) > 0


def test_letters_in_the_svg_are_outlines(drawn) -> None:
    assert not any("<text" in drawing.svg for drawing in drawn.values())


def test_no_file_holds_a_date_or_the_name_of_the_software(drawn) -> None:
    for drawing in drawn.values():
        assert "<dc:date>" not in drawing.svg
        assert b"Software" not in drawing.png
        assert not {"Software", "Creation Time"} & Image.open(io.BytesIO(drawing.png)).info.keys()


@pytest.mark.parametrize("name", EVERY)
def test_the_data_hold_no_infinite_number(drawn, name: str) -> None:
    table = pd.read_csv(io.BytesIO(drawn[name].csv))
    assert not np.isinf(table.select_dtypes("number").to_numpy()).any()


def test_the_same_report_gives_the_same_bytes_in_another_process(drawn) -> None:
    code = (
        "import hashlib; from study.analysis import figures as f;"
        " from tests.study.analysis.test_figures import sections as s;"
        " f.KINDS = {name: f.KINDS[name] for name in ('human_and_machine', 'detection', 'error_shift')};"
        " d = f.draw(s.report(), s.trials(), s.curves());"
        " print(hashlib.sha256(b''.join(x.svg.encode() + x.png + x.csv for x in d.values())).hexdigest())"
    )
    some = [drawn[name] for name in ("human_and_machine", "detection", "error_shift")]
    here = hashlib.sha256(b"".join(one.svg.encode() + one.png + one.csv for one in some)).hexdigest()
    there = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert there.stdout.strip() == here


@pytest.mark.parametrize("name", ["error_shift", "bias", "response_times"])
def test_the_order_of_the_trials_changes_nothing(content, trials, curves, name: str) -> None:
    shuffled = trials.sample(frac=1, random_state=1).reset_index(drop=True)
    tables = [files.to_csv(KINDS[name].data(Source(content, rows, curves))) for rows in (trials, shuffled)]
    assert tables[0] == tables[1]


def test_all_figures_of_a_report_take_seconds(seconds_to_draw) -> None:
    assert seconds_to_draw < 12  # about 3 when nothing else runs


# --- marks and letters


@pytest.mark.parametrize("name", EVERY)
def test_all_letters_can_be_read_and_marks_stand_in_nobodys_way(trials, curves, name: str) -> None:
    marked = Source(sections.report(simulated=True, exploratory=["another bound"]), trials, curves)
    figure = printed(name, marked)
    assert_legible(figure)
    assert {"SIMULATED", f"{figures.SIMULATED}\n{figures.EXPLORATORY}"} <= figure.words


@pytest.mark.parametrize("name", EVERY)
def test_long_names_are_shortened_until_they_fit(source, name: str) -> None:
    assert_legible(printed(name, with_long_names(source)))


@pytest.mark.parametrize("name", ["human_and_machine", "detection", "sensitivity", "margin"])
@pytest.mark.parametrize("change", [of_one_attack, censored])
def test_one_attack_and_censored_thresholds_can_be_read_as_well(
    source, name: str, change: Callable[[Source], Source]
) -> None:
    assert_legible(printed(name, change(source)))


def test_models_whose_names_differ_in_the_middle_only_each_have_an_entry(source) -> None:
    alike = {"wanet, seed 0": "a", "wanet, seed 1": "b", "wanet, seed 2": "c", "patch, seed 0": "d"}
    names = {old: f"{'x' * 40}{letter}{'y' * 40}" for old, letter in alike.items()}
    rows = [row | {"model": names[row["model"]]} for row in source.report["machine"]]
    renamed = replace(source, report=dict(source.report) | {"machine": rows, "machine_thresholds": []})
    entries = [text for text, _ in printed("human_and_machine", renamed).letters if "xx…yy" in text]
    assert len(entries) == len(names)


def test_what_a_model_says_below_a_figure_is_never_shortened(source) -> None:
    assert response_times._slope_in_words(source) in printed("response_times", source).words


def test_answers_of_people_analysed_as_planned_carry_no_mark(source) -> None:
    words = printed("detection", source).words
    assert not any("SIMULATED" in text or "EXPLORATORY" in text for text in words)


@pytest.mark.usefixtures("without_png")
def test_an_svg_of_simulated_data_says_so_to_who_reads_the_file(trials) -> None:
    drawn = figures.draw(bare(sections.report(simulated=True)), trials.iloc[:0])
    assert all(f"<!-- {figures.SIMULATED} -->" in drawing.svg for drawing in drawn.values())


def test_a_name_is_never_read_as_a_formula(trials, curves) -> None:
    content = sections.report()
    for row in content["conditions"]:
        row["attack"] = "$\\frac{$"
    source = Source(bare(content), trials.iloc[:0], {})
    assert "$\\frac{$" in printed("detection", source).words


# --- what is missing


@pytest.mark.usefixtures("unprinted")
def test_figures_without_numbers_are_left_out(content, trials, curves) -> None:
    drawn = figures.draw(bare(content), trials.assign(error_shift_deg=np.nan, rt_ms=np.nan), {})
    assert set(drawn) == {"human_and_machine", "flow", "detection", "bias"}


@pytest.mark.usefixtures("unprinted")
def test_no_trials_leave_out_what_shows_single_answers(content, trials) -> None:
    drawn = figures.draw(bare(content), trials.iloc[:0], {})
    assert set(drawn) == {"human_and_machine", "flow", "detection", "bias"}


@pytest.mark.usefixtures("unprinted")
def test_sections_that_an_older_report_lacks_are_no_error(content, trials) -> None:
    older = {
        name: content[name]
        for name in (
            "study",
            "simulated",
            "procedure",
            "bound",
            "protocol",
            "flow",
            "conditions",
            "controls",
            "machine",
        )
    } | {"models": {}, "thresholds": [], "frontier": [], "error_shift": None}
    assert "human_and_machine" in figures.draw(older, trials.iloc[:0])


#: By section, what may be unknown.
UNKNOWN = {
    "conditions": ("two_way_low", "two_way_high", "criterion", "dprime", "displacement_px", "displacement_arcmin"),
    "controls": ("two_way_low", "two_way_high"),
    "machine": ("success_rate", "mean_error_shift_deg", "other_field_shift_deg", "subjects", "displacement_px"),
    "thresholds": ("threshold", "low", "high", "threshold_percent_of_width"),
    "machine_thresholds": ("threshold", "low", "high"),
    "stealth_margin": ("margin", "low", "high", "human_threshold", "machine_threshold"),
    "attacks_compared": ("strength", "success_rate_low", "mean_error_shift_deg"),
    "frontier": ("success_rate", "mean_error_shift_deg", "dprime", "dprime_low", "dprime_high"),
    "goodness_of_fit": ("deviance", "df", "p"),
}


@pytest.mark.parametrize("share", [0.4, 1.0])
@pytest.mark.parametrize("name", EVERY)
def test_numbers_that_are_not_known_are_no_error(content, trials, curves, name: str, share: float) -> None:
    rng = random.Random(name)
    gaps = {
        section: [row | {key: None for key in keys if key in row and rng.random() < share} for row in content[section]]
        for section, keys in UNKNOWN.items()
    }
    source = Source(content | gaps, trials.head(200), curves if share < 1 else {})
    table = KINDS[name].data(source)
    if len(table):
        printed(name, source)


@pytest.mark.usefixtures("unprinted")
def test_adaptive_studies_have_no_figure_of_proportions(source) -> None:
    wanet = of_one_attack(source)
    unknown = dict.fromkeys(("two_way_low", "two_way_high", "criterion", "dprime"))
    conditions = [row | unknown for row in wanet.report["conditions"]]
    adaptive = dict(wanet.report) | {"procedure": "adaptive", "conditions": conditions}
    drawn = figures.draw(adaptive, wanet.trials, wanet.curves)
    assert tuple(drawn) == OF_ADAPTIVE
    table = pd.read_csv(io.BytesIO(drawn["human_and_machine"].csv))
    assert not ((table["panel"] == "share") & (table["series"] == "people")).any()


@pytest.mark.usefixtures("unprinted")
@pytest.mark.parametrize("strengths", [(0.0,), (1.0,), (0.0, 1.0)])
def test_a_study_of_one_strength_has_figures(content, trials, strengths: tuple[float, ...]) -> None:
    conditions = [row for row in content["conditions"] if row["strength"] in strengths]
    few = trials[trials["strength"].isin(strengths)]
    assert {"human_and_machine", "detection", "bias"} <= set(
        figures.draw(bare(content) | {"conditions": conditions}, few)
    )


@pytest.mark.usefixtures("unprinted", "quick")
def test_the_figures_of_the_golden_trials_are_drawn(golden_trials) -> None:
    made = report.build(Material("golden", golden_trials))
    drawn = figures.draw(made.content, made.main_trials, made.curves)
    assert {"human_and_machine", "flow", "detection", "residuals", "random_effects", "sensitivity", "bias"} <= set(
        drawn
    )


# --- several studies


@pytest.mark.usefixtures("unprinted")
def test_several_studies_stand_in_one_figure(source) -> None:
    other = of_one_attack(source)
    studies = {"regression": (source.report, source.curves), "classification": (other.report, other.curves)}
    table = pd.read_csv(io.BytesIO(figures.compare(studies).csv))
    assert set(table["study"]) == set(studies)
    shown = table[table["panel"] == "detection"].groupby(["study", "attack"]).size().to_dict()
    n = len(sections.STRENGTHS)
    assert shown == {("regression", "patch"): n, ("regression", "wanet"): n, ("classification", "wanet"): n}


@pytest.mark.usefixtures("without_png")
def test_a_comparison_that_holds_simulated_data_is_marked(curves) -> None:
    studies = {"a": (sections.report(simulated=True), curves), "b": (sections.report(), curves)}
    assert f"<!-- {figures.SIMULATED} -->" in figures.compare(studies).svg


@pytest.mark.usefixtures("without_png")
def test_studies_without_anything_to_compare_give_a_figure_that_says_so(content) -> None:
    nothing = bare(content) | {"procedure": "adaptive"}
    assert figures.compare({"a": (nothing, {}), "b": (nothing, {})}).svg


@pytest.mark.usefixtures("without_png")
def test_studies_with_other_bounds_have_no_band(content, curves) -> None:
    same, other = (
        figures.compare({"a": (content, curves), "b": (dict(content) | {"bound": bound}, curves)})
        for bound in (0.6, 0.55)
    )
    assert same.csv == other.csv
    assert same.svg != other.svg
