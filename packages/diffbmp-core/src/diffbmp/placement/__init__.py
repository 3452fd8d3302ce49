"""Where stamps are placed: for initializers and refiners alike."""
