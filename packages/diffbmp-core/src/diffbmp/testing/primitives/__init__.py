"""The suite for kinds of primitives, in groups of tests."""
