"""Compute the figures of a lecture on GANs, as `vidpred lecture` does. Run: python -m demos.gan_lecture --help."""

from __future__ import annotations

from vidpred.commands.run_lecture import main

if __name__ == "__main__":
    main()
