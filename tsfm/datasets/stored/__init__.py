"""Corpora on disk: memory-mapped Arrow shards with an index, and training windows out of them.

A corpus is a folder:

- `corpus.json`: what it holds and where that came from; written last, so a folder without it is
  no corpus;
- `index.arrow`: one row per series (`layout.INDEX`), in record batches of `layout.BATCH` rows;
- `shard-00000.arrow`, ...: the values, one row per series and one record batch per file, so that
  a window is a slice of one mapped array;
- `strata.arrow`: how predictable each series is (`strata.stratify`), optional;
- `excluded.jsonl`: series that the leakage guard kept out, optional.

All files but the JSON are Arrow IPC files that pandas, polars and pyarrow open. Nothing here knows
a DataFrame: tables are read by `tsfm.corpora`.
"""

from tsfm.datasets.stored.config import CorpusConfig
from tsfm.datasets.stored.corpus import Corpus
from tsfm.datasets.stored.layout import Series
from tsfm.datasets.stored.writer import CorpusWriter

__all__ = ["Corpus", "CorpusConfig", "CorpusWriter", "Series"]
