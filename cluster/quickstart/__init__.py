"""A small world of drawn scenes, a local web that serves it with faults, and the whole mill run on it."""
