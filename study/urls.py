"""Addresses: participants at /s/ and /run/, researchers at /admin/ and /statusz. Machines' are in study.probes."""

from django.contrib import admin
from django.urls import include, path

from study.desk import views

urlpatterns = [
    path("admin/", admin.site.urls),
    path("statusz", views.statusz, name="statusz"),
    path("", include("study.trials.urls")),
]
handler404 = "study.trials.views.not_found"
