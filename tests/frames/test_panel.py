"""`Panel` itself: selection, hold-out, storage, size."""

from __future__ import annotations

import time

import numpy as np
import pandas as pd
import pytest

from tsfm.frames import DataError, Panel, to_panel
from tsfm.frames.storage import load_panel, save_panel


def panel_of(alias: str = "ME", tz: str | None = None) -> Panel:
    index = pd.date_range("2024-01-01 12:00", periods=6, freq=alias, tz=tz)
    frame = pd.DataFrame({"b": range(6), "a": np.arange(6) * 10.0}, index=index)
    return to_panel(frame)


def test_take_keeps_what_belongs_together() -> None:
    panel = panel_of().take([1])
    assert list(panel.ids) == ["a"]
    assert panel.values[0].tolist() == [0, 10, 20, 30, 40, 50]
    assert panel.target_names == ("a",)


@pytest.mark.parametrize("alias", ["ME", "B", "h", "D", "QS"])
@pytest.mark.parametrize("tz", [None, "Europe/Berlin"])
def test_hold_out_and_future_agree(alias: str, tz: str | None) -> None:
    panel = panel_of(alias, tz)
    context, actual = panel.hold_out(2)
    assert actual.tolist() == [[4, 5], [40, 50]]
    assert context.lengths.tolist() == [4, 4]
    future = panel.axis.decode(context.future_ticks(2)[0])
    assert future.tolist() == panel.timestamps(0).tolist()[4:]


def test_hold_out_of_everything_is_refused() -> None:
    with pytest.raises(DataError, match=r"'b', 'a' have no more than prediction_length=6"):
        panel_of().hold_out(6)
    with pytest.raises(DataError, match=r"'a' has no more than prediction_length=6"):
        panel_of().take([1]).hold_out(6)


@pytest.mark.parametrize(
    "ids",
    [
        ["x", "y"],
        pd.Categorical(["x", "y"], categories=["z", "y", "x"], ordered=True),
        np.array([3, 4], dtype="int32"),
        pd.array([3, 4], dtype="Int64"),
        pd.array(["x", "y"], dtype="string"),
    ],
)
@pytest.mark.parametrize("time", ["datetime", "zoned", "period", "integer"])
def test_panels_survive_the_disk(ids: object, time: str, tmp_path) -> None:
    index = pd.date_range("2024-01-31", periods=5, freq="ME").as_unit("us")
    times: object = {
        "datetime": index,
        "zoned": index.tz_localize("Asia/Tokyo"),
        "period": index.to_period("M"),
        "integer": np.arange(5, dtype="int32"),
    }[time]
    frame = pd.concat(
        [
            pd.DataFrame({"when": times, "y": np.arange(5.0)}),
            pd.DataFrame({"when": times, "y": 2.0}),
        ],
        ignore_index=True,
    )
    frame["item_id"] = pd.Series(ids).repeat(5).reset_index(drop=True)
    frame.loc[3, "y"] = np.nan
    panel = to_panel(frame, timestamp_col="when")
    save_panel(panel, tmp_path)
    back = load_panel(tmp_path)
    assert back.axis == panel.axis
    assert back.layout == panel.layout
    assert back.frequencies == panel.frequencies
    assert back.target_names == panel.target_names
    assert list(back.ids) == list(panel.ids)
    assert back.ids.dtype == panel.ids.dtype
    for a, b in zip(back.values, panel.values, strict=True):
        np.testing.assert_array_equal(a, b)
    assert back.axis.decode(back.future_ticks(2).reshape(-1)).equals(
        panel.axis.decode(panel.future_ticks(2).reshape(-1))
    )


def test_big_panels_are_read_without_a_loop_over_series() -> None:
    n, length = 2_000, 250
    frame = pd.DataFrame(
        {
            "item_id": np.repeat([f"s{i}" for i in range(n)], length),
            "timestamp": np.tile(pd.date_range("2024-01-01", periods=length, freq="h"), n),
            "target": np.arange(n * length, dtype=float),
        }
    )
    start = time.perf_counter()
    panel = to_panel(frame)
    seconds = time.perf_counter() - start
    assert len(panel) == n
    assert panel.values[-1][-1] == n * length - 1
    assert seconds < 3.0  # a tenth of the promised size, with room for a busy machine


@pytest.mark.parametrize(
    "arguments", [{"on_gaps": "ignore"}, {"on_duplicates": "first"}], ids=["gaps", "duplicates"]
)
def test_unknown_policies_are_refused(arguments: dict) -> None:
    with pytest.raises(ValueError, match="on_"):
        to_panel([1.0, 2.0], **arguments)


def test_labels_that_json_cannot_hold_are_refused(tmp_path) -> None:
    wide = pd.DataFrame(
        np.ones((5, 1)), index=pd.date_range("2024", periods=5), columns=[pd.Timestamp("2024")]
    )
    with pytest.raises(DataError, match="strings or numbers"):
        save_panel(to_panel(wide), tmp_path)


def test_columns_with_levels_are_refused() -> None:
    columns = pd.MultiIndex.from_tuples([("a", "x"), ("a", "y")])
    wide = pd.DataFrame(np.ones((5, 2)), index=pd.date_range("2024", periods=5), columns=columns)
    with pytest.raises(DataError, match="2 levels"):
        to_panel(wide)
