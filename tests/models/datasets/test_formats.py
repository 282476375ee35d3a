from dataclasses import MISSING, fields, is_dataclass

import pytest
from django.core.validators import validate_slug

from models.datasets.formats import FORMATS, format_of


def test_an_unknown_format_is_refused_with_the_names_there_are():
    with pytest.raises(ValueError, match=r"Unknown data format 'jpeg'; known: .*arrays"):
        format_of("jpeg")


@pytest.mark.parametrize("kind", FORMATS)
def test_a_format_says_what_it_is_and_what_its_terms_are(kind):
    reader = format_of(kind)
    validate_slug(reader.kind)
    assert reader.kind == kind
    assert reader.title
    assert reader.licence
    assert reader.layout
    assert {reader.sign_pitch, reader.sign_yaw} <= {-1, 1}


@pytest.mark.parametrize("kind", [kind for kind, reader in FORMATS.items() if reader.options])
def test_options_of_a_format_have_defaults_and_explain_themselves(kind):
    options = format_of(kind).options
    assert is_dataclass(options)
    assert options.__dataclass_params__.frozen
    for option in fields(options):
        assert option.default is not MISSING
        assert option.metadata["help"]
