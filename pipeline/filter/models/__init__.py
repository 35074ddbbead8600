"""Models that look at media, without and with torch: what a folder of weights is, and how it is run."""
