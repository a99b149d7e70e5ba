"""Run the command line in this process."""

from __future__ import annotations

import sys

from vidpred.commands import app


def run_vidpred(*words: object) -> int:
    """Run `vidpred` with these words; return its exit code."""
    arguments = sys.argv
    sys.argv = ["vidpred", *map(str, words)]
    try:
        app.main()
    except SystemExit as end:
        return int(end.code or 0)
    finally:
        sys.argv = arguments
    return 0
