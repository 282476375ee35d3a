"""From what a browser saw to one row per pair: everything that could differ between its two sides, as numbers.

Column names say where a number comes from: `image.*` from the requests of the pictures, `place.*` from the document
around them, `trial.*` from the pair as a whole, `reply.*` from the acknowledgement of its answer. `.difference` is left
minus right, `.size` its absolute value, `.mean` that of both sides; `.spread` is the range over the pictures of a side.
Pair-level columns of the acknowledgement come a second time with the sign of the choice (`.chosen`): a reply that
betrays whether the choice was right betrays the side only together with it.
"""

from __future__ import annotations

import hashlib
import json
import re
import struct
import zlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.side_channel.browser import Exchange, Run, Shown

BUCKETS = 16
ANCILLARY_BYTES = 32
SIDES = ("left", "right")
WORD = re.compile(r"[\w.%-]+")
#: Headers whose values have columns of their own (the digest is the body's hash), or tell the time of day.
NOT_WORDS = ("repr-digest", "content-length", "date")
LENGTHS_OF_BODY = ("body_bytes", "announced_bytes", "wire_bytes", "first_piece_bytes")
Numbers = dict[str, float]


def table(runs: Sequence[Run]) -> pd.DataFrame:
    """One row per pair of all runs, practice left out: `session`, then the features (`trial.index` is the place).

    Practice pairs are left out because there the page is told the truth, after the answer.
    """
    seen = Counter(_hash(e) for run in runs for e in run.exchanges if e.path.startswith("i/"))
    rows = pd.DataFrame([row for number, run in enumerate(runs) for row in _rows(number, run, seen)])
    return pd.concat([rows, _by_choice(rows)], axis=1)


def _by_choice(rows: pd.DataFrame) -> pd.DataFrame:
    """What an acknowledgement says beyond the usual of its session, with the sign of the choice."""
    replies = rows.filter(regex=r"^reply\.")
    unusual = replies - replies.groupby(rows["session"]).transform("mean")
    return unusual.mul(rows["trial.choice"], axis=0).add_suffix(".chosen")


def _rows(session: int, run: Run, seen: Mapping[str, int]) -> Iterable[dict[str, Any]]:
    images, first = _by_place(run), run.exchanges[0]
    replies = {int(e.path.rpartition("/")[2]): e for e in run.exchanges if e.method == "PUT" and "trials/" in e.path}
    planned = {trial["index"]: trial for trial in run.plan["trials"]}
    previous: Shown | None = None
    for shown in run.trials:
        index = shown.index
        if planned[index]["phase"] != "practice":
            sides = {side: [image_numbers(e, first, seen) for e in images[index, side]] for side in run.plan["sides"]}
            reply = reply_numbers(replies[index], replies.get(previous.index) if previous else None)
            yield {
                "session": session,
                **_prefixed("image", compared(sides)),
                **_prefixed("place", compared(places(shown))),
                **_prefixed("trial", trial_numbers(shown, planned[index], replies[index])),
                **_prefixed("reply", reply),
                "trial.choice": 1.0 if shown.choice == "left" else -1.0,
            }
        previous = shown


def _by_place(run: Run) -> dict[tuple[int, str], list[Exchange]]:
    """The requests of the pictures by trial and side, in the order of their numbers; the last try of each."""
    last = {e.path: e for e in run.exchanges if e.path.startswith("i/") and e.body is not None}
    found: dict[tuple[int, str], list[tuple[int, Exchange]]] = {}
    for path, exchange in last.items():
        _, index, side, *n = path.split("/")
        found.setdefault((int(index), side), []).append((int(n[0]) if n else 0, exchange))
    return {place: [e for _, e in sorted(of, key=lambda numbered: numbered[0])] for place, of in found.items()}


