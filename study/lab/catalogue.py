"""What there is to choose from: families of attacks, networks and formats, for processes that must not load them.

The modules that know have torch with them. `python -m study.lab.catalogue` asks them and writes catalogue.json, which a
test compares with what they say.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, get_args, get_origin, get_type_hints

FILE = Path(__file__).with_name("catalogue.json")


@dataclass(frozen=True)
class Parameter:
    """One thing to choose. type: "int", "float", "str" or "bool". choices: what it is one of, where that is so.

    optional: None may be chosen. least and most: a number may be equal to them; above: it may not.
    """

    name: str
    type: str
    default: Any
    help: str = ""
    choices: tuple[str, ...] = ()
    optional: bool = False
    least: float | None = None
    above: float | None = None
    most: float | None = None


@dataclass(frozen=True)
class Family:
    """A family of image triggers, as `attacks.base.Family` describes it. strongest: what a strength is at most."""

    name: str
    title: str
    citation: str
    strength: str
    strengths: tuple[float, ...]
    schedule: tuple[float, ...]
    parameters: tuple[Parameter, ...]
    strongest: float | None


@dataclass(frozen=True)
class Format:
    """A published format of gaze data, as `models.datasets.samples.Format` describes it."""

    kind: str
    title: str
    citation: str
    licence: str
    layout: str
    root_is_file: bool
    labels_every_image: bool
    parameters: tuple[Parameter, ...]


@dataclass(frozen=True)
class Catalogue:
    families: Mapping[str, Family]
    formats: Mapping[str, Format]
    networks: tuple[str, ...]


@cache
def catalogue() -> Catalogue:
    """As it was written down."""
    written = json.loads(FILE.read_text())
    return Catalogue(
        MappingProxyType({row["name"]: _family(row) for row in written["families"]}),
        MappingProxyType({row["kind"]: Format(**row | _parameters(row)) for row in written["formats"]}),
        tuple(written["networks"]),
    )


def _family(row: Mapping[str, Any]) -> Family:
    tuples = {name: tuple(row[name]) for name in ("strengths", "schedule")}
    return Family(**{**row, **tuples, **_parameters(row)})


def _parameters(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "parameters": tuple(Parameter(**{**one, "choices": tuple(one.get("choices", ()))}) for one in row["parameters"])
    }


def describe() -> dict[str, Any]:
    """What the modules say now, as catalogue.json has it. Loads torch."""
    from attacks.registry import FAMILIES
    from models.datasets.formats import FORMATS
    from models.networks import network_names

    families = []
    for family in FAMILIES.values():
        trigger = family.draw((64, 64), family.choose({}), family.schedule[-1], 0)
        words = {name: getattr(family, name) for name in ("name", "title", "citation", "strength")}
        families.append(
            {
                **words,
                "strengths": list(family.strengths),
                "schedule": list(family.schedule),
                "parameters": parameters_of(family.parameters),
                "strongest": getattr(trigger, "strongest", None),
            }
        )
    taken = ("kind", "title", "citation", "licence", "layout", "root_is_file", "labels_every_image")
    formats = [
        {**{name: getattr(each, name) for name in taken}, "parameters": parameters_of(each.options)}
        for each in FORMATS.values()
    ]
    return {"families": families, "formats": formats, "networks": list(network_names())}


def parameters_of(kind: type[Any] | None) -> list[dict[str, Any]]:
    """The fields of a dataclass of choices, each with its type, default and, from its metadata, help and limits."""
    if kind is None:
        return []
    hints = get_type_hints(kind)
    return [
        {"name": field.name, "default": field.default, **_type(hints[field.name]), **field.metadata}
        for field in fields(kind)
    ]


def _type(hint: Any) -> dict[str, Any]:
    members = [member for member in get_args(hint) if member is not type(None)]
    optional = {"optional": True} if type(None) in get_args(hint) else {}
    inner = members[0] if optional and len(members) == 1 else hint
    if get_origin(inner) is Literal:
        return {"type": "str", "choices": list(get_args(inner)), **optional}
    if get_origin(hint) is Literal:
        return {"type": "str", "choices": [one for one in get_args(hint) if one is not None]}
    return {"type": inner.__name__, **optional}


if __name__ == "__main__":
    FILE.write_text(json.dumps(describe(), indent=1) + "\n")
