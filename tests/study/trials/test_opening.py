"""Opening a study freezes it, or says in one sentence why it cannot be shown."""

from __future__ import annotations

import math
from collections import Counter
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.core.exceptions import ValidationError
from django.db.models import QuerySet

from study.lab.models import Attack, BaseImage, ModelRun, Pair, Prediction, sha256_of
from study.lab.verification import checks
from study.trials.design import CHOSEN
from study.trials.exceptions import CannotOpen, Frozen, NotOpen
from study.trials.models import DesignVersion, Population, Study, Trial
from tests.study.factories import GROSS, make_run, make_study, start

pytestmark = pytest.mark.django_db

SMALL: dict[str, Any] = {"base_images": 22, "size": 4}


def test_an_opened_study_has_a_design_with_its_hash() -> None:
    study = make_study()
    design = study.current_design
    assert design is not None
    assert (study.state, design.n, design.reason) == ("open", 1, "opened")
    assert design.sha256 == sha256_of(design.json)
    assert design.matches()


def test_the_design_names_every_pair_with_the_hashes_of_its_files() -> None:
    design = make_study().current_design
    assert design is not None
    assert len(design.json["pairs"]) == 18 * 5 + 2 + 2
    described = design.json["pairs"][0]
    pair = Pair.objects.get(pk=described["id"])
    assert (described["clean_sha256"], described["altered_sha256"]) == (pair.base_image.sha256, pair.sha256)


def test_the_design_fixes_cells_rules_bound_models_and_consent() -> None:
    study = make_study(bound=0.55)
    design = study.current_design
    assert design is not None
    assert design.json["cells"] == [
        {"attack": study.slug, "control": control, "strength": strength, "trials": trials}
        for control, strength, trials in (
            ("", 0.5, 6), ("", 2.0, 6), ("identity", 0.0, 2), ("resampled", 2.0, 2), ("other_field", 2.0, 2),
        )
    ]  # fmt: skip
    assert design.json["catch"]["strength"] == GROSS
    assert design.json["bound"] == 0.55
    assert [model["role"] for model in design.json["models"]] == ["backdoored", "clean"]
    assert [attack["control_hash"] for attack in design.json["attacks"]] == ["c" * 64]
    assert design.json["consent"]["sha256"] == study.consent_sha256()
    assert design.json["exclusions"]["same_side"] == {"at_least": 18, "of": 20, "p_below": 0.001}


def test_a_guesser_must_miss_two_of_eight_catch_trials_to_be_left_out() -> None:
    design = make_study(base_images=40, catch_trials=8).current_design
    assert design is not None
    assert design.json["exclusions"]["catch"] == {"correct_below": 7, "of": 8}


def test_the_rules_on_response_times_and_focus_are_frozen_with_the_design() -> None:
    study = make_study(median_rt_below_ms=350, fast_above_share=0.25, focus_above_share=0.05)
    assert study.current_design is not None
    exclusions = study.current_design.json["exclusions"]
    assert exclusions["response_times"] == {"median_below_ms": 350, "fast_below_ms": 200, "fast_above_share": 0.25}
    assert exclusions["focus"] == {"above_share": 0.05}
    QuerySet(Study).filter(pk=study.pk).update(median_rt_below_ms=1)
    assert study.current_design.faults() == ["The study says otherwise than its design: median_rt_below_ms."]


def test_the_design_fixes_pay_looks_preregistration_and_all_texts() -> None:
    study = make_study(
        **SMALL, base_pay="4.50", bonus_per_correct="0.020", looks_allowed=True, instructions="Look.",
        debrief="A warp.", research_question="Is it seen?", hypotheses="It is not.\n\n  Not even at 2. ",
        sample_size_reason="Power .9",
    )  # fmt: skip
    assert study.current_design is not None
    frozen = study.current_design.json
    assert frozen["pay"] == {"currency": "EUR", "base_pay": "4.5", "bonus_per_correct": "0.02", "screened_out_pay": "0"}
    assert frozen["looks"] is True
    assert frozen["preregistration"] == {
        "research_question": "Is it seen?",
        "hypotheses": ["It is not.", "Not even at 2."],
        "sample_size_reason": "Power .9",
    }
    assert frozen["texts"] == {"en": sha256_of(["Look.", "A warp."])}


