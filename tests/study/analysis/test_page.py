import math
import re
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any

import pytest

from study.analysis import figures, frontier, page, report
from study.analysis.material import Material
from study.analysis.paper.blocks import Code, Document, Paragraph, Section, Strong
from study.analysis.paper.document import document
from study.analysis.paper.numerals import DASH
from study.analysis.protocols import PROTOCOLS, Protocol
from study.trials.exclusions import Missed
from tests.study.analysis.observers import DOSES, on_screens, one_condition, simulate
from tests.study.analysis.test_report import small


@pytest.fixture(scope="module")
def html(published: dict[str, bytes]) -> str:
    return published["report.html"].decode()


def drawn(made: report.Report) -> str:
    """The page of a report without its figures."""
    return page.render(document(made.content, ()), {})


def words_of(material: Material) -> str:
    return drawn(report.build(material))


class Structure(HTMLParser):
    """Headings, tables and landmarks of a page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def all(self, *names: str) -> list[tuple[str, dict[str, str | None]]]:
        return [(tag, attributes) for tag, attributes in self.tags if tag in names]


def test_the_page_stands_alone(html: str) -> None:
    assert not re.findall(r'(?:src|href)="(?!#)', html.replace('xlink:href="#', ""))
    assert "<script" not in html
    assert "http://" not in re.sub(r'xmlns(:\w+)?="[^"]+"', "", html)
    assert "@import" not in html


def test_every_id_on_the_page_is_used_once(html: str) -> None:
    ids = re.findall(r'\bid="([^"]+)"', html)
    assert len(ids) == len(set(ids))


def test_every_link_leads_to_a_section_of_the_page(html: str) -> None:
    found = Structure(html)
    targets = {attributes["href"] for _, attributes in found.all("a") if "href" in attributes}
    assert targets
    assert targets <= {f"#{attributes.get('id')}" for _, attributes in found.tags}


def test_headings_are_one_first_and_then_second_ones(html: str) -> None:
    assert [tag for tag, _ in Structure(html).all("h1", "h2", "h3", "h4")][:2] == ["h1", "h2"]
    assert len(Structure(html).all("h1")) == 1
    assert not Structure(html).all("h3", "h4")


def test_every_table_has_a_caption_and_heads_with_a_scope(html: str) -> None:
    found = Structure(html)
    assert len(found.all("caption")) == len(found.all("table")) > 5
    assert all(attributes.get("scope") in ("col", "row") for _, attributes in found.all("th"))


def test_every_figure_has_a_text_alternative_that_says_where_its_values_are(html: str) -> None:
    pictures = [attributes for tag, attributes in Structure(html).all("svg") if attributes.get("role") == "img"]
    assert len(pictures) == len(Structure(html).all("figure"))
    assert all("figures/" in str(attributes["aria-label"]) for attributes in pictures)


def test_there_is_one_main_landmark_and_the_language_is_named(html: str) -> None:
    found = Structure(html)
    assert len(found.all("main")) == len(found.all("header")) == len(found.all("nav")) == 1
    assert found.all("html")[0][1]["lang"] == "en-GB"


def test_the_verdicts_stand_before_everything_else(html: str, built: report.Report) -> None:
    assert html.index('id="summary"') < html.index("<strong>detectable</strong>") < html.index('id="participants"')
    assert all(row["verdict"] in html for row in built.content["conditions"])


def test_bound_and_scope_are_printed(html: str, built: report.Report) -> None:
    assert "the bound is .60" in html
    assert built.content["scope"] in html


def test_simulated_data_are_marked_on_the_page_and_on_every_printed_one(html: str) -> None:
    assert html.count(figures.SIMULATED) >= 2
    assert f'@top-center {{ content: "{figures.SIMULATED}' in html


def test_an_exploratory_report_is_marked_and_says_in_what_it_departs(built: report.Report) -> None:
    content = {**built.content, "exploratory": ["the bound is 0.55, frozen was 0.6"]}
    html = drawn(replace(built, content=content))
    assert figures.EXPLORATORY in html
    assert html.index("the bound is 0.55, frozen was 0.6") < html.index('id="participants"')
    assert figures.EXPLORATORY not in drawn(built)


def test_answers_of_people_carry_no_mark(built: report.Report) -> None:
    html = drawn(replace(built, content={**built.content, "simulated": False}))
    assert figures.SIMULATED not in html
    assert 'class="banner"' not in html


def test_a_table_that_does_not_say_whose_answers_it_holds_is_marked_so(built: report.Report) -> None:
    html = drawn(replace(built, content={**built.content, "simulated": None}))
    assert "does not say whether its answers come from people" in html


@pytest.mark.usefixtures("quick", "without_png")
def test_names_from_the_data_are_escaped() -> None:
    trials = simulate(1, participants=6, trials=3).assign(attack="<script>alert(1)</script>")
    made = report.build(Material("<b>", trials))
    drawings = {
        name: drawing.svg for name, drawing in figures.draw(made.content, made.main_trials, made.curves).items()
    }
    html = page.render(document(made.content, drawings), drawings)
    assert "<script>alert" not in html
    assert "<b>: detection" not in html


def test_marked_text_becomes_elements_and_plain_text_never_does() -> None:
    text = (Strong("a < b"), " & ", Code("x"), "<i>")
    of_text = page.render(Document("t", (), (Section("s", "S", (Paragraph(text),)),)), {})
    assert "<p><strong>a &lt; b</strong> &amp; <code>x</code>&lt;i&gt;</p>" in of_text


@pytest.mark.parametrize("protocol", PROTOCOLS.values(), ids=list(PROTOCOLS))
def test_the_page_says_what_was_asked_and_which_dprime_belongs_to_it(protocol: Protocol, built: report.Report) -> None:
    material = Material("s", small(protocol=protocol.name))
    of_protocol = report.of_study(material, report.Sample.of(material))
    html = drawn(replace(built, content={**built.content, **_of_afc_rows(of_protocol)}))
    for words in (protocol.title, protocol.question, protocol.dprime, protocol.presentation):
        assert words in html


def _of_afc_rows(content: dict[str, Any]) -> dict[str, Any]:
    """Protocol and scope, but the rows of a forced choice: single images have more columns."""
    protocol = {**content["protocol"], "name": "afc"}
    return {"protocol": protocol, "scope": content["scope"]}


def test_the_share_of_not_sure_is_printed_with_its_scoring(built: report.Report) -> None:
    content = {**built.content, "not_sure": {"share": 1.0, "scoring": "A coin decides."}}
    assert "100.0% of the answers were “not sure”. A coin decides." in drawn(replace(built, content=content))


@pytest.mark.usefixtures("quick")
def test_screens_are_described_and_so_is_their_lack() -> None:
    measured = Material("s", on_screens(small(), {"P00": 40.0, "P01": 60.0}))
    assert "Screens measured by 2 of 6 participants" in words_of(measured)
    assert "No participant&#x27;s screen was measured" in words_of(Material("s", small()))


@pytest.mark.usefixtures("quick")
def test_missed_trials_are_printed_with_the_flow() -> None:
    assert "34 without an answer in time" in words_of(
        Material("s", small(), missed={"P00": Missed(4, 60), "P01": Missed(30, 60)})
    )


def test_the_page_of_an_adaptive_study_says_why_there_is_no_verdict() -> None:
    html = words_of(Material("s", small(procedure="adaptive")))
    assert "It gives thresholds only" in html
    assert not re.search("detectable|inconclusive</strong>|below the bound", html)
    assert "Threshold of each participant" in html


def verdict_cells(html: str) -> list[str]:
    """The last cell, pairs needed, of every row of the page's table of verdicts."""
    table = html.split("</table>", maxsplit=1)[0]
    return re.findall(r'<td class="[^"]*">([^<]*)</td></tr>', table)


