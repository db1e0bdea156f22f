"""The gluonts predictor: order, batching, every frequency, gluonts' own evaluation."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

pytest.importorskip("gluonts")
from gluonts.dataset.split import split
from gluonts.ev import metrics as ev
from gluonts.model import Predictor, evaluate_model

from tsfm.adapters.gluonts import TSFMPredictor, dataset_entries, period_frequency
from tsfm.evaluation.baselines import Baseline


class Recorder:
    """A naive forecaster that remembers what it was told."""

    def __init__(self) -> None:
        self.calls: list[dict] = []

    def forecast(
        self, series, prediction_length, quantile_levels, *, mode, season_lengths, batch_size
    ):
        self.calls.append(
            {"n": len(series), "mode": mode, "seasons": season_lengths, "batch_size": batch_size}
        )
        return Baseline("naive").forecast(series, prediction_length, quantile_levels)


def _series(n: int, length: int = 60) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [10 * k + rng.normal(0, 1, length + k) for k in range(n)]


def test_forecasts_come_in_order_and_in_chunks() -> None:
    model = Recorder()
    series = _series(5)
    predictor = TSFMPredictor(model, 4, mode="best", batch_size=3, chunk_size=2)
    names = [f"item {k}" for k in range(5)]
    dataset = dataset_entries(series, "D", start="2024-01-01", item_ids=names)
    forecasts = list(predictor.predict(dataset))
    assert [call["n"] for call in model.calls] == [2, 2, 1]
    assert model.calls[0] == {"n": 2, "mode": "best", "seasons": [7, 7], "batch_size": 3}
    for k, forecast in enumerate(forecasts):
        assert forecast.item_id == names[k]
        assert forecast.start_date == pd.Period("2024-01-01", "D") + len(series[k])
        assert forecast.forecast_array.shape == (9, 4)
        np.testing.assert_allclose(forecast.quantile(0.5), series[k][-1])
        np.testing.assert_allclose(forecast["mean"], forecast.quantile("0.5"))
        assert (np.diff(forecast.forecast_array, axis=0) > 0).all()


@pytest.mark.parametrize(
    ("freq", "season", "next_step"),
    [
        ("ME", 12, "2024-03"),
        ("MS", 12, "2024-03"),
        ("QE", 4, "2024Q3"),
        ("QS", 4, "2024Q3"),
        ("YE", None, "2026"),
        ("W-SUN", 52, "2024-02-12/2024-02-18"),
        ("15T", 96, "2024-01-31 00:30"),
        ("H", 24, "2024-01-31 02:00"),
        ("B", 5, "2024-02-02"),
    ],
)
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_every_frequency_has_periods_and_a_season(
    freq: str, season: int | None, next_step: str
) -> None:
    model = Recorder()
    dataset = dataset_entries([np.array([1.0, 2.0])], freq, start="2024-01-31")
    forecast = next(TSFMPredictor(model, 1).predict(dataset))
    assert str(forecast.start_date) == next_step
    assert model.calls[0]["seasons"] == [season]


def test_anchors_survive() -> None:
    assert period_frequency("QE-MAR") == "Q-MAR"
    assert period_frequency("W-THU") == "W-THU"


def test_gift_eval_metrics_and_loop_take_the_predictor() -> None:
    dataset = dataset_entries(_series(3, 80), "h")
    _, template = split(dataset, offset=-24)
    test_data = template.generate_instances(12, windows=2, distance=12)
    metrics = [
        ev.MSE(forecast_type="mean"), ev.MSE(forecast_type=0.5), ev.MAE(), ev.MASE(), ev.MAPE(),
        ev.SMAPE(), ev.MSIS(), ev.RMSE(), ev.NRMSE(), ev.ND(),
        ev.MeanWeightedSumQuantileLoss(quantile_levels=[k / 10 for k in range(1, 10)]),
    ]  # fmt: skip
    result = evaluate_model(
        TSFMPredictor(Baseline("naive"), 12),
        test_data=test_data,
        metrics=metrics,
        axis=None,
        mask_invalid_label=True,
        allow_nan_forecast=False,
        seasonality=24,
    )
    assert result.shape == (1, len(metrics))
    assert np.isfinite(result.to_numpy(float)).all()


def test_num_samples_of_old_callers_is_accepted() -> None:
    dataset = dataset_entries(_series(1), "h")
    assert len(list(TSFMPredictor(Baseline("naive"), 3).predict(dataset, num_samples=100))) == 1


def test_multivariate_target_says_what_to_do() -> None:
    entry = {"item_id": "x", "start": pd.Period("2024-01-01", "D"), "target": np.zeros((2, 30))}
    with pytest.raises(
        ValueError, match=r"'x' has a target of shape \(2, 30\).*one entry per row"
    ):
        next(TSFMPredictor(Baseline("naive"), 3).predict([entry]))


def test_target_is_not_changed() -> None:
    target = np.array([1.0, np.nan, 3.0], dtype=np.float32)
    before = target.copy()
    next(TSFMPredictor(Baseline("naive"), 3).predict(dataset_entries([target], "D")))
    np.testing.assert_array_equal(target, before)


def test_wrong_arguments_are_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="prediction_length must be"):
        TSFMPredictor(Baseline("naive"), 0)
    with pytest.raises(ValueError, match="chunk_size must be"):
        TSFMPredictor(Baseline("naive"), 1, chunk_size=0)
    with pytest.raises(ValueError, match="2 series came with 1 starts and 2 item_ids"):
        dataset_entries(_series(2), "D", start=["2024-01-01"])
    with pytest.raises(TypeError, match="a Baseline cannot be saved"):
        TSFMPredictor(Baseline("naive"), 1).serialize(tmp_path)


def test_serialized_predictor_comes_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tsfm = pytest.importorskip("tsfm")

    class Saved(Recorder):
        def save_pretrained(self, path: Path) -> None:
            Path(path).mkdir()
            (Path(path) / "config.json").write_text("{}")

        @classmethod
        def from_pretrained(cls, path: str, *, device: str) -> Saved:
            assert (Path(path) / "config.json").exists()
            assert device == "cpu"
            return cls()

    monkeypatch.setattr(tsfm, "TSFM", Saved, raising=False)
    first = TSFMPredictor(Saved(), 7, quantile_levels=(0.2, 0.5), mode="best", season_length=None)
    first.serialize(tmp_path)
    second = Predictor.deserialize(tmp_path, device="cpu")
    assert isinstance(second, TSFMPredictor)
    assert (second.prediction_length, second.quantile_levels) == (7, (0.2, 0.5))
    assert (second.mode, second.season_length, second.batch_size) == ("best", None, "auto")
