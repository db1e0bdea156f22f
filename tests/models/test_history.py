"""Histories: the end of a series, and what is known of all of it."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tsfm.models.history import History


@given(
    capacity=st.integers(1, 30),
    sizes=st.lists(st.integers(0, 80), max_size=12),
)
@settings(max_examples=60, deadline=None)
def test_histories_keep_the_end_of_what_came(capacity, sizes):
    rng, history = np.random.default_rng(0), History(capacity)
    everything = np.empty(0)
    for size in sizes:
        new = np.where(rng.random(size) < 0.3, np.nan, rng.normal(size=size))
        history.append(new)
        everything = np.concatenate([everything, new])
        assert history.time == len(everything)
        np.testing.assert_array_equal(history.tail(history.kept), everything[-capacity:])
        finite = np.flatnonzero(np.isfinite(everything))
        assert history.first == (finite[0] if len(finite) else None)
        assert history.length == (len(everything) - finite[0] if len(finite) else 0)
        assert history.lowest == min(everything[finite], default=np.inf)
