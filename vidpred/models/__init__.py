"""Generators, discriminators and the rollout loop."""
