"""The JSON face of a run: every status, every body."""

from __future__ import annotations

import json
import uuid
from typing import Any

import pytest
from django.test import Client

from study.lab.models import Dataset
from study.trials.models import Answer, Session, TrialTrace
from tests.study.factories import answer_all, make_study, start

pytestmark = pytest.mark.django_db

SAME_ORIGIN = {"Sec-Fetch-Site": "same-origin"}


class Run:
    """A participant's browser on the page of one run."""

    def __init__(self, **fields: Any) -> None:
        self.study = make_study(**fields)
        self.session, self.token = start(self.study)
        self.client = Client()

    def get(self, path: str = "plan") -> Any:
        return self.client.get(f"/run/{self.token}/{path}")

    def post(self, path: str, body: Any = "{}", **more: Any) -> Any:
        options = {"content_type": "application/json", "headers": SAME_ORIGIN, **more}
        return self.client.post(f"/run/{self.token}/{path}", body, **options)

    def put(self, index: Any = 0, body: Any = None, **more: Any) -> Any:
        options = {"content_type": "application/json", "headers": SAME_ORIGIN, **more}
        sent = body if isinstance(body, (str, bytes)) else json.dumps(body or an_answer())
        return self.client.put(f"/run/{self.token}/trials/{index}", sent, **options)


def an_answer(**changes: Any) -> dict[str, Any]:
    return {"client_id": str(uuid.uuid4()), "attempt": 1, "choice": "left", "rt_ms": 701.25, **changes}


@pytest.fixture
def run() -> Run:
    return Run()


# --- plan


def test_the_plan_names_trials_in_order_and_nothing_else(run: Run) -> None:
    plan = run.get().json()
    practice = [{"index": i, "phase": "practice", "round": 1} for i in range(2)]
    assert plan.pop("trials") == practice + [{"index": i, "phase": "trial"} for i in range(2, 22)]
    assert plan.pop("timing") == {
        "fixation_ms": 500, "exposure_ms": None, "mask_ms": 0, "gap_ms": 500, "flicker_ms": 500, "response_ms": None,
        "blank_ms": 400, "enable_after_ms": 250,
    }  # fmt: skip
    assert plan == {
        "attempt": 2, "next_index": 0, "protocol": "afc", "not_sure": False, "adaptive": False,
        "scale": 4, "image_degrees": None, "image": {"width": 16, "height": 16},
        "sides": ["left", "right"], "frames": 1,
        "calibration": "none", "distance": "none", "phones": True, "tablets": True, "break_every": 40,
    }  # fmt: skip


def test_every_plan_is_a_new_attempt(run: Run) -> None:
    assert [run.get().json()["attempt"] for _ in range(3)] == [2, 3, 4]


def test_after_a_reload_the_plan_goes_on_at_the_next_unanswered_trial(run: Run) -> None:
    run.put(0)
    assert run.get().json()["next_index"] == 1


def test_after_the_last_answer_no_trial_is_next(run: Run) -> None:
    answer_all(run.session)
    assert run.get().json()["next_index"] == 22


def test_a_complete_run_can_be_loaded_again_for_its_code(run: Run) -> None:
    answer_all(run.session)
    run.post("complete")
    assert run.get().status_code == 200
    assert run.post("complete").json()["code"] == "THANKS"


# --- answers


def test_a_first_answer_is_created(run: Run) -> None:
    reply = run.put(0)
    stored = Answer.objects.get()
    assert reply.status_code == 201
    assert reply.json() == {"id": stored.pk, "next_index": 1, "feedback": stored.feedback()}


def test_the_same_answer_again_gets_the_same_reply(run: Run) -> None:
    body = an_answer()
    first, again = run.put(0, body), run.put(0, body)
    assert (first.status_code, again.status_code) == (201, 200)
    assert first.json() == again.json()


def test_after_practice_an_answer_gets_no_feedback(run: Run) -> None:
    for index in range(2):
        run.put(index)
    assert set(run.put(2).json()) == {"id", "next_index"}


def test_what_the_page_measured_is_kept(run: Run) -> None:
    trace = {"frame_ms": 8.3, "dropped_frames": 1, "viewport_scale": None, "input": "touch", "trusted": True}
    run.put(0, an_answer(trace=trace))
    kept = TrialTrace.objects.get()
    assert (kept.frame_ms, kept.dropped_frames, kept.viewport_scale) == (8.3, 1, None)
    assert kept.details == {"input": "touch", "trusted": True}


