"""Rows that are written once."""

from __future__ import annotations

from typing import Any, NoReturn

from django.db import models

from study.trials.exceptions import Frozen


class InsertOnlyQuerySet(models.QuerySet[Any]):
    """Rows that are written once. `erase` is the one way to take them away."""

    def update(self, **_: Any) -> NoReturn:
        raise Frozen(f"A stored {self.model._meta.verbose_name} cannot be changed.")

    def delete(self) -> NoReturn:
        raise Frozen(f"A stored {self.model._meta.verbose_name} cannot be deleted; withdraw or erase the session.")

    delete.alters_data = True  # type: ignore[attr-defined]
    delete.queryset_only = True  # type: ignore[attr-defined]

    def erase(self) -> int:
        return super().delete()[0]

    erase.alters_data = True  # type: ignore[attr-defined]
    erase.queryset_only = True  # type: ignore[attr-defined]


class InsertOnly(models.Model):
    """A row that is written once and never changed."""

    objects = InsertOnlyQuerySet.as_manager()

    class Meta:
        abstract = True

    def save(self, *args: Any, **kwargs: Any) -> None:
        if not self._state.adding:
            raise Frozen(f"A stored {self._meta.verbose_name} cannot be changed.")
        super().save(*args, **kwargs)

    def delete(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise Frozen(f"A stored {self._meta.verbose_name} cannot be deleted; withdraw or erase the session.")
