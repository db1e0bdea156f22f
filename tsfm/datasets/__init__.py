"""Synthetic series for training: generators, recipes, augmentations, windows."""
