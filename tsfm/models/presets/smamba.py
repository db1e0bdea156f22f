"""S-Mamba: every variate's whole window is a token, and Mamba mixes the variates.

Source: Wang et al., "Is Mamba Effective for Time Series Forecasting?" (arXiv 2403.11144).
Mamba reads its tokens in an order, but variates have none: another order of the same series gives
another forecast. `PresetModel.forecast(..., average_orders=k)` averages over several; with
`reorder` every block sorts the variates by a learnt importance instead.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tsfm.models.presets.config import SMambaConfig
from tsfm.nn.bidirectional import Bidirectional
from tsfm.nn.mamba import Mamba1, Mamba2
from tsfm.nn.reorder import Reordered
from tsfm.tokenizers.variate import VariateTokenizer


class SMambaBlock(nn.Module):
    """`x' = LN(x + mixed(x))`, `x'' = LN(x' + W_2 gelu(W_1 x'))` over tokens [W, N, d_model].

    Parameters
    ----------
    config
        Widths and kind of the mixer.
    """

    def __init__(self, config: SMambaConfig) -> None:
        super().__init__()
        forwards = _mixer(config)
        mixer = Bidirectional(forwards, _mixer(config)) if config.bidirectional else forwards
        self.mixer = Reordered(mixer, config.d_model) if config.reorder else mixer
        self.norm_mixed = nn.LayerNorm(config.d_model)
        self.widen = nn.Linear(config.d_model, config.d_hidden)
        self.narrow = nn.Linear(config.d_hidden, config.d_model)
        self.norm_fed = nn.LayerNorm(config.d_model)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Map [W, N, d_model] to [W, N, d_model]."""
        x = self.norm_mixed(x + self.mixer(x)[0])
        hidden = self.dropout(F.gelu(self.widen(x)))
        mapped: Tensor = self.norm_fed(x + self.dropout(self.narrow(hidden)))
        return mapped


class SMambaNetwork(nn.Module):
    """From scaled windows of N variates to scaled forecasts, for any N.

    Parameters
    ----------
    config
        Everything that shapes the network.

    Examples
    --------
    >>> import torch
    >>> network = SMambaNetwork(SMambaConfig(context_length=32, prediction_length=8))
    >>> network(torch.randn(5, 3, 32)).shape
    torch.Size([5, 3, 8])
    """

    mixes_variates = True

    def __init__(self, config: SMambaConfig) -> None:
        super().__init__()
        self.config = config
        self.tokenizer = VariateTokenizer(config.context_length)
        self.embed = nn.Linear(config.context_length, config.d_model)
        self.dropout = nn.Dropout(config.dropout)
        self.blocks = nn.ModuleList(SMambaBlock(config) for _ in range(config.n_layers))
        self.norm = nn.LayerNorm(config.d_model)
        self.head = nn.Linear(config.d_model, config.prediction_length)

    def forward(self, z: Tensor, prediction_length: int | None = None) -> Tensor:
        """Forecast.

        Parameters
        ----------
        z
            [W, N, L] windows of `context_length` steps, scaled, missing values zero.
        prediction_length
            First steps to return, at most `config.prediction_length` (the default).

        Returns
        -------
        Tensor
            [W, N, prediction_length], in the same scale.
        """
        known = torch.ones_like(z, dtype=torch.bool)  # a missing value counts as the mean
        batch = self.tokenizer.tokenize(z, known, self.config.prediction_length)
        x = self.dropout(self.embed(batch.values))  # [W, N, d_model]
        for block in self.blocks:
            x = block(x)
        answer: Tensor = self.head(self.norm(x))
        return answer[..., :prediction_length]

    def loss(self, z: Tensor, scale: Tensor, target: Tensor, observed: Tensor) -> Tensor:
        """Mean square error in the unit of the series.

        Parameters
        ----------
        z
            [W, N, L], as for `forward`.
        scale
            [W, N, 1] unit of `z`.
        target, observed
            [W, N, H] what followed, in the scale of `z`, and which of it is known.
        """
        error = scale * (self(z) - target)
        return mean_where(error.square(), observed)

    def settle(self) -> None:
        """Nothing to prepare for forecasting."""

    def diagnostics(self) -> dict[str, float]:
        """Nothing to watch in training."""
        return {}


def mean_where(values: Tensor, observed: Tensor) -> Tensor:
    """Mean over the observed entries; zero if there are none."""
    return values.where(observed, 0.0).sum() / observed.sum().clamp_min(1)


def _mixer(config: SMambaConfig) -> nn.Module:
    """One direction's mixer."""
    width, state = config.d_model, config.d_state
    if config.mixer == "mamba1":
        return Mamba1(width, state, config.d_conv, config.expand)
    inner = width * config.expand
    head = next(size for size in (64, 32, 16, 8, 4, 2, 1) if inner % size == 0)
    return Mamba2(width, state, config.d_conv, config.expand, head)
