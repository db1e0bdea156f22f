"""Thin adapters that let other libraries use a model, one file each.

Each imports its library at the top, so import the adapter you need.

- `tsfm.adapters.gluonts`: a gluonts `Predictor` (needs the extra `train`).
"""
