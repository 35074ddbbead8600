"""Objectives: features in, loss out; they know neither model nor trainer."""