def compared(sides: Mapping[str, Sequence[Numbers]]) -> Numbers:
    """One set of numbers from those of the pictures on each side; a side that is missing leaves the other as it is."""
    merged = {side: _merged(of) for side, of in sides.items() if of}
    if set(merged) != set(SIDES):
        return next(iter(merged.values()), {})
    left, right = merged["left"], merged["right"]
    numbers: Numbers = {}
    for name in left.keys() | right.keys():
        a, b = left.get(name, 0.0), right.get(name, 0.0)
        numbers |= {f"{name}.difference": a - b, f"{name}.size": abs(a - b), f"{name}.mean": (a + b) / 2}
    return dict(sorted(numbers.items()))


def _merged(pictures: Sequence[Numbers]) -> Numbers:
    if len(pictures) == 1:
        return dict(pictures[0])
    numbers: Numbers = {}
    for name in {name for picture in pictures for name in picture}:
        values = [picture.get(name, 0.0) for picture in pictures]
        numbers |= {name: float(np.mean(values)), f"{name}.spread": max(values) - min(values)}
    return numbers


# --- one request


def image_numbers(exchange: Exchange, first: Exchange, seen: Mapping[str, int]) -> Numbers:
    """What the request of a picture, its reply and the bytes of its body say, but for the pixels in them.

    first: the run's first exchange. seen: how often each hash of a picture's bytes occurs in all runs.
    """
    body = exchange.body or b""
    return {
        **exchange_numbers(exchange),
        "order": exchange.number - first.number,
        "sent_ms": 1000 * (exchange.sent - first.sent),
        "seen": seen[_hash(exchange)],
        **png_numbers(body),
        **{f"hash.{i}": float(bit) for i, bit in enumerate(_bits(hashlib.sha256(body).digest()))},
    }


def exchange_numbers(exchange: Exchange) -> Numbers:
    """Lengths, times (ms) and words of a request and its reply."""
    timing = exchange.response.get("timing") or {}
    start, sent, came = (timing.get(name, 0.0) for name in ("sendStart", "sendEnd", "receiveHeadersEnd"))
    begun = 1000 * (timing.get("requestTime", exchange.sent) - exchange.sent)
    total = 1000 * (exchange.finished - exchange.sent)
    headers = {name.lower(): value for name, value in exchange.headers.items()}
    return {
        "url_bytes": len(exchange.path),
        "request_header_bytes": len(json.dumps(exchange.request_headers)),
        "request_body_bytes": len(exchange.request.get("postData", "")),
        "status": exchange.response.get("status", 0),
        "queued_ms": begun + start,
        "first_byte_ms": came - sent,
        "download_ms": total - begun - came,
        "total_ms": total,
        "new_connection": float(not exchange.response.get("connectionReused", False)),
        "header_bytes": len(exchange.headers_text),
        "header_wire_bytes": exchange.response.get("encodedDataLength", 0),
        "headers": len(exchange.headers),
        "header_order": zlib.crc32(" ".join(exchange.headers).encode()) % 1009,
        "digest_bytes": len(headers.get("repr-digest", "")),
        "announced_bytes": float(headers.get("content-length", "nan")),
        "wire_bytes": exchange.wire_bytes,
        "body_bytes": len(exchange.body) if exchange.body is not None else float("nan"),
        "pieces": len(exchange.pieces),
        "first_piece_bytes": exchange.pieces[0][0] if exchange.pieces else 0,
        **buckets("header", (name if name in NOT_WORDS else f"{name}={value}" for name, value in headers.items())),
    }


def png_numbers(content: bytes) -> Numbers:
    """The make of a PNG file without its picture: chunks, compression, and the bytes of what is not the picture."""
    names, ancillary, data = [], b"", b""
    at = 8
    while at + 8 <= len(content):
        (length,) = struct.unpack(">I", content[at : at + 4])
        name, chunk = content[at + 4 : at + 8], content[at + 8 : at + 8 + length]
        names.append(name)
        if name == b"IDAT":
            data += chunk
        elif name != b"IHDR":
            ancillary += chunk
        at += 12 + length
    return {
        "chunks": len(names),
        "chunk_names": zlib.crc32(b" ".join(names)) % 1009,
        "data_bytes": len(data),
        "data_header": int.from_bytes(data[:2], "big"),
        "ancillary_bytes": len(ancillary),
        **{f"ancillary.{i}": float(byte) for i, byte in enumerate(ancillary[:ANCILLARY_BYTES])},
    }


