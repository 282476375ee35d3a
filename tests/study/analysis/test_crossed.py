import math
from dataclasses import replace

import numpy as np
import pytest

from study.analysis import crossed, frames, glmm
from study.analysis.likelihood import DEFAULT_LAPSE
from study.analysis.protocols import NO_GUESS_RATE
from tests.study.analysis.observers import simulate


@pytest.fixture(scope="module")
def golden_study(golden_trials) -> crossed.Study:
    return crossed.Study(frames.main_trials(golden_trials), frames.catch_trials(golden_trials))


@pytest.fixture(scope="module")
def headline(golden_study) -> crossed.Model:
    return golden_study.fit(crossed.HEADLINE)


@pytest.fixture(scope="module")
def table():
    """One attack whose F is one half at strength 1 for the median person."""
    return simulate(2, participants=60, participant_sd=0.3, stimulus_sd=0.2, threshold=1.0, slope=1.6)


def study_of(table, **columns) -> crossed.Study:
    main = frames.main_trials(table)
    return crossed.Study(main.assign(**columns), frames.catch_trials(table))


def test_the_headline_has_a_slope_per_attack_and_the_side(golden_study, headline) -> None:
    assert headline.names == (
        "Intercept", "log2_strength", "attack[T.wanet]", "log2_strength:attack[T.wanet]", "side"
    )  # fmt: skip
    assert headline.formula(golden_study.factors) == (
        "correct ~ log2(strength) * attack + side + (1|participant) + (1|stimulus)"
    )


def test_the_headline_says_where_its_lapse_rate_comes_from(golden_study, headline) -> None:
    row = crossed.described(golden_study, headline, 0.95)
    assert row["lapse_source"] == "estimated together with 160 catch trials"
    assert row["lapse_low"] < row["lapse"] < row["lapse_high"]
    assert (row["link"], row["information"], row["df"]) == ("cloglog", "expected", 29)


def test_the_headline_uses_t_and_the_companion_the_normal_distribution(golden_study, headline) -> None:
    assert crossed.degrees_of_freedom(headline) == 29
    companion = golden_study.fit(crossed.COMPANION)
    assert crossed.degrees_of_freedom(companion) == math.inf
    assert crossed.described(golden_study, companion, 0.95)["df"] is None


def test_without_catch_trials_the_lapse_rate_is_fixed_and_a_note_says_so(golden_trials) -> None:
    study = crossed.Study(frames.main_trials(golden_trials), frames.catch_trials(golden_trials)[:0])
    row = crossed.described(study, study.fit(crossed.HEADLINE), 0.95)
    assert row["lapse"] == DEFAULT_LAPSE
    assert row["lapse_low"] is None
    assert "no catch trials" in row["lapse_source"]
    assert any("no catch trials" in note for note in row["diagnostics"]["notes"])


def test_the_threshold_of_a_known_observer_is_found(table) -> None:
    study = study_of(table)
    half, at_75 = crossed.threshold_rows(study, study.fit(crossed.HEADLINE), 0.95)
    assert half["threshold"] == pytest.approx(1.0, rel=0.2)
    assert half["low"] < half["threshold"] < half["high"]
    assert half["threshold"] < at_75["threshold"]
    assert half["slope"] == pytest.approx(1.6, abs=0.5)
    assert half["level_of_pc"] == pytest.approx(0.75 - half["lapse"] / 2)
    assert at_75["level_of_pc"] == 0.75


def test_altered_images_on_the_right_being_seen_better_is_a_positive_side(table) -> None:
    right = table["clean_side"] == "left"
    rng = np.random.default_rng(3)
    better = table.assign(correct=np.where(right & (rng.random(len(table)) < 0.5), 1, table["correct"]))
    model = study_of(better).fit(crossed.HEADLINE)
    assert model.fit.table()["side"]["low"] > 0


