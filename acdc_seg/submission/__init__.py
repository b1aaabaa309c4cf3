"""Kaggle submissions: a CSV `id,encoding` with a run-length encoded mask per image and class."""
