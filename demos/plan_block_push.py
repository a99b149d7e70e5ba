"""Plan in block_push from logged episodes. Run: python -m demos.plan_block_push --output runs/plan_block_push.

Records random play, trains a predictor on it and pushes a block to three goals. Training takes most of the time, a few
minutes on a CPU core.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from vidpred import load_config, train
from vidpred.planning.controller import MPCController
from vidpred.planning.costs import PushBehind
from vidpred.planning.envs.block_push import BLOCK, DISC, HALF, RADIUS, BlockPush
from vidpred.planning.planning_model import Bounds
from vidpred.planning.record import Recording, record
from vidpred.planning.solvers import CEMSolver
from vidpred.planning.world_model import WorldModel


def main() -> None:
    """Run the demo."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("runs/plan_block_push"), help="Folder to write to.")
    parser.add_argument("--episodes", type=int, default=1000, help="Recorded episodes.")
    parser.add_argument("--steps", type=int, default=2000, help="Training steps.")
    parser.add_argument("--tries", type=int, default=3, help="Goals to plan for.")
    options = parser.parse_args()

    # 1. Episodes: frames, and the actions from each frame to the next. `vidpred prepare` converts your own episodes.
    record(Recording("block_push", options.episodes, "random", size=32), options.output / "episodes", workers=1)

    # 2. A predictor that takes actions. A second call resumes a stopped training and skips a finished one.
    settings = {"data.root": str(options.output / "episodes"), "run": str(options.output / "run")}
    run = train(load_config("block_push.yaml", {**settings, "training.steps": options.steps}))

    # 3. The predictor as a world model, and a controller that plans with it at every second step.
    bounds = Bounds.of([-1, -1], [1, 1])
    model = WorldModel.load(run.folder, bounds=bounds)
    controller = MPCController(
        model, CEMSolver(num_samples=32, iterations=3, num_elites=4), bounds, horizon=6, receding_horizon=2
    )

    world = BlockPush(size=32)
    for number in range(options.tries):
        frame, info = world.reset(seed=number)
        controller.reset(seed=number)
        # The planner's cost, a function of predicted frames: the blue block at the goal, the red disc behind it.
        cost = PushBehind(DISC.tolist(), BLOCK.tolist(), world.goal.tolist(), reach=HALF + RADIUS)
        over = False
        while not (over or info["success"]):
            observed = torch.from_numpy(frame).permute(2, 0, 1).float() / 255
            action = controller.act(observed, cost)
            frame, _, _, over, info = world.step(action.numpy())
        result = "reached the goal" if info["success"] else f"ended {info['distance']:.2f} arena widths from the goal"
        print(f"try {number}: {result} after {world.steps} steps")


if __name__ == "__main__":
    main()
