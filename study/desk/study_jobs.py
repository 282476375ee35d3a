"""Jobs that are about studies: who sees them, who cancels them or tries them again, and the newest of a kind."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.db.models import BigIntegerField, Q, QuerySet
from django.db.models.fields.json import KT
from django.db.models.functions import Cast

from study.lab.models import Job
from study.trials.models import Study
from study.trials.rights import Action

if TYPE_CHECKING:
    from study.accounts.models import User


def visible_to(user: User, jobs: QuerySet[Any]) -> QuerySet[Any]:
    """Jobs of the lab, and those of studies that this researcher has a role on."""
    return jobs if user.is_superuser else _of_lab_or_about(Study.objects.visible_to(user), jobs)


def changeable_by(user: User, jobs: QuerySet[Any]) -> QuerySet[Any]:
    """Jobs of the lab, and those of studies that this researcher may have work done for."""
    return jobs if user.is_superuser else _of_lab_or_about(Study.objects.allowing(user, Action.REHEARSE), jobs)


def _of_lab_or_about(studies: QuerySet[Study], jobs: QuerySet[Any]) -> QuerySet[Any]:
    about = jobs.alias(about_study=Cast(KT("parameters__study"), BigIntegerField()))
    found: QuerySet[Any] = about.filter(Q(about_study=None) | Q(about_study__in=studies.values("pk")))
    return found


def of_study(study: Study, kind: str) -> QuerySet[Job]:
    """The jobs of this kind about the study, the newest first."""
    return Job.objects.filter(kind=kind, parameters__study=study.pk).order_by("-created_at")
