"""The languages of the participants' pages: which one is read, and whether the catalogues are complete."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from functools import cache
from gettext import GNUTranslations
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.http import QueryDict
from django.utils import translation

from study.trials import languages

TRIALS = Path(settings.BASE_DIR) / "study" / "trials"
TRANSLATED = [code for code, _ in settings.LANGUAGES if code != settings.LANGUAGE_CODE]
PLACEHOLDER = re.compile(r"%\(\w+\)s|\{\w+\}")
TAG = re.compile(r"<[^>]+>")
#: What is the same in both languages.
ALIKE: dict[str, set[str]] = {"nl": set(), "de": set()}


# --- which language


@pytest.mark.parametrize(
    ("wanted", "accepted", "expected"),
    [
        ("nl", "de", "nl"),
        (None, "de-AT,de;q=0.9,en;q=0.8", "de"),
        (None, "fr,nl;q=0.5", "nl"),
        (None, "fr", "en"),
        (None, "", "en"),
        ("fr", "", "en"),
        ("NL", "", "nl"),
        ("../../x", "de", "de"),
    ],
)
def test_the_language_is_the_one_asked_for_else_the_browsers_else_the_studys(
    wanted: str | None, accepted: str, expected: str
) -> None:
    assert languages.preferred(wanted, accepted, ["en", "de", "nl"]) == expected


def test_a_study_in_one_language_is_read_in_it() -> None:
    assert languages.preferred("en", "en", ["nl"]) == "nl"


def test_links_keep_what_the_recruiter_put_into_the_address() -> None:
    link = languages.links(QueryDict("PROLIFIC_PID=p1&lang=en"), "en", ["en", "nl"])[1]
    assert link == languages.LanguageLink("nl", "Nederlands", "PROLIFIC_PID=p1&lang=nl", current=False)


def test_one_language_needs_no_links() -> None:
    assert languages.links(QueryDict(""), "en", ["en"]) == []


def test_a_page_is_rendered_in_its_language_and_the_next_one_is_not(rf: Any) -> None:
    page = languages.page(rf.get("/"), "de", "trials/return_submission.html", {"study": {"recruiter": "prolific"}})
    assert "Rekrutierungsplattform" in page.content.decode()
    assert page["Content-Language"] == "de"
    assert translation.get_language() == settings.LANGUAGE_CODE


# --- the catalogues


@cache
def catalogue(language: str) -> dict[Any, str]:
    """Text to translation, from the compiled catalogue that the pages use; plural forms under (text, n)."""
    with (TRIALS / "locale" / language / "LC_MESSAGES" / "django.mo").open("rb") as file:
        return {key: text for key, text in GNUTranslations(file)._catalog.items() if key}  # type: ignore[attr-defined]


def compiled(po: str, folder: Path) -> dict[Any, str]:
    """A catalogue in gettext's source form as `msgfmt` compiles it: what is fuzzy or empty is missing."""
    subprocess.run(["msgfmt", "--check-format", "-o", folder / "x.mo", "-"], input=po, text=True, check=True)
    with (folder / "x.mo").open("rb") as file:
        return {key: text for key, text in GNUTranslations(file)._catalog.items() if key}  # type: ignore[attr-defined]


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> set[Any]:
    """Every text of the participants' pages that is marked for translation, as `makemessages` finds them."""
    copy = tmp_path_factory.mktemp("texts") / "trials"
    shutil.copytree(TRIALS, copy, ignore=shutil.ignore_patterns("locale", "static", "migrations"))
    (copy / "locale").mkdir()
    makemessages = [sys.executable, str(Path(settings.BASE_DIR) / "manage.py"), "makemessages"]
    subprocess.run([*makemessages, "-v0", "-l", "en"], cwd=copy, check=True)
    english = subprocess.run(
        ["msgen", copy / "locale/en/LC_MESSAGES/django.po"], capture_output=True, text=True, check=True
    )
    return set(compiled(english.stdout, copy))


@pytest.mark.parametrize("language", TRANSLATED)
def test_every_text_has_a_translation_that_is_neither_empty_nor_fuzzy(language: str, texts: set[Any]) -> None:
    assert len(texts) > 100
    assert {str(text) for text in texts - set(catalogue(language))} == set()


@pytest.mark.parametrize("language", TRANSLATED)
def test_nothing_is_translated_that_no_page_says(language: str, texts: set[Any]) -> None:
    assert {str(text) for text in set(catalogue(language)) - texts} == set()


@pytest.mark.parametrize("language", TRANSLATED)
def test_the_compiled_catalogue_is_the_one_of_the_source(language: str, tmp_path: Path) -> None:
    source = (TRIALS / "locale" / language / "LC_MESSAGES" / "django.po").read_text()
    assert "#, fuzzy" not in source
    assert "#~ " not in source
    assert compiled(source, tmp_path) == catalogue(language)


@pytest.mark.parametrize("language", TRANSLATED)
def test_placeholders_and_tags_are_those_of_the_text(language: str) -> None:
    def parts(text: str) -> tuple[list[str], list[str]]:
        return sorted(PLACEHOLDER.findall(text)), sorted(TAG.findall(text))

    wrong = {
        key: translated
        for key, translated in catalogue(language).items()
        if parts(translated) != parts(key if isinstance(key, str) else key[0])
    }
    assert wrong == {}


@pytest.mark.parametrize("language", TRANSLATED)
def test_a_translation_is_another_text(language: str) -> None:
    same = {key for key, translated in catalogue(language).items() if key == translated}
    assert same <= ALIKE[language]
