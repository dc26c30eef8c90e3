"""Fitting of softmax regression: weights and intercepts that minimize the penalized cross-entropy."""
