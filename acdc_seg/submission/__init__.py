"""Submissions: run-length encoding and the Kaggle CSV."""
