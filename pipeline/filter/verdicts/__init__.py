"""Opinions on facts: the rules of a recipe, the language they are written in, and what they keep."""
