"""Variational auto-encoder, fully connected or convolutional.

Kingma & Welling 2013, "Auto-encoding variational Bayes".
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import pairwise
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from vidpred.bounds import MOST_WIDTH
from vidpred.data.settings import DataSettings
from vidpred.models.base import Shape
from vidpred.models.dcgan import DcganDiscriminator, DcganDiscriminatorSettings, DcganGenerator, DcganSettings
from vidpred.models.export_steps import ImageStep
from vidpred.models.images import ImageGenerator, ImageSettings, image_shape, label_planes
from vidpred.models.mlp import MlpGenerator, MlpSettings
from vidpred.models.multiscale import as_channels_last
from vidpred.models.noise import seeded_noise

PRIOR_SAMPLES = 512  # drawn once for the batch statistics of generated images


class VaeSettings(ImageSettings):
    """Settings of the variational auto-encoder."""

    has_encoder: ClassVar[bool] = True

    name: Literal["vae"] = Field("vae", description="Variational autoencoder of images.")
    noise_channels: int = Field(
        20,
        ge=1,
        le=1024,
        description="Length of the code z, which the encoder predicts in training and which is drawn as "
        "noise to generate an image.",
    )
    hidden: list[int] = Field(
        [400],
        min_length=1,
        description="Widths of the encoder's fully connected layers; the decoder has them in reverse.",
    )
    width: int = Field(
        0,
        ge=0,
        le=MOST_WIDTH,
        description="Feature maps of the finest convolutions, as of model.name=dcgan; model.hidden is not "
        "used then. 0: fully connected networks.",
    )

    def build(self, data: DataSettings) -> VaeGenerator:
        return VaeGenerator(self, image_shape(data))


class VaeGenerator(ImageGenerator):
    """Generator: z from the prior N(0, I) -> image.

    In training, with the target x, z comes from q(z | x) = N(m(x), s(x)^2) instead, and KL(q | prior) is stored in
    `latent_cost` for the objective. The running statistics of a convolutional decoder's batch norm are those of such
    codes; images from the prior are normalized by the exact statistics of a fixed batch from the prior.
    """

    takes_target = True

    def __init__(self, settings: VaeSettings, shape: Shape) -> None:
        super().__init__(settings, shape)
        shared = {"noise_channels": settings.noise_channels, "num_labels": settings.num_labels}
        self.encoder: nn.Module
        self.decoder: MlpGenerator | DcganGenerator
        if settings.width:
            self.encoder = DcganDiscriminator(
                DcganDiscriminatorSettings(width=settings.width, classes=2 * settings.noise_channels,
                                   num_labels=settings.num_labels), shape)  # fmt: skip
            self.decoder = DcganGenerator(DcganSettings(width=settings.width, **shared), shape)
        else:
            widths = [shape.values + settings.num_labels * shape.height * shape.width, *settings.hidden]
            layers: list[nn.Module] = [nn.Flatten()]
            for before, after in pairwise(widths):
                layers += [nn.Linear(before, after), nn.ReLU(inplace=True)]
            self.encoder = nn.Sequential(*layers, nn.Linear(widths[-1], 2 * settings.noise_channels))
            self.decoder = MlpGenerator(MlpSettings(hidden=settings.hidden[::-1], **shared), shape)
        self._statistics: list[tuple[Tensor, Tensor]] = []
        self._measured_at: tuple[tuple[int, int], ...] | None = None

    @contextmanager
    def _normalized_for_prior(self, device: torch.device) -> Iterator[None]:
        """Let the decoder normalize by the statistics of a fixed batch from the prior within a `with` block."""
        norms = batch_norms(self.decoder)
        own = [(norm.running_mean, norm.running_var) for norm in norms]
        try:
            if norms and self._measured_at != (version := version_of(self.decoder)):
                self._statistics, self._measured_at = self._measure_prior(norms, device), version
            for norm, (mean, variance) in zip(norms, self._statistics, strict=True):
                norm.running_mean, norm.running_var = mean, variance
            yield
        finally:
            for norm, running in zip(norms, own, strict=True):
                norm.running_mean, norm.running_var = running

    @torch.no_grad()
    def _measure_prior(self, norms: list[nn.BatchNorm2d], device: torch.device) -> list[tuple[Tensor, Tensor]]:
        """Return mean and variance of every batch norm's input for a fixed batch of codes from the prior."""
        found = []

        def normalize_by_batch(norm: nn.Module, inputs: tuple[Tensor]) -> None:
            assert isinstance(norm, nn.BatchNorm2d)
            variance, mean = torch.var_mean(inputs[0].float(), (0, 2, 3), correction=0)
            norm.running_mean, norm.running_var = mean, variance
            found.append((mean, variance))

        hooks = [norm.register_forward_pre_hook(normalize_by_batch) for norm in norms]
        noise = seeded_noise(self, PRIOR_SAMPLES, 0).to(device)
        labels = torch.arange(PRIOR_SAMPLES, device=device) % self.num_labels if self.num_labels else None
        try:
            self.decoder(self.empty_context(PRIOR_SAMPLES, device), noise=noise, labels=labels)
        finally:
            for hook in hooks:
                hook.remove()
        return found

    def exported_step(self, state: Mapping[str, Any]) -> ImageStep:
        """Return the step of a copy whose running statistics are those of the prior; see `Generator`."""
        fixed = copy.deepcopy(self).eval()
        with fixed._normalized_for_prior(next(fixed.parameters()).device):
            statistics = [(mean.clone(), variance.clone()) for mean, variance in fixed._statistics]
        for norm, (mean, variance) in zip(batch_norms(fixed.decoder), statistics, strict=True):
            norm.running_mean, norm.running_var = mean, variance
        return ImageStep(fixed, state)

    def encode(self, images: Tensor, labels: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return mean and log variance of the code, `(B, noise_channels)` each, for images `(B, C, H, W)` in [0, 1]."""
        if isinstance(self.encoder, DcganDiscriminator):
            empty = images[:, None][:, :0]
            _, both = self.encoder(empty, [images[:, None]], labels=labels, with_classes=True)
        else:
            both = self.encoder(label_planes(labels, self.num_labels, as_channels_last(images * 2 - 1)))
        mean, log_variance = both.float().chunk(2, 1)
        return mean, log_variance

    def forward(
        self, context: Tensor, noise: Tensor | None = None, labels: Tensor | None = None, target: Tensor | None = None
    ) -> list[Tensor]:
        """Generate images from noise, or reconstruct a target.

        Args:
            context: `(B, 0, C, H, W)`.
            noise: `(B, noise_channels)`, with a target the noise of its code; None: drawn from torch's random stream.
            labels: Class numbers `(B,)` from 0 to num_labels - 1; with num_labels=0, unused and may be None.
            target: `(B, 1, C, H, W)`, images to encode and reconstruct; None: sample from the prior.

        Returns:
            A list of one, `(B, 1, C, H, W)` in [0, 1].
        """
        self.latent_cost = None
        if target is not None:
            mean, log_variance = self.encode(target[:, 0], labels)
            noise = torch.randn_like(mean) if noise is None else noise.to(mean)
            noise = mean + noise * (log_variance / 2).exp()
            self.latent_cost = gaussian_divergence(mean, log_variance)
        sampling = target is None and not self.training
        if sampling and not context.is_meta and not torch.compiler.is_exporting():  # see `exported_step`
            with self._normalized_for_prior(context.device):
                return list(self.decoder(context, noise=noise, labels=labels))
        return list(self.decoder(context, noise=noise, labels=labels))


def batch_norms(module: nn.Module) -> list[nn.BatchNorm2d]:
    """Return a module's batch norms, in its order."""
    return [layer for layer in module.modules() if isinstance(layer, nn.BatchNorm2d)]


def version_of(module: nn.Module) -> tuple[tuple[int, int], ...]:
    """Return a key that differs once any of a module's parameters is replaced or written to."""
    return tuple(
        (parameter.data_ptr(), 0 if parameter.is_inference() else parameter._version)
        for parameter in module.parameters()
    )


def gaussian_divergence(mean: Tensor, log_variance: Tensor) -> Tensor:
    """Return KL(N(mean, variance) | N(0, 1)) of every sample, summed over the code: `(B, Z)` twice -> `(B,)`.

    Kingma & Welling 2013, appendix B.
    """
    return (mean.square() + log_variance.exp() - 1 - log_variance).sum(1) / 2
