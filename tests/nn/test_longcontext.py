"""Step limiters: nothing up to the trained length, the trained budget beyond it."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from tsfm.nn.longcontext import StepLimiter
from tsfm.nn.mamba import Bidirectional, Mamba1, Mamba2

D_MODEL, TRAINED = 16, 32
RULES = ("filter", "rescale")


def steps(n_rows: int, length: int, seed: int = 0) -> torch.Tensor:
    """Log-normal step sizes [n, L, 6], whose heads differ in size and in spread."""
    noise = torch.randn(n_rows, length, 6, generator=torch.Generator().manual_seed(seed))
    return torch.exp(torch.linspace(0.2, 0.6, 6) * noise - 4)


def calibrated(rule: str = "filter") -> StepLimiter:
    part = StepLimiter(6, rule)
    part.calibrate(steps(4000, TRAINED), -torch.tensor([0.1, 0.1, 0.5, 0.5, 20.0, 0.1]))
    return part


def build(name: str, rule: str | None) -> Mamba1 | Mamba2:
    torch.manual_seed(0)
    if name == "mamba1":
        return Mamba1(D_MODEL, d_state=4, long_context=rule)
    return Mamba2(D_MODEL, d_state=8, d_head=8, long_context=rule)


def block(name: str, rule: str) -> Mamba1 | Mamba2:
    built = build(name, rule)
    with torch.no_grad():
        built.A_log.mul_(0.2)  # slow decays, so that there are global heads
    seen = []
    hook = built.step_limiter.register_forward_hook(lambda part, inputs, _: seen.append(inputs[0]))
    with torch.no_grad():
        built(torch.randn(20, TRAINED, D_MODEL))
    hook.remove()
    built.step_limiter.calibrate(seen[0], -built.A_log.exp())
    assert built.step_limiter.is_global.sum() >= 2
    return built.eval()


@pytest.fixture(params=[(n, r) for n in ("mamba1", "mamba2") for r in RULES], name="mixer")
def _mixer(request) -> Mamba1 | Mamba2:
    return block(*request.param)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("times", [4, 16])
def test_the_sum_of_long_rows_is_that_of_trained_ones(times, rule):
    part = calibrated(rule)
    is_global = part.is_global
    assert is_global.tolist() == [True, True, True, True, False, True]
    dt = steps(500, times * TRAINED, seed=1)
    total = part(dt).sum(1).mean(0)
    assert (dt.sum(1).mean(0) > 3 * part.budget).all()
    assert (total <= 1.05 * part.budget)[is_global].all()
    assert (total >= 0.85 * part.budget)[is_global].all()
    torch.testing.assert_close(part(dt)[..., ~is_global], dt[..., ~is_global])


@pytest.mark.parametrize("length", [33, 36, 48, 70, 100, 200])
def test_the_budget_holds_between_the_lengths_of_the_table(length):
    part = calibrated()
    total = part(steps(1000, length, seed=2)).sum(1).mean(0)
    assert (total <= 1.05 * part.budget)[part.is_global].all()


def test_the_filter_leaves_the_largest_steps_as_they_are():
    part, dt = calibrated(), steps(3, 10 * TRAINED)
    kept = part(dt)
    assert ((kept == dt) | (kept == 0)).all()
    for head in range(6):
        left_out = dt[..., head][kept[..., head] == 0]
        if len(left_out):
            assert left_out.max() <= dt[..., head][kept[..., head] > 0].min()


def test_budget_and_decay_are_their_formulas():
    dt, A = steps(10, TRAINED), -torch.rand(6, 3)
    part = StepLimiter(6)
    part.calibrate(dt, A)
    torch.testing.assert_close(part.budget, dt.sum(1).mean(0))
    torch.testing.assert_close(part.kept, torch.exp(-A.abs().amin(1) * part.budget))
    assert part.trained_tokens == TRAINED


def test_the_count_of_valid_tokens_decides_not_the_padded_length():
    part, dt = calibrated(), steps(2, 4 * TRAINED)
    valid = torch.arange(4 * TRAINED) % torch.tensor([[1], [4]]) == 0  # all, and a quarter
    kept = part(dt * valid[..., None], valid)
    assert torch.equal(kept[1], (dt * valid[..., None])[1])
    assert torch.equal(kept[:1], part(dt[:1]))


@pytest.mark.parametrize("length", [1, TRAINED - 1, TRAINED])
def test_blocks_are_unchanged_up_to_the_trained_length(mixer, length):
    x = torch.randn(3, length, D_MODEL)
    filtered, state = mixer(x)
    mixer.step_limiter = None
    plain, same = mixer(x)
    assert torch.equal(filtered, plain)
    assert torch.equal(state.ssm, same.ssm)


def test_blocks_change_beyond_it(mixer):
    x = torch.randn(3, 4 * TRAINED, D_MODEL)
    filtered, _ = mixer(x)
    mixer.step_limiter = None
    assert (filtered - mixer(x)[0]).abs().max() > 1e-4


def test_rows_do_not_depend_on_batch_mates_and_padding(mixer):
    lengths = [5 * TRAINED, 2 * TRAINED, TRAINED]
    x = torch.randn(3, lengths[0], D_MODEL)
    valid = torch.arange(lengths[0]) < torch.tensor(lengths)[:, None]
    y, state = mixer(x, valid)
    for row, length in enumerate(lengths):
        alone, alone_state = mixer(x[row : row + 1, :length])
        torch.testing.assert_close(y[row, :length], alone[0], atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(state.ssm[row], alone_state.ssm[0], atol=1e-5, rtol=1e-5)
    read_only = torch.cat([x, torch.randn(3, 8, D_MODEL)], 1)
    again, _ = mixer(read_only, torch.cat([valid, torch.zeros(3, 8, dtype=torch.bool)], 1))
    torch.testing.assert_close(again[:, : lengths[0]], y, atol=1e-5, rtol=1e-5)


def test_single_steps_are_never_limited(mixer):
    x = torch.randn(2, 2 * TRAINED, D_MODEL)
    _, state = mixer(x)
    tail = torch.randn(2, 6, D_MODEL)
    after, now = [], state
    for t in range(6):
        y, now = mixer.step(tail[:, t], now)
        after.append(y)
    mixer.step_limiter = None
    plain, _ = mixer(tail, state=state)
    torch.testing.assert_close(torch.stack(after, 1), plain, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("name", ["mamba1", "mamba2"])
def test_without_calibration_nothing_is_limited(name, rule):
    mixer = build(name, rule)
    x = torch.randn(2, 200, D_MODEL)
    y, _ = mixer(x)
    mixer.step_limiter = None
    assert torch.equal(y, mixer(x)[0])


@pytest.mark.parametrize("name", ["mamba1", "mamba2"])
def test_the_calibration_is_saved_with_the_weights(name):
    mixer, other = block(name, "filter"), build(name, "filter")
    other.load_state_dict(mixer.state_dict())
    x = torch.randn(2, 3 * TRAINED, D_MODEL)
    assert torch.equal(other(x)[0], mixer(x)[0])
    names = {name for name in mixer.state_dict() if name.startswith("step_limiter.")}
    parts = ("trained_tokens", "budget", "kept", "is_global", "thresholds")
    assert names == {f"step_limiter.{part}" for part in parts}


def test_without_the_option_there_are_no_new_keys():
    assert not any("step_limiter" in name for name in Mamba2(D_MODEL, d_head=8).state_dict())


@pytest.mark.parametrize("rule", RULES)
def test_both_directions_are_limited(rule):
    both = Bidirectional(block("mamba2", rule), block("mamba2", rule))
    x = torch.randn(1, 4 * TRAINED, D_MODEL)
    padded = torch.cat([x, torch.randn(1, 9, D_MODEL)], 1)
    valid = torch.arange(padded.shape[1])[None] < x.shape[1]
    torch.testing.assert_close(both(padded, valid)[0][:, : x.shape[1]], both(x)[0])


def test_mistakes_are_named():
    part = StepLimiter(2)
    with pytest.raises(ValueError, match="theta"):
        part.calibrate(torch.ones(1, 4, 2), -torch.ones(2), theta=1.0)
    with pytest.raises(ValueError, match=r"'half'.*filter, rescale"):
        StepLimiter(2, "half")
    with pytest.raises(ValueError, match="no tokens"):
        part.calibrate(torch.ones(0, 4, 2), -torch.ones(2))


class Recall(nn.Module):
    """Which of two values has carried more weight so far, asked after every token."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(4, 16)
        self.mixer = Mamba1(16, d_state=4, d_conv=2, long_context="rescale")
        self.norm, self.head = nn.RMSNorm(16), nn.Linear(16, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.embed(x)
        y: torch.Tensor = self.head(self.norm(h + self.mixer(h)[0]))
        return y

    def accuracy(self, length: int) -> float:
        """Share of right answers after the last token."""
        x, answer = recall_task(384, length, torch.Generator().manual_seed(9))
        with torch.no_grad():
            right = self(x)[:, -1].argmax(-1) == answer[:, -1]
        return right.float().mean().item()


def recall_task(
    n_rows: int, length: int, rng: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Tokens of a value and a salience; few are salient, and weigh up to e^10 times the others."""
    value = F.one_hot(torch.randint(0, 2, (n_rows, length), generator=rng), 2).float()
    salience = torch.rand(n_rows, length, 1, generator=rng)
    answer = (value * (10 * salience).exp()).cumsum(1).argmax(-1)
    return torch.cat([value, salience, salience**4], -1), answer


def test_selective_recall_reaches_beyond_the_trained_length():
    torch.manual_seed(2)
    net, rng = Recall(), torch.Generator().manual_seed(2)
    optimiser = torch.optim.AdamW(net.parameters(), 1e-2, weight_decay=0.01)
    for step in range(250):
        x, answer = recall_task(64, TRAINED, rng)
        loss = F.cross_entropy(net(x).flatten(0, 1), answer.flatten())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        for group in optimiser.param_groups:
            group["lr"] = 1e-2 * min(1, (step + 1) / 50) * (1 - step / 250)
    trained, forgotten = net.accuracy(TRAINED), net.accuracy(8 * TRAINED)
    assert trained > 0.93
    assert forgotten < 0.8 * trained
    seen = []
    hook = net.mixer.step_limiter.register_forward_hook(lambda _, inputs, out: seen.append(out))
    net(recall_task(256, TRAINED, rng)[0])
    hook.remove()
    net.mixer.step_limiter.calibrate(seen[0].detach(), -net.mixer.A_log.exp())
    assert net.accuracy(TRAINED) == trained
    assert net.accuracy(4 * TRAINED) > 0.9 * trained
    assert net.accuracy(8 * TRAINED) > 0.9 * trained
