"""Synthetic and on-disk series for training."""
