"""Django's own `migrate`, with which every installation begins: whoever makes its tables makes its folder first."""

from typing import Any

from django.conf import settings
from django.core.management.commands import migrate

from study import places


class Command(migrate.Command):
    def execute(self, *args: Any, **options: Any) -> str | None:
        places.make(settings.VAR)  # not only in `handle`: the checks before it connect
        return super().execute(*args, **options)
