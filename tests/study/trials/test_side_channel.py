"""Until an answer is stored, nothing but the decoded pixels tells the altered image from the clean one."""

from __future__ import annotations

import base64
import hashlib
import io
import logging
import re
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from django.conf import settings
from django.test import Client
from PIL import Image

from study.lab.images import DamagedFile, decode_png, encode_png
from study.lab.models import Pair
from study.trials import images
from study.trials.models import Session, Trial
from tests.study.factories import make_study, start

pytestmark = pytest.mark.django_db

TELLING = re.compile(
    r"clean|poison|wanet|badnet|backdoor|trigger|attack|identity|resampled|other.field|catch|gross|strength|warp|control",
    re.IGNORECASE,
)


@pytest.fixture
def run() -> tuple[Session, str]:
    return start(make_study())


def fetch(token: str, index: int, side: str) -> Any:
    return Client().get(f"/run/{token}/i/{index}/{side}")


def all_images(session: Session, token: str) -> list[Any]:
    return [fetch(token, i, side) for i in range(session.trials.count()) for side in ("left", "right")]


def identity_trial(session: Session) -> Trial:
    trial = session.trials.filter(pair__control=Pair.Control.IDENTITY).first()
    assert trial is not None
    return trial


def test_each_side_shows_the_image_that_was_planned_there(run: tuple[Session, str]) -> None:
    session, token = run
    for trial in session.trials.select_related("pair__base_image"):
        altered = fetch(token, trial.index, trial.altered_side).content
        clean = fetch(token, trial.index, {"left": "right", "right": "left"}[trial.altered_side]).content
        assert np.array_equal(decode_png(altered), decode_png(trial.pair.read()))
        assert np.array_equal(decode_png(clean), decode_png(trial.pair.base_image.read()))


def test_all_images_have_one_length_and_one_set_of_headers(run: tuple[Session, str]) -> None:
    replies = all_images(*run)
    assert {reply.status_code for reply in replies} == {200}
    assert len({len(reply.content) for reply in replies}) == 1
    assert len({tuple(sorted(reply.headers)) for reply in replies}) == 1
    varying = [name for name in replies[0].headers if len({reply[name] for reply in replies}) > 1]
    assert varying == ["Repr-Digest", "X-Request-ID"]  # the second is random, of fixed length, whatever is shown


def test_the_length_is_announced_and_the_type_is_constant(run: tuple[Session, str]) -> None:
    reply = fetch(run[1], 0, "left")
    assert int(reply["Content-Length"]) == len(reply.content)
    assert reply["Content-Type"] == "image/png"
    assert reply["X-Content-Type-Options"] == "nosniff"


def test_no_header_comes_from_the_file(run: tuple[Session, str]) -> None:
    reply = fetch(run[1], 0, "left")
    for name in ("ETag", "Last-Modified", "Content-Disposition", "X-Accel-Redirect", "X-Sendfile"):
        assert name not in reply.headers


def test_no_two_images_have_one_hash_not_even_those_of_an_identical_pair(run: tuple[Session, str]) -> None:
    replies = all_images(*run)
    assert len({hashlib.sha256(reply.content).digest() for reply in replies}) == len(replies)


def test_an_identical_pair_has_identical_pixels(run: tuple[Session, str]) -> None:
    session, token = run
    index = identity_trial(session).index
    left, right = (fetch(token, index, side).content for side in ("left", "right"))
    assert np.array_equal(decode_png(left), decode_png(right))


def test_one_picture_has_another_hash_in_every_session() -> None:
    study = make_study()
    shown = []
    for _ in range(2):
        session, token = start(study)
        trial = session.trials.filter(phase="catch").order_by("pair").first()
        assert trial is not None
        shown.append(fetch(token, trial.index, trial.altered_side).content)
    assert np.array_equal(decode_png(shown[0]), decode_png(shown[1]))
    assert shown[0] != shown[1]


def test_the_same_place_gets_the_same_bytes_again(run: tuple[Session, str]) -> None:
    assert fetch(run[1], 3, "left").content == fetch(run[1], 3, "left").content


def test_the_digest_header_is_that_of_the_bytes(run: tuple[Session, str]) -> None:
    reply = fetch(run[1], 0, "right")
    digest = base64.b64encode(hashlib.sha256(reply.content).digest()).decode()
    assert reply["Repr-Digest"] == f"sha-256=:{digest}:"


