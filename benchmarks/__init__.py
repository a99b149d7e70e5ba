"""Speed and long evidence. Not part of the package."""
