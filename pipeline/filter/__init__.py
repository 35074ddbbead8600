"""Score what was fetched, and judge it: raw -> scores -> verdicts.

`scorers/` writes facts of a row, by the lists of `text/` and the networks of `models/`; `steps/` writes facts that
depend on all rows; `verdicts/` holds the recipe's opinion on both. Files beside this one are what all of them stand on.
"""
