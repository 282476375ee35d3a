"""Ten thousand requests that no browser sends, to every address there is: none makes the server fail.

Who asks: participants with and without a run, and researchers of every role. A page that is added is asked for as well.
`make faults` asks more, on PostgreSQL.
"""

from __future__ import annotations

import json
import logging
import math
import os
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any
from urllib.parse import quote, quote_from_bytes, urlencode

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import transaction
from django.test import Client
from django.test.client import BOUNDARY, MULTIPART_CONTENT, encode_multipart
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from study.trials.models import Study
from study.trials.rights import Role
from tests.study.endpoints import Endpoint, endpoints
from tests.study.factories import answer, answer_all, make_study, start

#: Stored for good, because some pages count in threads of their own.
pytestmark = pytest.mark.django_db(transaction=True)

#: Who asks, and for how many addresses: each with every method. Signed in, a page costs ten times as much as a
#: participant's request. FUZZ=20 asks for twenty times as many.
ADDRESSES = {"participant": 1000, "anonymous": 300, "nobody": 40, "superuser": 60, **dict.fromkeys(Role.values, 20)}
TIMES = int(os.environ.get("FUZZ", "1"))

METHODS = ("GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH")
TEXTS = (
    "", "0", "1", "-1", "2", "9" * 30, "1e400", "NaN", "Infinity", "0.5", "a\0b", "\0", "é", "\u202e", "' OR 1=1 --",
    "%s%n", "../../etc/passwd", "{}", "[]", "null", "true", "on", "yes", "left", "2026-11-22", "99999-01-01",
    "x" * 5000, "a,b", "_1", "00000000-0000-0000-0000-000000000000", "\ud800", "\t\n", "__proto__", "1,2,3",
    "<script>", "{{ 7*7 }}", "id", "-id.-pk",
)  # fmt: skip
NUMBERS = (0, 1, -1, 2, 1.5, 2**31, 2**63, 10**400, -(10**400), 1e308, math.nan, math.inf, True)
#: Fields of the participants' requests, and of the admin's forms beside the columns of a table.
FIELDS = (
    "attempt", "client_id", "choice", "rt_ms", "trace", "scale", "px_per_mm", "distance_mm", "reason", "start", "age",
    "consent", "criterion-0", "website", "action", "_selected_action", "select_across", "_save", "_continue", "post",
    "username", "password", "next", "csrfmiddlewaretoken", "code", "confirm", "n", "participants", "token", "index",
)  # fmt: skip
QUERIES = (
    "lang", "preview", "ticket", "simulate", "PROLIFIC_PID", "STUDY_ID", "participant", "q", "o", "p", "e", "all",
    "_popup", "_to_field", "_changelist_filters", "next", "id__exact", "study__id__exact", "state__exact", "pk__in",
    "id__isnull", "app_label", "model_name", "field_name", "term", "page", "job", "jobs", "n", "language",
)  # fmt: skip
HEADERS = (
    "Accept", "Accept-Language", "Origin", "Sec-Fetch-Site", "X-Forwarded-For", "X-Forwarded-Proto", "X-Request-ID",
    "Cookie", "If-Modified-Since", "If-None-Match", "Range", "Authorization", "Referer", "User-Agent", "Expect",
)  # fmt: skip
RAW_PARTS = (b"\xff\xfe", b"%00", b"a\0b", b"..", b"", b" ")
RAW_BODIES = (
    b"", b"{", b"null", b"[]", b'"x"', b"[" * 100_000, b'{"a":' * 5000, b'{"choice": NaN}', b'{"rt_ms": 1e999}',
    b"\xff\xfe\0", b'{"choice": "\\ud800", "reason": "\\u0000"}', b"a=%ff%00&a=%u1234", b"{" + b" " * 20_000 + b"}",
    b"--x\r\n\r\n--x--",
)  # fmt: skip
TYPES = (
    "application/json", "application/json", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x",
    "multipart/form-data", "text/plain", "", "application/json; charset=utf-16", "text/html; charset=nonsense",
)  # fmt: skip

texts = st.one_of(st.sampled_from(TEXTS), st.text(max_size=6))
leaves = st.one_of(texts, st.sampled_from(NUMBERS), st.none())
values = st.one_of(leaves, st.lists(leaves, max_size=3), st.dictionaries(texts, leaves, max_size=3))


@dataclass(frozen=True)
class World:
    """What there is to ask for: one run in each state, one study in each state, and who may see them."""

    tokens: tuple[str, ...]
    slugs: tuple[str, ...]
    users: dict[str, Any]


@pytest.fixture(scope="module")
def _quiet() -> Iterator[None]:
    logging.disable()
    yield
    logging.disable(logging.NOTSET)


@pytest.fixture
def world(_quiet: None, settings: Any) -> World:
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    settings.RATE_LIMITS = dict.fromkeys(settings.RATE_LIMITS)
    small: dict[str, Any] = {"base_images": 22, "size": 4}
    study = make_study(**small, participants=9)
    draft = make_study(**small, opened=False)
    paused = make_study(**small)
    paused.pause()
    runs = [start(study) for _ in range(4)]
    answer(runs[0][0], 0)
    answer_all(runs[1][0])
    runs[1][0].complete()
    runs[2][0].withdraw()
    runs[3][0].screen_out("device")
    users = {"superuser": get_user_model().objects.create_superuser("superuser")}
    for name in ("nobody", *Role.values):
        users[name] = get_user_model().objects.create_user(name, is_staff=True)
        users[name].groups.set(Group.objects.all() if name != "nobody" else [])
    for role in Role:
        for each in (study, draft, paused):
            each.admit(users[role.value], role)
    return World(tuple(token for _, token in runs), (study.slug, draft.slug, paused.slug), users)


