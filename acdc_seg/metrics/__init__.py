"""Metrics: overlap of predicted and true labels, and their summaries and tables."""
