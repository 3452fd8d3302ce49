"""Hook specifications, the registry of what plugins register, and the report about them."""
