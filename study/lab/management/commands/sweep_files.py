"""The broom for files; nobody runs it by themselves."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.template.defaultfilters import filesizeformat, pluralize

from study.lab.files import StorageFailed
from study.lab.following import ready_database
from study.lab.orphans import HERE, JOBS, STORAGE, UPLOADS, Orphan, anything_is_named, orphans, remove

WHERE = {STORAGE: "in the storage", HERE: "on this host", JOBS: "of jobs that are over", UPLOADS: "uploaded"}
UNITS = {"m": "minutes", "h": "hours", "d": "days"}


def age(text: str) -> timedelta:
    """A length of time such as 30m, 24h or 7d. Raises ValueError for another text."""
    match = re.fullmatch(r"(\d+)([mhd])", text)
    if match is None:
        raise ValueError(f"{text} is no length of time")
    return timedelta(**{UNITS[match[2]]: int(match[1])})


class Command(BaseCommand):
    help = (
        "List files that no row names, here and in the storage that hosts share, and working folders of jobs that are "
        "over. Nothing is deleted without --delete, nothing that a job may be writing, no data set that a row names."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--delete", action="store_true", help="delete them")
        about = "leave what was written later alone: 30m, 24h, 7d (default: %(default)s)"
        parser.add_argument("--older-than", type=age, default="24h", metavar="AGE", help=about)

    def handle(self, *, delete: bool, older_than: timedelta, **options: Any) -> None:
        ready_database()
        try:
            found = orphans(older_than)
            if delete and found and not anything_is_named():
                raise CommandError(
                    "The database names no file at all, so that everything would be deleted: is it the right one "
                    "(DATABASE_URL)? Without --delete, the files are only listed."
                )
            swept = remove(found) if delete else found
        except StorageFailed as error:
            raise CommandError(str(error)) from error
        for orphan in swept:
            size = filesizeformat(orphan.size).replace("\xa0", " ")
            self.stdout.write(f"{orphan.place}: {orphan.name}, {size}, of {orphan.modified:%Y-%m-%d %H:%M} UTC")
        self.stdout.write(_summary(swept, delete))


def _summary(swept: Sequence[Orphan], deleted: bool) -> str:
    if not swept:
        return "No orphans."
    numbers = {place: sum(orphan.place == place for orphan in swept) for place in WHERE}
    parts = ", ".join(f"{number} {WHERE[place]}" for place, number in numbers.items() if number)
    size = filesizeformat(sum(orphan.size for orphan in swept)).replace("\xa0", " ")
    what_next = "deleted" if deleted else "nothing deleted; --delete does"
    return f"{len(swept)} orphan{pluralize(len(swept))}, {size} ({parts}): {what_next}."