@pytest.mark.parametrize(
    ("column", "value", "part"),
    [
        ("base_pay", 9, "pay"),
        ("looks_allowed", True, "looks"),
        ("hypotheses", "Another", "preregistration"),
        ("debrief", "Another", "texts"),
    ],
)
def test_a_design_notices_what_else_was_changed_behind_its_back(column: str, value: Any, part: str) -> None:
    study = make_study(**SMALL)
    QuerySet(Study).filter(pk=study.pk).update(**{column: value})
    assert study.current_design is not None
    assert study.current_design.faults() == [f"The study says otherwise than its design: {part}."]


def test_an_attack_on_the_weights_cannot_be_shown() -> None:
    study = make_study(opened=False)
    Attack.objects.filter(pk=study.model_run.attack_id).update(family="weights", threat_model="weights")
    with pytest.raises(CannotOpen, match="attacked in its weights, which alters no image"):
        Study.objects.get(pk=study.pk).open()


def test_opening_makes_a_place_for_everyone_in_every_population() -> None:
    study = make_study(participants=6)
    assert Counter(study.slots.values_list("population", flat=True)) == dict.fromkeys(Population.values, 6)


# --- refusals


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"displayable": False}, "not cleared for display to participants"),
        ({"base_images": 19}, "18 main trials need 18 base images of their own, but only 15 are left"),
        ({"base_images": 3}, "practice trials need 2 base images of their own"),
        ({"trials_per_control": 3}, "identity at strength 0 has 3 trials per session: give it an even number"),
        ({"trials_per_strength": 0}, "altered at strength 0.5 has 0 trials per session"),
        ({"contact": ""}, "whom to ask"),
        ({"information": " "}, "what the study is about"),
        ({"strengths_shown": [0.5, 3.0]}, "no pairs at strength 3"),
        ({"strengths_shown": [-1]}, "numbers above 0"),
        ({"bound": 0.7}, "bound"),
        ({"participants": 0}, "participants"),
        ({"catch_trials": 0}, "catch_trials"),
    ],
)
def test_a_study_that_is_not_ready_stays_a_draft(fields: dict[str, Any], sentence: str) -> None:
    shown = fields.pop("strengths_shown", [])
    study = make_study(opened=False, **fields)
    study.strengths = shown
    study.save()
    with pytest.raises(CannotOpen, match=sentence):
        study.open()
    study.refresh_from_db()
    assert study.state == Study.State.DRAFT
    assert not study.design_versions.exists()
    assert not study.slots.exists()


def test_a_study_without_identity_pairs_is_refused() -> None:
    study = make_study(opened=False)
    Pair.objects.filter(control=Pair.Control.IDENTITY).delete()
    with pytest.raises(CannotOpen, match="no identity control pairs"):
        study.open()


@pytest.mark.parametrize("family", ["wanet", "patch"])
def test_a_control_that_the_attack_can_have_and_that_was_forgotten_is_named(family: str) -> None:
    study = make_study(opened=False, family=family)
    Pair.objects.filter(control=Pair.Control.OTHER_FIELD).delete()
    with pytest.raises(CannotOpen, match="no other field control pairs of"):
        study.open()


def test_catch_trials_are_gross_where_a_main_strength_has_the_same_number() -> None:
    study = make_study(opened=False, strengths=(0.5, 1.0))
    gross = Pair.objects.filter(gross=True)
    gross.update(strength=1.0)
    study.open()
    session, _ = study.start_session()
    large = set(gross.values_list("pk", flat=True))
    of_phase = {phase: set(session.trials.filter(phase=phase).values_list("pair", flat=True)) for phase in Trial.Phase}
    assert of_phase[Trial.Phase.CATCH] <= large
    assert of_phase[Trial.Phase.PRACTICE] & large
    assert not of_phase[Trial.Phase.MAIN] & large


def test_a_study_without_gross_pairs_is_refused() -> None:
    study = make_study(opened=False)
    Pair.objects.filter(gross=True).delete()
    with pytest.raises(CannotOpen, match="no gross pairs for the catch trials"):
        study.open()


def test_a_study_of_pairs_the_model_has_not_seen_is_refused() -> None:
    study = make_study(opened=False)
    Prediction.objects.filter(pair__control=Pair.Control.NONE, pair__strength=2.0).delete()
    with pytest.raises(CannotOpen, match="18 pairs have no prediction of"):
        study.open()


def test_a_study_of_a_clean_model_is_refused() -> None:
    study = make_study(opened=False)
    study.model_run = make_run("no-attack", study.dataset)
    study.save()
    with pytest.raises(CannotOpen, match="is a clean model: choose a run with an attack"):
        study.open()


