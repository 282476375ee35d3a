"""An answer: one SELECT with a join, one INSERT, JSON in and out. A start: one INSERT, and one of all trials."""

from __future__ import annotations

import json
import secrets

from django.db import transaction
from django.http import HttpRequest, HttpResponseRedirect, JsonResponse
from django.urls import path

from benchmarks.side_by_side.bare.models import Answer, Session, Trial
from benchmarks.side_by_side.shown import SIDES, TRIALS


def answer(request: HttpRequest, token: str, index: int) -> JsonResponse:
    said = json.loads(request.body)
    with transaction.atomic():
        trial = Trial.objects.select_related("session").get(session__token=token, index=index)
        stored = Answer.objects.create(
            trial=trial,
            client_id=said["client_id"],
            choice=said["choice"],
            correct=said["choice"] == trial.altered_side,
            rt_ms=said["rt_ms"],
        )
    return JsonResponse({"id": stored.pk, "next_index": index + 1}, status=201)


def start(request: HttpRequest) -> HttpResponseRedirect:
    token = secrets.token_urlsafe(16)
    with transaction.atomic():
        session = Session.objects.create(token=token)
        Trial.objects.bulk_create(
            Trial(session=session, index=index, altered_side=SIDES[index % 2]) for index in range(TRIALS)
        )
    return HttpResponseRedirect(f"/run/{token}/")


urlpatterns = [path("run/<str:token>/trials/<int:index>", answer), path("start", start)]
