"""Encoders that are named after their public checkpoints."""