def test_a_damaged_image_file_is_found_when_the_study_opens() -> None:
    study = make_study(opened=False)
    design = study.design_json()
    path = image_file(design["pairs"][7]["id"])
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    with pytest.raises(CannotOpen, match="SHA-256"):
        study.open()


def test_images_of_different_lengths_are_refused() -> None:
    study = make_study(opened=False)
    pair = Pair.objects.get(pk=study.design_json()["pairs"][3]["id"])
    other = make_study(size=18, opened=False)
    larger = other.dataset.base_images.first()
    assert larger is not None
    Pair.objects.filter(pk=pair.pk).update(file=larger.file, sha256=larger.sha256)
    with pytest.raises(CannotOpen, match="differ in size or length, which would give altered images away"):
        study.open()


def test_a_study_is_opened_once() -> None:
    study = make_study()
    with pytest.raises(CannotOpen, match="The study is open already"):
        study.open()
    assert study.design_versions.count() == 1


# --- frozen


@pytest.mark.parametrize(
    ("field", "value"), [("scale", 3), ("participants", 7), ("bound", 0.55), ("information", "x"), ("seed", 2)]
)
def test_the_design_of_an_open_study_cannot_be_saved_differently(field: str, value: Any) -> None:
    study = make_study()
    setattr(study, field, value)
    with pytest.raises(Frozen, match=field):
        study.save()
    with pytest.raises(ValidationError, match="amend it with a reason"):
        study.full_clean()
    with pytest.raises(Frozen, match="amend it with a reason"):
        Study.objects.filter(pk=study.pk).update(**{field: value})


def test_a_draft_that_was_opened_meanwhile_cannot_be_saved_as_a_draft() -> None:
    study = make_study(opened=False)
    stale = Study.objects.get(pk=study.pk)
    study.open()
    with pytest.raises(Frozen):
        stale.save()


def test_what_is_not_design_can_still_be_saved() -> None:
    study = make_study()
    study.completion_code = "NEW"
    study.save()
    study.refresh_from_db()
    assert study.completion_code == "NEW"


def test_a_frozen_version_can_be_neither_changed_nor_deleted() -> None:
    version = make_study().current_design
    assert version is not None
    version.json = {}
    with pytest.raises(Frozen):
        version.save()
    with pytest.raises(Frozen):
        version.delete()
    with pytest.raises(Frozen):
        DesignVersion.objects.update(sha256="0" * 64)


def test_a_design_whose_stored_json_was_altered_does_not_match() -> None:
    version = make_study().current_design
    assert version is not None
    version.json["bound"] = 0.75
    assert not version.matches()


def test_a_design_does_not_match_when_a_pair_was_replaced() -> None:
    version = make_study().current_design
    assert version is not None
    Pair.objects.filter(pk=version.json["pairs"][0]["id"]).update(sha256="0" * 64)
    assert not version.matches()


@pytest.mark.parametrize(
    "column", ["participants", "trials_per_control", "catch_trials", "practice_rounds", "strengths"]
)
def test_a_design_does_not_match_when_a_column_of_the_study_was_changed_behind_its_back(column: str) -> None:
    study = make_study()
    QuerySet(Study).filter(pk=study.pk).update(**{column: [0.5] if column == "strengths" else 4})
    design = study.current_design
    assert design is not None
    assert design.faults() == [f"The study says otherwise than its design: {column}."]


def test_a_design_does_not_match_when_its_model_was_trained_again() -> None:
    study = make_study()
    ModelRun.objects.filter(pk=study.model_run_id).update(artifact_sha256="0" * 64)
    design = study.current_design
    assert design is not None
    assert not design.matches()


def test_pairs_made_after_the_opening_do_not_touch_the_design() -> None:
    study = make_study()
    add_pairs(study)
    design = study.current_design
    assert design is not None
    assert design.faults() == []


def test_an_amendment_keeps_conditions_and_stimuli_whatever_pairs_were_made_since() -> None:
    study = make_study()
    add_pairs(study)
    amended = study.amend("more people came forward", participants=9)
    first = study.design_versions.get(n=1)
    assert {part: amended.json[part] for part in CHOSEN} == {part: first.json[part] for part in CHOSEN}
    assert amended.json["participants"] == 9
    assert amended.matches()


