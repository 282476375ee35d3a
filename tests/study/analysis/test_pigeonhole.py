import numpy as np
import pytest

from study.analysis.pigeonhole import Answers, weights


def answers(seed=0, trials=200):
    rng = np.random.default_rng(seed)
    size = (7, 5, 3)
    participant, stimulus, condition = (rng.integers(0, units, trials) for units in size)
    return Answers(participant, stimulus, condition, rng.integers(0, 2, trials).astype(float), size)


def test_weights_count_as_many_draws_as_there_are_units() -> None:
    drawn = weights(np.random.default_rng(1), 12, 500)
    assert (drawn.sum(1) == 12).all()
    assert drawn.mean(0) == pytest.approx(np.ones(12), abs=0.2)
    assert drawn.var() == pytest.approx(11 / 12, abs=0.05)


def test_each_answer_weighs_by_the_product_of_its_persons_and_its_images_weight() -> None:
    data, rng = answers(), np.random.default_rng(2)
    people, images = weights(rng, 7, 4), weights(rng, 5, 4)
    n, right = data.resampled(people, images)
    for draw in range(4):
        weight = people[draw, data.participant] * images[draw, data.stimulus]
        assert n[draw].tolist() == np.bincount(data.condition, weight).tolist()
        assert right[draw].tolist() == np.bincount(data.condition, weight * data.correct).tolist()


def test_equal_weights_give_the_counts_themselves() -> None:
    data = answers()
    ones = np.ones((1, 7), np.float32), np.ones((1, 5), np.float32)
    for resampled, counted in zip(data.resampled(*ones), data.counts(), strict=True):
        assert resampled.tolist() == counted.tolist()


def test_more_draws_than_are_worked_on_at_a_time_come_in_their_order() -> None:
    data, rng = answers(), np.random.default_rng(3)
    people, images = weights(rng, 7, 1100), weights(rng, 5, 1100)
    whole, last = data.resampled(people, images), data.resampled(people[-1:], images[-1:])
    assert whole[1].shape == (1100, 3)
    assert whole[1][-1].tolist() == last[1][0].tolist()


def test_the_order_of_the_answers_changes_nothing() -> None:
    data, order = answers(), np.random.default_rng(4).permutation(200)
    shuffled = Answers(
        data.participant[order], data.stimulus[order], data.condition[order], data.correct[order], data.size
    )
    rng = np.random.default_rng(5)
    people, images = weights(rng, 7, 3), weights(rng, 5, 3)
    for one, other in zip(data.resampled(people, images), shuffled.resampled(people, images), strict=True):
        assert one.tolist() == other.tolist()


def test_the_variance_is_that_of_owens_formula() -> None:
    """Of a mean over a full table: people's and images' variance, and three times what is neither's own."""
    people, images = 30, 20
    rng = np.random.default_rng(6)
    value = rng.normal(0, 1, people)[:, None] + rng.normal(0, 1, images) + rng.normal(0, 1, (people, images))
    participant, stimulus = (axis.ravel() for axis in np.indices(value.shape))
    condition = np.zeros(people * images, np.intp)
    data = Answers(participant, stimulus, condition, value.ravel(), (people, images, 1))
    n, total = data.resampled(weights(rng, people, 4000), weights(rng, images, 4000))
    row, column = value.mean(1, keepdims=True), value.mean(0, keepdims=True)
    rest = value - row - column + value.mean()
    expected = row.var() / people + column.var() / images + rest.var() / (people * images)
    assert (total / n).var() == pytest.approx(expected, rel=0.1)
