"""The command ``d3torch``, also as ``python -m d3torch``.

Its version and ``d3torch info`` need no library of torch; every other command has a line on why it
cannot be loaded.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from . import __version__, _library


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; the exit code, as of :func:`d3torch.cli.main`."""
    words = list(sys.argv[1:] if argv is None else argv)
    if argv is None:
        _settle_streams()
    try:
        code = _run(words)
        sys.stdout.flush()
    except OSError as error:
        if not isinstance(error, BrokenPipeError):  # `d3torch info | head`
            print(f"d3torch: {error}", file=sys.stderr)  # a full disk
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # no second failure
        return 1
    return code


def _settle_streams() -> None:
    """Streams that are closed lead nowhere; what cannot be encoded is written with backslashes."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open(mode, encoding="utf-8"))  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _run(words: list[str]) -> int:
    """Run a command; the exit code."""
    if words[:1] == ["--version"]:
        print(f"d3torch {__version__}")
        return 0
    try:
        if words in (["info"], ["info", "--json"]):
            from .info import show

            return show("--json" in words)
        _library.load()
        from .cli import main as run
    except BrokenPipeError:
        raise
    except (ImportError, OSError) as error:  # OSError: what the loader of the system says
        print(f"d3torch: {str(error).splitlines()[0]}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return run(words)


if __name__ == "__main__":
    sys.exit(main())
