"""The JSON face of a run. Whoever has the token has the run; cookies carry no authority here.

Every reply is private and unstored; errors are {"error": word, "detail": sentence}.
"""

from __future__ import annotations

import json
import logging
import math
import uuid
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from typing import Any

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_http_methods

from study import metrics
from study.lab import files
from study.lab.images import DamagedFile
from study.lab.models import StoredImage
from study.trials import images, recruiters
from study.trials.exceptions import (
    ClientIdTaken,
    DifferentAnswer,
    NoSuchTrial,
    NotCleared,
    NotOffered,
    OutOfTurn,
    Over,
    Superseded,
    TrialsError,
    TrialsMissing,
)
from study.trials.models import Choice, Session, Trial
from study.trials.models.looks import look

logger = logging.getLogger(__name__)

LONGEST_BODY = 16 * 1024
LONGEST_DETAIL = 200
LONGEST_RT_MS = 24 * 3600 * 1000.0
#: For which a page ends a session (`data-screen-out`): none says more of a person than these do.
REASONS = frozenset({"device", "zoom", "window", "size", "card", "distance", "flicker"})
#: All that decides what a page is told of a trial beforehand: not where the altered image is.
PLANNED = ("index", "phase", "round", "candidates")
TRACE_NUMBERS = ("onset_ms", "offset_ms", "frame_ms", "device_pixel_ratio", "viewport_scale")
TRACE_COUNTS = ("dropped_frames", "focus_losses", "pauses")
LARGEST_COUNT = 2**31 - 1

STATUS: dict[type[TrialsError], tuple[int, str]] = {
    NotCleared: (403, "not_cleared"),
    NoSuchTrial: (404, "no_such_trial"),
    DifferentAnswer: (409, "different_answer"),
    Superseded: (409, "superseded"),
    TrialsMissing: (409, "missing"),
    Over: (410, "over"),
    OutOfTurn: (425, "out_of_turn"),
}

Json = dict[str, Any]


class Refused(Exception):  # noqa: N818
    """A request that is turned down before it reaches a session."""

    def __init__(self, status: int, error: str, detail: str, **more: Any) -> None:
        super().__init__(detail)
        self.status = status
        self.body = {"error": error, "detail": detail, **more}

    def reply(self) -> HttpResponse:
        return JsonResponse(self.body, status=self.status)


UNKNOWN_RUN = Refused(404, "unknown_run", "There is no run with this address: use the whole link.")


def run_view(
    *methods: str, find: Callable[[str], Any] | None = None
) -> Callable[[Callable[..., HttpResponse]], Callable[..., HttpResponse]]:
    """A view of a run: finds the session by its token, checks who asks, and turns exceptions into replies.

    find: what the view is given instead of the session, made from the token.
    """

    def decorate(view: Callable[..., HttpResponse]) -> Callable[..., HttpResponse]:
        @csrf_exempt
        @require_http_methods(methods)
        @wraps(view)
        def wrapper(request: HttpRequest, token: str, **place: Any) -> HttpResponse:
            try:
                if request.method not in ("GET", "HEAD"):
                    _require_same_origin(request)
                response = view(request, (find or Session.objects.by_token)(token), **place)
            except Refused as refusal:
                response = refusal.reply()
            except Session.DoesNotExist:
                response = UNKNOWN_RUN.reply()
            except TrialsError as error:
                response = _error_reply(error)
            response["Cache-Control"] = "private, no-store"
            response["Referrer-Policy"] = "no-referrer"
            # Policies are for documents, and a session has hundreds of these replies.
            response._csp_exempt = True  # type: ignore[attr-defined]
            return response

        return wrapper

    return decorate


@run_view("GET")
def plan(request: HttpRequest, session: Session) -> HttpResponse:
    """What a page needs to know. Asking begins a new attempt: answers of pages that were loaded earlier are refused."""
    _bring_images(session)
    attempt = session.begin_attempt()
    design, layout, next_index = session.design.now, session.layout, session.next_index()
    display = design["display"]
    planned = session.trials.filter(skipped=None).order_by("index").values_list(*PLANNED)
    body: Json = {
        "attempt": attempt,
        "next_index": next_index,
        "protocol": design["protocol"],
        "not_sure": bool(design["not_sure"]),
        "adaptive": bool(design["adaptive"]),
        "scale": None if display["image_degrees"] else display["scale"],
        "image_degrees": display["image_degrees"],
        "image": {side: length * display["enlargement"] for side, length in design["image"].items()},
        "sides": layout.sides,
        "frames": layout.frames,
        "calibration": display["calibration"],
        "distance": display["distance"],
        "phones": display["allow_phones"],
        "tablets": display["allow_tablets"],
        "timing": design["timing"],
        "break_every": design["break_every"],
        "trials": [_planned(*trial) for trial in planned],
    }
    if (candidate := session.candidate(next_index)) is not None:
        body["candidate"] = candidate
    return JsonResponse(body)