def test_a_translation_that_lacks_a_statement_keeps_the_study_from_opening_and_from_being_amended() -> None:
    study = make_study(opened=False, eligibility="You can read.")
    study.translations.create(language="nl", title="T", information="I", eligibility="Eén.\nTwee.")
    with pytest.raises(CannotOpen, match="Translate every statement"):
        study.open()
    study.translations.update(eligibility="Eén.")
    study.open()
    with pytest.raises(CannotOpen, match="Translate every statement"):
        study.amend("one more", eligibility="You can read.\nYou can see.")


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"response_ms": 600, "enable_after_ms": 600}, "The time to answer is over before a press counts"),
        ({"adaptive_sd": math.nan}, "The SD at which to stop"),
        ({"focus_above_share": math.nan}, "A share lies between 0 and 1"),
        ({"image_degrees": math.inf, "calibration": "card", "distance": "told"}, "A width in degrees is a number"),
    ],
)
def test_settings_that_no_participant_could_be_shown_are_refused(fields: dict[str, Any], sentence: str) -> None:
    study = make_study(opened=False)
    for name, value in fields.items():
        setattr(study, name, value)
    with pytest.raises(ValidationError, match=sentence):
        study.full_clean()


def test_an_amendment_of_the_protocol_brings_the_protocols_exclusion_rules() -> None:
    amended = make_study().amend("one image at a time", protocol=Study.Protocol.YES_NO)
    assert set(amended.json["exclusions"]) == {"incomplete", "missed", "catch", "response_times", "focus"}


def test_an_amendment_of_the_trials_keeps_the_strengths_that_were_opened() -> None:
    study = make_study()
    add_pairs(study)
    amended = study.amend("shorter", trials_per_strength=4, trials_per_control=2)
    strengths = [cell["strength"] for cell in amended.json["cells"] if not cell["control"]]
    assert strengths == study.strengths == [0.5, 2.0]
    assert len(amended.json["stimuli"]) == 14
    assert amended.matches()


def test_an_older_version_notices_a_replaced_pair_too() -> None:
    study = make_study()
    study.amend("more people came forward", participants=9)
    first = study.design_versions.get(n=1)
    Pair.objects.filter(pk=first.json["pairs"][0]["id"]).update(sha256="0" * 64)
    assert not first.matches()


def test_verification_covers_frozen_designs() -> None:
    study = make_study()
    [check] = [check for check in checks() if check.kind == "frozen designs"]
    assert check.fault() is None
    Pair.objects.filter(pk=study.design_json()["pairs"][0]["id"]).delete()
    assert "1 pairs, the first is number" in str(check.fault())


def test_a_change_is_a_new_version_with_a_reason() -> None:
    study = make_study(participants=6)
    start(study)
    version = study.amend("more people came forward", participants=9)
    assert (version.n, version.reason, version.json["participants"]) == (2, "more people came forward", 9)
    assert study.slots.filter(population=Population.REAL).count() == 9
    assert [v.matches() for v in study.design_versions.order_by("n")] == [True, True]


# --- texts in every language

TEXTS = {
    "title": "Ogen", "information": "Kijk.", "eligibility": "U kunt lezen.", "payment": "Niets.",
    "withdrawal_deadline": "Tot mei.", "consent": "Ik weet het.", "instructions": "Kies.", "debrief": "Dank.",
}  # fmt: skip


@pytest.mark.parametrize(
    ("column", "name"),
    [
        ("payment", "payment"),
        ("withdrawal_deadline", "withdrawal deadline"),
        ("consent", "consent"),
        ("instructions", "instructions"),
        ("debrief", "debrief"),
        ("information", "information"),
    ],
)
def test_a_translation_has_every_text_that_the_study_has(column: str, name: str) -> None:
    study = make_study(opened=False, **SMALL, **TEXTS)
    study.translations.create(language="nl", **{**TEXTS, column: " "})
    with pytest.raises(CannotOpen, match=f"The translation into Dutch lacks .*: fill in {name}\\."):
        study.open()


def test_a_translation_lacks_nothing_that_the_study_does_not_say_itself() -> None:
    study = make_study(opened=False, **SMALL)
    study.translations.create(language="nl", title="Ogen", information="Kijk.")
    assert set(study.open().json["texts"]) == {"en", "nl"}


# --- how long data are kept


