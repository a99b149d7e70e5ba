"""Environments to record and plan in."""
