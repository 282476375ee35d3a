"""What is stored about a participant: what, why, for how long, who sees it and how it goes.

One table for the page "Privacy", for docs/privacy.md and for the words in a subject-access file. A test compares it
with the columns that there are.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass
from itertools import groupby
from operator import attrgetter
from typing import Final

HEADER: Final = ("Where", "What", "Why", "How long", "Who sees it", "How it goes")
BEGIN, END = "<!-- the inventory, from study/desk/inventory.py -->", "<!-- end of the inventory -->"


@dataclass(frozen=True)
class Kept:
    """One thing that is kept. where: a column ("Session.seed") or a place outside of the tables."""

    where: str
    what: str
    why: str
    until: str
    seen_by: str
    erased: str


STUDY: Final = "as long as the study"
DATE: Final = "until the retention date, else as long as the study"
EDITORS: Final = "owners and editors of the study"
ANALYSTS: Final = "owners, editors and analysts; in exports"
NOBODY: Final = "nobody on a page"
STOP: Final = "by Stop, by code, on the retention date"
ANSWERS: Final = "by Stop, by code; on the retention date if everything goes"
TOMBSTONE: Final = "stays: that there was a session, and which plan it had"

Fields = Mapping[str, tuple[str, str]]


def _columns(model: str, fields: Fields, until: str, seen_by: str, erased: str) -> Iterator[Kept]:
    for name, (what, why) in fields.items():
        yield Kept(f"{model}.{name}", what, why, until, seen_by, erased)


#: Columns of the tables. Keys of other rows are in it where they tell something.
COLUMNS: Final[tuple[Kept, ...]] = (
    *_columns(
        "Session",
        {
            "recruiter_ids": (
                "the recruiter's ids in the link: of the person, the study and the visit",
                "to send people back, to pay them, and to let nobody take part twice",
            ),
        },
        DATE,
        f"{EDITORS}: key file, payments, subject access, the session's page",
        STOP,
    ),
    Kept(
        "Session.recruiter_key",
        "a keyed hash of the recruiter's id",
        "so that nobody takes part twice",
        DATE,
        NOBODY,
        "by code, on the retention date; Stop leaves it, else one could start again",
    ),
    *_columns(
        "Session",
        {
            "device": (
                "kind of device, sizes of screen and window, gamut, touch points, px per mm, viewing distance and how"
                " both were found",
                "to know how large the images were; no browser's name and no address",
            ),
            "scale": ("device pixels per image pixel", "to know how large the images were"),
            "px_per_degree": ("device pixels per degree of visual angle", "to know how large the images were"),
        },
        DATE,
        f"{EDITORS}; kind of device, scale and px per degree {ANALYSTS}",
        "by Stop, by code; on the retention date all but kind of device, scale and px per degree",
    ),
    *_columns(
        "Session",
        {
            "study": ("which study", "to know what the answers are about"),
            "design": ("the version of the design", "to know what was shown"),
            "slot": ("the place and its list", "to keep the plan balanced"),
            "population": ("real, simulated or preview", "to tell people from programs"),
            "public_code": ("a random code shown on the last page", "so that a participant can ask for erasure"),
            "token_sha256": ("the hash of the secret in the run's address", "to find the run; the secret is not kept"),
            "seed": ("the seed of the plan", "to make the plan again"),
            "state": ("how the session stands or ended", "to count, to pay, to give places back"),
            "attempt": ("how often the page was loaded", "to refuse answers of an older tab"),
            "consent_sha256": ("the hash of the text that was consented to", "to prove the consent"),
            "language": ("the language of the page", "to prove the consent; for the analysis"),
            "created_at": ("when somebody consented", "to prove the consent; to end sessions"),
            "seen_at": ("last page load or answer", "to end sessions of those who stay away"),
            "completed_at": ("when the last answer was stored", "to pay"),
        },
        STUDY,
        ANALYSTS,
        TOMBSTONE,
    ),
    *_columns(
        "SessionEvent",
        {
            "kind": (
                "what happened: started, screen, complete, screened_out, timed_out, excluded, different_answer,"
                " damaged_image, honeypot, receipt, withdrawn, erased, forgotten",
                "to explain a session",
            ),
            "data": (
                "of “screen”: as Session.device; of “screened_out”: the reason in a word; of “excluded”: the rule; of"
                " “different_answer”: the refused answer; else counts",
                "to explain a session",
            ),
            "at": ("when", "to explain a session"),
        },
        DATE,
        EDITORS,
        "by Stop, by code: all but that it began and how it ended; on the retention date “screen”, or all but these",
    ),
    *_columns(
        "Trial",
        {
            "session": ("whose trial", "the plan"),
            "index": ("its place in the session", "the plan"),
            "phase": ("practice, main or catch", "the plan"),
            "round": ("round of practice", "the plan"),
            "base_image": ("the image", "the plan"),
            "pair": ("the pair", "the plan"),
            "altered_side": ("the side of the altered image", "the plan"),
            "altered_frame": ("which of two pictures is the altered one", "the plan"),
            "candidates": ("the pairs that the page loads", "the plan"),
        },
        STUDY,
        f"{ANALYSTS}, once the study is not blind",
        "stays: it was made before the first answer and says nothing about a person",
    ),
    *_columns(
        "Answer",
        {
            "trial": ("to which trial", "the data of the study"),
            "client_id": ("a random number of the page", "so that an answer sent twice is stored once"),
            "attempt": ("by which page load", "so that an older tab is refused"),
            "choice": ("what was answered", "the data of the study"),
            "side": ("the side that counts as chosen", "the data of the study"),
            "correct": ("whether it was right", "the data of the study"),
            "rt_ms": ("response time", "the data of the study; exclusion of those who only click"),
            "received_at": ("when it arrived", "to explain a session"),
        },
        DATE,
        f"{ANALYSTS}, once the study is not blind",
        ANSWERS,
    ),
    *_columns(
        "TrialTrace",
        {
            "trial": ("of which trial", "the quality of the display"),
            "onset_ms": ("when the images appeared, by the page's clock", "the quality of the display"),
            "offset_ms": ("when they went", "the quality of the display"),
            "frame_ms": ("median frame interval", "the quality of the display"),
            "dropped_frames": ("frames that were missed", "the quality of the display"),
            "focus_losses": ("how often the page lost the focus", "exclusion of those who were elsewhere"),
            "device_pixel_ratio": ("device px per CSS px", "how large the images were"),
            "viewport_scale": ("zoom", "how large the images were"),
            "pauses": ("how often the trial began anew", "the quality of the display"),
            "details": (
                "scale, key or pointer, whether the browser vouches for it, early presses, frames; sizes of screen and"
                " window, gamut",
                "how large the images were; signs of a script",
            ),
        },
        DATE,
        ANALYSTS,
        "by Stop, by code; on the retention date what describes the device, or everything",
    ),
    *_columns(
        "AdaptiveChoice",
        {
            "trial": ("of which trial", "adaptive studies"),
            "pair": ("the pair that was chosen from the answers before", "adaptive studies"),
            "posterior": ("what was known of this person's threshold by then", "adaptive studies"),
            "at": ("when", "adaptive studies"),
        },
        DATE,
        f"{ANALYSTS}, once the study is not blind",
        ANSWERS,
    ),
    *_columns(
        "SkippedTrial",
        {
            "trial": ("a trial that became unnecessary", "to know when a session is complete"),
            "reason": ("why: practice passed, threshold known", "to know when a session is complete"),
            "at": ("when", "to know when a session is complete"),
        },
        DATE,
        ANALYSTS,
        ANSWERS,
    ),
)

SERVER: Final = "whoever runs the server"
ELSEWHERE: Final[tuple[Kept, ...]] = (
    Kept(
        "Consent form",
        "age, answers to who may take part, and the trap for scripts",
        "they decide whether somebody may start",
        "not kept; that the trap was filled in is an event",
        "nobody",
        "there is nothing to erase",
    ),
    Kept(
        "Log of the web server",
        "time, method, path, status, duration and a random id of each request; no address, no browser, no cookie, no"
        " query; tokens are cut out of paths",
        "to find faults",
        "as the host keeps logs",
        SERVER,
        "nothing in it tells whose request it was",
    ),
    Kept(
        "Limit on requests",
        "keyed hashes of tokens and of internet addresses (IPv6: of the network), each with one time",
        "so that one visitor cannot keep the server busy",
        "minutes: until as many requests are free again as at first; in the broker or in memory, not in the database",
        "nobody on a page",
        "by itself",
    ),
    Kept(
        "Cookie “run” in the participant's browser",
        "the signed secret of the run, for the study's own address alone",
        "so that the study's link leads back into the run",
        "14 days",
        "the participant",
        "by itself, or in the browser",
    ),
    Kept(
        "Storage of the participant's browser",
        "answers that have not been acknowledged yet; how the screen was measured, until the tab is closed",
        "so that no answer is lost, and nobody measures twice",
        "until they are stored, or the participant stops",
        "the participant",
        "by the page, or in the browser",
    ),
    Kept(
        "Receipt: a file that the participant saves and sends",
        "the answers that could not be sent, and the public code",
        "so that no answer is lost",
        "with whoever got it",
        "whoever got it",
        "by hand, after “import_receipt”",
    ),
    Kept(
        "var/erased.jsonl",
        "number of an erased session, a hash by which it is known again, when and how it was erased",
        "so that a restored backup does not bring it back",
        "as long as there are backups from before",
        SERVER,
        "by hand, when those are gone",
    ),
    Kept(
        "Backups",
        "everything above that is in the tables",
        "people cannot be asked again",
        "until they are deleted: by hand, or by the host's own rule",
        SERVER,
        "with the file; “restore” erases again what was erased since",
    ),
    Kept(
        "Exports, key files and payment lists",
        "what somebody fetched; the audit log says who, when and of which study",
        "to analyse, to pay",
        "with whoever fetched them",
        "whoever fetched them",
        "by hand: the page says which were made since the session began",
    ),
    Kept(
        "Reports",
        "trial tables without codes and times, under the participant's number",
        "so that every number can be recomputed",
        STUDY,
        ANALYSTS,
        "by hand, and made anew",
    ),
    Kept(
        "Audit log",
        "the number of a session that was erased or looked at, never a code, an id or an answer",
        "to know who did what",
        "as long as the installation",
        "superusers",
        "it stays",
    ),
)


def everything() -> tuple[Kept, ...]:
    """The whole table, in its order."""
    return COLUMNS + ELSEWHERE


@dataclass(frozen=True)
class Group:
    """Things one after the other that are kept as long, seen by the same people and go the same way."""

    until: str
    seen_by: str
    erased: str
    kept: Sequence[Kept]


def groups() -> list[Group]:
    """The whole table, in its order, without saying the same again and again."""
    fate = attrgetter("until", "seen_by", "erased")
    return [Group(*shared, kept=list(kept)) for shared, kept in groupby(everything(), key=fate)]


def meaning(column: str) -> str:
    """What "Session.seed" is, in words."""
    return _BY_COLUMN[column].what


_BY_COLUMN: Final = {kept.where: kept for kept in COLUMNS}


def markdown() -> str:
    """The table for docs/privacy.md, which a test compares."""
    lines = [f"| {' | '.join(HEADER)} |", "|---" * len(HEADER) + "|"]
    return "\n".join([*lines, *(f"| {' | '.join(astuple(kept))} |" for kept in everything())])
