"""Fetching media from the open web: guarded, bounded, polite; each row ends in exactly one status."""
