"""Write and read the final shards: verdicts -> shards -> examples."""