def _bring_images(session: Session) -> None:
    """Nobody sees a trial before every image of the study is on this host."""
    try:
        files.bring(session.study)
    except (DamagedFile, files.StorageFailed) as error:
        logger.error("Session %s cannot begin here: %s", session.public_code, error)
        raise Refused(503, "images_missing", "The images are not here yet: please try again in a moment.") from error


def _planned(index: int, phase: str, number: int, candidates: Sequence[int]) -> Json:
    """What a page may know of a trial beforehand: catch and control trials are trials like any other."""
    if phase == Trial.Phase.PRACTICE:
        return {"index": index, "phase": "practice", "round": number}
    planned: Json = {"index": index, "phase": "trial"}
    return planned | ({"candidates": len(candidates)} if candidates else {})


@run_view("GET", find=str)
def image(request: HttpRequest, token: str, index: int, side: str, number: int = 0) -> HttpResponse:
    """One image of a trial, verified against its stored hash; as long as its data set is cleared for display."""
    session, trial = look(token, index)
    if session.state != Session.State.ACTIVE:
        raise Over
    if trial is None:
        raise NoSuchTrial(f"The plan has no trial {index}.")
    return _image_reply(session, trial.image(side, number), index, side, number)


@run_view("GET")
def example(request: HttpRequest, session: Session, number: int) -> HttpResponse:
    """The example of the debriefing: 1 the original, 2 the altered image."""
    pair = session.example() if session.state == Session.State.COMPLETE else None
    if pair is None or number not in (1, 2):
        raise Over
    return _image_reply(session, pair.base_image if number == 1 else pair, "example", number)


def _image_reply(session: Session, shown: StoredImage, *place: str | int) -> HttpResponse:
    if session.study.dataset.display_refusal():
        raise NotCleared
    enlargement = session.design.now["display"]["enlargement"]
    try:
        content = images.dressed(images.enlarged(_stored(session, shown), enlargement), session.token_sha256, *place)
    except (DamagedFile, files.StorageFailed) as error:
        logger.error("Image %s of session %s cannot be shown: %s", place, session.public_code, error)
        session.log("damaged_image", index=place[0])
        raise Refused(500, "damaged_image", "This image cannot be shown at the moment.") from error
    response = HttpResponse(content, content_type="image/png")
    response["Content-Length"] = str(len(content))
    response["Repr-Digest"] = images.digest_header(content)
    metrics.image_served(session.population)
    return response


def _stored(session: Session, shown: StoredImage) -> bytes:
    """From this host. Should it be missing or damaged here, all images of the study are looked after, not this one."""
    try:
        return shown.read()
    except DamagedFile:
        files.mend(session.study)
        return shown.read()


@run_view("PUT", find=str)
def answer(request: HttpRequest, token: str, index: int) -> HttpResponse:
    """Store one answer, or say again that it is stored."""
    body = _json_body(request)
    attempt = int(_number(body, "attempt", whole=True))
    stored, created = Session.objects.record_answer(token, index, attempt=attempt, **answer_fields(body))
    if created:
        metrics.answer_stored(stored.trial.session.population)
    return JsonResponse({"id": stored.pk, **stored.consequences()}, status=201 if created else 200)


@run_view("PUT")
def screen(request: HttpRequest, session: Session) -> HttpResponse:
    """Keep what the set-up found out about the screen."""
    body = _json_body(request)
    device = {name: _detail(name, value) for name, value in body.items() if value is not None and name != "attempt"}
    try:
        session.record_screen(
            attempt=int(_number(body, "attempt", whole=True)),
            scale=int(_number(body, "scale", whole=True)),
            px_per_mm=_number_or_none(body, "px_per_mm"),
            distance_mm=_number_or_none(body, "distance_mm"),
            device=device,
        )
    except ValueError as error:
        raise Refused(422, "bad_body", str(error)) from error
    return JsonResponse({"px_per_degree": session.px_per_degree})


@run_view("POST")
def screen_out(request: HttpRequest, session: Session) -> HttpResponse:
    """End the session of somebody whose screen cannot show the study, or who had better not see it."""
    reason = _json_body(request).get("reason")
    if not isinstance(reason, str) or reason not in REASONS:
        raise _bad("reason", f"must be one of {', '.join(sorted(REASONS))}")
    session.screen_out(reason)
    return _way_back(session, "screened_out")


@run_view("POST")
def complete(request: HttpRequest, session: Session) -> HttpResponse:
    """The completion code, once every planned trial is stored."""
    _json_body(request)
    session.complete()
    return _way_back(session, "complete")


def _way_back(session: Session, outcome: recruiters.Outcome) -> HttpResponse:
    return JsonResponse({"code": session.code, "return_url": recruiters.return_link(session.study, outcome, session)})