def test_a_different_answer_conflicts_and_names_the_stored_row(run: Run) -> None:
    stored = run.put(0).json()["id"]
    reply = run.put(0, an_answer(choice="right"))
    assert reply.status_code == 409
    assert (reply.json()["error"], reply.json()["id"]) == ("different_answer", stored)


def test_an_answer_of_an_older_tab_conflicts(run: Run) -> None:
    run.get()
    reply = run.put(0)
    assert (reply.status_code, reply.json()["error"]) == (409, "superseded")


def test_an_answer_out_of_turn_is_too_early(run: Run) -> None:
    reply = run.put(1)
    assert (reply.status_code, reply.json()["error"]) == (425, "out_of_turn")


@pytest.mark.parametrize("index", [22, 9999])
def test_an_index_out_of_range_is_not_found(run: Run, index: int) -> None:
    reply = run.put(index)
    assert (reply.status_code, reply.json()["error"]) == (404, "no_such_trial")


@pytest.mark.parametrize("index", ["-1", "1.5", "x", "99999"])
def test_what_is_no_index_is_not_found(run: Run, index: str) -> None:
    assert run.put(index).status_code == 404


def test_an_answer_after_completion_is_gone(run: Run) -> None:
    answer_all(run.session)
    run.post("complete")
    reply = run.put(21)
    assert (reply.status_code, reply.json()["error"]) == (410, "over")


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"client_id": "7"}, "client_id"),
        ({"client_id": None}, "client_id"),
        ({"client_id": 7}, "client_id"),
        ({"attempt": "1"}, "attempt"),
        ({"attempt": 1.5}, "attempt"),
        ({"attempt": -1}, "attempt"),
        ({"choice": "up"}, "choice"),
        ({"choice": ["left"]}, "choice"),
        ({"rt_ms": -1}, "rt_ms"),
        ({"rt_ms": True}, "rt_ms"),
        ({"rt_ms": None}, "rt_ms"),
        ({"rt_ms": 1e12}, "rt_ms"),
        ({"trace": [1]}, "trace"),
        ({"trace": {"dropped_frames": 1.5}}, "dropped_frames"),
        ({"trace": {"frame_ms": "16"}}, "frame_ms"),
        ({"trace": {"input": "\0"}}, "trace"),
        ({"trace": {"input": {"nested": 1}}}, "trace"),
        ({"trace": {"input": "x" * 300}}, "trace"),
    ],
)
def test_a_bad_answer_is_refused_with_field_and_reason(run: Run, changes: dict[str, Any], field: str) -> None:
    reply = run.put(0, an_answer(**changes))
    assert reply.status_code == 422
    assert (reply.json()["error"], reply.json()["field"]) == ("bad_body", field)
    assert reply.json()["reason"]
    assert not Answer.objects.exists()


@pytest.mark.parametrize("body", ["", "{", "[1", b"\xff\xfe", '{"rt_ms": NaN}', '{"rt_ms": 1e999}', "[" * 9000])
def test_what_is_not_json_is_malformed(run: Run, body: str | bytes) -> None:
    reply = run.client.put(
        f"/run/{run.token}/trials/0", body or "{", content_type="application/json", headers=SAME_ORIGIN
    )
    assert (reply.status_code, reply.json()["error"]) == (400, "malformed_json")


def test_json_that_is_no_object_is_a_bad_body(run: Run) -> None:
    assert run.put(0, "[1, 2]").status_code == 422


def test_a_client_id_used_before_is_a_bad_body(run: Run) -> None:
    body = an_answer()
    run.put(0, body)
    reply = run.put(1, body)
    assert (reply.status_code, reply.json()["field"]) == (422, "client_id")


def test_a_body_beyond_the_limit_is_too_large(run: Run) -> None:
    assert run.put(0, json.dumps(an_answer(padding="x" * 20_000))).status_code == 413


@pytest.mark.parametrize("length", [20_000, 3_000_000])
def test_a_body_beyond_the_limit_is_refused_before_it_is_read(run: Run, length: int) -> None:
    reply = run.put(0, "x" * length)
    assert (reply.status_code, reply.json()["error"]) == (413, "too_large")


