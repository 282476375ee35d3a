"""The key file and the payments: who gets what, and what a list of a recruiter may hold."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from decimal import Decimal
from typing import Any

import pytest
from django.urls import reverse

from study.accounts.models import AuditEntry
from study.desk import recruiter_files
from study.desk.exports import Withheld
from study.desk.recruiter_files import PayRule, cents
from study.lab.models import Pair
from study.trials.models import Session, Study
from study.trials.rights import Role
from tests.study.desk.researchers import signed_in
from tests.study.factories import answer_all, make_study, start

pytestmark = pytest.mark.django_db
RULE = PayRule(base=Decimal("2.50"), bonus_per_correct=Decimal("0.035"), screened_out=Decimal("0.14"))


def text(content: Iterable[bytes]) -> str:
    return b"".join(content).decode()


def table(content: Iterable[bytes]) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text(content))))


@pytest.fixture
def study() -> Study:
    """Closed, of Prolific; pays 1.00 and .015 for a right answer. Four came: each ended in another way."""
    study = make_study(
        base_images=22, size=4, recruiter="prolific", base_pay="1.00", bonus_per_correct="0.015",
        screened_out_pay="0.10", currency="GBP",
    )  # fmt: skip
    complete, out, gone, away = (start(study, recruiter_ids={"PROLIFIC_PID": f"id{i}"})[0] for i in range(4))
    answer_all(complete)
    complete.complete()
    out.screen_out("window")
    gone.withdraw()
    away.time_out()
    study.close()
    return study


@pytest.fixture
def blind(study: Study) -> Study:
    """The same while it is open."""
    Study.objects.filter(pk=study.pk).update(state=Study.State.OPEN)
    return Study.objects.get(pk=study.pk)


def test_half_a_cent_goes_up() -> None:
    assert [cents(Decimal(amount)) for amount in ("0.005", "0.0049", "1.015")] == [
        Decimal("0.01"), Decimal("0.00"), Decimal("1.02"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("state", "due"),
    [
        ("complete", (Decimal("2.50"), Decimal("0.11"))),
        ("screened_out", (Decimal("0.14"), Decimal("0.00"))),
        ("withdrawn", (Decimal("0.00"), Decimal("0.00"))),
        ("timed_out", (Decimal("0.00"), Decimal("0.00"))),
    ],
)
def test_pay_goes_by_how_the_session_ended(state: str, due: tuple[Decimal, Decimal]) -> None:
    assert RULE.due(state, right=3) == due


def test_identical_pairs_and_practice_earn_no_bonus(study: Study) -> None:
    session = Session.objects.filter(state="complete").get()
    judged = session.trials.exclude(phase="practice").exclude(pair__control=Pair.Control.IDENTITY).count()
    payment = next(recruiter_files.payments(study))
    assert judged == 18  # 20 main and catch trials, 2 of them identical
    assert (payment.base, payment.bonus) == (Decimal("1.00"), cents(18 * Decimal("0.015")))


def test_who_withdrew_or_timed_out_is_decided_by_hand(study: Study) -> None:
    notes = {payment.state: payment.note for payment in recruiter_files.payments(study)}
    assert notes == {
        "complete": "", "screened_out": "", "withdrawn": "decide by hand", "timed_out": "decide by hand",
    }  # fmt: skip


def test_totals_add_up_by_how_sessions_ended(study: Study) -> None:
    complete, withdrawn, out, away = recruiter_files.totals(recruiter_files.payments(study))
    assert (complete.state, complete.sessions, complete.total) == ("complete", 1, Decimal("1.27"))
    assert (out.state, out.total) == ("screened_out", Decimal("0.10"))
    assert (withdrawn.total, away.total) == (Decimal("0.00"), Decimal("0.00"))


def test_the_bonus_list_is_lines_of_id_and_amount(study: Study) -> None:
    assert text(recruiter_files.bonuses(study)) == "id0,0.27\nid1,0.10\n"


def test_the_list_of_approvals_has_who_completed(study: Study) -> None:
    assert text(recruiter_files.approvals(study)) == "id0\n"


def test_an_id_that_would_be_another_payment_is_on_no_list_and_counted() -> None:
    study = make_study(base_images=22, size=4, base_pay="1.00", bonus_per_correct="1")
    session, _ = start(study, recruiter_ids={"PROLIFIC_PID": "me,999\nyou"})
    answer_all(session)
    session.complete()
    study.close()
    assert text(recruiter_files.bonuses(study)) == text(recruiter_files.approvals(study)) == ""
    assert [total.unnamed for total in recruiter_files.totals(recruiter_files.payments(study))] == [1]


def test_the_payment_list_says_what_everybody_is_owed(study: Study) -> None:
    first = table(recruiter_files.payment_list(study))[0]
    assert (first["PROLIFIC_PID"], first["total"], first["currency"]) == ("id0", "1.27", "GBP")


def test_while_a_study_is_blind_nobody_learns_a_bonus(blind: Study) -> None:
    complete, out, _, _ = table(recruiter_files.payment_list(blind))
    assert [complete[name] for name in ("base", "bonus", "total")] == ["1.00", "", ""]
    assert complete["note"] == "bonus once the study closes"
    assert (out["total"], out["note"]) == ("0.10", "")
    totals = recruiter_files.totals(recruiter_files.payments(blind))
    assert [total.bonus for total in totals] == [None, Decimal(0), Decimal(0), Decimal(0)]
    with pytest.raises(Withheld, match="Bonuses depend on right answers"):
        recruiter_files.bonuses(blind)


def test_who_is_approved_is_known_while_a_study_is_blind(blind: Study) -> None:
    assert text(recruiter_files.approvals(blind)) == "id0\n"


def test_a_plan_that_allows_looks_hides_no_bonus(blind: Study) -> None:
    blind.amend("The ethics board asked for looks.", looks_allowed=True)
    assert text(recruiter_files.bonuses(blind)) == "id0,0.27\nid1,0.10\n"


def test_a_blind_study_without_a_bonus_has_nothing_to_hide(blind: Study) -> None:
    blind.amend("There is no money for it.", bonus_per_correct=Decimal(0))
    assert text(recruiter_files.bonuses(blind)) == "id1,0.10\n"


def test_the_key_file_says_who_is_who_and_forgets_who_withdrew(study: Study) -> None:
    rows = table(recruiter_files.key_file(study))
    assert [row["PROLIFIC_PID"] for row in rows] == ["id0", "id1", "", "id3"]
    assert rows[0]["participant"] == f"P{Session.objects.earliest('pk').pk}"


def test_ids_of_an_earlier_recruiter_are_in_the_key_file_too(study: Study) -> None:
    study.recruiter = "sona"
    study.save()
    assert table(recruiter_files.key_file(study))[0]["PROLIFIC_PID"] == "id0"


def test_an_id_that_a_spreadsheet_would_calculate_is_made_harmless() -> None:
    assert recruiter_files.harmless('=HYPERLINK("x")') == '\'=HYPERLINK("x")'
    assert recruiter_files.harmless("5f3a") == "5f3a"


# --- the pages


def test_totals_are_shown_before_anything_is_fetched(study: Study) -> None:
    page = signed_in(study, Role.EDITOR).get(reverse("admin:study_data_payments", args=[study.pk])).content.decode()
    assert "1.37" in page
    assert "id0" not in page
    assert "paid all the same" in page


def test_the_page_of_a_blind_study_has_base_pay_and_refuses_the_bonuses(blind: Study) -> None:
    editor, address = signed_in(blind, Role.EDITOR), reverse("admin:study_data_payments", args=[blind.pk])
    page = editor.get(address).content.decode()
    assert "1.10" in page
    assert not {"1.37", "0.27"} & set(page.replace("<", " ").replace(">", " ").split())
    assert "Bulk bonus payments" not in page
    refused = editor.post(address, {"list": "bonuses"}, follow=True).content.decode()
    assert refused.count("Bonuses depend on right answers, which stay hidden until the study closes.") == 2
    assert not AuditEntry.objects.filter(action="took a payment list of").exists()


@pytest.mark.parametrize(("role", "status"), [(Role.ANALYST, 403), (Role.EDITOR, 200)])
def test_recruiters_ids_are_for_editors(study: Study, role: Role, status: int) -> None:
    client = signed_in(study, role)
    replies: list[Any] = [
        client.post(reverse("admin:study_data_key", args=[study.pk])),
        client.get(reverse("admin:study_data_payments", args=[study.pk])),
        client.post(reverse("admin:study_data_payments", args=[study.pk]), {"list": "bonuses"}),
    ]
    assert {reply.status_code for reply in replies} == {status}


def test_taking_the_key_file_is_in_the_audit_log(study: Study) -> None:
    reply: Any = signed_in(study, Role.OWNER).post(reverse("admin:study_data_key", args=[study.pk]))
    assert b"id0" in b"".join(reply.streaming_content)
    entry = AuditEntry.objects.get(action="took the key file of")
    assert "id0" not in f"{entry.subject} {entry.after}"
