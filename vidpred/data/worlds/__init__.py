"""Embedded synthetic worlds."""
