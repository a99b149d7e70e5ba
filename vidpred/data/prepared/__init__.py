"""Prepared data sets: writing, reading and their format."""
