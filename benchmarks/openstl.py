"""SimVP as OpenSTL (github.com/chengtan9907/OpenSTL) implements it, from a checkout, to compare ours with.

Only the modules of the network are imported, which need timm; the rest of OpenSTL and its dependencies are not.
"""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType

from torch import Tensor, nn

from vidpred.config import Config
from vidpred.models.simvp import SimVPSettings


class OpenStlPredictor(nn.Module):
    """A network of OpenSTL, whose frames are clamped to [0, 1] outside of training."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, context: Tensor) -> Tensor:
        frames: Tensor = self.network(context)
        return frames if self.training else frames.clamp(0, 1)


def openstl_simvp(checkout: Path, config: Config) -> OpenStlPredictor:
    """Return OpenSTL's SimVP with the sizes of a config's.

    Raises:
        ImportError: `checkout` has no such module, or timm is not installed.
    """
    for name in ("openstl", "openstl.models"):  # without their __init__, which imports the rest
        package = sys.modules.setdefault(name, ModuleType(name))
        package.__path__ = [str(checkout / name.replace(".", "/"))]
    simvp = import_module("openstl.models.simvp_model").SimVP_Model
    model, data = config.model, config.data
    assert isinstance(model, SimVPSettings)
    return OpenStlPredictor(
        simvp(
            (data.context_frames, data.channels, 64, 64),
            hid_S=model.spatial_width, hid_T=model.translator_width, N_S=model.spatial_layers,
            N_T=model.translator_layers,
            model_type={"inception": "IncepU", "gsta": "gSTA"}[model.translator],
        )
    )  # fmt: skip
