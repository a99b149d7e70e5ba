"""The tree of all settings, and the rules across its sections."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any, Self

from pydantic import Field, field_validator, model_validator

from vidpred.data.settings import DataSettings
from vidpred.models.build import DISCRIMINATORS, GENERATORS, AnyDiscriminator, AnyModel, names_with
from vidpred.models.discriminators import MultiscaleDiscriminatorSettings
from vidpred.models.multiscale import MultiscaleSettings
from vidpred.models.settings import DiscriminatorSettings, ModelSettings
from vidpred.settings import Settings, with_home
from vidpred.training.objectives import ObjectiveSettings
from vidpred.training.settings import CheckpointSettings, TrainingSettings

# Sections that exist in several kinds, selected by their `name`.
CHOICES: dict[str, Mapping[str, Any]] = {"model": GENERATORS, "discriminator": DISCRIMINATORS}


class Config(Settings):
    """All settings of a run."""

    seed: int = Field(0, ge=0, description="Seed of the weights, the samples and all other random numbers.")
    run: str = Field(
        "runs/default",
        description="Run folder, created if absent (presets: runs/PRESET). An existing run in it is resumed.",
    )
    data: DataSettings = Field(DataSettings(), description="The data, and how training windows are cut from it.")
    model: AnyModel = Field(MultiscaleSettings(), description="The generator; model.name selects its kind.")
    discriminator: AnyDiscriminator = Field(
        MultiscaleDiscriminatorSettings(),
        description="The discriminator, if the objective has one; discriminator.name selects its kind.",
    )
    objective: ObjectiveSettings = Field(ObjectiveSettings(), description="The losses.")
    training: TrainingSettings = Field(TrainingSettings(), description="The training loop.")
    checkpoint: CheckpointSettings = Field(CheckpointSettings(), description="The checkpoints.")

    _home = field_validator("run")(with_home)

    @cached_property
    def origins(self) -> dict[str, str]:
        """The origins of the values by dotted key: "FILE:LINE", "command line" or "Python"."""
        return {}

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        weights, adversary = self.objective, self.objective.adversary
        reconstruction = (weights.lp_weight, weights.gdl_weight, weights.log_weight, weights.pixel_entropy_weight)
        if not any(reconstruction) and not weights.loss_weights and not self.model.fitted:
            if not weights.has_discriminator:
                raise ValueError("objective: all weights are 0; set objective.lp_weight=1")
            if adversary.start and not adversary.feature_matching_weight:
                raise ValueError(
                    "objective.adversarial.start: without other losses the generator cannot learn before it; set "
                    "objective.lp_weight=1"
                )
        if weights.has_discriminator and self.data.crop_size is None:
            raise ValueError("data.crop_size: an adversary needs square crops; set data.crop_size=32")
        if weights.num_samples > 1 and not self.model.noise_channels:
            raise ValueError(
                "objective.num_samples: without noise all samples are equal; set model.noise_channels=1 or "
                "objective.num_samples=1"
            )
        if weights.num_samples > 1 and not self.model.noise_in_training:
            raise ValueError(
                f"objective.num_samples: model.name={self.model.name} trains on other noise, so samples cannot be "
                "compared; set objective.num_samples=1"
            )
        if adversary.wrong_pairs and self.training.batch_size < 2:
            raise ValueError("objective.adversarial.wrong_pairs: set training.batch_size to at least 2")
        return self

    @model_validator(mode="after")
    def _augmented(self) -> Self:
        if self.objective.adversary.augment and (
            self.data.context_frames or self.data.has_points or self.model.num_scales > 1
        ):
            raise ValueError(
                "objective.adversarial.augment: only for generators of images, of one scale; set "
                "objective.adversarial.augment=[]"
            )
        return self

    @model_validator(mode="after")
    def _frames(self) -> Self:
        networks: dict[str, ModelSettings | DiscriminatorSettings] = {"model": self.model}
        if self.objective.has_discriminator:
            networks["discriminator"] = self.discriminator
        for section, network in networks.items():
            if network.needs_frames and not self.data.context_frames:
                others = [name for name, kind in CHOICES[section].items() if not kind.needs_frames]
                raise ValueError(
                    f"{section}.name: {network.name} needs context frames; set data.context_frames=4, or "
                    f"{section}.name={'|'.join(others)} for images from noise"
                )
            if not network.needs_frames and self.data.context_frames:
                raise ValueError(
                    f"data.context_frames: {section}.name={network.name} takes no context frames; set "
                    "data.context_frames=0"
                )
        if self.objective.kl_weight and not self.model.has_encoder:
            raise ValueError(
                f"objective.kl_weight: needs a model with an encoder; set model.name={names_with('has_encoder')}"
            )
        if self.objective.adversary.class_weight and not self.discriminator.num_classes:
            raise ValueError(
                "objective.adversarial.class_weight: the discriminator has no classes; set discriminator.classes"
            )
        if self.model.state_size and self.data.augment_settings.horizontal_flip:
            raise ValueError(
                "data.augment.horizontal_flip: mirrored frames would contradict the states (model.state_size)"
            )
        if not self.data.context_frames and max(self.data.pred_frames, self.data.lead, self.data.unroll) > 1:
            raise ValueError("data.context_frames: with 0 set data.pred_frames=1, data.lead=1 and data.unroll=1")
        return self
