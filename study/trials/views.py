"""The pages of a participant: information and consent, start, and the run itself."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.core import signing
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404, render
from django.urls import reverse
from django.utils.translation import get_language
from django.utils.translation import gettext as _
from django.views.decorators.cache import cache_control
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST, require_safe

from study.trials import recruiters
from study.trials.exceptions import AlreadyTookPart, ConsentChanged, Full, NotCleared, NotOpen, TrialsError
from study.trials.models import Population, Session, Study, new_token, token_sha256

START_SALT = "study.trials.start"
START_VALID_S = 24 * 3600
RESUME_COOKIE = "run"
RESUME_VALID_S = 14 * 24 * 3600
SECONDS_PER_TRIAL = 5

private = cache_control(private=True, no_store=True)


@dataclass(frozen=True)
class OwnRun:
    """The run that a browser has started: its page goes on with the trials, or shows the completion code again."""

    url: str
    complete: bool


@require_safe
@private
def information(request: HttpRequest, slug: str) -> HttpResponse:
    """What the study is about and the consent form. Looking at it starts nothing: link previews look as well."""
    study = get_object_or_404(Study.objects.select_related("dataset"), slug=slug)
    if study.state == Study.State.DRAFT:
        return _draft(request, study)
    population = _population(request, study)
    if population is None:
        return _closed(request, study, _("Log in as a researcher to see a preview."))
    recruiter_ids = recruiters.ids_from(request.GET)
    own = _own_run(request, study, population, recruiter_ids)
    refusal = _refusal(study, population)
    if refusal and own:
        return HttpResponseRedirect(own.url)
    if refusal:
        return _closed(request, study, str(refusal))
    return _information(request, study, population, recruiter_ids, own=own)


@csrf_exempt  # the signed field stands for it: with `Referrer-Policy: no-referrer` a form has no origin to check
@require_POST
@private
def start(request: HttpRequest, slug: str) -> HttpResponse:
    """Consent given: a session begins. The same form sent twice leads to the same run."""
    study = get_object_or_404(Study.objects.exclude(state=Study.State.DRAFT), slug=slug)
    ticket = _start_ticket(request, study)
    if ticket is None:
        return _closed(
            request, study, _("This form is too old or incomplete: open the study's link again."), status=400
        )
    population, recruiter_ids = ticket["population"], ticket["recruiter_ids"]
    own = _own_run(request, study, population, recruiter_ids)
    if own and population == Population.REAL:  # started meanwhile, from another tab
        return HttpResponseRedirect(own.url)
    if not request.POST.get("consent"):
        problem = _("Please tick the box if you want to take part.")
        return _information(request, study, population, recruiter_ids, problem=problem)
    try:
        _session, token = study.start_session(
            population,
            recruiter_ids,
            token=ticket["token"],
            language=get_language() or "en",
            consent_sha256=ticket["consent_sha256"],
        )
    except ConsentChanged as error:
        return _information(request, study, population, recruiter_ids, notice=str(error))
    except (NotOpen, NotCleared, Full, AlreadyTookPart) as error:
        return _closed(request, study, str(error))
    response = HttpResponseRedirect(reverse("trials:run", args=[token]))
    _remember(request, response, study, token)
    response["Referrer-Policy"] = "no-referrer"
    return response


@require_safe
@private
def run(request: HttpRequest, token: str) -> HttpResponse:
    """The page that runs the trials."""
    try:
        session = Session.objects.by_token(token)
    except Session.DoesNotExist:
        raise Http404("There is no run with this address.") from None
    context = {"study": session.study, "session": session, "population": session.population}
    if session.state == Session.State.WITHDRAWN:
        return _page(request, "trials/over.html", context, status=410)
    return _page(request, "trials/run.html", context)


def _page(request: HttpRequest, template: str, context: Mapping[str, Any], status: int = 200) -> HttpResponse:
    response = render(request, template, dict(context), status=status)
    response["Referrer-Policy"] = "no-referrer"
    return response


def _draft(request: HttpRequest, study: Study) -> HttpResponse:
    """Drafts are nobody's business yet; researchers are told what to do."""
    if not _is_researcher(request):
        raise Http404("There is no study with this address.")
    message = _("This study is a draft: open it first. Preview sessions never count.")
    return _closed(request, study, message, status=404)


