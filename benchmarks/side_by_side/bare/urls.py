"""One view: one SELECT with a join, one INSERT, JSON in and out."""

from __future__ import annotations

import json

from django.db import transaction
from django.http import HttpRequest, JsonResponse
from django.urls import path

from benchmarks.side_by_side.bare.models import Answer, Trial


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


urlpatterns = [path("run/<str:token>/trials/<int:index>", answer)]
