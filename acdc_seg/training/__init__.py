"""Training: the loop, its state, what follows it."""
