"""Hook specifications, and the registry of what plugins register."""