@cache
def every_endpoint() -> tuple[Endpoint, ...]:
    return tuple(endpoints())


def is_participants(endpoint: Endpoint) -> bool:
    return endpoint.parts[0] in ("s/", "run/")


# --- requests


@dataclass(frozen=True)
class Request:
    """All of a request but its method."""

    path: str
    body: bytes
    content_type: str
    headers: dict[str, str]

    def sent_by(self, client: Client, method: str) -> Any:
        return client.generic(method, self.path, self.body, content_type=self.content_type, headers=self.headers)


@st.composite
def requests(draw: Any, world: World, asked: tuple[Endpoint, ...]) -> Request:
    endpoint = draw(st.sampled_from(asked))
    values = tuple(draw(place(world, endpoint, name)) for name in endpoint.places)
    content_type, body = draw(bodies(endpoint))
    headers = {"Sec-Fetch-Site": "same-origin"} | draw(odd_headers)
    query = draw(queries)
    path = endpoint.filled(values) + (f"?{query}" if query else "")
    return Request(path, body, content_type, headers)


odd_headers = st.dictionaries(
    st.sampled_from(HEADERS),
    st.sampled_from([text for text in TEXTS if text.isprintable() and text.isascii()]),
    max_size=2,
)
queries = st.one_of(
    st.just(""),
    st.dictionaries(st.sampled_from(QUERIES), texts, max_size=3).map(
        lambda given: urlencode({name: text.encode(errors="surrogatepass") for name, text in given.items()})
    ),
    st.sampled_from(["%00=%ff", "a" * 3000, "&&==&;", "=".join(["a"] * 3000)]),
)


@cache
def _junk() -> st.SearchStrategy[str]:
    """A part of an address, percent-encoded."""
    quoted = [quote(text.encode(errors="surrogatepass"), safe="/") for text in TEXTS]
    return st.sampled_from([*quoted, *(quote_from_bytes(part) for part in RAW_PARTS)])


def place(world: World, endpoint: Endpoint, name: str) -> st.SearchStrategy[str]:
    """What may stand there: mostly what leads somewhere."""
    known: tuple[Any, ...] = {
        "token": world.tokens,
        "slug": world.slugs,
        "index": (0, 1, 5, 21, 9999),
        "number": (0, 1, 2, 9999),
        "side": ("left", "right"),
        "app_label": ("trials", "lab"),
        "content_type_id": (1, 5),
        "name": ("report.html", "../report.html"),
    }.get(name) or _rows(endpoint)
    return st.one_of(st.sampled_from([str(value) for value in known]), st.sampled_from(list(map(str, known))), _junk())


def _rows(endpoint: Endpoint) -> tuple[Any, ...]:
    """Primary keys of the first rows of the endpoint's table."""
    model = endpoint.model or Study
    return tuple(model._default_manager.order_by("pk").values_list("pk", flat=True)[:3]) or (1,)


@cache
def bodies(endpoint: Endpoint) -> st.SearchStrategy[tuple[str, bytes]]:
    columns = [field.name for field in endpoint.model._meta.fields] if endpoint.model else []
    fields = st.sampled_from([*FIELDS, *columns]) if columns else st.sampled_from(FIELDS)
    raw = st.tuples(st.sampled_from(TYPES), st.sampled_from(RAW_BODIES))
    as_json = st.dictionaries(fields, values, max_size=5).map(
        lambda held: ("application/json", json.dumps(held).encode())
    )
    form = st.dictionaries(fields, texts, max_size=6)
    encoded = form.map(
        lambda held: (
            "application/x-www-form-urlencoded",
            urlencode({name: text.encode(errors="surrogatepass") for name, text in held.items()}).encode(),
        )
    )
    upload = form.map(lambda held: (MULTIPART_CONTENT, _multipart(held)))
    return st.one_of(raw, as_json, encoded, upload)


def _multipart(held: dict[str, str]) -> bytes:
    fields = {name: text.encode(errors="replace").decode() for name, text in held.items()}
    return encode_multipart(BOUNDARY, fields | {"file": SimpleUploadedFile("x.npz", b"PK\x03\x04")})


# --- the test


@pytest.mark.slow
@pytest.mark.parametrize("who", ADDRESSES)
def test_no_request_makes_the_server_fail(world: World, who: str) -> None:
    asked = tuple(endpoint for endpoint in every_endpoint() if who != "participant" or is_participants(endpoint))
    client = Client(raise_request_exception=False)
    if who in world.users:
        client.force_login(world.users[who])
    cookies = client.cookies.copy()
    statuses: list[int] = []

    @settings(
        max_examples=TIMES * ADDRESSES[who],
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(requests(world, asked))
    def ask(request: Request) -> None:
        for method in METHODS:
            client.cookies = cookies.copy()
            with transaction.atomic():  # taken back, so that no request depends on those before
                reply = request.sent_by(client, method)
                if reply.streaming:
                    reply.getvalue()
                transaction.set_rollback(True)
            statuses.append(reply.status_code)
            assert reply.status_code < 500, f"{method}: {reason(reply)}"

    ask()
    assert len(statuses) >= len(METHODS) * TIMES * ADDRESSES[who]


def reason(reply: Any) -> str:
    """The traceback behind a reply, if there is one."""
    return "".join(traceback.format_exception(*reply.exc_info)) if reply.exc_info else str(reply.content)


def test_ten_thousand_requests_are_made() -> None:
    assert len(METHODS) * sum(ADDRESSES.values()) >= 10_000
