"""What stands in the way of deleting an account. Apps above this one add what they know."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from study.accounts.models import User

#: Each tells, in sentences, what would be left without these researchers.
OBSTACLES: list[Callable[[Sequence[User]], list[str]]] = []


def obstacles(users: Sequence[User]) -> list[str]:
    """All that stands in the way; empty when the accounts can be deleted."""
    return [sentence for obstacles_of in OBSTACLES for sentence in obstacles_of(users)]
