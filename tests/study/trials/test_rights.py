"""Who may do what with a study: every role and every action, written out."""

from __future__ import annotations

import pytest

from study.accounts.models import User
from study.lab.models import Dataset, ModelRun
from study.trials.models import Study
from study.trials.rights import Action, Role

pytestmark = pytest.mark.django_db

YES, NO = True, False
#: Columns: owner, editor, analyst, viewer.
TABLE = {
    "view": (YES, YES, YES, YES),
    "preview": (YES, YES, YES, YES),
    "rehearse": (YES, YES, YES, NO),
    "edit": (YES, YES, NO, NO),
    "run": (YES, YES, NO, NO),
    "analyse": (YES, YES, YES, NO),
    "export": (YES, YES, YES, NO),
    "identify": (YES, YES, NO, NO),
    "erase": (YES, YES, NO, NO),
    "share": (YES, NO, NO, NO),
}
COLUMNS = ("owner", "editor", "analyst", "viewer")
CASES = [(role, action, may) for action, row in TABLE.items() for role, may in zip(COLUMNS, row, strict=True)]


def make_draft(name: str) -> Study:
    """A draft without images, which rights are not about."""
    dataset = Dataset.objects.create(name=name, kind=Dataset.Kind.SYNTHETIC_EYES, fingerprint="d" * 64)
    run = ModelRun.objects.create(name=name, dataset=dataset, network="cnn")
    return Study.objects.create(slug=name, title=name, dataset=dataset, model_run=run)


@pytest.fixture
def study() -> Study:
    return make_draft("eyes")


@pytest.fixture
def user() -> User:
    return User.objects.create_user("eva", is_staff=True)


def test_the_table_leaves_nothing_out() -> None:
    assert len(CASES) == 40
    assert {role for role, _, _ in CASES} == set(Role.values)
    assert set(TABLE) == set(Action)


@pytest.mark.parametrize(("role", "action", "may"), CASES)
def test_a_role_and_an_action(study: Study, user: User, role: str, action: str, may: bool) -> None:
    study.members.create(user=user, role=role)
    assert study.may(user, Action(action)) is may


@pytest.mark.parametrize("action", TABLE)
def test_without_a_role_nothing_is_allowed(study: Study, user: User, action: str) -> None:
    other = make_draft("other")
    other.members.create(user=user, role=Role.OWNER)
    assert not study.may(user, Action(action))
    assert list(Study.objects.visible_to(user)) == [other]


@pytest.mark.parametrize("action", TABLE)
def test_an_account_that_is_not_active_is_allowed_nothing(study: Study, user: User, action: str) -> None:
    study.members.create(user=user, role=Role.OWNER)
    user.is_active = False
    user.is_superuser = True
    assert not study.may(user, Action(action))


@pytest.mark.parametrize("action", TABLE)
def test_a_superuser_needs_no_role(study: Study, action: str) -> None:
    superuser = User.objects.create_superuser("admin")
    assert study.may(superuser, Action(action))
    assert study in Study.objects.visible_to(superuser)
