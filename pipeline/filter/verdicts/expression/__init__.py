"""The language of verdicts: small expressions over score columns, parsed, typed and run on whole columns."""
