"""The pages of a participant: information and consent, start, the run and its end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from django.conf import settings
from django.contrib import admin
from django.core import signing
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect, JsonResponse
from django.shortcuts import get_object_or_404
from django.urls import reverse
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _
from django.views.decorators.cache import cache_control
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.gzip import gzip_page
from django.views.decorators.http import require_POST, require_safe

from study.trials import duration, languages, recruiters, robots
from study.trials import truth as truths
from study.trials.exceptions import (
    AlreadyTookPart,
    CannotOpen,
    ConsentChanged,
    Full,
    NotCleared,
    NotOpen,
    TrialsError,
)
from study.trials.forms import StartForm
from study.trials.models import Population, Session, Study, new_token, token_sha256
from study.trials.rights import Action

NO_STUDY = "There is no study with this address."
#: Who may see a draft.
TRYING = (Population.PREVIEW, Population.SIMULATED)
START_SALT = "study.trials.start"
START_VALID_S = 24 * 3600
RESUME_COOKIE = "run"
RESUME_VALID_S = 14 * 24 * 3600

private = cache_control(private=True, no_store=True)


@dataclass(frozen=True)
class Visit:
    """Somebody at a study's link: whom they count among, what the recruiter calls them, what they read."""

    population: str
    recruiter_ids: Mapping[str, str]
    language: str


@dataclass(frozen=True)
class OwnRun:
    """The run that a browser has started: its page goes on with the trials, or says how it ended."""

    url: str
    state: str


@require_safe
@private
def information(request: HttpRequest, slug: str) -> HttpResponse:
    """What the study is about and the consent form. Looking at it starts nothing: link previews look as well."""
    study = get_object_or_404(Study.objects.select_related("dataset"), slug=slug)
    population = _population(request, study)
    if study.state == Study.State.DRAFT and population not in TRYING:
        return _draft(request, study)
    if population is None:
        return _closed(request, study, _("Log in as a researcher to see a preview."))
    ids = recruiters.ids_from(request.GET, recruiters.of(study))
    visit = Visit(population, ids, languages.of_visitor(request, study.languages))
    own = _own_run(request, study, visit)
    refusal = _refusal(study, population)
    if refusal and own:
        return HttpResponseRedirect(own.url)
    if refusal:
        return _closed(request, study, refusal)
    return _information(request, study, visit, own=own)


@csrf_exempt  # the signed field stands for it: with `Referrer-Policy: no-referrer` a form has no origin to check
@require_POST
@private
def start(request: HttpRequest, slug: str) -> HttpResponse:
    """Consent given: a session begins. The same form sent twice leads to the same run."""
    study = get_object_or_404(Study, slug=slug)
    ticket = _start_ticket(request, study)
    if ticket is None and study.state == Study.State.DRAFT:
        raise Http404(NO_STUDY)
    if ticket is None:
        sentence = _("This form is too old or incomplete: open the study's link again.")
        return _closed(request, study, sentence, status=400)
    visit = Visit(**ticket["visit"])
    own = _own_run(request, study, visit)
    if own and visit.population == Population.REAL:  # started meanwhile, from another tab
        return HttpResponseRedirect(own.url)
    if ticket["consent_sha256"] != study.consent_sha256(visit.language):
        return _information(request, study, visit, notice=ConsentChanged())
    form = _start_form(study, visit, request.POST)
    if reason := form.reason_to_turn_away():
        return _turned_away(request, study, visit, reason)
    if not form.is_valid():
        return _information(request, study, visit, form=form)
    return _begin(request, study, visit, ticket, is_script=form.is_script())


