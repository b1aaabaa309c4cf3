"""Segmentation of the heart in short-axis cardiac MR: train, tune, ensemble, submit."""

__version__ = "0.1.0"
