"""How fast renderers are: standard scenes, measurements and peers, for ``diffbmp bench``."""
