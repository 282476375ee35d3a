"""Recruiters' parameters, codes and return URLs."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from django.core.exceptions import ValidationError

from study.trials import recruiters
from study.trials.recruiters import PRESETS, Recruiter, custom, ids_from, person, return_url

HOSTS = {"example.org"}
VALUES = {"code": "A&B", "person": "p 1", "batch": "ü"}


def a_study(**fields: Any) -> Any:
    """What recruiters need to know of a study."""
    return SimpleNamespace(
        **{
            "slug": "tiny",
            "recruiter": "plain",
            "recruiter_parameters": {},
            "return_hosts": [],
            "return_url": "",
            "completion_code": "THANKS",
            "screened_out_url": "",
            "screened_out_code": "SORRY",
            **fields,
        }
    )


def a_session(code: str = "THANKS", **ids: str) -> Any:
    return SimpleNamespace(recruiter_ids=ids, code=code)


# --- arriving


def test_prolific_names_the_person_and_the_submission() -> None:
    link = {"PROLIFIC_PID": "p1", "STUDY_ID": "s", "SESSION_ID": "x", "colour": "red"}
    assert ids_from(link, PRESETS["prolific"]) == {"PROLIFIC_PID": "p1", "STUDY_ID": "s", "SESSION_ID": "x"}


def test_sona_names_the_person() -> None:
    assert ids_from({"sona_id": "7", "PROLIFIC_PID": "p1"}, PRESETS["sona"]) == {"sona_id": "7"}


def test_another_recruiter_names_its_own_parameters() -> None:
    recruiter = custom({"person": "workerId", "submission": ["assignmentId"]})
    assert ids_from({"workerId": "w", "assignmentId": "a"}, recruiter) == {"workerId": "w", "assignmentId": "a"}


@pytest.mark.parametrize("value", ["{{%PROLIFIC_PID%}}", "%SURVEY_CODE%", "<id>", "undefined", "NULL"])
def test_a_placeholder_that_nobody_filled_in_is_no_id(value: str) -> None:
    assert ids_from({"PROLIFIC_PID": value, "STUDY_ID": "s"}, PRESETS["prolific"]) == {"STUDY_ID": "s"}


@pytest.mark.parametrize("value", ["", "  ", "x" * 101, "a\x00b", "a\nb", "\u202e1"])
def test_an_id_that_is_empty_overlong_or_unprintable_is_left_out(value: str) -> None:
    assert ids_from({"PROLIFIC_PID": value, "STUDY_ID": "s"}, PRESETS["prolific"]) == {"STUDY_ID": "s"}


def test_a_person_is_the_same_in_every_submission() -> None:
    visits = [{"PROLIFIC_PID": "p1", "SESSION_ID": session} for session in "ab"]
    assert len({person(visit, PRESETS["prolific"]) for visit in visits}) == 1


def test_people_with_one_id_in_two_parameters_are_two_people() -> None:
    plain = PRESETS["plain"]
    assert person({"participant": "1"}, plain) != person({"sona_id": "1"}, plain)


def test_a_link_without_an_id_names_nobody() -> None:
    assert person({"STUDY_ID": "s"}, PRESETS["prolific"]) is None


@pytest.mark.parametrize(
    "parameters",
    [
        None,
        [],
        {},
        {"person": ""},
        {"person": 3},
        {"person": "a b"},
        {"person": "pid", "submission": "session"},
        {"person": "pid", "submission": ["pid"]},
        {"person": "pid", "colour": "red"},
    ],
)
def test_a_map_of_parameters_that_is_none_is_refused(parameters: Any) -> None:
    with pytest.raises(ValueError, match="Say which parameters of the link to read"):
        custom(parameters)


# --- return URLs


def test_values_are_percent_encoded() -> None:
    template = "https://example.org/end?cc={code}&who={person}&batch={batch}"
    assert return_url(template, VALUES, HOSTS) == "https://example.org/end?cc=A%26B&who=p%201&batch=%C3%BC"


def test_a_value_cannot_add_a_parameter_a_path_or_a_host() -> None:
    filled = return_url("https://example.org/{person}", {"person": "../@evil.org/?x#\\"}, HOSTS)
    assert filled == "https://example.org/..%2F%40evil.org%2F%3Fx%23%5C"


@pytest.mark.parametrize(
    "template",
    [
        "https://evil.org/",
        "https://example.org.evil.org/",
        "https://example.org@evil.org/",
        "https://user@example.org/",
        "https://{person}/",
        "//example.org/",
        "https:///example.org",
    ],
)
def test_a_url_to_another_host_is_refused(template: str) -> None:
    with pytest.raises(ValueError, match="return URL"):
        return_url(template, {"person": "evil.org"}, HOSTS)


@pytest.mark.parametrize(
    "template",
    [
        "http://example.org/",
        "javascript:alert(1)",
        "data:text/html,x",
        "ftp://example.org/",
        "example.org/end",
        "http://[x",
    ],
)
def test_a_url_that_is_not_https_is_refused(template: str) -> None:
    with pytest.raises(ValueError, match=r"begins with https://|IPv6"):
        return_url(template, {}, HOSTS)


@pytest.mark.parametrize("template", ["https://evil.org\\@example.org/", "https://example.org/\nx", "https://a b/", ""])
def test_a_url_that_browsers_read_differently_is_refused(template: str) -> None:
    with pytest.raises(ValueError, match="no backslashes"):
        return_url(template, {}, HOSTS)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
def test_http_is_fine_on_this_machine(host: str) -> None:
    assert return_url(f"http://{host}:8000/end", {}, {host}) == f"http://{host}:8000/end"


def test_an_unknown_placeholder_is_named_with_those_there_are() -> None:
    with pytest.raises(ValueError, match=r"names \{colour\}, but there is only \{code\}, \{person\}"):
        return_url("https://example.org/?c={colour}", {"code": "", "person": ""}, HOSTS)


# --- the way back


def test_prolific_is_given_the_code_of_the_outcome() -> None:
    study = a_study(recruiter="prolific")
    prefix = "https://app.prolific.com/submissions/complete?cc="
    assert recruiters.return_link(study, "complete", a_session()) == f"{prefix}THANKS"
    assert recruiters.return_link(study, "screened_out", a_session("SORRY")) == f"{prefix}SORRY"
    assert recruiters.turned_away_link(study, {}) == f"{prefix}SORRY"


def test_without_a_code_for_it_a_screened_out_person_has_no_way_back() -> None:
    study = a_study(recruiter="prolific", screened_out_code="")
    assert recruiters.turned_away_link(study, {"PROLIFIC_PID": "p1"}) is None


@pytest.mark.parametrize("placeholder", ["survey_code", "person", "sona_id"])
def test_sona_is_told_who_has_earned_the_credit(placeholder: str) -> None:
    credit = "https://uni.sona-systems.com/webstudy_credit.aspx?experiment_id=1&credit_token=t&survey_code="
    study = a_study(recruiter="sona", return_hosts=["uni.sona-systems.com"], return_url=f"{credit}{{{placeholder}}}")
    assert recruiters.return_link(study, "complete", a_session(sona_id="77")) == f"{credit}77"


def test_a_url_that_names_what_a_person_lacks_is_not_shown() -> None:
    study = a_study(recruiter="sona", return_hosts=["example.org"], return_url="https://example.org/{person}")
    assert recruiters.return_link(study, "complete", a_session()) is None


def test_a_plain_study_leads_nowhere() -> None:
    assert recruiters.return_link(a_study(), "complete", a_session()) is None


def test_another_recruiters_parameters_come_back_in_its_url() -> None:
    study = a_study(
        recruiter="custom",
        recruiter_parameters={"person": "pid", "submission": ["batch"]},
        return_hosts=["Example.ORG"],
        return_url="https://example.org/?pid={person}&b={batch}&c={code}",
    )
    link = recruiters.return_link(study, "complete", a_session(pid="1", batch="2"))
    assert link == "https://example.org/?pid=1&b=2&c=THANKS"


def test_a_url_that_was_saved_unchecked_costs_nobody_the_code(caplog: pytest.LogCaptureFixture) -> None:
    study = a_study(return_url="https://evil.org/")
    assert recruiters.return_link(study, "complete", a_session()) is None
    assert "not on the study's list of hosts" in caplog.text


# --- what a study may say


@pytest.mark.parametrize(
    ("fields", "wrong"),
    [
        ({"return_url": "https://evil.org/"}, "return_url"),
        ({"screened_out_url": "https://evil.org/"}, "screened_out_url"),
        ({"return_url": "https://example.org/{colour}", "return_hosts": ["example.org"]}, "return_url"),
        ({"return_hosts": "example.org"}, "return_hosts"),
        ({"return_hosts": ["https://example.org/"]}, "return_hosts"),
        ({"return_hosts": [3]}, "return_hosts"),
        ({"recruiter": "custom"}, "recruiter_parameters"),
        ({"recruiter": "prolific", "completion_code": ""}, "completion_code"),
    ],
)
def test_what_could_not_work_is_refused_at_its_field(fields: dict[str, Any], wrong: str) -> None:
    with pytest.raises(ValidationError) as refused:
        recruiters.check(a_study(**fields))
    assert list(refused.value.message_dict) == [wrong]


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"recruiter": "prolific"},
        {"recruiter": "sona", "return_hosts": ["example.org"], "return_url": "https://example.org/{survey_code}"},
        {
            "recruiter": "custom",
            "recruiter_parameters": {"person": "pid"},
            "return_hosts": ["example.org"],
            "screened_out_url": "https://example.org/{pid}/{code}",
        },
    ],
    ids=lambda fields: fields.get("recruiter", "plain"),
)
def test_what_works_is_accepted(fields: dict[str, Any]) -> None:
    study = a_study(**fields)
    recruiters.check(study)
    assert isinstance(recruiters.of(study), Recruiter)
