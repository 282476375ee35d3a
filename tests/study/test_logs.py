"""Log records: what they say, in which form, and that no token of a run and no recruiter's id ever gets into them."""

from __future__ import annotations

import io
import json
import logging
import sys
from collections.abc import Iterator
from typing import Any

import environ
import pytest
from django.core.exceptions import ImproperlyConfigured
from django.test import Client
from hypothesis import given
from hypothesis import strategies as st

from study import logs

ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
TOKENS = st.text(ALPHABET, min_size=22, max_size=22)
PATHS = st.sampled_from(
    [
        "/run/{}/", "/run/{}/plan", "/run/{}/i/3/left", "/run/{}?simulate", "//run//{}/trials/1", "run/{}/plan",
        "https://study.example/run/{}/complete", "/admin/login/?next=/run/{}/", "/admin/login/?next=%2Frun%2F{}%2Fplan",
        "/admin/login/?next=%252Frun%252F{}", "/s/pilot/?PROLIFIC_PID={}", "/s/pilot/?STUDY_ID=4&SESSION_ID={}",
        "/admin/login/?next=/s/pilot/%3FPROLIFIC_PID%3D{}",
    ]
)  # fmt: skip
AROUND = st.sampled_from(
    ["{}", "GET {} HTTP/1.1", "'{}'", '"{}"', "<WSGIRequest: GET '{}'>", "Not Found: {}\n", "é{}\x00"]
)


