"""Everything that a design shows is looked at before it is opened: read, compared with its hash, and made again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from study.desk import verifying
from study.lab import verification
from study.lab.models import Job, sha256_of
from study.trials.models import Study
from tests.study.factories import make_study

pytestmark = pytest.mark.django_db


@pytest.fixture
def draft(monkeypatch: pytest.MonkeyPatch) -> Study:
    """Its images are not made from a field, nor are its models real: they are read, and made again elsewhere."""
    monkeypatch.setattr(verification, "_rebuild", verification._read)
    monkeypatch.setattr(verification, "_load", lambda run, local: None)
    return make_study(opened=False, base_images=22, size=4)


def work_through(study: Study, sha256: str) -> dict[str, Any]:
    work = verifying.verification(verifying.submit(study, sha256), Path())
    return verifying.carry_out(work.specification, lambda: False)


def test_every_image_and_model_of_the_design_is_checked(draft: Study) -> None:
    design = draft.design_json()
    bases = {pair["base_image"] for pair in design["pairs"]} if "base_image" in design["pairs"][0] else None
    found = work_through(draft, sha256_of(design))
    assert found["pairs"] == len(design["pairs"])
    assert found["models"] == len(design["models"])
    assert bases is None or found["base images"] == len(bases)


def test_an_opened_design_is_checked_by_its_hash(draft: Study) -> None:
    version = draft.open()
    draft.title = "Another title"
    draft.save()
    assert work_through(draft, version.sha256)["pairs"] == len(version.json["pairs"])


def test_the_first_damaged_file_is_named_with_what_to_do(draft: Study) -> None:
    pair = draft.model_run.attack.pairs.get(pk=draft.design_json()["pairs"][0]["id"])
    pair.path.write_bytes(b"not a picture")
    with pytest.raises(ValueError, match=r"pair .*SHA-256 differs\. Restore it from a backup, or make it again"):
        work_through(draft, sha256_of(draft.design_json()))


def test_files_that_the_design_does_not_show_are_left_alone(draft: Study) -> None:
    design = draft.design_json()
    shown = {pair["id"] for pair in design["pairs"]}
    other = draft.model_run.attack.pairs.exclude(pk__in=shown).first()
    if other is not None:
        other.path.unlink(missing_ok=True)
    elsewhere = make_study(opened=False, base_images=22, size=8)
    elsewhere.model_run.attack.pairs.first().path.unlink()
    assert work_through(draft, sha256_of(design))["pairs"] == len(shown)


def test_images_of_two_sizes_are_refused(draft: Study) -> None:
    other = make_study(opened=False, base_images=22, size=8)
    pairs = draft.model_run.attack.pairs.filter(pk__in=[p["id"] for p in draft.design_json()["pairs"]])
    larger = other.model_run.attack.pairs.first()
    pairs.filter(pk=pairs.first().pk).update(file=larger.file, sha256=larger.sha256)
    with pytest.raises(ValueError, match="differ in size or length"):
        work_through(draft, sha256_of(draft.design_json()))


def test_a_draft_that_was_changed_since_is_checked_anew(draft: Study) -> None:
    sha256 = sha256_of(draft.design_json())
    draft.trials_per_strength = 4
    draft.save()
    with pytest.raises(ValueError, match="has been changed since this check was asked for"):
        work_through(draft, sha256)


def test_the_last_check_of_a_design_is_found(draft: Study) -> None:
    assert verifying.verified(draft, "a" * 64) is None
    job = verifying.submit(draft, "a" * 64)
    assert verifying.submit(draft, "a" * 64) == job
    verifying.submit(draft, "b" * 64)
    assert verifying.verified(draft, "a" * 64) == job
    assert job.kind == Job.Kind.VERIFY
