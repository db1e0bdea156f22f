"""Corpora from the data people have: tables, Monash and GluonTS files, DataFrames.

`build_corpus` reads them piece by piece, puts their rows on regular grids as `Forecaster` does,
and writes a `tsfm.datasets.stored` corpus. The room knows DataFrames; the corpus does not.
"""

from tsfm.corpora.build import build_corpus
from tsfm.corpora.options import TableOptions

__all__ = ["TableOptions", "build_corpus"]
