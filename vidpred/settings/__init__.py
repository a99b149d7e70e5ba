"""What settings classes share: their base, and the names that settings had before."""

from vidpred.settings.base import Settings, flatten

__all__ = ["Settings", "flatten"]
