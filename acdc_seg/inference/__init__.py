"""Inference: images to class probabilities."""
