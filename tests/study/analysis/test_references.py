import re
from pathlib import Path

import pytest

from study.analysis import references
from study.analysis.references import REFERENCES

DOCS = Path(references.__file__).parents[2] / "docs" / "analysis.md"
CITED = r"[A-Z][\w-]+(?:(?:, [A-Z][\w-]+)* & [A-Z][\w-]+| et al\.)? (?:19|20)\d\d"


def test_a_reference_is_cited_by_up_to_three_names() -> None:
    found = {key: work.short for key, work in REFERENCES.items()}
    assert found["bates2015"] == "Bates et al. 2015"
    assert found["cameron2011"] == "Cameron, Gelbach & Miller 2011"
    assert found["holm1979"] == "Holm 1979"


def test_works_that_are_cited_together_share_their_brackets() -> None:
    assert references.cited(["clark1973", "judd2012"]) == "(Clark 1973; Judd, Westfall & Kenny 2012)"


def test_keys_and_short_names_are_unique() -> None:
    assert len({work.short for work in REFERENCES.values()}) == len(REFERENCES)
    assert all(work.key == key for key, work in REFERENCES.items())


def test_bibtex_escapes_what_latex_would_read() -> None:
    assert r"Business \& Economic" in REFERENCES["cameron2011"].bibtex


def test_a_bibliography_is_in_order_of_its_authors() -> None:
    found = [work.key for work in references.bibliography({"wilson1927", "bates2015", "holm1979"})]
    assert found == ["bates2015", "holm1979", "wilson1927"]


def test_an_unknown_work_cannot_be_cited() -> None:
    with pytest.raises(KeyError):
        references.bibliography({"nobody1900"})


def test_every_work_that_the_documentation_cites_is_known() -> None:
    cited = set(re.findall(CITED, DOCS.read_text(encoding="utf-8")))
    assert len(cited) > 15
    assert cited <= {work.short for work in REFERENCES.values()}


def test_the_documentation_speaks_of_every_number_of_the_report(built) -> None:
    text = DOCS.read_text(encoding="utf-8")
    about_the_study = {
        "study",
        "protocol",
        "procedure",
        "design",
        "data_sha256",
        "simulated",
        "scope",
        "setting",
        "level",
    }
    about_the_study |= {"screens", "not_sure", "versions", "commit", "seed", "predictions", "flow", "signal_detection"}
    names = built.content.keys() - about_the_study
    assert [name for name in names if name not in text] == []
    assert [name for name in built.content["models"] if name not in text] == []
    assert [name for name in built.content["conditions"][0] if _stem(name) not in text] == []


def _stem(name: str) -> str:
    """The ends of intervals stand under one name."""
    known = {"wilson": "Wilson", "clopper_pearson": "Clopper", "glmm_marginal": "glmm_marginal", "two_way": "two_way_"}
    return next((words for start, words in known.items() if name.startswith(start)), re.sub("_(low|high)$", "", name))
