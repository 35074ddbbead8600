"""One self-contained HTML page about a dataset and, where there is one, a training run on it."""
