"""Simulated observers: known truth is known, the image-computable ones look, and bad files are refused."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import gaussian_filter

from study.desk.observers import (
    KnownTruth,
    SofterDetail,
    Truth,
    describe,
    fine_detail,
    load_population,
    population_from,
)


def truth(strength: float, side: str = "left", control: str = "", stimulus: str = "B1") -> Truth:
    return Truth(stimulus, "wanet", strength, control, side)


def png(image: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image.clip(0, 255).astype(np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def pair(left: bytes, right: bytes) -> dict[str, list[bytes]]:
    return {"left": [left], "right": [right]}


def texture(seed: int = 0) -> np.ndarray:
    return 128 + 300 * gaussian_filter(np.random.default_rng(seed).normal(0, 1, (32, 32)), 1)


def share_correct(population: KnownTruth | SofterDetail, trial: Truth, n: int = 2000) -> float:
    observer = population.draw(seed=3)
    return float(np.mean([observer.answer({}, trial).choice == trial.altered_side for _ in range(n)]))


# --- known truth


def test_at_the_threshold_half_of_the_way_from_guessing_to_the_ceiling_is_reached() -> None:
    population = KnownTruth(threshold=1.0, slope=2.0, lapse=0.04)
    assert population.probability_correct(truth(1.0)) == pytest.approx(0.5 + 0.46 / 2)


def test_identical_images_are_answered_at_chance() -> None:
    assert KnownTruth().probability_correct(truth(0.0)) == 0.5
    assert KnownTruth().probability_correct(truth(4.0, control="identity")) == 0.5


def test_a_gross_alteration_is_missed_only_by_lapsing() -> None:
    assert KnownTruth(lapse=0.03).probability_correct(truth(50.0)) == pytest.approx(0.97)


def test_each_attack_can_have_a_threshold_of_its_own() -> None:
    population = KnownTruth(threshold={"wanet": 1.0, "patch": 0.1})
    assert population.probability_correct(Truth("B1", "patch", 0.1, "", "left")) == pytest.approx(0.5 + 0.48 / 2)
    with pytest.raises(ValueError, match="no threshold for the attack 'sinusoidal'"):
        population.probability_correct(Truth("B1", "sinusoidal", 0.1, "", "left"))


def test_answers_follow_the_probability() -> None:
    population = KnownTruth()
    assert share_correct(population, truth(1.0)) == pytest.approx(population.probability_correct(truth(1.0)), abs=0.03)


def test_a_side_bias_helps_on_one_side_and_hurts_on_the_other() -> None:
    population = KnownTruth()
    left, right = (population.probability_correct(truth(1.0, side), bias=0.3) for side in ("left", "right"))
    assert left > population.probability_correct(truth(1.0)) > right


def test_the_same_seed_is_the_same_person_and_the_same_image_is_as_hard_for_everybody() -> None:
    population = KnownTruth(participant_sd=1.0, stimulus_sd=1.0)
    answers = [[population.draw(5).answer({}, truth(1.0)) for _ in range(1)] for _ in range(2)]
    assert answers[0] == answers[1]
    assert population.probability_correct(truth(1.0)) == population.probability_correct(truth(1.0))
    assert population.probability_correct(truth(1.0)) != population.probability_correct(truth(1.0, stimulus="B2"))


# --- image-computable


def test_the_softer_image_is_chosen_on_either_side() -> None:
    sharp, soft = png(texture()), png(gaussian_filter(texture(), 0.6))
    observer = SofterDetail(noise=0.0, lapse=0.0).draw(1)
    assert observer.answer(pair(soft, sharp), truth(1.0)).choice == "left"
    assert observer.answer(pair(sharp, soft), truth(1.0)).choice == "right"


def test_swapped_images_swap_the_answers_even_though_the_truth_says_otherwise() -> None:
    sharp, soft = png(texture()), png(gaussian_filter(texture(), 0.6))
    observer = SofterDetail(noise=0.0, lapse=0.0).draw(1)
    assert observer.answer(pair(sharp, soft), truth(1.0, side="left")).choice == "right"


def test_of_two_pictures_on_each_side_the_side_is_chosen_that_has_two_different_ones() -> None:
    sharp, soft = png(texture()), png(gaussian_filter(texture(), 0.6))
    observer = SofterDetail(noise=0.0, lapse=0.0).draw(1)
    for different in ([sharp, soft], [soft, sharp]):
        assert observer.answer({"left": different, "right": [sharp, sharp]}, truth(1.0)).choice == "left"
        assert observer.answer({"left": [soft, soft], "right": different}, truth(1.0)).choice == "right"


def test_a_single_picture_is_called_altered_when_it_is_softer_than_those_before() -> None:
    sharp, soft = png(texture()), png(gaussian_filter(texture(), 0.6))
    observer = SofterDetail(noise=0.0, lapse=0.0).draw(1)
    choices = [observer.answer({"left": [image]}, truth(1.0)).choice for image in (sharp, soft, sharp, soft)]
    assert choices[1:] == ["left", "right", "left"]


def test_identical_images_are_a_guess() -> None:
    image = png(texture())
    observer = SofterDetail().draw(1)
    share = np.mean([observer.answer(pair(image, image), truth(0.0)).choice == "left" for _ in range(400)])
    assert share == pytest.approx(0.5, abs=0.1)


def test_a_blank_image_is_noticed() -> None:
    with pytest.raises(ValueError, match="is blank"):
        SofterDetail().draw(1).answer(pair(png(np.full((32, 32), 128)), png(texture())), truth(1.0))


def test_images_of_different_sizes_are_noticed() -> None:
    with pytest.raises(ValueError, match="differ in size"):
        SofterDetail().draw(1).answer(pair(png(texture()[:16]), png(texture())), truth(1.0))


def test_a_broken_image_is_noticed() -> None:
    with pytest.raises(ValueError, match="cannot be decoded"):
        SofterDetail().draw(1).answer(pair(png(texture())[:40], png(texture())), truth(1.0))


def test_blurring_takes_fine_detail_away() -> None:
    assert fine_detail(gaussian_filter(texture(), 1), 0.5) < 0.8 * fine_detail(texture(), 0.5)


# --- files


@pytest.mark.parametrize("population", [KnownTruth(threshold=0.7, slope=3.0), SofterDetail(noise=0.2)])
def test_a_population_survives_the_way_to_json_and_back(population: KnownTruth | SofterDetail) -> None:
    assert population_from(json.loads(json.dumps(describe(population)))) == population


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("not json", "Expecting value"),
        ("[]", '"kind" one of known_truth, softer_detail'),
        ('{"kind": "oracle"}', '"kind" one of known_truth, softer_detail'),
        ('{"kind": "known_truth", "treshold": 1}', "no parameter treshold; it has threshold"),
        ('{"kind": "known_truth", "threshold": -1}', "threshold must be a number > 0"),
        ('{"kind": "known_truth", "lapse": 0.9}', "lapse must be between 0 and .5"),
    ],
)
def test_a_bad_observer_file_is_refused_with_its_name(tmp_path: Path, content: str, complaint: str) -> None:
    path = tmp_path / "observer.json"
    path.write_text(content)
    with pytest.raises(ValueError, match=r"observer\.json") as refusal:
        load_population(path)
    assert complaint in str(refusal.value)


def test_a_missing_observer_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"nowhere\.json"):
        load_population(tmp_path / "nowhere.json")
