"""Data: settings, sources of windows, and the batches that training reads."""