def test_swapping_left_and_right_turns_the_side_around_and_nothing_else(table) -> None:
    other = {"left": "right", "right": "left"}
    swapped = study_of(table, clean_side=table.loc[frames.main_trials(table).index, "clean_side"].map(other))
    one, two = (study.fit(crossed.HEADLINE).fit.table() for study in (study_of(table), swapped))
    assert two["side"]["estimate"] == pytest.approx(-one["side"]["estimate"], abs=1e-6)
    for name in ("Intercept", "log2_strength"):
        assert two[name]["estimate"] == pytest.approx(one[name]["estimate"], abs=1e-6)


def test_a_side_that_never_changes_is_left_out_with_a_note(table) -> None:
    study = study_of(table, clean_side="left")
    model = study.fit(crossed.HEADLINE)
    assert "side" not in model.names
    assert "side" not in model.formula(study.factors)
    assert "always on the same" in model.note


def test_attacks_with_one_strength_share_the_slope_with_a_note(golden_trials) -> None:
    main = frames.main_trials(golden_trials)
    kept = main[(main["attack"] == "badnets") | (main["strength"] == 1)]
    study = crossed.Study(kept, frames.catch_trials(golden_trials))
    model = study.fit(crossed.HEADLINE)
    assert "log2(strength) + attack" in model.formula(study.factors)
    assert "one strength only of wanet" in model.note
    assert model.fit.converged


def test_several_fields_within_an_attack_are_a_random_effect(table) -> None:
    fields = np.array(list("abcde"))[np.arange(len(frames.main_trials(table))) % 5]
    study = study_of(table, field=fields, model="one")
    assert list(study.factors) == ["participant", "stimulus", "field"]
    row = crossed.described(study, study.fit(crossed.HEADLINE), 0.95)
    assert row["sd"].keys() == {"participant", "stimulus", "field"}
    assert row["formula"].endswith("(1|field)")
    assert row["df"] == 4


def test_a_few_fields_are_no_random_effect(table) -> None:
    fields = np.array(list("abcd"))[np.arange(len(frames.main_trials(table))) % 4]
    assert list(study_of(table, field=fields).factors) == ["participant", "stimulus"]


def test_models_stand_for_the_fields_that_each_of_them_has_of_its_own(table) -> None:
    names = np.array(list("abcde"))[np.arange(len(frames.main_trials(table))) % 5]
    assert list(study_of(table, field=names, model=np.char.add("m", names)).factors)[2:] == ["model"]


def test_rows_that_do_not_name_their_model_are_no_model(table) -> None:
    names = np.array(["", *"abcde"])[np.arange(len(frames.main_trials(table))) % 6]
    assert list(study_of(table, model=names).factors) == ["participant", "stimulus"]


def test_answers_about_single_images_have_no_curve_of_a_choice(table) -> None:
    study = study_of(table, protocol="yes_no")
    assert {study.fit(terms).fit.reason for terms in (crossed.HEADLINE, crossed.COMPANION)} == {NO_GUESS_RATE}


def test_one_field_per_attack_is_the_attacks_own_effect(golden_trials) -> None:
    main = frames.main_trials(golden_trials)
    study = crossed.Study(main.assign(field=main["attack"]), frames.catch_trials(golden_trials))
    assert list(study.factors) == ["participant", "stimulus"]


def test_a_threshold_beyond_the_strengths_tested_is_called_an_extrapolation(table) -> None:
    study = study_of(table[(table["strength"] < 1) | (table["is_catch"] == 1)])
    notes = [row["note"] for row in crossed.threshold_rows(study, study.fit(crossed.HEADLINE), 0.95)]
    assert all("outside the tested strengths" in note for note in notes)


def test_the_marginal_curve_is_given_at_every_strength_shown(golden_study, headline) -> None:
    found = crossed.marginal(golden_study, headline, 0.95)
    assert found.keys() == {(attack, s) for attack in ("badnets", "wanet") for s in (0.25, 0.5, 1.0, 2.0)}
    for row in found.values():
        assert 0.5 <= row["glmm_marginal_low"] < row["glmm_marginal_pc"] < row["glmm_marginal_high"] < 1


