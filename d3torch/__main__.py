"""The command ``d3torch``, also as ``python -m d3torch``.

Its version and ``d3torch info`` need no library of torch; every other command has a line on why it
cannot be loaded.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from . import __version__, _library


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; the exit code, as of :func:`d3torch.cli.main`."""
    words = list(sys.argv[1:] if argv is None else argv)
    if words[:1] == ["--version"]:
        print(f"d3torch {__version__}")
        return 0
    try:
        if words in (["info"], ["info", "--json"]):
            from .info import show

            return show("--json" in words)
        _library.load()
        from .cli import main as run
    except (ImportError, OSError) as error:  # OSError: what the loader of the system says
        print(f"d3torch: {str(error).splitlines()[0]}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return run(words)


if __name__ == "__main__":
    sys.exit(main())
