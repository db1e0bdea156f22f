"""The FFT and recursive ETS forms agree with the textbook recursion."""

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
