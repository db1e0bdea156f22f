"""The optimisers of pretraining: AdamW, and Muon and NorMuon for the backbone's matrices."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.adamw import adamw

from tsfm.training.config import OptimizerConfig
from tsfm.training.precision import native_bf16

_COEFFICIENTS = (3.4445, -4.7750, 2.0315)
_ITERATIONS = 5
_EPS = 1e-7


def build_optimizer(network: nn.Module, config: OptimizerConfig) -> torch.optim.Optimizer:
    """AdamW, or Muon for the hidden matrices and AdamW for the rest.

    Matrices decay, vectors do not, nor do parameters that say so (`_no_weight_decay`; A_log of
    Mamba).

    Parameters
    ----------
    network
        The network to train.
    config
        Name and rates.

    Raises
    ------
    ValueError
        If Muon is to train a network without hidden matrices.
    """
    hidden = [] if config.name == "adamw" else hidden_matrices(network)
    rest = [p for p in network.parameters() if all(p is not matrix for matrix in hidden)]
    groups: list[dict[str, Any]] = [
        {"params": [p for p in rest if _decays(p)], "weight_decay": config.weight_decay},
        {"params": [p for p in rest if not _decays(p)], "weight_decay": 0.0},
    ]
    beta1, beta2 = config.betas
    if config.name == "adamw":
        return torch.optim.AdamW(groups, lr=config.learning_rate, betas=(beta1, beta2))
    matrices = {
        "params": hidden,
        "lr": config.matrix_learning_rate,
        "weight_decay": config.weight_decay,
        "orthogonal": True,
    }
    return Muon(
        [matrices, *groups],
        lr=config.learning_rate,
        betas=(beta1, beta2),
        momentum=config.momentum,
        equal_rows=config.name == "normuon",
    )


def hidden_matrices(network: nn.Module) -> list[Tensor]:
    """Weights of the linear maps inside `network.backbone`, which Muon trains.

    Raises
    ------
    ValueError
        If there are none.
    """
    backbone = getattr(network, "backbone", None)
    modules = backbone.modules() if isinstance(backbone, nn.Module) else ()
    weights = [m.weight for m in modules if isinstance(m, nn.Linear) and _decays(m.weight)]
    if not weights:
        raise ValueError(
            f"{type(network).__name__} has no linear map inside a backbone, so there is nothing "
            "for Muon to train; choose optimizer.name 'adamw'."
        )
    return list(dict.fromkeys(weights))


def _decays(parameter: Tensor) -> bool:
    return parameter.ndim >= 2 and not hasattr(parameter, "_no_weight_decay")


class Muon(torch.optim.Optimizer):
    """Orthogonalised momentum for groups marked `orthogonal`, AdamW for all others.

    The update of a matrix is the orthogonal matrix nearest to its Nesterov momentum, found by
    Newton-Schulz iterations (Jordan et al., https://kellerjordan.github.io/posts/muon), times
    `lr * sqrt(max(1, rows / columns))`. NorMuon (arXiv 2510.05491) then divides each row by the
    root of a running mean of its squares, and brings the matrix back to its Frobenius norm, so
    that all outputs of a map move at a similar pace and both variants share their learning rates.

    Plain Muon is the same as `torch.optim.Muon`, which iterates one matrix at a time and in bf16
    on any processor. Here matrices of equal shape are one batch, in bf16 where that is native.

    Parameters
    ----------
    params
        Parameter groups; those with `"orthogonal": True` hold matrices.
    lr, betas, eps, weight_decay
        As in AdamW. The second of `betas` is the decay of NorMuon's row moments, too.
    momentum
        Decay of the matrices' momentum.
    equal_rows
        NorMuon instead of Muon.
    dtype
        What the iterations multiply in; by default bf16 where the device does so natively.

    Raises
    ------
    ValueError
        If a group marked `orthogonal` holds something other than a matrix.

    Examples
    --------
    >>> weight = nn.Parameter(torch.zeros(3, 3))
    >>> optimizer = Muon([{"params": [weight], "orthogonal": True}], lr=0.5, dtype=torch.float32)
    >>> weight.grad = torch.diag(torch.tensor([1.0, 2.0, -3.0]))
    >>> optimizer.step()
    >>> weight.diag().sign().tolist()  # a step of similar size in all directions
    [-1.0, -1.0, 1.0]
    """

    def __init__(
        self,
        params: Sequence[dict[str, Any]],
        *,
        lr: float,
        betas: tuple[float, float] = (0.9, 0.95),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        momentum: float = 0.95,
        equal_rows: bool = False,
        dtype: torch.dtype | None = None,
    ) -> None:
        self.dtype = dtype
        defaults = {
            "lr": lr,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "momentum": momentum,
            "orthogonal": False,
            "equal_rows": equal_rows,
        }
        super().__init__(params, defaults)
        for group in self.param_groups:
            shapes = [tuple(p.shape) for p in group["params"] if p.ndim != 2]
            if group["orthogonal"] and shapes:
                raise ValueError(
                    f"Muon orthogonalises matrices; a parameter has shape {shapes[0]}. Put it in "
                    "a group that is not marked orthogonal."
                )

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # type: ignore[override]
        """One step; parameters without a gradient stay as they are.

        Parameters
        ----------
        closure
            Computes loss and gradients first; its result is returned.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            trained = [p for p in group["params"] if p.grad is not None]
            if not group["orthogonal"]:
                self._step_others(trained, group)
                continue
            for shape in dict.fromkeys(p.shape for p in trained):
                self._step_matrices([p for p in trained if p.shape == shape], group)
        return loss

    def _step_matrices(self, parameters: list[Tensor], group: dict[str, Any]) -> None:
        """Muon's step of N matrices of one shape."""
        momenta = [self._momentum(p, group["momentum"]) for p in parameters]
        update = orthogonalised(torch.stack(momenta), self.dtype)  # [N, rows, columns]
        if group["equal_rows"]:
            update = self._with_equal_rows(parameters, update, group["betas"][1])
        rows, columns = update.shape[1:]
        rate = group["lr"] * math.sqrt(max(1.0, rows / columns))
        for parameter, direction in zip(parameters, update.unbind(), strict=True):
            parameter.mul_(1 - group["lr"] * group["weight_decay"])
            parameter.add_(direction, alpha=-rate)

    def _momentum(self, parameter: Tensor, decay: float) -> Tensor:
        """Nesterov momentum of one matrix, after folding in its gradient."""
        state, gradient = self.state[parameter], parameter.grad
        assert gradient is not None
        if not state:
            state["momentum"] = torch.zeros_like(parameter)
        state["momentum"].lerp_(gradient, 1 - decay)
        return gradient.lerp(state["momentum"], decay)

    def _with_equal_rows(self, parameters: list[Tensor], update: Tensor, decay: float) -> Tensor:
        """NorMuon's update [N, rows, columns]."""
        squares = update.square().mean(-1, keepdim=True)
        for parameter, square in zip(parameters, squares.unbind(), strict=True):
            state = self.state[parameter]
            if "row_moment" not in state:
                state["row_moment"] = torch.zeros_like(square)
            state["row_moment"].lerp_(square, 1 - decay)
        moments = torch.stack([self.state[p]["row_moment"] for p in parameters])
        # moments begin at zero, which makes all rows too large alike: the norm puts that right
        scaled = update / moments.sqrt().clamp_min(_EPS)
        return scaled * (_norm(update) / _norm(scaled).clamp_min(_EPS))

    def _step_others(self, parameters: list[Tensor], group: dict[str, Any]) -> None:
        """AdamW's step."""
        for parameter in parameters:
            if not self.state[parameter]:
                self.state[parameter] = {
                    "step": torch.tensor(0.0),
                    "exp_avg": torch.zeros_like(parameter),
                    "exp_avg_sq": torch.zeros_like(parameter),
                }
        states = [self.state[p] for p in parameters]
        beta1, beta2 = group["betas"]
        adamw(
            parameters,
            [p.grad for p in parameters if p.grad is not None],
            [state["exp_avg"] for state in states],
            [state["exp_avg_sq"] for state in states],
            [],
            [state["step"] for state in states],
            amsgrad=False,
            beta1=beta1,
            beta2=beta2,
            lr=group["lr"],
            weight_decay=group["weight_decay"],
            eps=group["eps"],
            maximize=False,
        )


def orthogonalised(matrices: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    """Matrices with the same singular vectors and all singular values near 1.

    Five quintic Newton-Schulz iterations with Jordan's coefficients, which reach 0.7 to 1.2 fast
    instead of 1 exactly; a zero matrix stays zero.

    Parameters
    ----------
    matrices
        [N, rows, columns] float32.
    dtype
        What to multiply in; by default bf16 where the device does so natively, else float32.

    Returns
    -------
    Tensor
        [N, rows, columns] float32.

    Examples
    --------
    >>> x = orthogonalised(torch.tensor([[[5.0, 0.0], [0.0, 0.5]]]), torch.float32)
    >>> bool(((x[0].diag() > 0.6) & (x[0].diag() < 1.3)).all())
    True
    """
    if dtype is None:
        dtype = torch.bfloat16 if native_bf16(matrices.device) else torch.float32
    a, b, c = _COEFFICIENTS
    x = (matrices / _norm(matrices).clamp_min(_EPS)).to(dtype)
    tall = x.shape[1] > x.shape[2]
    x = x.mT if tall else x
    for _ in range(_ITERATIONS):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return (x.mT if tall else x).to(matrices.dtype)


def _norm(matrices: Tensor) -> Tensor:
    """[N, 1, 1] Frobenius norms."""
    return torch.linalg.matrix_norm(matrices, keepdim=True)