def test_the_marginal_curve_lies_near_the_proportions_it_describes(golden_study, headline) -> None:
    shares = golden_study.trials.groupby(["attack", "strength"])["correct"].mean()
    for place, row in crossed.marginal(golden_study, headline, 0.95).items():
        assert row["glmm_marginal_pc"] == pytest.approx(shares[place], abs=0.06)


def test_modes_carry_names_and_conditional_spreads(golden_study, headline) -> None:
    modes = crossed.modes(golden_study, headline)
    assert [row["name"] for row in modes["stimulus"]] == [f"S{i:02d}" for i in range(1, 31)]
    assert {row["name"] for row in sorted(modes["participant"], key=lambda row: row["mode"])[:3]} & {"P08", "P29"}
    assert all(row["sd"] > 0 for row in modes["participant"])


def test_the_median_persons_curve_passes_through_the_thresholds(golden_study, headline) -> None:
    curves = crossed.median_person(golden_study, headline)
    for row in crossed.threshold_rows(golden_study, headline, 0.95):
        curve = curves[row["attack"]]
        f = -math.expm1(-math.exp(curve["intercept"] + curve["slope"] * math.log2(row["threshold"])))
        assert 0.5 + (0.5 - curve["lapse"]) * f == pytest.approx(row["level_of_pc"])


def test_the_sensitivity_rows_vary_link_lapse_information_and_terms(golden_study, headline) -> None:
    companion = golden_study.fit(crossed.COMPANION)
    rows = list(crossed.sensitivity(golden_study, headline, companion, 0.95))
    assert len(rows) == 2 * len(crossed.VARIANTS)
    assert {row["link"] for row in rows} == {"logit", "probit", "cloglog"}
    assert {row["information"] for row in rows} == {"expected", "observed"}
    assert {0.0, 0.02, 0.05, headline.fit.lapse.rate} <= {row["lapse"] for row in rows}
    assert {row["level"] for row in rows} == {"PC .75"}
    assert all(row["threshold"] is not None or row["note"] for row in rows)


def test_a_model_of_the_same_terms_is_not_fitted_again(golden_study, headline, monkeypatch) -> None:
    seen = []

    def noted(self: crossed.Study, terms: crossed.Terms) -> crossed.Model:
        seen.append(terms)
        return replace(headline, terms=terms)

    monkeypatch.setattr(crossed.Study, "fit", noted)
    list(crossed.sensitivity(golden_study, headline, replace(headline, terms=crossed.COMPANION), 0.95))
    assert len(seen) == len(crossed.VARIANTS) - 2


@pytest.mark.parametrize(
    ("strengths", "reason"), [((1.0,), "one strength above 0 only"), ((0.0,), "no strength above 0")]
)
def test_too_few_strengths_give_a_reason(golden_trials, strengths, reason) -> None:
    main = frames.main_trials(golden_trials)
    study = crossed.Study(main[main["strength"].isin(strengths)], frames.catch_trials(golden_trials))
    row = crossed.described(study, study.fit(crossed.HEADLINE), 0.95)
    assert not row["converged"]
    assert reason in row["reason"]
    assert (row["coefficients"], row["sd"], row["log_likelihood"], row["lapse"]) == ({}, {}, None, None)


def test_a_model_that_was_not_fitted_gives_rows_with_its_reason(golden_study) -> None:
    failed = glmm.Fit(("Intercept",), "cloglog", 0.5, "expected", glmm.Lapse(0.0, None, None), False, "why", 0)
    model = crossed.Model(crossed.HEADLINE, ("Intercept",), failed, None)
    rows = crossed.threshold_rows(golden_study, model, 0.95)
    assert [(row["threshold"], row["low"], row["note"]) for row in rows] == [(None, None, "why")] * 4
    assert crossed.marginal(golden_study, model, 0.95) == {}
    assert crossed.modes(golden_study, model) == {}
    assert crossed.median_person(golden_study, model) == {}