def _hash(exchange: Exchange) -> str:
    return hashlib.sha256(exchange.body or b"").hexdigest()


def _bits(digest: bytes) -> np.ndarray:
    return np.unpackbits(np.frombuffer(digest, dtype=np.uint8))


# --- the document and the pair


def places(shown: Shown) -> dict[str, list[Numbers]]:
    """What the document says of the places of the pictures and of the answers' buttons, by side.

    In every protocol with two sides the document has them by turns: left, right, left, right.
    """
    sides: dict[str, list[Numbers]] = {}
    for n, state in enumerate(shown.states):
        for kind in ("pictures", "answers"):
            for i, node in enumerate(state[kind]):
                numbers = _prefixed(f"{kind}.{state['state']}", node_numbers(node))
                sides.setdefault(SIDES[i % 2], []).append({"nth": n, **numbers})
    return sides


def node_numbers(node: Mapping[str, Any]) -> Numbers:
    box = dict(zip(("x", "y", "width", "height"), node["box"], strict=True))
    text = f"{node['html']} {node['style']}"
    return {**box, "html_bytes": len(node["html"]), **buckets("word", WORD.findall(text))}


def trial_numbers(shown: Shown, planned: Mapping[str, Any], reply: Exchange) -> Numbers:
    """What the page knows of the pair as a whole: its plan, its document, the console, and its own measurements."""
    html = [state["html"] for state in shown.states]
    times = [state["at"] for state in shown.states]
    trace = json.loads(reply.request.get("postData") or "{}").get("trace", {})
    return {
        "index": shown.index,
        "states": len(html),
        "elements": sum(state["elements"] for state in shown.states),
        "resources": shown.states[-1]["resources"] if shown.states else 0,
        "html_bytes": sum(map(len, html)),
        "duration_ms": times[-1] - times[0] if times else 0.0,
        "console": len(shown.console),
        **buckets("plan", (f"{name}={value}" for name, value in planned.items() if name != "index")),
        **buckets("console", (word for line in shown.console for word in WORD.findall(line))),
        **buckets("word", (word for page in html for word in WORD.findall(page))),
        **{f"trace.{name}": float(value) for name, value in trace.items() if isinstance(value, int | float)},
    }


def reply_numbers(reply: Exchange, previous: Exchange | None) -> Numbers:
    """What the acknowledgement of an answer says, and by how much its row's number grew.

    Lengths are those of the rest: how many digits the row's number and the next place have, anybody can foresee.
    """
    numbers = exchange_numbers(reply)
    body = _json(reply)
    if body is None:
        return numbers
    digits = len(str(body["id"])) + len(str(body["next_index"]))
    lengths = {name: numbers[name] - digits for name in LENGTHS_OF_BODY}
    words = buckets("word", (f"{name}={value}" for name, value in body.items() if name not in ("id", "next_index")))
    before = _json(previous) if previous else None
    step = {"id_step": body["id"] - before["id"]} if before else {}
    return {**numbers, **lengths, **words, **step, "keys": len(body)}


def _json(exchange: Exchange) -> dict[str, Any] | None:
    return dict(json.loads(exchange.body)) if exchange.body else None


def buckets(name: str, words: Iterable[str]) -> Numbers:
    """How often words occur, counted in BUCKETS by a hash: any word that is there for one side only shows."""
    counts = Counter(zlib.crc32(word.encode()) % BUCKETS for word in words)
    return {f"{name}.{i}": float(counts[i]) for i in range(BUCKETS)}


def _prefixed(prefix: str, numbers: Numbers) -> Numbers:
    return {f"{prefix}.{name}": value for name, value in numbers.items()}
