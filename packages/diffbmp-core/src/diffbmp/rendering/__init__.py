"""The operator and its renderers."""
