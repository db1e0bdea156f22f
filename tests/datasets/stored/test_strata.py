"""Predictability orders series as a forecaster would, and strata are kept beside the index."""

from __future__ import annotations

import numpy as np
import pytest

from tsfm.datasets.stored import Corpus, CorpusConfig, Series
from tsfm.datasets.stored.layout import STRATA_FILE
from tsfm.datasets.stored.strata import predictability, spectral_entropy, stratify
from tsfm.datasets.stored.windows import series_weights

STEPS = np.arange(800)


def scores(make, repeats: int = 8) -> np.ndarray:
    rng = np.random.default_rng(0)
    return np.array([predictability(make(rng), 24).predictability for _ in range(repeats)])


def test_order_of_what_can_be_foreseen():
    wave = 2 * np.sin(STEPS * 2 * np.pi / 24)
    white = scores(lambda rng: rng.normal(size=800))
    walk = scores(lambda rng: rng.normal(size=800).cumsum())
    noisy = scores(lambda rng: wave + rng.normal(size=800))
    clean = scores(lambda rng: wave + 0.1 * rng.normal(size=800))
    assert white.max() < 0.15
    assert walk.max() < 0.15
    assert noisy.min() > max(white.max(), walk.max())
    assert clean.min() > noisy.max()


def test_a_season_is_found_without_being_told():
    rng = np.random.default_rng(0)
    values = np.tile(rng.normal(size=37), 20) + 0.1 * rng.normal(size=740)
    assert predictability(values).seasonal_skill > 0.7


def test_units_levels_and_gaps_change_little():
    rng = np.random.default_rng(0)
    values = np.sin(STEPS * 2 * np.pi / 24) + 0.3 * rng.normal(size=800)
    base = predictability(values, 24).predictability
    assert predictability(1e9 * values - 5e10, 24).predictability == pytest.approx(base, abs=1e-6)
    gaps = values.copy()
    gaps[rng.random(800) < 0.1] = np.nan
    assert predictability(gaps, 24).predictability == pytest.approx(base, abs=0.15)


def test_nothing_is_said_of_short_empty_and_constant_series():
    for values in (np.arange(20.0), np.full(100, 3.3e8), np.full(100, np.nan), np.empty(0)):
        assert np.isnan(predictability(values).predictability)


def test_spectral_entropy_of_noise_and_of_a_line():
    rng = np.random.default_rng(0)
    assert spectral_entropy(rng.normal(size=2048)) > 0.95
    assert spectral_entropy(np.sin(np.arange(2048) * 0.7)) < 0.3


def test_strata_are_equal_parts_and_kept(corpus):
    assert not corpus.stratified
    with pytest.raises(FileNotFoundError, match="tsfm corpus stratify"):
        corpus.strata_meta
    meta = stratify(corpus, strata=4)
    assert corpus.stratified
    stratum = corpus.column("stratum", STRATA_FILE)
    assert stratum[0] == 0  # three steps
    assert np.ptp(np.bincount(stratum)[1:]) <= 1
    assert meta["n_series"] == np.bincount(stratum).tolist()
    assert meta == corpus.strata_meta
    score = corpus.column("predictability", STRATA_FILE)
    for k in (2, 3, 4):
        assert score[stratum == k].min() >= score[stratum == k - 1].max()
    waves = np.arange(60) % 3 == 2
    assert stratum[waves].mean() > stratum[~waves].mean() + 1
    weights = series_weights(corpus, CorpusConfig(str(corpus.path), stratified=True))
    plain = series_weights(corpus, CorpusConfig(str(corpus.path), stratified=False))
    np.testing.assert_allclose(weights / plain, np.array([1, 1, 4, 9, 16])[stratum])


def test_strata_see_the_training_part_only(write):
    rng = np.random.default_rng(0)
    past = rng.normal(size=900)
    one = write([Series("a", np.concatenate([past, rng.normal(size=100)]))], "one")
    two = write([Series("a", np.concatenate([past, np.arange(100.0) * 50]))], "two")
    for corpus in (one, two):
        stratify(corpus)
    a, b = (c.column("predictability", STRATA_FILE)[0] for c in (one, two))
    assert a == pytest.approx(b, rel=1e-5)


def test_strata_of_another_corpus_do_not_count(corpus, write, mixed):
    stratify(corpus)
    other = write(mixed[1:], "other")
    (other.path / STRATA_FILE).write_bytes((corpus.path / STRATA_FILE).read_bytes())
    assert not Corpus(other.path).stratified


@pytest.mark.parametrize("weights", [[1, 2], [1, -1, 2], [0, 0, 0]])
def test_weights_must_fit(corpus, weights):
    with pytest.raises(ValueError, match="3 numbers"):
        stratify(corpus, strata=3, weights=weights)
