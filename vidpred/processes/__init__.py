"""Processes that work together, and what ends with them."""
