"""The gallery: one row per family, the same picture for the same seed."""

from __future__ import annotations

import numpy as np
import pytest

from tsfm.datasets.synthetic.base import Family, normal

pytest.importorskip("matplotlib")

from tsfm.datasets.preview import gallery


@pytest.fixture
def families() -> dict[str, Family]:
    def walk(n, length, rng):
        return normal(rng, n, length).cumsum(-1)

    def noise(n, length, rng):
        return normal(rng, n, length)

    return {
        "walk": Family("walk", "trend", walk, "sums of noise"),
        "noise": Family("noise", "shapes", noise, "white noise"),
    }


def _lines(figure):
    return [axes.lines[0].get_ydata() for axes in figure.axes]


def test_one_row_per_family(families):
    figure = gallery(families=families, columns=3, length=50)
    assert len(figure.axes) == 6
    assert all(len(line) == 50 for line in _lines(figure))
    texts = " ".join(text.get_text() for axes in figure.axes for text in axes.texts)
    assert "walk" in texts
    assert "white noise" in texts


def test_the_seed_decides(families):
    one, two, other = (
        _lines(gallery(families=families, columns=2, length=40, seed=seed)) for seed in (3, 3, 4)
    )
    np.testing.assert_array_equal(one, two)
    assert not np.array_equal(one, other)


def test_a_family_draws_the_same_alone_and_among_others(families):
    alone = _lines(gallery(families={"noise": families["noise"]}, columns=2, length=40))
    among = _lines(gallery(families=families, columns=2, length=40))[2:]
    np.testing.assert_array_equal(alone, among)


def test_one_family_fills_four_different_rows(families):
    lines = _lines(gallery(families=families, family="walk", columns=2, length=40))
    assert len(lines) == 8
    assert not np.array_equal(lines[0], lines[2])


def test_errors(families):
    with pytest.raises(ValueError, match="unknown family 'x'; known are: noise, walk"):
        gallery(families=families, family="x")
    with pytest.raises(ValueError, match="columns >= 1"):
        gallery(families=families, columns=0)
