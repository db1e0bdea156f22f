"""What a token is told of the span after it: cycles, simple forecasts, how much is known."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from tsfm.tokenizers.references import N_REFERENCES, simple_forecasts
from tsfm.tokenizers.seasonality import RepeatLags, cycle_features, detrend, find_cycles

_ROW_FEATURES = 8
_TOKEN_FEATURES = 2
_SMALLEST_ERROR = 0.01


@dataclass(frozen=True)
class RowDescription:
    """What a context says about its series as a whole.

    It may outlive the context: tokens of later steps are then told the same about their series,
    with the cycles running on.

    Parameters
    ----------
    lags
        Lags at which the series repeats itself, all [B].
    cycles
        [B, n_cycles, 4] of `significant_cycles`, phases at the end of the context.
    features
        [B, 8] what the variogram says, on scales of order one.
    """

    lags: RepeatLags
    cycles: Tensor
    features: Tensor

    @property
    def error_scale(self) -> Tensor:
        """[B] typical size of a one-cycle naive error."""
        lags = self.lags
        best = torch.minimum(lags.step_error, torch.minimum(lags.short_error, lags.long_error))
        return best.clamp_min(_SMALLEST_ERROR)


class Ahead(NamedTuple):
    """What tokens are told; each None where nothing is.

    Parameters
    ----------
    features
        [B, T, F].
    references
        [B, T, P, K].
    error_scale
        [B].
    """

    features: Tensor | None
    references: Tensor | None
    error_scale: Tensor | None


@dataclass(frozen=True)
class LookAhead:
    """Describes the span of `patch_length` steps after each token.

    Parameters
    ----------
    patch_length
        Steps described, P.
    n_cycles
        Periodogram cycles described to each token; 0 for none.
    references
        Whether tokens carry the simple forecasts of `simple_forecasts`.
    """

    patch_length: int
    n_cycles: int = 4
    references: bool = True

    @property
    def n_features(self) -> int:
        """Width of `Ahead.features`."""
        return 4 * self.n_cycles + (_ROW_FEATURES + _TOKEN_FEATURES if self.references else 0)

    @property
    def n_odd(self) -> int:
        """Features, the first ones, that change sign with the series."""
        return 2 * self.n_cycles  # value and quadrature of each cycle

    @property
    def n_references(self) -> int:
        """Number of simple forecasts per step."""
        return N_REFERENCES if self.references else 0

    def describe(
        self, z: Tensor, observed: Tensor, season: Tensor | None = None
    ) -> RowDescription:
        """What a context says about its series; see `Tokenizer.describe`."""
        lags, cycles = find_cycles(detrend(z, observed), observed, self.n_cycles, season)
        return RowDescription(lags, cycles, _row_features(lags, observed))

    def of(
        self,
        z: Tensor,
        observed: Tensor,
        end: Tensor,
        known: Tensor,
        row: RowDescription | None,
        advanced: Tensor | None = None,
    ) -> Ahead:
        """What tokens that end at given steps are told.

        Parameters
        ----------
        z, observed
            [B, L] scaled context (0 where missing) and mask.
        end
            [T] or [B, T] first step after each token.
        known
            [B, T] step up to which a token may use the series.
        row
            What is known of the series; None where nothing is to be told.
        advanced
            [B] steps by which the context has grown since `row` was found; None for none.

        Returns
        -------
        Ahead
            B rows.
        """
        if row is None or not self.n_features:
            return Ahead(None, None, None)
        ahead = end.expand(z.shape[0], -1)  # [B, T]
        since = ahead - z.shape[1] if advanced is None else ahead - z.shape[1] + advanced[:, None]
        parts = [cycle_features(row.cycles, since.to(z.dtype))]
        if not self.references:
            return Ahead(parts[0], None, None)
        parts.append(row.features[:, None].expand(-1, end.shape[-1], -1))
        seen = F.pad(observed.cumsum(-1), (1, 0)).gather(1, known.clamp(max=z.shape[1]))
        per_token = [
            torch.log1p((ahead - known).to(z.dtype)) / 5,
            torch.log1p(seen.to(z.dtype)) / 8,
        ]
        parts.append(torch.stack(per_token, dim=-1))
        references = simple_forecasts(z, observed, ahead, known, self.patch_length, row.lags)
        return Ahead(torch.cat(parts, dim=-1), references, row.error_scale)


def _row_features(lags: RepeatLags, observed: Tensor) -> Tensor:
    """[B, 8] what the variogram says about a row, on scales of order one."""
    floor = 1e-3
    unit = torch.log(lags.spread + floor)
    return torch.stack(
        [
            torch.log(lags.step_error + floor) - unit,
            torch.log(lags.short_error + floor) - unit,
            torch.log(lags.long_error + floor) - unit,
            unit,
            lags.long_dip,
            torch.log2(lags.short.clamp_min(1).to(unit.dtype)) / 10,
            torch.log2(lags.long.clamp_min(1).to(unit.dtype)) / 10,
            torch.log1p(observed.sum(-1).to(unit.dtype)) / 8,
        ],
        dim=-1,
    )