@pytest.mark.usefixtures("quick")
def test_where_nothing_is_known_no_number_of_pairs_is_claimed() -> None:
    html = words_of(Material("s", simulate(1, participants=1, catch=0)))
    assert "pairs needed</th>" not in html.split("</table>")[0]


def test_pairs_needed_are_printed_where_they_are_known(html: str, built: report.Report) -> None:
    known = [row["pairs_needed"] for row in built.content["conditions"] if row["pairs_needed"] is not None]
    assert {str(n) for n in known} <= {DASH, *verdict_cells(html)}


def test_answers_that_are_always_wrong_tell_the_images_apart_as_well() -> None:
    right, wrong = (
        report.conditions_of(one_condition(1, [chance] * 30, trials=8), 0.6)[0]["pairs_needed"] for chance in (0.9, 0.1)
    )
    assert wrong == pytest.approx(right, abs=1)
    assert wrong < 4


def test_the_page_names_the_command_that_gives_its_numbers_again(html: str, built: report.Report) -> None:
    predictions = " --predictions predictions.csv" if built.content["predictions"] else ""
    files = f"--machine machine.json{predictions}"
    command = f"analyze_study --csv trials.csv --bound .60 {files} --out again"
    assert f"manage.py {command}" in html
    assert "come from their evaluation" in html
    exploratory = {**built.content, "exploratory": ["for a test"]}
    assert f"{files} --exploratory --out again" in drawn(replace(built, content=exploratory))
    without_models = {**built.content, "machine": [], "predictions": None, "bound": 0.55}
    assert "analyze_study --csv trials.csv --bound .55 --out again" in drawn(replace(built, content=without_models))


def test_the_target_of_a_model_is_printed(built: report.Report) -> None:
    target = {"kind": "fixed", "pitch": 0.0, "yaw": math.radians(-25)}
    content = {**built.content, "machine": frontier.machine_rows("backdoored", "wanet", DOSES, 0.62, target)}
    assert "fixed (0°, −25°)" in drawn(replace(built, content=content))


@pytest.mark.parametrize("name", ["a$b", "$\\frac{$", "$x^2$"])
def test_a_dollar_sign_in_a_name_is_a_dollar_sign(name: str, built: report.Report) -> None:
    html = drawn(replace(built, content={**built.content, "study": name}))
    assert f"<h1>{name}: detection" in html
