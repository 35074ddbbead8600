"""Evaluations: what a model is worth on a split it has not seen."""
