"""Texts of tiny experiments that several test files run."""

TINY = """
base:
  model.name: unet
  model.depth: 2
  model.base_channels: 4
  train.epochs: 2
  train.batch_size: 2
  train.device: cpu
  train.precision: fp32
recipe: false
"""
RATES = f"title: Rates\n{TINY}\ngrid: {{optimizer.lr: [0.1, 0.01]}}\n"
