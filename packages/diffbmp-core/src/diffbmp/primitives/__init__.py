"""Primitives: what is learned and paints, whatever its kind."""
