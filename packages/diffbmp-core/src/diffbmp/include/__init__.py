"""C++ headers; see ``diffbmp.get_include``."""
