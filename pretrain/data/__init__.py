"""From datasets to the stream of samples that a run trains on: mixture, order, text buckets, crops, pixels."""
