"""The pages of a participant: information and consent, start, and the run itself."""

from __future__ import annotations

import math
from collections.abc import Mapping
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
from study.trials.exceptions import AlreadyTookPart, Full, NotOpen, TrialsError
from study.trials.models import Population, Session, Study, new_token

START_SALT = "study.trials.start"
START_VALID_S = 24 * 3600
RESUME_COOKIE = "run"
RESUME_VALID_S = 14 * 24 * 3600
SECONDS_PER_TRIAL = 5

private = cache_control(private=True, no_store=True)


@require_safe
@private
def information(request: HttpRequest, slug: str) -> HttpResponse:
    """What the study is about and the consent form. Looking at it starts nothing: link previews look as well."""
    study = _announced_study(slug)
    population = _population(request, study)
    if population is None:
        return _closed(request, study, _("Log in as a researcher to see a preview."))
    resume_url = _resume_url(request, study)
    refusal = _refusal(study, population)
    if refusal and resume_url:
        return HttpResponseRedirect(resume_url)
    if refusal:
        return _closed(request, study, str(refusal))
    return _information(request, study, population, recruiters.ids_from(request.GET), resume_url=resume_url)


@csrf_exempt  # the signed field stands for it: with `Referrer-Policy: no-referrer` a form has no origin to check
@require_POST
@private
def start(request: HttpRequest, slug: str) -> HttpResponse:
    """Consent given: a session begins. The same form sent twice leads to the same run."""
    study = _announced_study(slug)
    ticket = _start_ticket(request, study)
    if ticket is None:
        return _closed(
            request, study, _("This form is too old or incomplete: open the study's link again."), status=400
        )
    if not request.POST.get("consent"):
        return _information(request, study, ticket["population"], ticket["recruiter_ids"], consent_missing=True)
    try:
        _session, token = study.start_session(
            ticket["population"], ticket["recruiter_ids"], token=ticket["token"], language=get_language() or "en"
        )
    except (NotOpen, Full, AlreadyTookPart) as error:
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


def _announced_study(slug: str) -> Study:
    """Drafts are nobody's business yet."""
    return get_object_or_404(Study.objects.exclude(state=Study.State.DRAFT), slug=slug)


def _population(request: HttpRequest, study: Study) -> str | None:
    """Whom this visitor counts among. Nobody gets out of the real population by asking; None = not allowed."""
    if "ticket" in request.GET:
        return Population.SIMULATED if study.is_simulation_ticket(request.GET["ticket"]) else None
    if "preview" in request.GET:
        return Population.PREVIEW if getattr(request.user, "is_staff", False) else None
    return Population.REAL


def _refusal(study: Study, population: str) -> TrialsError | None:
    """Why nobody new can start; whoever has started may go on."""
    if study.state != Study.State.OPEN:
        return NotOpen()
    if population == Population.REAL and not study.free_places():
        return Full()
    return None


def _information(
    request: HttpRequest,
    study: Study,
    population: str,
    recruiter_ids: Mapping[str, str],
    *,
    resume_url: str | None = None,
    consent_missing: bool = False,
) -> HttpResponse:
    ticket = {"study": study.slug, "population": population, "recruiter_ids": recruiter_ids, "token": new_token()}
    design = study.current_design
    trials = sum(c["trials"] for c in design.json["cells"]) if design else 0
    context = {
        "study": study,
        "population": population,
        "start": signing.dumps(ticket, salt=START_SALT, compress=True),
        "start_url": reverse("trials:start", args=[study.slug]),
        "resume_url": resume_url,
        "consent_missing": consent_missing,
        "pairs": trials + study.catch_trials + study.practice_trials,
        "minutes": math.ceil((trials + study.catch_trials + study.practice_trials) * SECONDS_PER_TRIAL / 60),
    }
    return _page(request, "trials/information.html", context, status=422 if consent_missing else 200)


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


def _resume_url(request: HttpRequest, study: Study) -> str | None:
    token = request.get_signed_cookie(RESUME_COOKIE, default=None, salt=study.slug, max_age=RESUME_VALID_S)
    if token is None:
        return None
    try:
        session = Session.objects.by_token(token)
    except Session.DoesNotExist:
        return None
    return reverse("trials:run", args=[token]) if session.state == Session.State.ACTIVE else None
