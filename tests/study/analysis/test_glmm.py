import time

import numpy as np
import pytest
from scipy import stats

from study.analysis import glmm
from study.analysis.frames import codes

COEFFICIENTS = {
    "logit_all": ("(Intercept)", "strength", "attackwanet", "error_shift_deg"),
    "mafc_logit_spos_log2": ("(Intercept)", "log2s", "attackwanet"),
    "mafc_cloglog_spos_log": ("(Intercept)", "logs", "attackwanet"),
    "mafc_logit_spos_log2_shift": ("(Intercept)", "log2s", "attackwanet", "error_shift_deg"),
}
SETTINGS = {
    "logit_all": {},
    "mafc_logit_spos_log2": {"guess": 0.5},
    "mafc_cloglog_spos_log": {"guess": 0.5, "link": "cloglog"},
    "mafc_logit_spos_log2_shift": {"guess": 0.5},
}
#: Of coefficients, standard errors, SDs and log likelihood.
TOLERANCES = {"logit_all": (1e-3, 2e-3, 1e-3, 1e-2)} | dict.fromkeys(
    ("mafc_logit_spos_log2", "mafc_cloglog_spos_log", "mafc_logit_spos_log2_shift"), (5e-3, 1e-2, 5e-3, 1e-2)
)
PSYCHOMETRIC = ("Intercept", "log2_strength", "wanet", "log2_strength:wanet", "side")


def predictors(trials) -> dict[str, np.ndarray]:
    with np.errstate(divide="ignore"):
        return {
            "(Intercept)": np.ones(len(trials)),
            "strength": trials["strength"].to_numpy(float),
            "log2s": np.log2(trials["strength"].to_numpy(float)),
            "logs": np.log(trials["strength"].to_numpy(float)),
            "attackwanet": (trials["attack"] == "wanet").to_numpy(float),
            "error_shift_deg": trials["error_shift_deg"].to_numpy(float),
        }


def fitted(trials, names, **settings) -> glmm.Fit:
    columns = predictors(trials)
    x = np.column_stack([columns[name] for name in names])
    factors = {name: codes(trials[name]) for name in ("participant", "stimulus")}
    return glmm.fit(x, names, trials["correct"], 1, factors, **settings)


def golden_fit(name, main, **settings) -> glmm.Fit:
    trials = main if name == "logit_all" else main[main["strength"] > 0]
    return fitted(trials, COEFFICIENTS[name], **SETTINGS[name], **settings)


