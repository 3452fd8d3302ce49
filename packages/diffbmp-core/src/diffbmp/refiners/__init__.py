"""Refiners: what acts on the stamps between steps."""