def test_the_chunk_that_is_added_is_sound_and_ignored_by_decoders(run: tuple[Session, str]) -> None:
    content = fetch(run[1], 0, "left").content
    chunks = read_chunks(content)
    assert [name for name, _ in chunks] == [b"IHDR", b"IDAT", b"raNd", b"IEND"]
    assert len(dict(chunks)[b"raNd"]) == 32
    with Image.open(io.BytesIO(content)) as picture:
        assert picture.size == (16, 16)
        assert picture.info == {}


@pytest.mark.parametrize("path", ["", "plan"])
def test_no_word_of_page_or_plan_tells(run: tuple[Session, str], path: str) -> None:
    reply = Client().get(f"/run/{run[1]}/{path}")
    text = reply.content.decode() + str(reply.headers)
    text = re.sub(r"Cache-Control|cache-control|trials/[\w.-]+\.(js|css)", "", text)
    assert TELLING.findall(text) == []


def test_no_word_of_an_images_headers_or_bytes_tells(run: tuple[Session, str]) -> None:
    for reply in all_images(*run):
        headers = str({name: value for name, value in reply.headers.items() if name != "Cache-Control"})
        assert TELLING.findall(headers) == []
        assert TELLING.findall(reply.content.decode("latin-1")) == []


def test_the_plan_of_two_sessions_differs_in_nothing() -> None:
    study = make_study()
    plans = [Client().get(f"/run/{study.start_session()[1]}/plan").json() for _ in range(2)]
    assert plans[0] == plans[1]


def test_an_acknowledgement_in_the_study_says_nothing_about_the_answer() -> None:
    _, token = start(make_study())
    bodies = []
    for index in range(22):
        reply = Client(headers={"Sec-Fetch-Site": "same-origin"}).put(
            f"/run/{token}/trials/{index}",
            {"client_id": f"{index:032x}", "attempt": 1, "choice": "left", "rt_ms": 500},
            content_type="application/json",
        )
        bodies.append(reply.json())
    assert all(set(body) == {"id", "next_index"} for body in bodies[2:])


# --- damaged files


def test_a_flipped_byte_in_an_image_file_is_never_served(
    run: tuple[Session, str], caplog: pytest.LogCaptureFixture
) -> None:
    session, token = run
    trial = session.trials.get(index=5)
    path = Path(settings.MEDIA_ROOT) / trial.pair.file
    content = bytearray(path.read_bytes())
    content[60] ^= 1
    path.write_bytes(content)
    with caplog.at_level(logging.ERROR):
        reply = fetch(token, 5, trial.altered_side)
    assert (reply.status_code, reply.json()["error"]) == (500, "damaged_image")
    assert TELLING.findall(reply.content.decode()) == []
    assert session.events.get(kind="damaged_image").data == {"index": 5}
    assert "cannot be shown" in caplog.text


def test_a_missing_image_file_is_an_error_of_ours(run: tuple[Session, str]) -> None:
    session, token = run
    trial = session.trials.get(index=5)
    (Path(settings.MEDIA_ROOT) / trial.pair.file).unlink()
    assert fetch(token, 5, trial.altered_side).status_code == 500


@pytest.mark.parametrize("place", ["22/left", "0/middle", "0/", "-1/left"])
def test_there_is_no_image_outside_the_plan(run: tuple[Session, str], place: str) -> None:
    assert Client().get(f"/run/{run[1]}/i/{place}").status_code == 404


def test_an_image_with_metadata_is_not_a_study_image() -> None:
    plain = encode_png(np.zeros((4, 4), dtype=np.uint8))
    assert images.size(plain) == (4, 4)
    text = b"Comment\0warped"
    chunk = struct.pack(">I", len(text)) + b"tEXt" + text + struct.pack(">I", zlib.crc32(b"tEXt" + text))
    with pytest.raises(DamagedFile, match="without metadata"):
        images.size(plain.removesuffix(images.IEND) + chunk + images.IEND)
    with pytest.raises(DamagedFile):
        images.size(b"GIF89a")


def read_chunks(content: bytes) -> list[tuple[bytes, bytes]]:
    chunks, at = [], 8
    while at < len(content):
        (length,) = struct.unpack(">I", content[at : at + 4])
        name, data = content[at + 4 : at + 8], content[at + 8 : at + 8 + length]
        assert content[at + 8 + length : at + 12 + length] == struct.pack(">I", zlib.crc32(name + data))
        chunks.append((name, data))
        at += 12 + length
    return chunks
