"""Gaussian-process, diffusion, operations, shape and causal families: finite, varied, seeded."""

import pytest
import torch

from tsfm.datasets.synthetic import causal, epidemics, gp, ops, sde, shapes

FAMILIES = [f for m in (gp, sde, epidemics, ops, shapes, causal) for f in m.FAMILIES]


@pytest.fixture(params=FAMILIES, ids=lambda f: f.name)
def family(request):
    return request.param


@pytest.mark.parametrize("length", [20, 100, 600])
def test_finite_float32_of_the_asked_shape(family, length):
    x = family.sample(48, length, torch.Generator().manual_seed(length))
    assert x.shape == (48, length)
    assert x.dtype == torch.float32
    assert torch.isfinite(x).all()


def test_one_row_works(family):
    x = family.sample(1, 64, torch.Generator().manual_seed(3))
    assert x.shape == (1, 64)
    assert torch.isfinite(x).all()


def test_generator_decides_everything(family):
    a, b, c = (family.sample(16, 200, torch.Generator().manual_seed(s)) for s in (5, 5, 6))
    assert torch.equal(a, b)
    assert not torch.equal(a, c)


def test_global_random_state_is_untouched(family):
    torch.manual_seed(0)
    before = torch.random.get_rng_state()
    family.sample(4, 64, torch.Generator().manual_seed(1))
    assert torch.equal(before, torch.random.get_rng_state())


def test_rows_vary_and_differ(family):
    x = family.sample(64, 512, torch.Generator().manual_seed(0))
    moves = (x.amax(-1) - x.amin(-1)) > 1e-6 * x.abs().amax(-1)
    assert moves.float().mean() >= 0.98
    assert torch.unique(x, dim=0).shape[0] == 64


def test_names_are_unique_and_groups_known():
    names = [f.name for f in FAMILIES]
    assert len(set(names)) == len(names)
    assert {f.group for f in FAMILIES} == {"gp", "sde", "ops", "shapes", "causal"}


def test_counts_are_whole_and_not_negative():
    x = ops.counts(32, 300, torch.Generator().manual_seed(0))
    assert (x >= 0).all()
    assert torch.equal(x, x.round())


def test_intermittent_demand_is_mostly_zero():
    x = ops.intermittent(200, 500, torch.Generator().manual_seed(0))
    assert 0.5 < (x == 0).float().mean() < 0.98
    assert (x >= 0).all()


def test_local_levels_persist():
    x = sde.local_level(200, 500, torch.Generator().manual_seed(0))
    x = x - x.mean(-1, keepdim=True)
    lag_one = (x[:, 1:] * x[:, :-1]).sum(-1) / x.square().sum(-1)
    assert lag_one.median() > 0.9


def test_the_strongest_frequencies_of_spectral_mixtures_differ_and_repeat():
    x = gp.spectral_mixture(400, 1024, torch.Generator().manual_seed(0))
    power = torch.fft.rfft(x - x.mean(-1, keepdim=True)).abs().square()
    share = power.topk(24, -1).values.sum(-1) / power.sum(-1)  # of 512 frequencies
    assert share.median() > 0.4
    assert torch.unique(power.argmax(-1)).numel() > 60


def test_bells_are_one_at_their_centre_and_lorentzian_ones_have_heavier_tails():
    offset, both = torch.tensor([[0.0, 3.0]] * 2), torch.tensor([[False], [True]])
    gaussian, lorentzian = gp._bell(offset, both)
    assert gaussian[0] == lorentzian[0] == 1
    assert lorentzian[1] > 5 * gaussian[1]


def test_outbreaks_grow_and_burn_out():
    new = epidemics.outbreak(torch.Generator().manual_seed(0), 200, 400)
    assert (new > 0).all()
    assert (new.amax(-1) / new.median(-1).values > 3).float().mean() > 0.3
    assert (new.sum(-1) < 60).all()  # per head: the immune have to become susceptible again
    growth = torch.log(new).diff(dim=-1)
    assert growth.abs().median() < 0.2


def test_cases_are_incident_or_cumulative():
    x = epidemics.epidemic(400, 500, torch.Generator().manual_seed(0))
    assert (x >= 0).all()
    never_falls = (x.diff(dim=-1) >= -1e-4 * x.amax(-1, keepdim=True)).all(-1)
    assert 0.15 < never_falls.float().mean() < 0.4
    counts = (x == x.round()).all(-1)
    assert 0.15 < counts.float().mean() < 0.5


def test_the_backlog_is_the_reflected_walk():
    surplus = torch.randn(3, 200, generator=torch.Generator().manual_seed(0)) - 0.1
    waiting, want = torch.zeros(3), []
    for t in range(200):
        waiting = (waiting + surplus[:, t]).clamp_min(0)
        want.append(waiting)
    torch.testing.assert_close(ops._backlog(surplus), torch.stack(want, -1), atol=1e-4, rtol=1e-4)


def test_queues_work_no_faster_than_they_can():
    x = ops.queues(300, 600, torch.Generator().manual_seed(0))
    assert (x >= 0).all()
    assert x.amax() < 1e4
    empty = (x == 0).float().mean(-1)
    assert 0.1 < (empty > 0.2).float().mean() < 0.6


def test_feedback_is_rolled_out_as_the_loop_does():
    rng = torch.Generator().manual_seed(0)
    n, k, p, length = 3, 4, 2, 130
    driven = torch.randn(n, k, length, generator=rng)
    parent = torch.randint(0, k, (n, k, p), generator=rng)
    lag = torch.randint(5, 49, (n, k, p), generator=rng)
    weight = 0.6 * torch.randn(n, k, p, generator=rng)
    which = torch.randint(0, 5, (n, k), generator=rng)
    frequency = 1 + torch.rand(n, k, 1, generator=rng)
    kind = torch.nn.functional.one_hot(which, 5).float()[:, :, None]
    got = causal.roll_out(driven, parent, weight, lag, kind, frequency)
    want = driven.clone()
    functions = (
        lambda v, f: v,
        lambda v, f: max(v, 0.0),
        lambda v, f: torch.tanh(torch.tensor(v)).item(),
        lambda v, f: torch.sin(torch.tensor(f * v)).item(),
        lambda v, f: torch.exp(torch.tensor(-v * v)).item(),
    )
    for t in range(causal.MAX_LAG, length):
        for i in range(n):
            for j in range(k):
                causes = (
                    weight[i, j, m] * want[i, parent[i, j, m], t - lag[i, j, m]] for m in range(p)
                )
                effect = functions[which[i, j]](float(sum(causes)), frequency[i, j, 0].item())
                want[i, j, t] = driven[i, j, t] + effect
    torch.testing.assert_close(got, want, atol=1e-4, rtol=1e-4)


def test_graphs_follow_the_series_that_drive_them():
    x = causal.exogenous_graph(200, 600, torch.Generator().manual_seed(2))
    lag_one = (x[:, 1:] * x[:, :-1]).mean(-1) / x.square().mean(-1)
    assert lag_one.median() > 0.3


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_builds_on_the_generators_device(family):
    x = family.sample(8, 256, torch.Generator("cuda").manual_seed(0))
    assert x.device.type == "cuda"
    assert torch.isfinite(x).all()
