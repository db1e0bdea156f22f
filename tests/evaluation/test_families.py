"""Held-out losses by family: what is compared with what, and what the report says."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from tsfm.cli.app import app
from tsfm.datasets.corpus import held_out
from tsfm.datasets.recipes import Recipe, WindowShape
from tsfm.evaluation.baselines import Baseline, BaselineForecast
from tsfm.evaluation.families import best_seasons, evaluate
from tsfm.models import TSFM, ModelConfig

RECIPE = Recipe("three", {"waves": 1, "steps": 1, "solar": 2}, (WindowShape(4, 1, 1.0),))
FEW = {"n_series": 4, "context_length": 256, "prediction_length": 48}


class Oracle:
    """Knows the held-out series."""

    name = "oracle"

    def __init__(self) -> None:
        steps = FEW["context_length"] + FEW["prediction_length"]
        self.known = {
            row[:256].numpy().tobytes(): row[256:].double().numpy()
            for _, block in held_out(RECIPE, FEW["n_series"], steps)
            for row in block
        }

    def forecast(self, series, prediction_length, quantile_levels, *, mode="fast"):
        future = np.stack([self.known[np.float32(x).tobytes()] for x in series])
        return BaselineForecast(
            np.repeat(future[..., None], len(quantile_levels), -1), tuple(quantile_levels)
        )


def test_naive_is_one_beside_itself():
    report = evaluate(Baseline("naive"), RECIPE, **FEW)
    assert [row.name for row in report.families] == ["waves", "steps", "solar"]
    assert [row.share for row in report.families] == [0.25, 0.25, 0.5]
    assert all(row.to_naive == 1 for row in report.families)
    assert report.families[2].to_seasonal_naive > 1.5  # a day repeats
    assert [row.name for row in report.groups()] == ["shapes", "calendar"]
    losses = [row.loss for row in report.families]
    assert report.total.loss == pytest.approx(np.average(losses, weights=[1, 1, 2]))


def test_who_knows_the_future_loses_nothing():
    report = evaluate(Oracle(), RECIPE, **FEW)
    assert all(row.loss < 1e-6 for row in report.families)
    assert report.total.to_naive < 1e-6
    assert report.total.coverage > 0.99


def test_scores_repeat_and_leave_the_model_alone():
    model = TSFM.from_config(ModelConfig.preset("tiny"))
    state = {name: weight.clone() for name, weight in model.network.state_dict().items()}
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first, again = (evaluate(model, RECIPE, **FEW) for _ in range(2))
    assert first.families == again.families
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(w, state[name]) for name, w in model.network.state_dict().items())
    for row in first.families:
        assert 0 < row.loss < 50
        assert 0 <= row.coverage <= 1


def test_seasons_are_those_a_series_shows():
    t = torch.arange(300.0)
    rows = torch.stack([torch.sin(t * 2 * torch.pi / 25), torch.zeros(300)])
    assert best_seasons(rows, 48) == [25, 1]
    assert best_seasons(rows[:1, :2], 48) == [1]


def test_command(tmp_path):
    recipe, out = tmp_path / "two.yaml", tmp_path / "families.json"
    recipe.write_text(
        "name: two\nfamilies: {waves: 3, counts: 1}\n"
        "windows: [{context: 4, horizon: 1, weight: 1}]\n"
    )
    words = ["evaluate", "families", "--model", "seasonal-naive", "--recipe", str(recipe)]
    words += ["--n-series", "2", "--context-length", "128", "-n", "24", "--no-progress"]
    result = CliRunner().invoke(app, [*words, "--out", str(out)])
    assert result.exit_code == 0, result.output
    assert "seasonal-naive (fast) on two, 4 series of 2 families, 24 steps after 128" in (
        result.output
    )
    assert "family  group" in result.output
    read = json.loads(out.read_text())
    assert [row["family"] for row in read["families"]] == ["waves", "counts"]
    assert [row["share"] for row in read["families"]] == [0.75, 0.25]
    assert {"command", "commit", "machine", "versions"} <= set(read)
    assert read["headline"]["n_series"] == 4
    missing = CliRunner().invoke(app, [*words[:4], "--recipe", "nowhere.yaml"])
    assert missing.exit_code == 2
    assert "nowhere.yaml does not exist" in missing.output
