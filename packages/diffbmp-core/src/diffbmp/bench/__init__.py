"""How fast renderers are: standard scenes and measurements, for ``diffbmp bench``."""
