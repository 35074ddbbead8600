"""Score what was fetched, and judge it: raw -> scores -> verdicts."""