# --- images


def test_images_whose_clearance_was_withdrawn_are_not_served(run: Run) -> None:
    assert run.get("i/0/left").status_code == 200
    Dataset.objects.filter(pk=run.study.dataset_id).update(may_display_to_participants=False)
    for side in ("left", "right"):
        reply = run.get(f"i/0/{side}")
        assert (reply.status_code, reply.json()["error"]) == (403, "not_cleared")
    assert run.put(0).status_code == 201


# --- who may write


def test_a_form_of_another_site_cannot_write(run: Run) -> None:
    reply = run.put(0, content_type="text/plain")
    assert (reply.status_code, reply.json()["error"]) == (415, "not_json")


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Origin": "https://elsewhere.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site", "Origin": "http://testserver"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
def test_a_request_from_elsewhere_cannot_write(run: Run, headers: dict[str, str]) -> None:
    for send in (run.put, lambda **more: run.post("complete", **more), lambda **more: run.post("withdraw", **more)):
        reply = send(headers=headers)
        assert (reply.status_code, reply.json()["error"]) == (403, "cross_origin")


def test_the_origin_header_will_do_where_the_browser_sends_no_other(run: Run) -> None:
    assert run.put(0, headers={"Origin": "http://testserver"}).status_code == 201


def test_no_cookie_is_needed_or_set(run: Run) -> None:
    strict = Client(enforce_csrf_checks=True)
    reply = strict.put(
        f"/run/{run.token}/trials/0", json.dumps(an_answer()), content_type="application/json", headers=SAME_ORIGIN
    )
    assert reply.status_code == 201
    assert not reply.cookies


@pytest.mark.parametrize(
    ("method", "path"),
    [("get", "plan"), ("get", "i/0/left"), ("put", "trials/0"), ("post", "complete"), ("post", "withdraw")],
)
def test_an_unknown_token_is_not_found(method: str, path: str) -> None:
    client = Client(headers=SAME_ORIGIN)
    body = {"data": json.dumps(an_answer())} if method == "put" else {}
    reply = getattr(client, method)(f"/run/{'A' * 22}/{path}", content_type="application/json", **body)
    assert (reply.status_code, reply.json()["error"]) == (404, "unknown_run")


def test_other_methods_are_not_allowed(run: Run) -> None:
    assert run.post("plan").status_code == 405
    assert run.post("trials/0").status_code == 405
    assert run.get("complete").status_code == 405


@pytest.mark.parametrize("path", ["", "plan", "i/0/left", "i/99/left"])
def test_nothing_of_a_run_is_stored_by_browser_or_proxy(run: Run, path: str) -> None:
    reply = run.get(path)
    assert reply["Cache-Control"] == "private, no-store"
    assert reply["Referrer-Policy"] == "no-referrer"


# --- the end


def test_completion_lists_what_is_missing(run: Run) -> None:
    run.put(0)
    reply = run.post("complete")
    assert reply.status_code == 409
    assert reply.json()["error"] == "missing"
    assert reply.json()["missing"] == list(range(1, 22))


def test_completion_gives_code_and_return_address() -> None:
    run = Run(return_url="https://recruiter.example/done?cc={code}", return_hosts=["recruiter.example"])
    answer_all(run.session)
    reply = run.post("complete")
    assert reply.status_code == 200
    assert reply.json() == {"code": "THANKS", "return_url": "https://recruiter.example/done?cc=THANKS"}


def test_withdrawal_erases_and_ends(run: Run) -> None:
    run.put(0)
    assert run.post("withdraw").status_code == 200
    assert not Answer.objects.exists()
    for reply in (run.put(1), run.get("plan"), run.get("i/0/left"), run.post("complete")):
        assert (reply.status_code, reply.json()["error"]) == (410, "over")
    assert run.post("withdraw").status_code == 200


def test_a_session_may_be_finished_after_the_study_closed(run: Run) -> None:
    run.study.close()
    assert run.put(0).status_code == 201


def test_the_session_of_a_token_is_found_without_loading_its_design(run: Run, django_assert_num_queries: Any) -> None:
    with django_assert_num_queries(1):
        found = Session.objects.by_token(run.token)
        assert found.study.slug == run.study.slug
