"""``python -m diffbmp`` is the ``diffbmp`` command."""

from diffbmp.cli.app import main

if __name__ == "__main__":
    main()
