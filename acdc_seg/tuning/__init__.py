"""Tuning: a search space and a base config to an Optuna study whose trials are trainings; see
docs/tuning.md.
"""
