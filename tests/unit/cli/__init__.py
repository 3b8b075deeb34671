"""Verbs of the command line whose work is not in another package."""