def _is_researcher(request: HttpRequest) -> bool:
    return bool(getattr(request.user, "is_staff", False))


def _population(request: HttpRequest, study: Study) -> str | None:
    """Whom this visitor counts among. Nobody gets out of the real population by asking; None = not allowed."""
    if "ticket" in request.GET:
        return Population.SIMULATED if study.is_simulation_ticket(request.GET["ticket"]) else None
    if "preview" in request.GET:
        return Population.PREVIEW if _is_researcher(request) else None
    return Population.REAL


def _refusal(study: Study, population: str) -> TrialsError | None:
    """Why nobody new can start; whoever has started may go on."""
    if study.state != Study.State.OPEN:
        return NotOpen()
    if study.dataset.display_refusal():
        return NotCleared()
    if population == Population.REAL and not study.free_places():
        return Full()
    return None


def _information(
    request: HttpRequest,
    study: Study,
    population: str,
    recruiter_ids: Mapping[str, str],
    *,
    own: OwnRun | None = None,
    problem: str = "",
    notice: str = "",
) -> HttpResponse:
    design = study.design_versions.latest("n").json
    ticket = {
        "study": study.slug,
        "population": population,
        "recruiter_ids": recruiter_ids,
        "token": new_token(),
        "consent_sha256": study.consent_sha256(),
    }
    pairs = len(design["stimuli"]) + len(design["catch"]["stimuli"]) + len(design["practice"]["stimuli"])
    context = {
        "study": study,
        "population": population,
        "start": signing.dumps(ticket, salt=START_SALT, compress=True),
        "start_url": reverse("trials:start", args=[study.slug]),
        "own": own,
        "may_start": own is None or population != Population.REAL,
        "problem": problem,
        "notice": notice,
        "pairs": pairs,
        "minutes": math.ceil(pairs * SECONDS_PER_TRIAL / 60),
    }
    return _page(request, "trials/information.html", context, status=422 if problem or notice else 200)


def _start_ticket(request: HttpRequest, study: Study) -> dict[str, Any] | None:
    try:
        ticket = signing.loads(request.POST.get("start", ""), salt=START_SALT, max_age=START_VALID_S)
    except signing.BadSignature:
        return None
    return ticket if ticket["study"] == study.slug else None


def _closed(request: HttpRequest, study: Study, message: str, status: int = 403) -> HttpResponse:
    return _page(request, "trials/closed.html", {"study": study, "message": message}, status=status)


def _remember(request: HttpRequest, response: HttpResponse, study: Study, token: str) -> None:
    """Lets this browser, and no other, find its run again from the study's link."""
    response.set_signed_cookie(
        RESUME_COOKIE,
        token,
        salt=study.slug,
        max_age=RESUME_VALID_S,
        path=reverse("trials:information", args=[study.slug]),
        secure=request.is_secure(),
        httponly=True,
        samesite="Lax",
    )


def _own_run(request: HttpRequest, study: Study, population: str, recruiter_ids: Mapping[str, str]) -> OwnRun | None:
    """The run that was started in this browser, unless it is withdrawn or the link is another person's."""
    token = request.get_signed_cookie(RESUME_COOKIE, default=None, salt=study.slug, max_age=RESUME_VALID_S)
    if token is None:
        return None
    try:
        session = study.sessions.exclude(state=Session.State.WITHDRAWN).get(
            token_sha256=token_sha256(token), population=population
        )
    except Session.DoesNotExist:
        return None
    if recruiters.person(recruiter_ids) not in (None, recruiters.person(session.recruiter_ids)):
        return None
    return OwnRun(reverse("trials:run", args=[token]), session.state == Session.State.COMPLETE)
