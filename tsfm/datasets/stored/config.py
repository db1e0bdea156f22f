"""How a training run draws from a corpus on disk."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class CorpusConfig:
    """A corpus on disk as a source of training windows.

    Raises
    ------
    ValueError
        If a share lies outside its range.

    Examples
    --------
    >>> CorpusConfig("corpora/mine", share=0.5).validation_share
    0.1
    """

    path: str
    """Folder of the corpus; in a YAML file relative to that file."""
    share: float = 1.0
    """Share of the rows of every batch that comes from it; the others are synthetic."""
    stratified: bool | None = None
    """Whether strata say how often a series is drawn; None: if the corpus has been stratified."""
    validation_share: float = 0.1
    """Last part of every series, never seen in training."""
    length_power: float = 0.5
    """A series of n steps is drawn in proportion to n to this power: 0 all alike, 1 all steps."""
    mixup: float = 0.2
    """Share of the complete windows that are mixed with others of the corpus."""
    flip: float = 0.2
    """Share of the windows that are turned upside down."""
    missing: float = 0.1
    """Share of a forecaster's windows that lose more values than they lack; those of a detector
    lose them by its `windows.missing`."""
    fingerprint: str = ""
    """Contents of corpus and strata; filled in when a run begins, checked when it goes on."""

    def __post_init__(self) -> None:
        """Check the fields."""
        if not 0 < self.share <= 1:
            raise ValueError(f"corpus.share is {self.share}; it must lie in (0, 1].")
        if not 0 < self.validation_share < 1:
            raise ValueError(
                f"corpus.validation_share is {self.validation_share}; it must lie in (0, 1)."
            )
        if self.length_power < 0:
            raise ValueError(f"corpus.length_power is {self.length_power}; it must be >= 0.")
        for name in ("mixup", "flip", "missing"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"corpus.{name} is {getattr(self, name)}; give 0 to 1.")

    def pinned(self) -> CorpusConfig:
        """The same with what the folder decides written down, so that a run can be resumed.

        Raises
        ------
        FileNotFoundError
            If there is no such corpus.
        ValueError
            If strata are asked for and there are none.
        """
        from tsfm.datasets.stored.corpus import Corpus

        corpus = Corpus(self.path)
        stratified = corpus.stratified if self.stratified is None else self.stratified
        fingerprint = corpus.meta.fingerprint
        if stratified:
            fingerprint += "+" + corpus.strata_meta["fingerprint"]
        return replace(self, stratified=stratified, fingerprint=fingerprint)
