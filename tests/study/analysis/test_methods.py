import re
from typing import Any

import pytest

from study.analysis import methods, references, report
from study.analysis.material import Material
from study.analysis.protocols import PROTOCOLS
from tests.study.analysis.test_report import small


@pytest.fixture(scope="module")
def text(published: dict[str, bytes]) -> str:
    return published["methods.md"].decode()


def departing(built: report.Report, **content: Any) -> str:
    return methods.markdown({**built.content, **content})


def test_the_numbers_of_the_study_are_filled_in(text: str, built: report.Report) -> None:
    flow = built.content["flow"]
    assert f"{flow['analysed']} simulated observers" in text
    assert f"gave {flow['trials_analysed']} answers" in text
    assert "strengths 0, 0.25, 0.5, 1, 2 and 4" in text
    assert "over 5 conditions" in text
    assert not re.search(r"None|\{[a-z]", text)


def test_every_citation_is_in_the_bibliography_and_the_other_way_round(text: str, published: dict[str, bytes]) -> None:
    cited = set(re.findall(r"@(\w+)[;\]]", text))
    entries = set(re.findall(r"^@\w+\{(\w+),", published["references.bib"].decode(), re.MULTILINE))
    assert cited == entries
    assert len(cited) > 10


def test_every_work_that_the_page_cites_is_in_its_list(published: dict[str, bytes], built: report.Report) -> None:
    html = published["report.html"].decode()
    for key in methods.cited(built.content):
        assert html.count(references.REFERENCES[key].title.replace("'", "&#x27;").replace("&", "&amp;", 0)) == 1


def test_a_frozen_design_is_named_by_its_hash(text: str, built: report.Report) -> None:
    assert f"SHA-256 `{built.content['design']['sha256']}`" in text


def test_an_exploratory_analysis_says_so_in_place_of_the_frozen_plan(built: report.Report) -> None:
    found = departing(built, exploratory=["the bound is 0.55"])
    assert found.startswith("> **Simulated data")
    assert "**Exploratory" in found
    assert "frozen before the first answer" not in found


def test_what_was_not_computed_is_not_described(built: report.Report) -> None:
    only_gee = {"gee": built.content["models"]["gee"]}
    found = departing(built, error_shift=None, stealth_margin=[], quality={}, models=only_gee)
    assert not re.search("mundlak|stealth|mixed model|bias-reduced", found)


def test_an_adaptive_study_describes_neither_tests_nor_claims() -> None:
    found = methods.markdown(report.build(Material("s", small(procedure="adaptive"))).content)
    assert "QUEST+" in found
    assert "holm1979" not in found


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_every_protocol_is_described(protocol: str, built: report.Report) -> None:
    material = Material("s", small(protocol=protocol))
    found = methods.markdown(
        {**built.content, "protocol": report.of_study(material, report.Sample.of(material))["protocol"]}
    )
    assert PROTOCOLS[protocol].question in found.replace("\\", "")


def test_names_are_not_read_as_markdown(built: report.Report) -> None:
    rows = [{**row, "attack": "*wa_net*"} for row in built.content["conditions"]]
    assert r"\*wa\_net\*" in departing(built, conditions=rows)


def test_a_model_that_was_not_fitted_is_not_described(built: report.Report) -> None:
    refused = {**built.content["models"]["glmm_lapse"], "converged": False}
    found = departing(built, models={**built.content["models"], "glmm_lapse": refused})
    assert "generalised linear mixed model" not in found


def test_a_claim_in_yes_no_names_its_own_tests(built: report.Report) -> None:
    found = departing(built, protocol={**built.content["protocol"], "name": "yes_no"})
    assert "d′ within what unbiased people have there" in found
    assert "than binomial" not in found


def test_without_draws_no_bootstrap_is_claimed(built: report.Report) -> None:
    found = departing(built, stealth_margin=[{"draws": 0}])
    assert "stealth margin" in found
    assert "bootstrap of" not in found
