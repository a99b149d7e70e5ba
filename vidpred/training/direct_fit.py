"""Training of models that are fitted directly instead of step by step, with the same run folder."""

from __future__ import annotations

import torch
from torch import Tensor

from vidpred.data.images.windows import images_of
from vidpred.data.sources import Source
from vidpred.errors import StorageError
from vidpred.media.render import training_image, write_png
from vidpred.models.base import Generator
from vidpred.models.conditions import Conditions
from vidpred.training.tracking import Tracker
from vidpred.training.trainer import Progress
from vidpred.training.updates import TrainingParts

BLOCK, SHOWN = 512, 64


class Fitting:
    """Fits the generator to the training images and saves it as the run's one checkpoint."""

    def __init__(self, parts: TrainingParts, model: Generator, held_out: Source | None) -> None:
        """Store the parts.

        Args:
            parts: Everything that a training needs.
            model: The generator to fit.
            held_out: Images to measure the likelihood of; None: none.
        """
        self.parts, self.model, self.held_out = parts, model, held_out
        self.last, self.trackers, self.keep = parts.training.steps, parts.training.trackers, parts.checkpoint.keep

    def run(self) -> Progress:
        """Fit and save the model, unless the folder has a checkpoint already.

        Returns:
            The steps that the run started from (0, or the last one if the run was fitted before) and ended with.

        Raises:
            ConfigError: The model cannot be fitted.
            StorageError: The model cannot be saved.
        """
        parts, last = self.parts, self.last
        if parts.folder.newest() is not None:
            return Progress(last, last)
        images = images_of(parts.samples.source, self.model.max_fit_images, parts.seed)
        self.model.fit(images, parts.seed)
        main = parts.accelerator.is_main_process
        tracker = Tracker(parts.folder.path, last, 0, main, self.trackers, parts.settings)
        numbers = self._likelihoods(images) if self.model.has_density else {}
        tracker.log(last, numbers)
        tracker.print(", ".join(f"{name} {value:.5g}" for name, value in numbers.items()))
        if parts.accelerator.is_main_process:
            torch.manual_seed(parts.seed)
            future = images[:SHOWN, None]
            prediction = self.model(future[:, :0], **Conditions().generator_kwargs(self.model, 0, 0))[-1]
            image = training_image(future[:, :0], future, prediction)
            parts.folder.check_in_place()
            try:
                write_png(parts.folder.path / "images" / f"step-{last:06}.png", image)
            except StorageError as error:
                tracker.warn(str(error))
            tracker.show(last, image)
            weights = self.model.state_dict()
            parts.folder.save(last, {"ema": weights, "generator": weights}, parts.state, self.keep)
        tracker.close()
        parts.accelerator.wait_for_everyone()
        return Progress(0, last)

    def _likelihoods(self, images: Tensor) -> dict[str, float]:
        """Return mean log likelihoods, in nats per image."""
        sets = {"fit/log_likelihood": images}
        if self.held_out is not None:
            held_out = images_of(self.held_out, self.model.max_fit_images, self.parts.seed)
            sets["validation/log_likelihood"] = held_out
        return {name: mean_log_likelihood(self.model, chosen) for name, chosen in sets.items()}


def mean_log_likelihood(model: Generator, images: Tensor) -> float:
    """Return the mean log likelihood of images `(N, C, H, W)` in [0, 1], in nats per image."""
    total = sum(float(model.log_density(images[first : first + BLOCK]).sum()) for first in range(0, len(images), BLOCK))
    return total / len(images)
