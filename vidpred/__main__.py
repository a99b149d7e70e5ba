"""`python -m vidpred` and the `vidpred` command."""

from __future__ import annotations

from vidpred.commands.app import main

if __name__ == "__main__":
    main()
