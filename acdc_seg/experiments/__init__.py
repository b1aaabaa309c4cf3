"""Experiments: trainings that differ in a few settings, compared in figures, tables and a sentence;
see docs/experiments.md.
"""