@pytest.mark.parametrize("later", [date(2030, 2, 1), None])
def test_data_of_an_opened_study_are_never_kept_longer_than_participants_were_told(later: date | None) -> None:
    study = make_study(**SMALL, retain_until=date(2030, 1, 1))
    study.retain_until = later
    with pytest.raises(ValidationError, match="told until when their data are kept") as caught:
        study.full_clean()
    assert set(caught.value.message_dict) == {"retain_until"}
    with pytest.raises(Frozen, match="choose that day, or an earlier one"):
        study.save()
    with pytest.raises(Frozen, match="choose that day, or an earlier one"):
        Study.objects.filter(pk=study.pk).update(retain_until=later)


def test_data_of_an_opened_study_may_go_earlier_and_those_of_a_draft_whenever() -> None:
    study = make_study(**SMALL)
    for day in (date(2030, 1, 1), date(2029, 1, 1)):
        study.retain_until = day
        study.full_clean()
        study.save()
    draft = make_study(opened=False, **SMALL, retain_until=date(2030, 1, 1))
    Study.objects.filter(pk=draft.pk).update(retain_until=None)
    assert Study.objects.get(pk=draft.pk).retain_until is None


def test_an_amendment_never_erases_less_than_participants_were_told() -> None:
    study = make_study(**SMALL, retention=Study.Retention.EVERYTHING)
    with pytest.raises(CannotOpen, match="told that everything but the count is erased"):
        study.amend("The answers are of use.", retention=Study.Retention.IDENTITY)
    assert (study.retention, study.design_versions.count()) == (Study.Retention.EVERYTHING, 1)


def test_an_amendment_may_erase_more_than_participants_were_told() -> None:
    study = make_study(**SMALL)
    study.amend("The ethics board asked for it.", retention=Study.Retention.EVERYTHING)
    assert study.retention == Study.Retention.EVERYTHING


def test_a_change_without_a_reason_is_refused() -> None:
    study = make_study()
    with pytest.raises(CannotOpen, match="needs a reason"):
        study.amend(" ", participants=9)


def test_a_change_that_cannot_be_shown_changes_nothing() -> None:
    study = make_study()
    with pytest.raises(CannotOpen, match="even number"):
        study.amend("finer", trials_per_strength=7)
    study.refresh_from_db()
    assert (study.trials_per_strength, study.design_versions.count()) == (6, 1)


def test_a_closed_study_takes_nobody_new() -> None:
    study = make_study()
    study.close()
    with pytest.raises(NotOpen):
        study.start_session()


def test_a_draft_cannot_be_closed() -> None:
    with pytest.raises(NotOpen):
        make_study(opened=False).close()


def add_pairs(study: Study) -> None:
    """Pairs of a further base image, and of every base image at a further strength and grosser than gross."""
    first = study.dataset.base_images.earliest("pk")
    more = BaseImage.objects.create(
        dataset=study.dataset, index=99, subject=99, pitch=0.0, yaw=0.0, file=first.file, sha256=first.sha256
    )
    pairs = [copy_of(pair, base_image=more) for pair in first.pairs.all()]
    for gross, strength in ((False, 1.0), (True, 9.0)):
        alike = Pair.objects.filter(attack=study.model_run.attack, control="", gross=gross).exclude(strength=2.0)
        pairs += [copy_of(pair, strength=strength) for pair in alike]
    for pair in pairs:
        Prediction.objects.create(
            pair=pair, model_run=study.model_run, clean_pitch=0.0, clean_yaw=0.0, altered_pitch=0.0, altered_yaw=0.0,
            error_shift=1.0, prediction_shift=1.0,
        )  # fmt: skip


def copy_of(pair: Pair, **changes: Any) -> Pair:
    values = {field.attname: getattr(pair, field.attname) for field in Pair._meta.fields if not field.primary_key}
    copy = Pair(**values)
    for name, value in changes.items():
        setattr(copy, name, value)
    copy.save()
    return copy


def image_file(pair_id: int) -> Path:
    return Path(settings.MEDIA_ROOT) / Pair.objects.get(pk=pair_id).file


def test_an_opened_study_gets_no_further_translation_by_an_amendment() -> None:
    study = make_study(base_images=22, size=4)
    with pytest.raises(CannotOpen, match="no translation into de"):
        study.amend("one more", {"de": {"information": "Bilder."}})
    with pytest.raises(CannotOpen, match="study is no text"):
        study.amend("another", {"de": {"study": "2"}})
    assert study.design_versions.count() == 1
