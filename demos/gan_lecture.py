"""Compute the figures of a lecture on GANs. Run: python -m demos.gan_lecture, or vidpred lecture, which is the same.

Writes lecture.html: a GAN on the real line with its optimal discriminator and the value of the game, the gradient of
both generator losses, both directions of the Kullback-Leibler divergence, and the number of eight Gaussians that
several GAN variants cover, with sentences that follow from these numbers.
"""

from __future__ import annotations

import sys

from vidpred.commands import app

if __name__ == "__main__":
    sys.argv[1:1] = ["lecture"]
    app.main()
