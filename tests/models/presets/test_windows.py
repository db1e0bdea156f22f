from __future__ import annotations

import numpy as np
import pytest
import torch

from tsfm.models.presets.windows import right_aligned, scaled

NAN = float("nan")


def test_right_aligned_pads_cuts_and_copies():
    series = [np.array([1.0, 2.0, np.inf]), np.array([4.0])]
    matrix = right_aligned(series, 2)
    np.testing.assert_array_equal(matrix, [[2.0, NAN], [NAN, 4.0]])
    matrix[:] = 0
    assert series[0][1] == 2.0


@pytest.mark.parametrize("offset", [0.0, 1e9, -1e300])
@pytest.mark.parametrize("unit", [1e-200, 1.0, 1e5])
def test_scaled_is_undone(offset, unit):
    if abs(offset) > 1 and unit < abs(offset) * 1e-9:
        pytest.skip("constant up to rounding")
    x = torch.tensor([[1.0, NAN, 3.0, 8.0]], dtype=torch.float64) * unit + offset
    z, loc, scale = scaled(x)
    assert z.dtype == torch.float32
    assert z[0, 1] == 0
    seen = ~x.isnan()
    torch.testing.assert_close((z.double() * scale + loc)[seen], x[seen], rtol=1e-6, atol=0)
    assert float(z[seen].mean()) == pytest.approx(0, abs=1e-6)
    assert float(z[seen].std(correction=0)) == pytest.approx(1, abs=1e-6)


def test_constant_and_missing_windows():
    x = torch.tensor([[5.0, 5.0, NAN], [NAN, NAN, NAN]], dtype=torch.float64)
    z, loc, scale = scaled(x)
    assert not z.any()
    assert loc[:, 0].tolist() == [5.0, 0.0]
    assert not scale.any()


def test_mean_scaling_keeps_the_unit():
    x = torch.tensor([[1.0, NAN, 3.0]])
    z, loc, scale = scaled(x, "mean")
    assert z[0].tolist() == pytest.approx([-1.0, 0.0, 1.0])
    assert (loc.item(), scale.item()) == (2.0, 1.0)
