"""Plan in PushT. Run: python -m demos.plan_pusht --output runs/plan_pusht.

Needs gym-pusht: pip install '.[sim]'. Records episodes in which an agent pushes a T-shaped block, trains a
predictor on them, and plans to move agent and block to their positions in a goal image. Training takes most of the
time, about 8 minutes on a CPU core.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from vidpred import load_config, train
from vidpred.planning import MPCController, WorldModel
from vidpred.planning.costs import best_step
from vidpred.planning.envs import pusht
from vidpred.planning.envs.base import to_image
from vidpred.planning.envs.pusht import PushTEnv
from vidpred.planning.record import Recording, record
from vidpred.planning.solvers import CEMSolver


def main() -> None:
    """Run the demo."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("runs/plan_pusht"), help="Folder to write to.")
    parser.add_argument("--episodes", type=int, default=1000, help="Recorded episodes.")
    parser.add_argument("--steps", type=int, default=4000, help="Training steps.")
    parser.add_argument("--tries", type=int, default=3, help="Goals to plan for.")
    options = parser.parse_args()

    # 1. Episodes: 32x32 frames, and the actions from each frame to the next.
    episodes = Recording(pusht.NAME, options.episodes, "scripted", size=32)
    record(episodes, options.output / "episodes", workers=1)

    # 2. A predictor that takes actions. A second call resumes a stopped training and skips a finished one.
    settings = {"data.root": str(options.output / "episodes"), "run": str(options.output / "run")}
    run = train(load_config("pusht.yaml", {**settings, "training.steps": options.steps}))

    # 3. The predictor as a world model: before every action, 64 plans of 5 actions in each of 5 iterations.
    world = PushTEnv(size=32)
    model = WorldModel.load(run.folder, bounds=world.bounds)
    solver = CEMSolver(num_samples=64, iterations=5, num_elites=8)
    controller = MPCController(model, solver, world.bounds, horizon=5, receding_horizon=1, reach=world.reach)

    for number in range(options.tries):
        frame = world.reset_with_goal(seed=number)
        controller.reset(seed=number, first=torch.from_numpy(world.neutral_action()).float())
        # The planner's cost, a function of predicted frames: agent and block in their poses of the goal image, at any
        # step of a plan, the sooner the better.
        cost = best_step(pusht.pose_cost(world.goal_image(None), world.background), delay=0, per_step=pusht.STEP_COST)
        steps, reached = 0, False
        while steps < world.steps and not reached:
            result = world.step(controller.act(to_image(frame), cost).double().numpy())
            frame, reached, steps = result.frame, result.success, steps + 1
        print(f"try {number}: {'reached the goal' if reached else 'the goal was not reached'} after {steps} actions")


if __name__ == "__main__":
    main()
