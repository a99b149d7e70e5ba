"""Image files as training data."""
