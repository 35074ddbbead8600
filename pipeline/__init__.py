"""Build datasets: read lists, fetch media, filter, shard. A record travels ingest -> filter -> shard."""