class Study:
    """A simulated study with a Weibull psychometric function, half of F at strength 1 (x = 0)."""

    def __init__(self, seed: int, people: int = 40, trials: int = 48, images: int = 30, **spread: float) -> None:
        rng = np.random.default_rng(seed)
        self.participant = np.repeat(np.arange(people), trials)
        self.stimulus = np.concatenate([rng.permutation(np.arange(trials) % images) for _ in range(people)])
        condition = np.tile(np.arange(trials) % 8, people)
        wanet, side = condition % 2.0, rng.choice([-0.5, 0.5], people * trials)
        log2 = np.log2(np.array([0.25, 0.5, 1.0, 2.0]))[condition // 2]
        self.x = np.column_stack([np.ones(people * trials), log2, wanet, wanet * log2, side])
        self.truth = np.array([-0.37, 1.1, -0.7, 0.1, 0.2])
        self.people = rng.normal(0, spread.get("participant", 0.5), people)
        self.images = rng.normal(0, spread.get("stimulus", 0.4), images)
        self.slopes = rng.normal(0, spread.get("slope", 0.0), people)
        eta = self.x @ self.truth + self.people[self.participant] + self.images[self.stimulus]
        eta += log2 * self.slopes[self.participant]
        self.lapse = 0.03
        chance = 0.5 + (0.5 - self.lapse) * -np.expm1(-np.exp(eta))
        self.correct = (rng.random(len(eta)) < chance).astype(float)
        self.catch = glmm.Catch(int(rng.binomial(8 * people, 1 - self.lapse)), 8 * people)

    @property
    def factors(self) -> dict[str, np.ndarray]:
        return {"participant": self.participant, "stimulus": self.stimulus}

    def fit(self, correct=None, **settings) -> glmm.Fit:
        answers = self.correct if correct is None else correct
        settings = {"guess": 0.5, "link": "cloglog", "catch": self.catch} | settings
        return glmm.fit(self.x, PSYCHOMETRIC, answers, 1, self.factors, **settings)


@pytest.fixture(scope="module")
def study() -> Study:
    return Study(3)


@pytest.fixture(scope="module")
def found(study) -> glmm.Fit:
    return study.fit()


# Goldens


@pytest.mark.parametrize("name", COEFFICIENTS)
def test_the_crossed_model_agrees_with_lme4(golden, golden_main, name) -> None:
    target, of = golden["glmer"][name], golden_fit(name, golden_main)
    coefficient, error, sd, likelihood = TOLERANCES[name]
    assert of.converged
    assert dict(zip(of.names, of.coefficients, strict=True)) == pytest.approx(target["coef"], abs=coefficient)
    assert dict(zip(of.names, of.se, strict=True)) == pytest.approx(target["se"], abs=error)
    assert dict(of.sds) == pytest.approx(target["sd_random"], abs=sd)
    assert of.log_likelihood == pytest.approx(target["logLik"], abs=likelihood)


@pytest.mark.parametrize("information", ["expected", "observed"])
@pytest.mark.parametrize("name", COEFFICIENTS)
def test_both_kinds_of_information_agree_with_an_independent_laplace(golden, golden_main, name, information) -> None:
    target = golden["laplace_numpy"][information][name]
    of = golden_fit(name, golden_main, information=information)
    order = list(golden["glmer"][name]["coef"])
    rows = of.table()
    assert of.information == information
    assert [rows[term]["estimate"] for term in order] == pytest.approx(target["coef"], abs=1e-5)
    assert [rows[term]["se"] for term in order] == pytest.approx(target["se"], abs=1e-4)
    assert of.sds == pytest.approx(
        {"participant": target["sd_participant"], "stimulus": target["sd_stimulus"]}, abs=1e-5
    )
    assert of.log_likelihood == pytest.approx(target["logLik"], abs=1e-6)


def test_the_likelihood_ratio_of_the_error_shift_agrees_with_lme4(golden, golden_main) -> None:
    target = golden["glmer"]["lrt_error_shift_mafc"]
    with_shift = golden_fit("mafc_logit_spos_log2_shift", golden_main)
    chisq = 2 * (with_shift.log_likelihood - golden_fit("mafc_logit_spos_log2", golden_main).log_likelihood)
    assert chisq == pytest.approx(target["chisq"], abs=1e-3)
    assert stats.chi2.sf(chisq, 1) == pytest.approx(target["p"], abs=1e-3)


def test_the_median_persons_threshold_agrees_with_the_golden_one(golden, golden_main) -> None:
    of = golden_fit("mafc_logit_spos_log2", golden_main)
    for attack, wanet in (("badnets", 0), ("wanet", 1)):
        target = golden["glmer"]["threshold75_from_mafc_logit"][attack]
        threshold = of.threshold([1, 0, wanet], [0, 1, 0], 0.75)
        assert threshold.se == pytest.approx(target["se_log2"], rel=0.02)
        ends = [2**end for end in (threshold.position, threshold.low, threshold.high)]
        assert ends == pytest.approx([target["strength"], *target["ci95"]], rel=0.02)


@pytest.mark.parametrize("lapse", ["0.0", "0.01", "0.02", "0.03", "0.05"])
def test_the_profile_over_the_lapse_rate_agrees_with_the_golden_one(golden, golden_main, lapse) -> None:
    target = golden["lapse_profile_mafc_cloglog_after_exclusion"][lapse]
    kept = golden_main[~golden_main["participant"].isin(["P08", "P29"]) & (golden_main["strength"] > 0)]
    names = COEFFICIENTS["mafc_cloglog_spos_log"]
    of = fitted(kept, names, link="cloglog", guess=0.5, lapse=float(lapse))
    assert of.coefficients == pytest.approx(target["coef"], abs=1e-3)
    assert of.se == pytest.approx(target["se"], abs=1e-3)
    assert of.sds == pytest.approx({"participant": target["sd_p"], "stimulus": target["sd_s"]}, abs=1e-3)
    assert of.log_likelihood == pytest.approx(target["logLik"], abs=1e-3)
    for attack, wanet in (("badnets", 0), ("wanet", 1)):
        position = of.threshold([1, 0, wanet], [0, 1, 0], 0.75).position
        assert np.exp(position) == pytest.approx(target["threshold75_scaled"][attack], abs=1e-3)


# Properties of the likelihood


def test_row_order_changes_nothing(study, found) -> None:
    order = np.random.default_rng(5).permutation(len(study.correct))
    factors = {name: levels[order] for name, levels in study.factors.items()}
    again = glmm.fit(
        study.x[order], PSYCHOMETRIC, study.correct[order], 1, factors, link="cloglog", guess=0.5, catch=study.catch
    )
    np.testing.assert_array_equal(again.coefficients, found.coefficients)
    np.testing.assert_array_equal(again.joint, found.joint)


def test_counts_give_what_single_trials_give(study, found) -> None:
    double = np.concatenate([study.correct, 1 - study.correct])
    x, factors = np.tile(study.x, (2, 1)), {name: np.tile(levels, 2) for name, levels in study.factors.items()}
    settings = {"link": "cloglog", "guess": 0.5, "catch": study.catch}
    single = glmm.fit(x, PSYCHOMETRIC, double * (np.arange(len(double)) % 3 > 0), 1, factors, **settings)
    kept = (double * (np.arange(len(double)) % 3 > 0)).reshape(2, -1).sum(axis=0)
    counted = glmm.fit(study.x, PSYCHOMETRIC, kept, 2, study.factors, **settings)
    np.testing.assert_allclose(counted.coefficients, single.coefficients, atol=1e-9)
    assert counted.log_likelihood == pytest.approx(single.log_likelihood, abs=1e-8)


def test_it_does_not_matter_which_factor_is_on_the_block_diagonal(study, found) -> None:
    swapped = glmm.fit(
        study.x,
        PSYCHOMETRIC,
        study.correct,
        1,
        {"stimulus": study.stimulus, "participant": study.participant},
        link="cloglog",
        guess=0.5,
        catch=study.catch,
    )
    np.testing.assert_allclose(swapped.coefficients, found.coefficients, atol=1e-6)
    np.testing.assert_allclose(swapped.se, found.se, rtol=1e-3)
    np.testing.assert_allclose(swapped.modes["stimulus"].mode, found.modes["stimulus"].mode, atol=1e-6)
    np.testing.assert_allclose(swapped.modes["stimulus"].sd, found.modes["stimulus"].sd, atol=1e-6)


def test_a_lapse_rate_held_where_it_was_estimated_gives_the_same_curve(study, found) -> None:
    rate, catch = found.lapse.rate, study.catch
    held = study.fit(catch=None, lapse=rate)
    of_catch = catch.correct * np.log1p(-rate) + (catch.n - catch.correct) * np.log(rate)
    assert held.log_likelihood + of_catch == pytest.approx(found.log_likelihood, abs=1e-6)
    np.testing.assert_allclose(held.coefficients, found.coefficients, atol=1e-4)


@pytest.mark.parametrize("aside", [-0.004, 0.004])
def test_the_estimated_lapse_rate_is_the_most_likely_one(study, found, aside) -> None:
    rate, catch = found.lapse.rate + aside, study.catch
    of_catch = catch.correct * np.log1p(-rate) + (catch.n - catch.correct) * np.log(rate)
    assert study.fit(catch=None, lapse=rate).log_likelihood + of_catch < found.log_likelihood


def test_the_lapse_rate_has_an_interval_around_it_within_what_is_possible(found) -> None:
    assert 0 < found.lapse.low < found.lapse.rate < found.lapse.high < 0.2


def test_catch_trials_without_an_error_leave_the_lapse_rate_an_interval_from_0(study) -> None:
    lapse = study.fit(catch=glmm.Catch(4000, 4000)).lapse
    assert lapse.low == 0
    assert lapse.rate < lapse.high < 0.01


@pytest.fixture(scope="module")
def fits() -> list[glmm.Fit]:
    """Of sixty studies alike."""
    return [Study(seed).fit() for seed in range(60)]


def test_standard_errors_are_those_of_repeated_studies(fits) -> None:
    estimates = np.array([of.coefficients for of in fits])
    errors = np.mean([of.se for of in fits], axis=0)
    np.testing.assert_allclose(estimates.std(axis=0, ddof=1), errors, rtol=0.35)


@pytest.mark.parametrize("wanet", [0, 1])
def test_intervals_of_the_threshold_hold_the_truth_in_most_studies(fits, wanet) -> None:
    intercept, slope = np.array([1, 0, wanet, 0, 0]), np.array([0, 1, 0, wanet, 0])
    truth = Study(0).truth
    at = (np.log(np.log(2)) - intercept @ truth) / (slope @ truth)
    found = [of.threshold(intercept, slope, df=of.df) for of in fits]
    assert np.mean([one.low < at < one.high for one in found]) >= 0.85


# Random effects


def test_modes_find_who_sees_more_and_which_image_gives_it_away(study, found) -> None:
    for name, truth in (("participant", study.people), ("stimulus", study.images)):
        of = found.modes[name]
        assert np.corrcoef(of.mode, truth)[0, 1] > 0.6
        assert (of.sd > 0).all()
        assert (of.sd < found.sds[name]).all()
        assert np.mean(np.abs(of.mode - truth) < 2.5 * of.sd) > 0.85


def test_a_third_factor_and_varying_slopes_are_found() -> None:
    study = Study(1, people=150, slope=0.5, participant=0.6)
    rng = np.random.default_rng(2)
    field = rng.integers(0, 6, len(study.correct))
    log2 = study.x[:, 1]
    eta = study.x @ study.truth + study.people[study.participant] + study.images[study.stimulus]
    eta += log2 * study.slopes[study.participant] + rng.normal(0, 0.5, 6)[field]
    correct = rng.random(len(eta)) < 0.5 + 0.47 * -np.expm1(-np.exp(eta))
    of = glmm.fit(
        study.x,
        PSYCHOMETRIC,
        correct,
        1,
        study.factors | {"field": field},
        slopes=["log2_strength"],
        link="cloglog",
        guess=0.5,
        lapse=0.03,
    )
    assert list(of.sds) == ["participant", "participant:log2_strength", "stimulus", "field"]
    assert of.sds["participant:log2_strength"] == pytest.approx(0.5, abs=0.2)
    assert 0.2 < of.sds["field"] < 1
    assert {name: len(effects.mode) for name, effects in of.modes.items()} == {
        "participant": 150, "participant:log2_strength": 150, "stimulus": 30, "field": 6
    }  # fmt: skip


def test_a_spread_that_is_not_there_is_0_and_named() -> None:
    rng = np.random.default_rng(4)
    answers = np.concatenate([rng.permutation(np.arange(50) < 40) for _ in range(20)])
    factors = {"participant": np.repeat(np.arange(20), 50), "stimulus": np.tile(np.arange(10), 100)}
    of = glmm.fit(np.ones((1000, 1)), ["Intercept"], answers, 1, factors)
    assert of.converged
    assert of.sds["participant"] == 0
    assert "participant" in of.diagnostics.boundary
    assert any("participant" in note for note in of.diagnostics.notes)


# What a fit tells


def test_the_marginal_curve_is_the_mean_over_people_and_images(found) -> None:
    rng = np.random.default_rng(6)
    x = np.array([[1, -1, 0, 0, 0], [1, 0.5, 1, 0.5, 0.5]], dtype=float)
    total = np.hypot(*found.sds.values())
    eta = (x @ found.coefficients)[:, None] + total * rng.normal(size=400_000)
    mean = 0.5 + (0.5 - found.lapse.rate) * -np.expm1(-np.exp(eta)).mean(axis=1)
    pc, low, high = found.marginal(x)
    np.testing.assert_allclose(pc, mean, atol=1e-3)
    assert (low < pc).all()
    assert (pc < high).all()


def test_the_marginal_curve_is_shallower_than_the_median_persons(found) -> None:
    x = np.array([[1, -2, 0, 0, 0], [1, 1, 0, 0, 0]], dtype=float)
    pc, median = found.marginal(x)[0], found.proportion_correct(x)
    assert np.diff(pc) < np.diff(median)


def test_marginal_intervals_stay_between_the_guess_rate_and_1(found) -> None:
    _, low, high = found.marginal(np.array([[1, -8, 0, 0, 0], [1, 6, 0, 0, 0]], dtype=float))
    assert (low >= 0.5).all()
    assert (high <= 1).all()


def test_where_everybody_sees_it_the_marginal_interval_is_that_of_the_lapse_rate(found) -> None:
    pc, low, high = found.marginal(np.array([[1, 12, 0, 0, 0]], dtype=float))
    assert pc[0] == pytest.approx(1 - found.lapse.rate, abs=1e-3)
    assert [1 - high[0], 1 - low[0]] == pytest.approx([found.lapse.low, found.lapse.high], abs=5e-3)


@pytest.mark.parametrize("pc", [0.75, 0.9])
def test_the_curve_reaches_the_level_at_its_threshold(found, pc) -> None:
    at = found.threshold([1, 0, 1, 0, 0], [0, 1, 0, 1, 0], pc).position
    assert found.proportion_correct([[1, at, 1, at, 0]]) == pytest.approx(pc)


def test_half_of_f_lies_half_way_between_the_guess_rate_and_the_lapse_rate(found) -> None:
    at = found.threshold([1, 0, 0, 0, 0], [0, 1, 0, 0, 0]).position
    assert found.proportion_correct([[1, at, 0, 0, 0]]) == pytest.approx((0.5 + 1 - found.lapse.rate) / 2)


def test_a_level_above_the_lapse_rate_has_no_threshold(found) -> None:
    threshold = found.threshold([1, 0, 0, 0, 0], [0, 1, 0, 0, 0], 0.99)
    assert threshold.position is None
    assert "never reaches" in threshold.reason


def test_a_falling_curve_has_no_threshold(found) -> None:
    threshold = found.threshold([1, 0, 0, 0, 0], [0, -1, 0, 0, 0])
    assert threshold.position is None
    assert "does not rise" in threshold.reason


def test_t_intervals_are_wider_than_normal_ones(found) -> None:
    assert found.df == 29
    normal, t = (found.table(df=df)["side"] for df in (np.inf, found.df))
    assert (t["low"], t["p"]) < (normal["low"], 1)
    assert t["p"] > normal["p"]


def test_a_regular_fit_says_that_it_is_one(found) -> None:
    checks = found.diagnostics
    assert checks.gradient < glmm.GRADIENT_LIMIT
    assert checks.se_ratio > 0.9
    assert checks.condition > 1
    assert checks.boundary == ()
    assert checks.notes == ()


def test_standard_errors_far_below_those_without_random_effects_are_marked(golden, golden_main, monkeypatch) -> None:
    monkeypatch.setattr(glmm, "SE_RATIO_LIMIT", 5.0)
    notes = golden_fit("mafc_logit_spos_log2", golden_main).diagnostics.notes
    assert any("do not trust" in note for note in notes)


# What cannot be fitted


@pytest.mark.parametrize("information", ["expected", "observed"])
@pytest.mark.parametrize("link", ["logit", "probit", "cloglog"])
@pytest.mark.parametrize("seed", range(3))
def test_answers_at_chance_give_a_reason_and_no_number(study, link, information, seed) -> None:
    guesses = np.random.default_rng(seed).integers(0, 2, len(study.correct))
    of = study.fit(guesses, link=link, information=information)
    assert not of.converged
    assert "chance" in of.reason
    assert of.coefficients.size == 0
    assert of.log_likelihood is None


def test_an_attack_that_everybody_sees_gives_a_reason(study) -> None:
    of = study.fit(np.where(study.x[:, 2] == 1, 1.0, study.correct), catch=None)
    assert "runs away" in of.reason


def test_answers_that_a_predictor_separates_give_a_reason(study) -> None:
    of = study.fit(study.x[:, 1] >= 0, catch=None, guess=0.0, link="logit")
    assert "separate" in of.reason


@pytest.mark.parametrize(
    ("keep", "answers", "reason"),
    [
        ("all", 1.0, "all answers are alike"),
        ("one participant", None, "one participant only"),
        ("one stimulus", None, "one stimulus only"),
        ("one strength", None, "do not vary independently"),
    ],
)
def test_a_study_too_poor_for_the_model_gives_a_reason(study, keep, answers, reason) -> None:
    kept = {
        "all": slice(None),
        "one participant": study.participant == 0,
        "one stimulus": study.stimulus == 0,
        "one strength": study.x[:, 1] == 0,
    }[keep]
    factors = {name: np.unique(levels[kept], return_inverse=True)[1] for name, levels in study.factors.items()}
    correct = np.full(len(study.correct), answers) if answers else study.correct
    of = glmm.fit(study.x[kept], PSYCHOMETRIC, correct[kept], 1, factors, guess=0.5)
    assert not of.converged
    assert reason in of.reason


@pytest.mark.parametrize(
    ("setting", "value"), [("link", "cauchit"), ("information", "none"), ("slopes", ["no such column"])]
)
def test_settings_that_are_not_known_are_refused(study, setting, value) -> None:
    with pytest.raises(ValueError, match="is none of"):
        study.fit(**{setting: value})


# Speed


def test_a_usual_study_is_fitted_in_a_fraction_of_a_second(study) -> None:
    start = time.process_time()
    study.fit()
    assert time.process_time() - start < 0.5


def test_four_thousand_people_are_fitted_in_seconds() -> None:
    large = Study(1, people=4000, trials=60)
    start = time.process_time()
    of = large.fit()
    assert time.process_time() - start < 15
    assert of.converged
    assert of.sds["participant"] == pytest.approx(0.5, abs=0.1)
