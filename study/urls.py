"""Addresses: participants at /s/ and /run/, researchers at /admin/."""

from django.contrib import admin
from django.urls import include, path

admin.site.site_header = admin.site.site_title = "Blindspot"

urlpatterns = [
    path("admin/", admin.site.urls),
    path("", include("study.trials.urls")),
]
