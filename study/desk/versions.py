"""The versions of a study's design: why each was made, whether it still holds, what changed, and the documents."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404

from study.desk import preregistration, study_pages
from study.desk.study_pages import StudyPage
from study.lab.models import sha256_of
from study.trials.design import upgraded
from study.trials.exceptions import CannotOpen
from study.trials.models import DesignVersion, Study
from study.trials.rights import Action

#: Parts of a design that are too long to be read; of those is said how many entries came and went.
LONG: Final = frozenset({"pairs", "stimuli"})


@dataclass(frozen=True)
class Change:
    """One part of a design that was another before; `None`: it was not there, or is no more."""

    part: str
    before: str | None
    after: str | None


def changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[Change]:
    """What differs between two designs of any format, part by part, in the order of the later one."""
    old, new = dict(_parts(upgraded(before))), dict(_parts(upgraded(after)))
    return [Change(part, old.get(part), new.get(part)) for part in {**new, **old} if old.get(part) != new.get(part)]


def _parts(value: Any, name: str = "") -> Iterator[tuple[str, str]]:
    """(name with dots, value in words) of everything that is no mapping."""
    if isinstance(value, Mapping):
        for key, part in value.items():
            yield from _parts(part, f"{name}.{key}" if name else str(key))
    elif name.rsplit(".", maxsplit=1)[-1] in LONG:
        yield name, f"{len(value)} entries, SHA-256 {sha256_of(value)[:12]}"
    elif isinstance(value, list) and value and all(isinstance(entry, Mapping) for entry in value):
        for number, entry in enumerate(value, 1):
            yield f"{name} {number}", _line(entry)
    else:
        yield name, _word(value)


def _line(entry: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} {_word(value)}" for key, value in entry.items() if value not in ("", None))


def _word(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value in (None, "", []):
        return "none"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def versions(request: HttpRequest, study: Study) -> HttpResponse:
    """All versions with what no longer holds of each, and what changed between two: the last, or those asked for."""
    frozen = list(study.design_versions.filter(draft=False).order_by("-n"))
    newer = _asked_for(request, frozen, "to", frozen[0])
    older = _asked_for(request, frozen, "from", next((v for v in frozen if v.n < newer.n), newer))
    context = {
        "versions": [(version, version.faults()) for version in frozen],
        "older": older,
        "newer": newer,
        "changes": changes(older.json, newer.json),
    }
    return study_pages.render(request, (study, "versions", "Versions"), "desk/versions.html", context)


def _asked_for(request: HttpRequest, frozen: list[DesignVersion], name: str, otherwise: DesignVersion) -> DesignVersion:
    return next((version for version in frozen if str(version.n) == request.GET.get(name)), otherwise)


# --- documents


def as_json(request: HttpRequest, study: Study) -> HttpResponse:
    """The design exactly as it was frozen: its hash is that of this JSON with sorted keys."""
    version = _frozen(request, study)
    text = json.dumps(version.json, indent=1, ensure_ascii=False)
    return _file(text.encode(), "application/json", f"{study.slug}-design-{version.n}.json")


def registered(request: HttpRequest, study: Study, *, kind: str) -> HttpResponse:
    """The preregistration of a version or, without a number, of the draft."""
    write, content_type = DOCUMENTS[kind]
    if study.state == Study.State.DRAFT and "n" not in request.GET:
        try:
            design = study.shown_design
        except CannotOpen as error:
            raise Http404(f"There is no preregistration yet: {error}") from error
        document, name = preregistration.document(design, sha256_of(design)), f"{study.slug}-draft"
    else:
        version = _frozen(request, study)
        on = f"{version.created_at:%Y-%m-%d}"
        document = preregistration.document(
            version.json, version.sha256, version=version.n, reason=version.reason, on=on
        )
        name = f"{study.slug}-{version.n}"
    return _file(write(document), content_type, f"preregistration-{name}.{kind}")


def _frozen(request: HttpRequest, study: Study) -> DesignVersion:
    """The version that is asked for by its number, or the newest."""
    number = request.GET.get("n", "")
    if not number:
        newest = study.current_design
        if newest is None:
            raise Http404("No version has been frozen.")
        return newest
    if not (number.isascii() and number.isdecimal() and len(number) < 9):
        raise Http404("A version is named by its number.")
    return get_object_or_404(DesignVersion, study=study, draft=False, n=number)


def _file(content: bytes, content_type: str, name: str) -> HttpResponse:
    return HttpResponse(
        content, content_type=content_type, headers={"Content-Disposition": f'attachment; filename="{name}"'}
    )


#: By the ending of the file: how it is written, and its type.
DOCUMENTS: Final[Mapping[str, tuple[Callable[[Any], bytes], str]]] = {
    "md": (lambda document: preregistration.markdown(document).encode(), "text/markdown; charset=utf-8"),
    "pdf": (preregistration.pdf, "application/pdf"),
}

_FROZEN = frozenset({Study.State.OPEN, Study.State.PAUSED, Study.State.CLOSED})
PAGES = (
    StudyPage("versions", versions, Action.VIEW, tab="Versions", states=_FROZEN),
    StudyPage("versions/json", as_json, Action.VIEW, states=_FROZEN),
    StudyPage("preregistration/md", partial(registered, kind="md"), Action.VIEW),
    StudyPage("preregistration/pdf", partial(registered, kind="pdf"), Action.VIEW),
)
