"""What forms offer is what the families, networks and formats say of themselves."""

from __future__ import annotations

import json

import pytest

from attacks import registry
from study.lab.catalogue import FILE, Parameter, catalogue, describe

LIMITED = [
    pytest.param(family.name, one, id=f"{family.name}-{one.name}")
    for family in catalogue().families.values()
    for one in family.parameters
    if (one.least, one.above, one.most) != (None, None, None)
]


def test_what_was_written_down_is_what_the_modules_say() -> None:
    assert json.loads(FILE.read_text()) == describe(), "run python -m study.lab.catalogue"


def refuses(family: str, parameter: Parameter, value: float) -> bool:
    try:
        registry.draw(family, (64, 64), 0.5, 0, {parameter.name: value})
    except ValueError:
        return True
    return False


@pytest.mark.parametrize(("family", "parameter"), LIMITED)
def test_a_limit_is_where_the_family_begins_to_refuse(family: str, parameter: Parameter) -> None:
    whole = parameter.type == "int"
    step = 1 if whole else 1e-6
    for limit, outwards in ((parameter.least, -step), (parameter.most, step)):
        if limit is not None:
            edge = int(limit) if whole else float(limit)
            assert not refuses(family, parameter, edge)
            assert refuses(family, parameter, edge + outwards)
    if parameter.above is not None:
        assert refuses(family, parameter, float(parameter.above))
        assert not refuses(family, parameter, parameter.above + 1.0)
