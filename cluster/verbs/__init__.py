"""One function per verb of the command line: takes the parsed options, returns what `--json` prints."""
