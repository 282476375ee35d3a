"""What the log says of a study's members, and what deleting a researcher's account means for studies."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final

from django.contrib.auth import get_user_model
from django.db.models import Model, QuerySet

from study.accounts import audit
from study.trials.models import Member, Study
from study.trials.rights import Role

if TYPE_CHECKING:
    from study.accounts.models import User

ADMITTED: Final = "admitted a member of"
MOVED: Final = "changed a role on"
REMOVED: Final = "removed a member of"


def record(action: str, member: Member) -> None:
    """Write down that this member's role was given, changed or taken away."""
    audit.record(action, member.study, after={"researcher": str(member.user), "role": member.role})


def record_removal(sender: type[Model], instance: Member, origin: Model | QuerySet[Any], **_: Any) -> None:
    """Before a role goes along with its researcher's account."""
    deleted = origin.model if isinstance(origin, QuerySet) else type(origin)
    if deleted is get_user_model():
        record(REMOVED, instance)


def ownerless_without(users: Iterable[User]) -> list[str]:
    """A sentence for each study that only these researchers own: nobody else could name its members."""
    gone = [user.pk for user in users]
    owners = Member.objects.filter(role=Role.OWNER)
    theirs = Study.objects.filter(pk__in=owners.filter(user__in=gone).values("study"))
    left = theirs.exclude(pk__in=owners.exclude(user__in=gone).values("study")).order_by("slug")
    remedy = "name another one on the study's page first"
    return [f"{study} ({study.slug}) would have no owner: {remedy}." for study in left]
