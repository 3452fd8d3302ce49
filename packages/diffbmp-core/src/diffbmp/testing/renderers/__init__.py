"""The parts of ``diffbmp.testing.RendererConformance``, each a group of tests."""
