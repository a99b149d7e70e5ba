"""What settings classes share: their base, and the names that settings had in earlier versions."""

from vidpred.settings.base import Settings, absent_at_defaults, flatten, with_all_sections
from vidpred.settings.renamed import MOVED, assign, migrate, moved_to

__all__ = ["MOVED", "Settings", "absent_at_defaults", "assign", "flatten", "migrate", "moved_to", "with_all_sections"]
