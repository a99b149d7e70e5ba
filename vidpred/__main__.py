"""Entry point of `python -m vidpred` and of the `vidpred` command."""

from __future__ import annotations

import os
import sys

try:
    from vidpred.processes.interrupts import EXIT_CODE, end_on_interrupt
except KeyboardInterrupt:
    os._exit(130)


def main() -> None:
    """Run the command line; Ctrl-C ends it without a traceback at any time, also while it is loading."""
    end_on_interrupt()
    try:
        from vidpred.commands.app import main as run

        run()
    except KeyboardInterrupt:
        sys.exit(EXIT_CODE)


if __name__ == "__main__":
    main()