class Printed:
    """An object that only shows what it holds when it is printed."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __str__(self) -> str:
        return self.text

    __repr__ = __str__


class Unprintable:
    def __init__(self, text: str) -> None:
        self.text = text

    def __str__(self) -> str:
        raise RuntimeError(self.text)

    __repr__ = __str__


def raised(text: str) -> Any:
    """(type, exception, traceback) of an exception that was raised from another; both say the text."""
    try:
        try:
            raise KeyError(text)
        except KeyError as first:
            raise ValueError(f"Bad: {text}") from first
    except ValueError:
        return sys.exc_info()


#: How the text gets into a record: keyword arguments of `Logger.log`'s record.
SHAPES: dict[str, Any] = {
    "message": lambda text: {"msg": text},
    "escaped message": lambda text: {"msg": text.replace("%", "%%"), "args": ({},)},
    "object": lambda text: {"msg": Printed(text)},
    "argument": lambda text: {"msg": "Here: %s", "args": (text,)},
    "repr": lambda text: {"msg": "Here: %r", "args": (Printed(text),)},
    "mapping": lambda text: {"msg": "%(method)s %(path)s", "args": ({"method": "GET", "path": text},)},
    "in two": lambda text: {"msg": "%s%s", "args": (text[:7], text[7:])},
    "too many arguments": lambda text: {"msg": "Here: %s", "args": (1, text)},
    "wrong argument": lambda text: {"msg": "Here: %d", "args": (text,)},
    "unprintable": lambda text: {"msg": "Here: %s", "args": (Unprintable(text),)},
    "exception": lambda text: {"msg": "Failed", "exc_info": raised(text)},
    "stack": lambda text: {"msg": "Failed", "sinfo": f'Stack:\n  File "x.py"\n    get("{text}")'},
    "fields": lambda text: {"msg": "Done", "extra": {"fields": {"path": text, "status": 200}}},
    "request": lambda text: {"msg": "Done", "extra": {"request": Printed(text)}},
}


def written(style: str, **record: Any) -> str:
    """What reaches the stream of a handler as it is configured."""
    stream = io.StringIO()
    handler = logs.Console(stream)
    handler.setFormatter(logs.FORMATS[style]())
    given: dict[str, Any] = {"name": "study", "level": logging.INFO, "args": (), "exc_info": None, **record}
    where = {"fn": "/srv/views.py", "lno": 7}
    made = logging.getLogger(given["name"]).makeRecord(**given, **where)
    handler.handle(made)
    return stream.getvalue()


@given(
    token=TOKENS,
    path=PATHS,
    around=AROUND,
    shape=st.sampled_from(sorted(SHAPES)),
    style=st.sampled_from(sorted(logs.FORMATS)),
    level=st.sampled_from([logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR, logging.CRITICAL]),
    name=st.sampled_from(["study.trials.api", "django.request", "celery.worker", "gunicorn.error", "urllib3"]),
)
def test_no_token_reaches_the_output_whatever_way_it_comes(
    *, token: str, path: str, around: str, shape: str, style: str, level: int, name: str
) -> None:
    text = around.format(path.format(token))
    output = written(style, name=name, level=level, **SHAPES[shape](text))
    assert output
    assert token not in output


def test_the_rest_of_a_path_stays_to_be_read() -> None:
    assert logs.redacted("PUT /run/AbC-_9/trials/3?x=1 409") == "PUT /run/[token]/trials/3?[query] 409"
    assert logs.redacted("GET /s/pilot/?PROLIFIC_PID=5 200") == "GET /s/pilot/?[query] 200"
    assert logs.redacted("GET /admin/lab/job/?state=failed") == "GET /admin/lab/job/?state=failed"


def test_a_json_record_is_one_line_with_time_level_logger_message_process_and_subject() -> None:
    with logs.about(job="4f", request="ab12"):
        line = written("json", name="study.lab", level=logging.WARNING, msg="Two\nlines of %s", args=("text",))
    record = json.loads(line)
    assert line.count("\n") == 1
    assert record.pop("time")[-1] == "Z"
    assert record.pop("process") > 1
    assert record == {
        "level": "WARNING", "logger": "study.lab", "message": "Two\nlines of text", "job": "4f", "request": "ab12",
    }  # fmt: skip


def test_the_time_is_utc_to_the_millisecond() -> None:
    record = logging.makeLogRecord({"msg": "x", "created": 1795368408.0626})
    assert json.loads(logs.JsonFormatter().format(record))["time"] == "2026-11-22T17:26:48.062Z"


def test_an_exception_is_one_field_with_its_cause() -> None:
    record = json.loads(written("json", msg="Failed", exc_info=raised("nothing there")))
    assert record["message"] == "Failed"
    assert "KeyError: 'nothing there'" in record["exception"]
    assert record["exception"].endswith("ValueError: Bad: nothing there")


def test_a_record_that_cannot_be_formatted_says_where_it_came_from() -> None:
    record = json.loads(written("json", level=logging.ERROR, msg="%d jobs", args=("many",)))
    assert record["message"] == "This record could not be written (TypeError): /srv/views.py:7"
    assert record["level"] == "ERROR"


def test_lines_are_for_people_and_json_is_for_production() -> None:
    def formatter(**environment: str) -> Any:
        env = environ.Env()
        env.ENVIRON = environment
        return logs.configuration(env)["handlers"]["console"]["formatter"]

    assert formatter() == "line"
    assert formatter(PRODUCTION="1") == "json"
    assert formatter(PRODUCTION="1", LOG_FORMAT="line") == "line"
    with pytest.raises(ImproperlyConfigured, match="LOG_FORMAT is 'xml': it must be one of json, line"):
        formatter(LOG_FORMAT="xml")


def test_every_handler_that_writes_redacts(settings: Any) -> None:
    writers = [handler for handler in handlers() if "pytest" not in type(handler).__module__]
    assert writers
    assert {type(handler) for handler in writers} <= {logs.Console, logging.NullHandler}


def handlers() -> Iterator[logging.Handler]:
    """Of the root and of whatever serves people; libraries that only workers load may have brought their own."""
    families = ("study", "django", "celery", "kombu", "gunicorn")
    for name in (None, *logging.root.manager.loggerDict):
        if name is None or name.partition(".")[0] in families:
            yield from logging.getLogger(name).handlers


def test_workers_keep_the_handlers_that_redact() -> None:
    from study.celery import app

    before = list(logging.getLogger().handlers)
    try:
        assert app.log.setup(loglevel="INFO", redirect_stdouts=True)
        assert not [h for h in logging.getLogger("celery").handlers if not isinstance(h, logging.NullHandler)]
        assert any(isinstance(handler, logs.Console) for handler in logging.getLogger().handlers)
    finally:
        logging.getLogger().handlers[:] = before
        logging.captureWarnings(False)


# --- requests


@pytest.fixture
def told(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.INFO, "study.requests")
    return caplog


def test_a_request_is_told_in_one_record_without_token_query_or_visitor(told: pytest.LogCaptureFixture) -> None:
    reply = Client(REMOTE_ADDR="203.0.113.9").get("/run/AbCdEf/nowhere?PROLIFIC_PID=5")
    (record,) = [record for record in told.records if record.name == "study.requests"]
    assert reply.status_code == 404
    assert record.getMessage().startswith("GET /run/[token]/nowhere 404, ")
    fields = record.fields  # type: ignore[attr-defined]
    assert fields.pop("ms") > 0
    assert fields == {"method": "GET", "path": "/run/[token]/nowhere", "view": "none", "status": 404}


def test_an_address_cannot_forge_a_line_of_the_log(told: pytest.LogCaptureFixture) -> None:
    Client().get("/x%0A2026-11-22 ERROR forged/")
    (record,) = [record for record in told.records if record.name == "study.requests"]
    assert "/x%0A2026-11-22%20ERROR%20forged/" in record.getMessage()


def test_a_plain_request_id_is_taken_over_and_sent_back() -> None:
    assert Client().get("/nowhere", headers={"X-Request-ID": "proxy-17.a_b"})["X-Request-ID"] == "proxy-17.a_b"


@pytest.mark.parametrize("given", ["", "a" * 65, "two words", "a\nb", "<script>", "/run/abc"])
def test_any_other_request_id_is_replaced_by_a_random_one_of_fixed_length(given: str) -> None:
    made = [Client().get("/nowhere", headers={"X-Request-ID": given})["X-Request-ID"] for _ in range(2)]
    assert made[0] != made[1]
    assert all(len(one) == 16 for one in made)


def test_records_within_a_request_carry_its_id(rf: Any) -> None:
    from django.http import HttpResponse

    from study.middleware import tell_of_requests

    seen: list[Any] = []

    def view(request: Any) -> HttpResponse:
        seen.append(dict(logs.subject()))
        return HttpResponse()

    reply = tell_of_requests(view)(rf.get("/"))
    assert seen == [{"request": reply["X-Request-ID"]}]
    assert logs.subject() == {}


def test_a_page_that_is_not_there_is_told_of_once(told: pytest.LogCaptureFixture) -> None:
    Client().get("/nowhere")
    assert [(record.name, record.levelname) for record in told.records] == [("study.requests", "INFO")]


def test_what_django_says_of_a_request_once_it_is_over_carries_its_id(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, logger="django.request"):
        reply = Client().get("/nowhere")
    (record,) = [record for record in caplog.records if record.name == "django.request"]
    assert json.loads(logs.JsonFormatter().format(record))["request"] == reply["X-Request-ID"]
