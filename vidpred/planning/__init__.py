"""Planning with a predictor that takes actions; see docs/guide/plan.md.

Public names are loaded on first use: the environments need gymnasium, the rest does not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

_HOMES = {  # public name -> the module that defines it
    "Bounds": "vidpred.planning.planning_model",
    "WorldModel": "vidpred.planning.world_model",
    "MPCController": "vidpred.planning.controller",
    "WorldModelEnv": "vidpred.planning.environment",
    "WorldModelVectorEnv": "vidpred.planning.environment",
}
__all__ = ["Bounds", "MPCController", "WorldModel", "WorldModelEnv", "WorldModelVectorEnv"]

if TYPE_CHECKING:
    from vidpred.planning.controller import MPCController
    from vidpred.planning.environment import WorldModelEnv, WorldModelVectorEnv
    from vidpred.planning.planning_model import Bounds
    from vidpred.planning.world_model import WorldModel


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'vidpred.planning' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)
