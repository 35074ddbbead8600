"""The loop of a data filtering network: seed, network, pool, filter, training, as one recipe."""
