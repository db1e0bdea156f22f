"""The FFT and recursive ETS forms agree with the textbook recursion."""

import pytest
import torch

from tsfm.datasets.synthetic import ets


def _rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_impulse_response_equals_the_additive_recursion() -> None:
    length, m = 60, 5
    alpha, beta, gamma, phi = 0.4, 0.1, 0.2, 0.9
    e = torch.randn(1, length, generator=_rng())
    t = torch.arange(length, dtype=torch.float32)
    damped = ets._damped_sum(torch.tensor([[phi]]), t)
    kernel = alpha + beta * damped + gamma * (t % m == 0)
    kernel[:, 0] = 1.0
    level, trend, season, want = 0.0, 0.0, [0.0] * m, []
    for k in range(length):
        s, error = season[k % m], e[0, k].item()
        want.append(level + phi * trend + s + error)
        level, trend = level + phi * trend + alpha * error, phi * trend + beta * error
        season[k % m] = s + gamma * error
    torch.testing.assert_close(
        ets._convolve(e, kernel)[0], torch.tensor(want), atol=1e-3, rtol=1e-3
    )


def test_batched_recursion_equals_the_multiplicative_holt_winters_recursion() -> None:
    n, length, m = 3, 40, 4
    rng = _rng()
    errors = 0.05 * torch.randn(n, length, generator=rng)
    start = 1 + 0.3 * torch.rand(n, m, generator=rng)
    t = torch.arange(length)
    season = start[:, t % m]
    gains = torch.tensor([[0.3], [0.05], [0.1], [0.95]]).expand(4, n)
    slope = torch.full((n,), 0.01)
    yes = torch.ones(n, dtype=torch.bool)
    got = ets._recursion(errors, season, (t % m).expand(n, -1), gains, slope, yes, yes)
    for i in range(n):
        level, trend, s = 1.0, 0.01, start[i].tolist()
        for k in range(length):
            base = level + 0.95 * trend
            mean, e = base * s[k % m], errors[i, k].item()
            assert abs(got[i, k].item() - mean * (1 + e)) < 1e-3
            level, trend = base * (1 + 0.3 * e), 0.95 * trend + 0.05 * base * e
            s[k % m] *= 1 + 0.1 * e


def test_gains_are_admissible() -> None:
    alpha, beta, gamma, phi = ets._smoothing(_rng(), 2000, 512)
    assert ((alpha >= 0) & (alpha < 1)).all()
    assert ((beta >= 0) & (beta <= alpha)).all()
    assert ((gamma >= 0) & (gamma <= 1 - alpha)).all()
    assert ((phi >= 0.8) & (phi <= 1)).all()


def test_multiplicative_rows_are_positive_and_bounded() -> None:
    x = ets.ets_multiplicative(256, 1024, _rng())
    assert (x > 0).all()
    assert (x.amax(-1) / x.median(-1).values).quantile(0.95) < 100


@pytest.mark.parametrize("form", range(30), ids=lambda i: "".join(ets.FORMS[i]))
def test_every_form_is_the_one_of_the_textbook(form: int) -> None:
    """Tables 2.2 and 2.3 of Hyndman et al. (2008), state by state."""
    error, trend, seasonal = ets.FORMS[form]
    alpha, beta, gamma, phi = 0.3, 0.05, 0.1, 0.9 if trend.endswith("d") else 1.0
    beta, gamma = beta * (trend != "N"), gamma * (seasonal != "N")
    growing, times = trend.startswith("M"), seasonal == "M"
    length, m = 40, 4
    e = 0.05 * torch.randn(1, length, generator=_rng(form))
    t = torch.arange(length)
    start = torch.rand(1, m, generator=_rng(1)) * 0.4 + (0.8 if times else -0.2)
    start = start * (seasonal != "N") + 0.0
    b = (1.01 if growing else 0.01) if trend != "N" else (1.0 if growing else 0.0)
    got = ets._recursion(
        e,
        start[:, t % m],
        (t % m)[None],
        torch.tensor([[alpha], [beta], [gamma], [phi]]),
        torch.tensor([b]),
        torch.tensor([times]),
        torch.tensor([error == "M"]),
        torch.tensor([growing]),
    )
    level, s = 1.0, start[0].tolist()
    for k in range(length):
        q = level * b**phi if growing else level + phi * b  # the level that is expected
        mean = {"N": q, "A": q + s[k % m], "M": q * s[k % m]}[seasonal]
        surprise = e[0, k].item() * (mean if error == "M" else 1.0)
        assert got[0, k].item() == pytest.approx(mean + surprise, abs=1e-4)
        pull = surprise / (s[k % m] if times else 1.0)
        b = b**phi + beta * pull / level if growing else phi * b + beta * pull
        s[k % m] += gamma * surprise / (q if times else 1.0)
        level = q + alpha * pull


def test_all_forms_are_drawn_and_stay_near_their_level() -> None:
    assert len(set(ets.FORMS)) == 30
    form = torch.arange(30)
    assert ets._has(form, 1, "M", "Md").sum() == 12
    assert ets._has(form, 2, "N").sum() == 10
    x = ets.ets_forms(600, 1500, _rng())
    assert x.abs().amax(-1).quantile(0.98) < 30
    stuck = (x.diff(dim=-1).abs() < 1e-9).float().mean(-1)
    assert (stuck > 0.1).float().mean() < 0.02  # few rows run into the bounds
