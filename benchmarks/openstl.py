"""SimVP as OpenSTL (github.com/chengtan9907/OpenSTL) implements it, from a checkout, to compare ours with.

Only the modules of the network are imported, which need timm; the rest of OpenSTL and its dependencies are not.

    python -m benchmarks.openstl FOLDER    # by how much our SimVP differs from a checkout's with the same weights
"""

from __future__ import annotations

import argparse
import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType

import torch
from torch import Tensor, nn

from vidpred.config import Config, load_config
from vidpred.models.build import build_generator
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


def main() -> None:
    """Print the largest difference of a frame's values, for random frames and weights, and in [0, 1]."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkout", type=Path, help="Folder of OpenSTL.")
    config = load_config("simvp_moving_mnist.yaml")
    torch.manual_seed(0)
    theirs = openstl_simvp(parser.parse_args().checkout, config).eval()
    ours = build_generator(config.model, config.data).eval()
    ours.load_state_dict(dict(zip(ours.state_dict(), theirs.state_dict().values(), strict=True)))  # in the same order
    context = torch.rand(2, config.data.context_frames, config.data.channels, 64, 64)
    with torch.inference_mode():
        found = ours(context)
        frames = found[-1] if isinstance(found, list) else found
        print(f"largest difference: {float((frames - theirs(context)).abs().max()):g}")


if __name__ == "__main__":
    main()
