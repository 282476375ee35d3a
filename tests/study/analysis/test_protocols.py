import pytest

from study.analysis import protocols
from study.trials.models import Study
from tests.study.analysis.observers import simulate


def test_every_protocol_of_a_study_can_be_analysed() -> None:
    assert set(protocols.PROTOCOLS) == set(Study.Protocol.values)
    assert set(protocols.PROCEDURES) == set(Study.Procedure.values)


def test_a_table_that_does_not_say_is_side_by_side_with_constant_stimuli() -> None:
    trials = simulate(1, participants=2, trials=2)
    assert protocols.protocol_of(trials) is protocols.AFC
    assert not protocols.is_adaptive(trials)


@pytest.mark.parametrize("name", protocols.PROTOCOLS)
def test_a_table_names_its_protocol(name: str) -> None:
    trials = simulate(1, participants=2, trials=2).assign(protocol=name, procedure="adaptive")
    assert protocols.protocol_of(trials).name == name
    assert protocols.is_adaptive(trials)


def test_half_of_the_trials_of_yes_no_show_no_alteration() -> None:
    trials = simulate(1, participants=4, trials=4)
    shown = protocols.YES_NO.showing_the_alteration(trials)
    assert set(shown["clean_side"]) == {"right"}
    assert len(shown) < len(trials)
    assert len(protocols.ODDITY.showing_the_alteration(trials)) == len(trials)