def _begin(
    request: HttpRequest, study: Study, visit: Visit, ticket: Mapping[str, Any], *, is_script: bool
) -> HttpResponse:
    """Starts the session and leads to its run, or says what is in the way."""
    try:
        session, token = study.start_session(
            visit.population,
            visit.recruiter_ids,
            token=ticket["token"],
            language=visit.language,
            consent_sha256=ticket["consent_sha256"],
        )
    except ConsentChanged as error:
        return _information(request, study, visit, notice=error)
    except (NotOpen, NotCleared, Full, AlreadyTookPart, CannotOpen) as error:
        return _closed(request, study, error)
    if is_script:
        session.log(robots.HONEYPOT)
    response = HttpResponseRedirect(reverse("trials:run", args=[token]))
    _remember(request, response, study, token)
    response["Referrer-Policy"] = "no-referrer"
    return response


@require_safe
@gzip_page
@private
def run(request: HttpRequest, token: str) -> HttpResponse:
    """The page that runs the trials; afterwards, the page that says how the run ended."""
    try:
        session = Session.objects.by_token(token)
    except Session.DoesNotExist:
        raise Http404("There is no run with this address.") from None
    session.time_out_if_away()
    template, context = _run_page(session)
    status = 410 if session.state == Session.State.WITHDRAWN else 200
    simulate = "simulate" in request.GET and session.population != Population.REAL
    shared = {
        "session": session,
        "population": session.population,
        "simulate": simulate,
        "may_see_truth": _may_see_truth(request, session),
    }
    return _page(request, session.study, session.language, template, status=status, **shared, **context)


@require_safe
@private
def truth(request: HttpRequest, token: str, index: int) -> HttpResponse:
    """What a trial of a preview really is, for a researcher who may try the study. All others find no such page."""
    session = Session.objects.with_design().filter(token_sha256=token_sha256(token)).first()
    told = truths.told(session, index) if session and _may_see_truth(request, session) else None
    if told is None:
        raise Http404("There is nothing here.")
    return JsonResponse(told)


def _may_see_truth(request: HttpRequest, session: Session) -> bool:
    return session.population == Population.PREVIEW and _may_preview(request, session.study)


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    """An address without a page, as of a link that was copied by half: whose study it was meant for is not known."""
    language = languages.of_visitor(request, [code for code, _ in settings.LANGUAGES])
    return languages.page(request, language, "trials/not_found.html", {}, status=404)


def _run_page(session: Session) -> tuple[str, dict[str, Any]]:
    """Template and context of a run's page, which its state decides."""
    study = session.study
    match session.state:
        case Session.State.ACTIVE:
            return "trials/run.html", {"design": session.design.now}
        case Session.State.COMPLETE:
            example = None if study.dataset.display_refusal() else session.example()
            return_url = recruiters.return_link(study, "complete", session)
            return "trials/end.html", {"code": session.code, "return_url": return_url, "example": example}
        case Session.State.SCREENED_OUT:
            cause = session.events.filter(kind=session.state).latest("at").data.get("reason")
            return_url = recruiters.return_link(study, "screened_out", session)
            return "trials/screened.html", {"cause": cause, "code": session.code, "return_url": return_url}
        case Session.State.TIMED_OUT:
            return "trials/timed_out.html", {"hours": session.design.now["resume_hours"]}
        case _:
            return "trials/over.html", {}


def _page(
    request: HttpRequest, study: Study, language: str, template: str, *, status: int = 200, **context: Any
) -> HttpResponse:
    """A page with what every page shows: the study, and its texts in the language of the page."""
    shared = {"study": study, "texts": study.texts(language)}
    return languages.page(request, language, template, {**shared, **context}, status)


def _draft(request: HttpRequest, study: Study) -> HttpResponse:
    """Drafts are nobody's business yet; who may try this one is led to its preview."""
    if not _may_preview(request, study):
        raise Http404(NO_STUDY)
    query = request.GET.copy()
    query["preview"] = "1"
    return HttpResponseRedirect(f"{request.path}?{query.urlencode()}")


