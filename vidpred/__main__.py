"""Entry point of `python -m vidpred` and of the `vidpred` command."""

from __future__ import annotations

from vidpred.commands.app import main

if __name__ == "__main__":
    main()
