"""What studies can be started from."""

from __future__ import annotations

import pytest
from django.db import transaction

from study.desk.presets import PRESETS, named
from study.trials.models import Study
from tests.study.factories import make_study


@pytest.mark.django_db
def test_every_preset_opens_with_plain_pairs() -> None:
    study = make_study(opened=False, base_images=70, size=4)
    opened = {}
    for preset in PRESETS:
        fresh = Study.objects.get(pk=study.pk)
        for name, value in preset.fields.items():
            setattr(fresh, name, value)
        fresh.full_clean()
        with transaction.atomic():
            fresh.save()
            opened[preset.name] = fresh.open().json["protocol"]
            transaction.set_rollback(True)
    assert list(opened.values()) == ["afc", "afc", "yes_no", "flicker", "oddity"]


def test_presets_say_what_they_answer_and_where_they_come_from() -> None:
    assert all(preset.answers.endswith("?") and preset.source.endswith(".") for preset in PRESETS)


def test_a_preset_is_found_by_its_name() -> None:
    assert named("oddity") is PRESETS[-1]
    assert named("") is None