def _may_preview(request: HttpRequest, study: Study) -> bool:
    """Whether a researcher asks who is signed in to the desk and may try this study."""
    return admin.site.has_permission(request) and study.may(request.user, Action.PREVIEW)  # type: ignore[arg-type]


def _population(request: HttpRequest, study: Study) -> str | None:
    """Whom this visitor counts among. Nobody gets out of the real population by asking; None = not allowed."""
    if "ticket" in request.GET:
        return Population.SIMULATED if study.is_simulation_ticket(request.GET["ticket"]) else None
    if "preview" in request.GET:
        return Population.PREVIEW if _may_preview(request, study) else None
    return Population.REAL


def _refusal(study: Study, population: str) -> TrialsError | None:
    """Why nobody new can start; whoever has started may go on."""
    if not study.lets_in(population):
        return study.not_open()
    if study.dataset.display_refusal():
        return NotCleared()
    if population == Population.REAL and not study.has_free_place():
        return Full()
    return None


def _information(
    request: HttpRequest,
    study: Study,
    visit: Visit,
    *,
    own: OwnRun | None = None,
    form: StartForm | None = None,
    notice: TrialsError | None = None,
) -> HttpResponse:
    try:
        design = study.shown_design
    except CannotOpen as error:
        return _closed(request, study, error)
    ticket = {
        "study": study.slug,
        "visit": asdict(visit),
        "token": new_token(),
        "consent_sha256": study.consent_sha256(visit.language),
    }
    return _page(
        request,
        study,
        visit.language,
        "trials/information.html",
        status=422 if form or notice else 200,
        population=visit.population,
        form=form or _start_form(study, visit),
        start=signing.dumps(ticket, salt=START_SALT, compress=True),
        query=request.GET.urlencode(),
        language_links=languages.links(request.GET, visit.language, study.languages),
        own=own,
        may_start=own is None or visit.population != Population.REAL,
        notice=notice,
        design=design,
        rounds=duration.trials_of_a_session(design),
        minutes=duration.estimate(design),
    )


def _start_form(study: Study, visit: Visit, data: Mapping[str, Any] | None = None) -> StartForm:
    return StartForm(study.minimum_age, study.texts(visit.language).eligibility, data)


def _start_ticket(request: HttpRequest, study: Study) -> dict[str, Any] | None:
    try:
        ticket = signing.loads(request.POST.get("start", ""), salt=START_SALT, max_age=START_VALID_S)
    except signing.BadSignature:
        return None
    return ticket if ticket["study"] == study.slug else None


def _turned_away(request: HttpRequest, study: Study, visit: Visit, reason: str | Promise) -> HttpResponse:
    """For those who may not take part. Nothing of them is stored."""
    return _page(
        request,
        study,
        visit.language,
        "trials/screened.html",
        population=visit.population,
        reason=reason,
        code=study.screened_out_code,
        return_url=recruiters.turned_away_link(study, visit.recruiter_ids),
    )


def _closed(request: HttpRequest, study: Study, message: TrialsError | Promise, status: int = 403) -> HttpResponse:
    language = languages.of_visitor(request, study.languages)
    return _page(request, study, language, "trials/closed.html", status=status, message=message)


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


def _own_run(request: HttpRequest, study: Study, visit: Visit) -> OwnRun | None:
    """The run that was started in this browser, unless it is withdrawn or the link is another person's."""
    token = request.get_signed_cookie(RESUME_COOKIE, default=None, salt=study.slug, max_age=RESUME_VALID_S)
    if token is None:
        return None
    try:
        session = study.sessions.exclude(state=Session.State.WITHDRAWN).get(
            token_sha256=token_sha256(token), population=visit.population
        )
    except Session.DoesNotExist:
        return None
    recruiter = recruiters.of(study)
    if recruiters.person(visit.recruiter_ids, recruiter) not in (
        None,
        recruiters.person(session.recruiter_ids, recruiter),
    ):
        return None
    return OwnRun(reverse("trials:run", args=[token]), session.state)
