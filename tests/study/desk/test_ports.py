"""Which port `manage.py serve` takes: links that people may have are never changed behind their back."""

from __future__ import annotations

from io import StringIO

import pytest
from django.core.management import CommandError

from study.desk.management.commands import serve
from tests.study.factories import make_study

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serve, "is_free", lambda port: False)
    monkeypatch.setattr(serve, "listener", lambda port: "process 7, nginx")
    monkeypatch.setattr(serve, "free_port", lambda: 4242)


def test_while_no_study_is_open_the_usual_port_gives_way_and_that_is_said() -> None:
    said = StringIO()
    assert serve.Command(stderr=said)._port(None) == 4242
    assert "Port 8000 is taken by process 7, nginx: this time ALL LINKS CHANGE to port 4242." in said.getvalue()


def test_links_of_an_open_study_are_not_changed() -> None:
    study = make_study()
    with pytest.raises(CommandError, match=rf"Port 8000 is taken.*participants of {study.slug} may have links to it"):
        serve.Command()._port(None)


def test_a_wanted_port_is_never_exchanged_for_another() -> None:
    with pytest.raises(CommandError, match=r"^Port 9000 is taken by process 7, nginx: end that, or choose another"):
        serve.Command()._port(9000)