@run_view("POST")
def withdraw(request: HttpRequest, session: Session) -> HttpResponse:
    """Erase the answers, now and for good."""
    _json_body(request)
    session.withdraw()
    return JsonResponse({"withdrawn": True})


def _require_same_origin(request: HttpRequest) -> None:
    """Browsers say where a request comes from; a page of another site cannot change that."""
    site = request.headers.get("Sec-Fetch-Site")
    origin = request.headers.get("Origin", "")
    own = site == "same-origin" if site else origin == f"{request.scheme}://{request.get_host()}"
    if not own:
        raise Refused(403, "cross_origin", "This request must come from the study's own page.")


def _json_body(request: HttpRequest) -> Json:
    if request.content_type != "application/json":
        raise Refused(415, "not_json", "The body must have the content type application/json.")
    if _content_length(request) > LONGEST_BODY:  # before it is read
        raise Refused(413, "too_large", f"The body must have at most {LONGEST_BODY} bytes.")
    try:
        body = json.loads(request.body or b"{}", parse_constant=finite, parse_float=finite)
    except (ValueError, RecursionError):
        raise Refused(400, "malformed_json", "The body is not JSON.") from None
    if not isinstance(body, dict):
        raise _bad("body", "must be an object")
    return body


def _content_length(request: HttpRequest) -> int:
    """The length that the body is read up to. Without a number there is no body."""
    try:
        return int(request.META.get("CONTENT_LENGTH") or 0)
    except ValueError:
        return 0


def finite(text: str) -> float:
    """JSON has no NaN and no Infinity, and neither has the database."""
    if not math.isfinite(number := float(text)):
        raise ValueError(f"{text} is not finite.")
    return number


def answer_fields(body: Json) -> Json:
    """What an answer says: keyword arguments of `record_answer`. Raises Refused with the first field that is wrong."""
    return {
        "client_id": _client_id(body),
        "choice": _choice(body),
        "rt_ms": _number(body, "rt_ms", largest=LONGEST_RT_MS),
        "trace": _trace(body),
    }


def _client_id(body: Json) -> uuid.UUID:
    try:
        return uuid.UUID(body.get("client_id"))
    except (TypeError, ValueError, AttributeError):
        raise _bad("client_id", "must be a UUID") from None


def _choice(body: Json) -> str:
    choice = body.get("choice")
    if choice not in Choice.values:
        raise _bad("choice", f"must be one of {', '.join(Choice.values)}")
    return str(choice)


def _number(body: Mapping[str, Any], field: str, *, whole: bool = False, largest: float = LARGEST_COUNT) -> float:
    value = body.get(field)
    wanted = "a whole number" if whole else "a number"
    if isinstance(value, bool) or not isinstance(value, int if whole else (int, float)):
        raise _bad(field, f"must be {wanted}")
    if not 0 <= value <= largest:
        raise _bad(field, f"must be {wanted} from 0 to {largest:.0f}")
    return float(value)


def _number_or_none(body: Mapping[str, Any], field: str) -> float | None:
    return None if body.get(field) is None else _number(body, field)


def _trace(body: Json) -> Json:
    """How the trial was displayed: fields of TrialTrace, and what else the page measured under `details`."""
    trace = body.get("trace") or {}
    if not isinstance(trace, dict):
        raise _bad("trace", "must be an object")
    measured = {name: value for name, value in trace.items() if value is not None}
    fields: Json = {name: _number(measured, name) for name in TRACE_NUMBERS if name in measured}
    fields |= {name: int(_number(measured, name, whole=True)) for name in TRACE_COUNTS if name in measured}
    return fields | {"details": {name: _detail(name, value) for name, value in measured.items() if name not in fields}}


def _detail(name: str, value: Any) -> Any:
    plain = isinstance(value, (bool, int, float)) or (isinstance(value, str) and value.isprintable())
    if not (plain and name.isidentifier() and f"{name}{value}".isascii() and len(f"{name}{value}") <= LONGEST_DETAIL):
        raise _bad("trace", "must hold numbers, truth values and short plain texts")
    return value


def _bad(field: str, reason: str) -> Refused:
    return Refused(422, "bad_body", f"{field} {reason}.", field=field, reason=reason)


def _error_reply(error: TrialsError) -> HttpResponse:
    if isinstance(error, ClientIdTaken):
        return _bad("client_id", str(error)).reply()
    if isinstance(error, NotOffered):
        return _bad("choice", "is not offered in this study").reply()
    status, word = STATUS[type(error)]
    body: Json = {"error": word, "detail": str(error)}
    if isinstance(error, DifferentAnswer):
        body["id"] = error.stored.pk
    if isinstance(error, TrialsMissing):
        body["missing"] = error.missing
    return JsonResponse(body, status=status)
