import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from models.datasets.eye_renderer import draws
from models.datasets.eye_renderer.draws import Draws


def test_numbers_are_the_same_on_every_machine():
    words = draws._mix(np.array([0, 1, 0x9E3779B97F4A7C15], np.uint64))
    # The first output of SplitMix64 with seed 0 is the mix of its increment.
    assert [hex(word) for word in words.tolist()] == ["0x0", "0x5692161d100b05e5", "0xe220a8397b1dcdaf"]


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, 2**40), min_size=1, max_size=30), st.data())
def test_a_row_depends_on_its_own_index_only(index, data):
    row = data.draw(st.integers(0, len(index) - 1))
    together = Draws.of(3, "train", np.array(index))
    alone = Draws.of(3, "train", np.array([index[row]]))
    assert np.array_equal(together.uniform("a", -2, 5)[row : row + 1], alone.uniform("a", -2, 5))
    assert np.array_equal(together.normal("b")[row : row + 1], alone.normal("b"))
    assert np.array_equal(together.normal_field("c", (3, 5))[row], alone.normal_field("c", (3, 5))[0])


def test_every_part_of_an_address_counts():
    index = np.arange(100)
    reference = Draws.of(1, "train", index).uniform("light")
    others = [
        Draws.of(2, "train", index).uniform("light"),
        Draws.of(1, "test", index).uniform("light"),
        Draws.of(1, "train", index).uniform("gamma"),
        Draws.of(1, "train", index + 1000).uniform("light"),
    ]
    for other in others:
        assert abs(np.corrcoef(reference, other)[0, 1]) < 0.35
        assert not np.array_equal(reference, other)


def test_the_version_is_part_of_the_address(monkeypatch):
    before = Draws.of(1, "train", np.arange(3)).uniform("light")
    monkeypatch.setattr(draws, "VERSION", draws.VERSION + 1)
    assert not np.array_equal(before, Draws.of(1, "train", np.arange(3)).uniform("light"))


def test_uniforms_fill_their_range():
    values = Draws.of(1, "train", np.arange(20_000)).uniform("x", -3, 5)
    assert values.dtype == np.float32
    counts, _ = np.histogram(values, bins=16, range=(-3, 5))
    assert counts.sum() == 20_000
    assert ((counts - 1250) ** 2 / 1250).sum() < 37.7  # chi square, 15 degrees of freedom, .001


def test_integers_are_uniform():
    values = Draws.of(1, "train", np.arange(24_000)).integer("tile", 12)
    counts = np.bincount(values, minlength=12)
    assert len(counts) == 12
    assert ((counts - 2000) ** 2 / 2000).sum() < 31.3  # 11 degrees of freedom, .001


def test_normals_have_the_moments_of_a_normal():
    field = Draws.of(1, "train", np.arange(4)).normal_field("noise", (100, 501))
    assert field.dtype == np.float32
    assert abs(field.mean()) < 0.01
    assert abs(field.std() - 1) < 0.01
    assert abs((field**4).mean() - 3) < 0.1
    assert abs((field[..., 1:] * field[..., :-1]).mean()) < 0.01
    assert np.isfinite(field).all()
