"""`Forecaster.tokenize` and its picture: one row per token, in the caller's own words."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from tsfm import Forecaster
from tsfm.frames.errors import DataError
from tsfm.tokenizers import (
    DecomposedTokenizer,
    EntropyTokenizer,
    FixedPatchTokenizer,
    MixtureTokenizer,
    VariateTokenizer,
)


def long_frame(lengths: dict[str, int], seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    parts = []
    for name, length in lengths.items():
        time = pd.date_range("2024-01-01", periods=length, freq="h", tz="Europe/Berlin")
        value = np.sin(np.arange(length) / 4) + 0.05 * rng.standard_normal(length)
        value[length // 2 : length // 2 + 20] += 3 * rng.standard_normal(20)
        parts.append(pd.DataFrame({"sensor": name, "ds": time, "y": value}))
    return pd.concat(parts, ignore_index=True)


@pytest.mark.parametrize("tokenizer", ["fixed", "entropy", "surprise"])
def test_tokens_tile_every_series(tokenizer):
    frame = long_frame({"b": 300, "a": 217, "c": 300})
    before = frame.copy()
    tokens = Forecaster(id_col="sensor").tokenize(frame, tokenizer=tokenizer)
    pd.testing.assert_frame_equal(frame, before)
    assert list(tokens.columns) == [
        "sensor", "target_name", "start", "step", "length", "observed", "entropy"
    ]  # fmt: skip
    assert tokens["sensor"].unique().tolist() == ["b", "a", "c"]
    for name, mine in tokens.groupby("sensor"):
        series = frame[frame["sensor"] == name]
        assert mine["step"].tolist() == [0, *mine["length"].cumsum().tolist()[:-1]]
        assert mine["length"].sum() == len(series)
        assert (mine["length"] > 0).all()
        assert (mine["start"].to_numpy() == series["ds"].iloc[mine["step"]].to_numpy()).all()
    assert tokens["start"].dtype == frame["ds"].dtype


def test_only_tokenizers_that_look_at_values_know_an_entropy():
    frame, forecaster = long_frame({"a": 300}), Forecaster(id_col="sensor")
    assert forecaster.tokenize(frame, tokenizer="fixed")["entropy"].isna().all()
    for name in ("entropy", "surprise"):
        entropy = forecaster.tokenize(frame, tokenizer=name)["entropy"]
        assert entropy[1:].notna().all()
        assert np.isnan(entropy[0])


def test_missing_values_are_counted_and_change_no_other_series():
    frame = long_frame({"a": 200, "b": 200})
    frame.loc[50:99, "y"] = np.nan
    tokens = Forecaster(id_col="sensor").tokenize(frame, tokenizer="entropy")
    assert tokens.groupby("sensor")["observed"].sum().to_dict() == {"a": 150, "b": 200}
    mine = tokens[tokens["sensor"] == "a"]
    unknown = mine["step"].isin([0, *range(51, 101)])  # nothing to foresee them from
    assert unknown.sum() > 1
    assert mine["entropy"].isna().tolist() == unknown.tolist()
    alone = Forecaster(id_col="sensor").tokenize(frame[200:], tokenizer="entropy")
    together = tokens[tokens["sensor"] == "b"].reset_index(drop=True)
    pd.testing.assert_frame_equal(together, alone)


def test_by_default_the_tokens_are_those_of_the_model(random_model):
    forecaster = Forecaster(random_model("transformer")).fit(np.arange(70.0))
    assert forecaster.tokenize()["length"].tolist() == [6, 32, 32]


def test_a_tokenizer_of_ones_own_is_used_and_not_trained():
    tokenizer = MixtureTokenizer()
    values = np.random.default_rng(0).normal(size=1000)
    tokens = Forecaster().tokenize(values, tokenizer=tokenizer)
    assert tokens["length"][1:].isin(tokenizer.sizes).all()
    assert not tokenizer.router.bias.any()
    assert tokenizer.training


@pytest.mark.parametrize(
    "tokenizer",
    [
        FixedPatchTokenizer(24),
        DecomposedTokenizer(24),
        EntropyTokenizer(min_length=2, max_length=9),
        MixtureTokenizer(sizes=(32, 16, 8), steps_per_token=16),
    ],
)
def test_cuts_are_those_of_the_tokens(tokenizer):
    rng = torch.Generator().manual_seed(0)
    z = torch.randn(4, 203, generator=rng).cumsum(-1)
    observed = torch.rand(4, 203, generator=rng) > 0.2
    observed[0, :90] = observed[1] = False
    tokenizer.eval()
    start, length, scores = tokenizer.cuts(torch.where(observed, z, torch.nan), observed)
    batch = tokenizer.tokenize(z, observed, 0)
    assert torch.equal(start, batch.start)
    assert torch.equal(length, batch.length)
    known = tokenizer.scores(z, observed)
    assert scores is known is None or torch.equal(scores, known)


def test_what_cannot_be_done_says_what_can():
    for wrong in (5, FixedPatchTokenizer):
        with pytest.raises(TypeError, match=r"fixed, entropy, surprise or a tsfm\.tokenizers"):
            Forecaster().tokenize(np.arange(9.0), tokenizer=wrong)
    with pytest.raises(TypeError, match="nothing is cut"):
        Forecaster().tokenize(np.arange(9.0), tokenizer=VariateTokenizer(9))
    with pytest.raises(ValueError, match="last must be at least 2"):
        Forecaster().plot_tokens(np.arange(9.0), tokenizer="fixed", last=1)
    with pytest.raises(ValueError, match="fixed, entropy, surprise"):
        Forecaster().tokenize(np.arange(9.0), tokenizer="words")

    class Other:
        def forecast(self, *args, **kwargs):
            raise NotImplementedError

    with pytest.raises(TypeError, match="Other has no tokenizer"):
        Forecaster(Other()).tokenize(np.arange(9.0))
    frame = long_frame({"a": 40}).rename(columns={"sensor": "length"})
    with pytest.raises(DataError, match="rename"):
        Forecaster(id_col="length").tokenize(frame, tokenizer="fixed")


def test_the_picture_shows_the_cuts_of_every_series():
    pytest.importorskip("matplotlib").use("Agg")
    from matplotlib import pyplot as plt

    forecaster = Forecaster(id_col="sensor").fit(long_frame({"a": 300, "b": 200}))
    axes = forecaster.plot_tokens(tokenizer="entropy")
    counts = forecaster.tokenize(tokenizer="entropy").groupby("sensor").size()
    for axis, name, steps in zip(axes, "ab", (300, 200), strict=True):
        assert axis.get_title(loc="left") == f"{name}: {counts[name]} tokens for {steps} steps"
        assert len(axis.lines[1].get_xdata()) == counts[name]
    assert len(axes[0].figure.axes) == 4  # each with its curve
    one = forecaster.plot_tokens(long_frame({"a": 300}), tokenizer="fixed", last=64)
    assert len(one.lines[0].get_xdata()) == 64
    assert one.get_title(loc="left") == "a: 2 tokens for 64 steps"
    plt.close("all")
