"""The group that makes an account a researcher's."""

from __future__ import annotations

from typing import Any, Final

from django.apps import apps
from django.apps.registry import Apps

RESEARCHERS: Final = "Researchers"

#: What its members may do with the rows of each model. Studies they are members of have roles (study.trials.rights).
MAY: Final = {
    "lab.dataset": ("view", "add", "change"),
    "lab.attack": ("view", "add", "change"),
    "lab.modelrun": ("view", "add", "change"),
    "lab.baseimage": ("view",),
    "lab.pair": ("view", "add", "change"),
    "lab.prediction": ("view",),
    "lab.pairjudgement": ("view",),
    "lab.job": ("view", "change"),
    "analysis.analysis": ("view",),
    "trials.study": ("add",),
}


def make_researchers(apps: Apps = apps, **_: Any) -> None:
    """Receiver of `post_migrate` once the permissions are there: the group, with what it may, in old databases too."""
    from django.contrib.auth.models import Group, Permission
    from django.db.models import Q

    if "auth" not in apps.app_configs:  # the tables were taken back to before it
        return
    wanted = Q()
    for label, verbs in MAY.items():
        app, model = label.split(".")
        wanted |= Q(content_type__app_label=app, codename__in=[f"{verb}_{model}" for verb in verbs])
    group, _created = Group.objects.get_or_create(name=RESEARCHERS)
    group.permissions.add(*Permission.objects.filter(wanted))
