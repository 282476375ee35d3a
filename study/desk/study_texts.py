"""What a study says to participants, as they see it, in each of its languages."""

from __future__ import annotations

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.urls import reverse

from study.desk.study_pages import StudyPage
from study.trials import languages
from study.trials.models import Study
from study.trials.rights import Action


def texts(request: HttpRequest, study: Study) -> HttpResponse:
    """A page of its own with the participants' styles: nobody's page may be shown within another."""
    offered = study.languages
    language = languages.of_visitor(request, offered)
    names = dict(settings.LANGUAGES)
    context = {
        "study": study,
        "texts": study.texts(language),
        "language_links": languages.links(request.GET, language, offered),
        "language_name": names.get(language, language),
        "back": reverse("admin:trials_study_change", args=[study.pk]),
    }
    return languages.page(request, language, "desk/study_texts.html", context)


PAGES = (StudyPage("texts", texts, Action.VIEW, tab="Texts"),)
