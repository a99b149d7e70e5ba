"""Rendering: images, plots, videos and pages."""
