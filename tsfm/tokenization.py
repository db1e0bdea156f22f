"""How a tokenizer reads the series of a DataFrame: one row per token."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.base import BaseEstimator

from tsfm.arguments import check_forecaster, positive_int
from tsfm.frames.answer import token_frame
from tsfm.frames.panel import Panel
from tsfm.frames.read import Data, Float64
from tsfm.loading import load_model

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from tsfm.tokenizers import Tokenizer

Int64 = npt.NDArray[np.int64]
TokenizerName = Literal["fixed", "entropy", "surprise"]
NAMES: tuple[TokenizerName, ...] = ("fixed", "entropy", "surprise")

_STEPS_AT_ONCE = 2**19


@dataclass(frozen=True)
class Tokens:
    """How one series was cut.

    Parameters
    ----------
    start, length
        `[T]` spans in steps; they tile the series.
    n_observed
        `[T]` values in each span.
    scores
        `[L]` how hard the step after each step is to foresee, NaN at missing steps; None where
        the tokenizer does not look at the values.
    """

    start: Int64
    length: Int64
    n_observed: Int64
    scores: Float64 | None

    @property
    def entropy(self) -> Float64:
        """`[T]` the score of the step before each token, which speaks of its first step."""
        if self.scores is None:
            return np.full(len(self.start), np.nan)
        before = self.scores[np.maximum(self.start - 1, 0)]
        return np.where(self.start > 0, before, np.nan)


class TokenizableEstimator(BaseEstimator):  # type: ignore[misc]
    """What lets a `Forecaster` show its tokens; `Forecaster` is the class to use."""

    def tokenize(
        self, X: Data | None = None, *, tokenizer: TokenizerName | Tokenizer | None = None
    ) -> pd.DataFrame:
        """Shows how the series are cut into tokens.

        Parameters
        ----------
        X
            As for `predict`; the remembered series by default. All of their steps are cut, also
            those before the context of the model.
        tokenizer
            "fixed" (equal patches), "entropy" (short tokens where the next value is hard to
            foresee, by the shipped scorer), "surprise" (the same by a score without weights), or a
            `tsfm.tokenizers.Tokenizer`. By default that of the model.

        Returns
        -------
        DataFrame
            One row per token, series by series: id, "target_name", "start" (time of the token's
            first step), "step" (its number in the series, from 0), "length" in steps, "observed"
            (values that are not missing) and "entropy" (in nats: how hard the token's first step
            was to foresee from the step before it; missing for the first token, after missing
            values, and where values are not looked at). Of "surprise" it is that score.

        Raises
        ------
        TypeError
            The model has no tokenizer, or `tokenizer` is none.
        ValueError
            There is no tokenizer of this name.

        Examples
        --------
        >>> import numpy as np
        >>> from tsfm import Forecaster
        >>> tokens = Forecaster().tokenize(np.arange(70.0), tokenizer="fixed")
        >>> tokens["length"].tolist()
        [6, 32, 32]
        """
        panel, chosen = self._to_tokenize(X, tokenizer)
        return token_frame(
            panel,
            [(t.start, t.length, t.n_observed, t.entropy) for t in tokenize_panel(panel, chosen)],
        )

    def plot_tokens(
        self,
        X: Data | None = None,
        *,
        tokenizer: TokenizerName | Tokenizer | None = None,
        last: int | None = None,
    ) -> Axes | npt.NDArray[Any]:
        """Draws each series with the borders of its tokens and the curve that set them.

        Parameters
        ----------
        X, tokenizer
            As for `tokenize`.
        last
            Draw only so many of the last steps, at least 2; all by default.

        Returns
        -------
        Axes or ndarray of Axes
            One per series, up to nine.

        Raises
        ------
        ImportError
            matplotlib is not installed.
        TypeError, ValueError
            As for `tokenize`, or `last` is less than 2.
        """
        from tsfm.plotting import MAX_PANELS
        from tsfm.token_plot import plot_tokens

        if last is not None and positive_int(last, "last") < 2:
            raise ValueError(f"last must be at least 2 steps, got {last}.")
        panel, chosen = self._to_tokenize(X, tokenizer)
        drawn = panel.take(range(min(len(panel), MAX_PANELS)))
        return plot_tokens(panel, tokenize_panel(drawn, chosen), last)

    def _to_tokenize(
        self, X: Data | None, tokenizer: TokenizerName | Tokenizer | None
    ) -> tuple[Panel, Tokenizer]:
        check_forecaster(self)
        panel: Panel = self._panel(X)
        if tokenizer is None:
            return panel, model_tokenizer(self.model, self.device)
        return panel, build(tokenizer) if isinstance(tokenizer, str) else _checked(tokenizer)


def build(name: str) -> Tokenizer:
    """A tokenizer by name, with its default settings.

    Raises
    ------
    ValueError
        If there is no such tokenizer.
    """
    from tsfm.models.config import TokenizerConfig
    from tsfm.models.tokenizing import build_tokenizer

    if name not in NAMES:
        raise ValueError(f"tokenizer must be one of {', '.join(NAMES)}, got {name!r}.")
    if name == "fixed":
        return build_tokenizer(TokenizerConfig())
    scorer = "surprise" if name == "surprise" else "tsfm-entropy"
    return build_tokenizer(TokenizerConfig(name="entropy", scorer=scorer)).eval()


def model_tokenizer(model: object, device: str = "auto") -> Tokenizer:
    """The tokenizer of a model, by name, folder or the model itself.

    Raises
    ------
    TypeError
        If the model has none.
    """
    from tsfm.tokenizers import Tokenizer

    loaded = load_model(model, device)  # type: ignore[arg-type]
    tokenizer = getattr(getattr(loaded, "network", None), "tokenizer", None)
    if not isinstance(tokenizer, Tokenizer):
        what = repr(str(model)) if isinstance(model, str | Path) else type(model).__name__
        raise TypeError(
            f"The model {what} has no tokenizer; name one of {', '.join(NAMES)}, such as "
            "tokenizer='fixed'."
        )
    return tokenizer


def _checked(tokenizer: object) -> Tokenizer:
    from tsfm.tokenizers import Tokenizer, VariateTokenizer

    if isinstance(tokenizer, VariateTokenizer):
        raise TypeError("Variate tokens are whole windows of several series: nothing is cut.")
    if not isinstance(tokenizer, Tokenizer):
        raise TypeError(
            f"tokenizer must be one of {', '.join(NAMES)} or a tsfm.tokenizers.Tokenizer, got "
            f"{tokenizer!r}."
        )
    return tokenizer


def tokenize_panel(panel: Panel, tokenizer: Tokenizer) -> list[Tokens]:
    """Cut all series of a panel.

    Parameters
    ----------
    panel
        N series.
    tokenizer
        What cuts them; it sees each on its own scale, as in a model.

    Returns
    -------
    list of Tokens
        N.
    """
    found: list[Tokens | None] = [None] * len(panel)
    training = tokenizer.training
    tokenizer.eval()  # in training it may learn from what it sees
    try:
        for rows in _batches(panel.lengths):
            values = np.stack([panel.values[i] for i in rows])
            for i, tokens in zip(rows, _tokenize(values, tokenizer), strict=True):
                found[i] = tokens
    finally:
        tokenizer.train(training)
    return [tokens for tokens in found if tokens is not None]


def _batches(lengths: Int64) -> Iterator[list[int]]:
    """Indices of series of one length, not too many at a time."""
    for length in np.unique(lengths):
        rows = np.flatnonzero(lengths == length)
        size = max(1, _STEPS_AT_ONCE // max(1, int(length)))
        for at in range(0, len(rows), size):
            yield rows[at : at + size].tolist()


def _tokenize(values: Float64, tokenizer: Tokenizer) -> Iterator[Tokens]:
    """Tokens of series of one length [B, L]."""
    import torch

    from tsfm.models.scaler import Scale

    with torch.inference_mode():
        device = next((p.device for p in tokenizer.parameters()), torch.device("cpu"))
        raw = torch.from_numpy(values).to(device)
        observed = torch.isfinite(raw)
        z = torch.where(observed, Scale.of(raw, observed).forward(raw), 0)
        start, length, scores = tokenizer.cuts(z, observed)
        seen = torch.nn.functional.pad(observed.cumsum(-1), (1, 0))
        n_observed = seen.gather(1, start + length) - seen.gather(1, start)
        columns = [x.cpu().numpy() for x in (start, length, n_observed)]
        if scores is not None:
            scores = torch.where(observed, scores.double(), torch.nan).cpu()
    for i, wanted in enumerate(columns[1] > 0):
        begin, size, count = (column[i][wanted] for column in columns)
        yield Tokens(begin, size, count, None if scores is None else scores[i].numpy())
