"""The contracts: everything that the rest of the package asks of a generator or a discriminator.

Models derive from `Generator` or `Discriminator` and change the attributes that differ from the defaults, in the class
or in `__init__`. Modules of the user's are wrapped by `as_generator`.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal, NamedTuple, NoReturn

import torch
from torch import Tensor, nn

from vidpred.data.settings import DataSettings
from vidpred.errors import ConfigError
from vidpred.models.dynamics import StateDynamics

NoiseName = Literal["gaussian", "uniform", "binary"]


class Shape(NamedTuple):
    """The shape of an image."""

    channels: int
    height: int
    width: int

    @property
    def values(self) -> int:
        """Number of values of an image."""
        return self.channels * self.height * self.width


# Attributes of a generator that data settings fix -> those settings.
FRAMES = {"context_frames": "context_frames", "pred_frames": "pred_frames", "lead": "lead", "channels": "channels"}


class Generator(nn.Module):
    """Base of the generators: context frames in, the next frames out; or noise in, one image out.

    `forward(context, **conditions)` maps `(B, T, C, H, W)` in [0, 1] to predictions of the future frames in [0, 1],
    `(B, K, C, H, W)`: one tensor, or a list of tensors coarse to fine. Of the conditions noise, actions, states, labels
    and truth (see `models.conditions.Conditions`) it receives by name those that its attributes ask for.
    """

    context_frames: int = 1
    """Number T of context frames; 0: images are made from noise."""
    pred_frames: int = 1
    """Number K of frames that are predicted at once."""
    lead: int = 1
    """Lead: the first predicted frame comes that many frames after the last context frame."""
    channels: int = 3
    """Channels of a frame: 1 or 3."""
    num_scales: int = 1
    """Number of tensors in a prediction, coarse to fine."""
    shape: Shape = Shape(0, 0, 0)
    """Shape of the images, of a generator that makes them from noise; frames have the size of their context."""
    min_context_frames: int | None = None
    """Minimum number of context frames; None: all of `context_frames`."""
    noise_channels: int = 0
    """Length of the noise vector; 0: no noise, and one prediction only."""
    noise: NoiseName = "gaussian"
    """Distribution of the noise, a name in `models.noise.NOISES`."""
    action_size: int = 0
    """Number of values of an action; 0: takes no actions."""
    state_size: int = 0
    """Number of values of a state; 0: takes no states."""
    state_dynamics: StateDynamics | None
    """Predicts the states of predicted frames; required with `state_size`."""
    num_labels: int = 0
    """Number of classes whose labels it takes; 0: takes no labels."""
    takes_truth: bool = False
    """Whether it takes the true future frames in training, as encoders do."""
    latent_cost: Tensor | None = None
    """Cost of the code of each sample, `(B,)`, left by the last forward of a generator that encodes the truth."""
    growing: bool = False
    """Whether `grow` changes its size, so that early steps leave parameters unused."""
    progress: Tensor
    """How far it has grown, a buffer of networks that grow: 0 is 4x4 pixels, and each doubling adds 1."""
    fits_directly: bool = False
    """Whether it is fitted by `fit` instead of trained by gradients."""
    max_fit_images: int = 0
    """The most images that `fit` uses."""
    has_density: bool = False
    """Whether `log_density`, `expected` and `completions` exist."""
    sharpness: float | None = None
    """Dial from 0, a blend of what may come, to 1, one sharp image of it; None: there is no dial."""
    num_styles: int = 0
    """Number of layers that take a style of their own; 0: there are no styles."""

    def __init__(self) -> None:
        super().__init__()
        self.state_dynamics = None  # in the instance: a default of the class would hide a module of that name

    @property
    def history_len(self) -> int:
        """Number of known frames that a rollout starts from: the context, and the lead over it."""
        return self.context_frames + self.lead - 1

    @property
    def min_history_len(self) -> int:
        """Minimum number of known frames of a rollout. Actions and states need a row for each of `context_frames`."""
        rows, least = self.action_size or self.state_size, self.min_context_frames
        context = self.context_frames if rows or least is None else min(least, self.context_frames)
        return context + self.lead - 1

    def empty_context(self, count: int, device: torch.device | str = "cpu") -> Tensor:
        """Return the context of `count` images made from noise, `(count, 0, C, H, W)`."""
        return torch.empty(count, 0, *self.shape, device=device)

    def grow(self, share: float) -> None:
        """Take the size that is scheduled for this share, in [0, 1], of the training; most models keep theirs."""

    def weights_from(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return another run's weights as this model has them, for a training that starts from them."""
        return dict(tensors)

    def fit(self, images: Tensor, seed: int) -> None:
        """Fit to images `(N, C, H, W)` in [0, 1]."""
        self._lacks("is trained by gradients and has no fit [model.name]")

    def log_density(self, images: Tensor) -> Tensor:
        """Return log p of images `(N, C, H, W)` in [0, 1], `(N,)` in nats."""
        self._lacks("has no density [model.name]; gaussian_mixture has one")

    def expected(self, images: Tensor, known: Tensor) -> Tensor:
        """Return the mean of all images that have the known values of these.

        Args:
            images: `(N, C, H, W)` in [0, 1].
            known: mask `(C, H, W)` of bool.

        Returns:
            `(N, C, H, W)` in [0, 1].
        """
        self._lacks("has no density [model.name]; gaussian_mixture has one")

    def completions(self, images: Tensor, known: Tensor, count: int, seed: int) -> Tensor:
        """Draw `count` images for each, given the known values: `(N, count, C, H, W)`; arguments as of `expected`."""
        self._lacks("has no density [model.name]; gaussian_mixture has one")

    def styles(self, noise: Tensor, labels: Tensor | None = None) -> Tensor:
        """Return the style of every layer, `(B, num_styles, width)`, of noise `(B, noise_channels)`."""
        self._lacks("has no styles; use a run of stylegan.yaml")

    def images_of_styles(self, styles: Tensor) -> Tensor:
        """Return images `(B, C, H, W)` in [0, 1] of styles `(B, num_styles, width)`, which may mix several samples."""
        self._lacks("has no styles; use a run of stylegan.yaml")

    def truncated(self, truncation: float | None) -> AbstractContextManager[None]:
        """Use another truncation of the styles within a `with` block; None: its own."""
        if truncation is not None:
            self._lacks("has no styles; use a run of stylegan.yaml")
        return nullcontext()

    def _lacks(self, what: str) -> NoReturn:
        raise ConfigError(f"{type(self).__name__} {what}")


class Discriminator(nn.Module):
    """Base of the discriminators: logits of images or frames at every scale.

    `forward(context, images, **conditions)` takes the context `(B, T, C, H, W)` and, coarse to fine, the frames to
    score `(B, K, C, h, w)`, both in [0, 1], and returns logits `(B, num_scales)`. with_features=True adds each scale's
    last hidden features, a list of `(B, F)`. labels, truth and `num_groups`
    are passed by name where its attributes ask for them.
    """

    num_scales: int = 1
    """Number of scales that are scored, coarse to fine."""
    num_labels: int = 0
    """Number of classes whose labels it takes; 0: takes no labels."""
    classes: int = 0
    """Number of classes that it predicts: with_classes=True adds their logits `(B, classes)`; 0: none."""
    takes_truth: bool = False
    """Whether it takes the true frames, which coarse scales were built on."""
    split_batch_stats: bool = False
    """Whether batch statistics are computed separately for each group of the batch (real, generated, ...): forward then
    takes `num_groups`, the number of equal groups that follow one another in the batch."""
    growing: bool = False
    """Whether `grow` changes its size, so that early steps leave parameters unused."""

    @property
    def pixel_repeat(self) -> int:
        """Side, in pixels of the images, of one pixel of its input: above 1 while it grows."""
        return 1

    def match_fade(self, frames: Tensor) -> Tensor:
        """Return true frames `(B, K, C, H, W)` with as much detail as the generator's have while both grow."""
        return frames

    def grow(self, share: float) -> None:
        """Take the size that is scheduled for this share, in [0, 1], of the training; most models keep theirs."""


class AdaptedGenerator(Generator):
    """A module of the user's behind the contract; its state dict is that of the module alone."""

    def __init__(self, module: nn.Module, data: DataSettings | None) -> None:
        """Raises ConfigError where the module lacks frame counts and there are no data settings to take them from."""
        super().__init__()
        self.module = module
        for name, setting in FRAMES.items():
            if data is not None:
                setattr(self, name, getattr(data, setting))
            elif not hasattr(module, name) and name != "channels":
                raise ConfigError(f"{type(module).__name__} has no attribute {name}, which rollouts need; set it")
        for name in Generator.__annotations__:
            if hasattr(module, name):
                setattr(self, name, getattr(module, name))

    def forward(self, context: Tensor, **conditions: Tensor) -> list[Tensor] | Tensor:
        """Call the module."""
        prediction: list[Tensor] | Tensor = self.module(context, **conditions)
        self.latent_cost = getattr(self.module, "latent_cost", None)
        return prediction

    def __getattr__(self, name: str) -> Any:
        """Look up what the contract does not have in the module."""
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("module"), name)

    def state_dict(self, *args: Any, **kwargs: Any) -> Any:
        """Return the module's, whose names runs keep."""
        return self.module.state_dict(*args, **kwargs)

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        """Load the module's."""
        return self.module.load_state_dict(state_dict, strict, assign)


def as_generator(module: nn.Module, data: DataSettings | None = None) -> Generator:
    """Return a module as a `Generator`: itself where it is one, else wrapped.

    Args:
        module: any module that maps `(B, T, C, H, W)` to the future frames. Attributes of the contract that it has are
            used; frame counts that it lacks come from the data settings.
        data: the settings that its frame counts have to agree with; None: they are not checked.

    Raises:
        ConfigError: it contradicts the data settings, or takes states and cannot predict them.
    """
    generator = module if isinstance(module, Generator) else AdaptedGenerator(module, data)
    for name, setting in FRAMES.items():
        if data is not None and getattr(generator, name) != getattr(data, setting):
            raise ConfigError(
                f"[data.{setting}] is {getattr(data, setting)}, but the generator's {name} is "
                f"{getattr(generator, name)}"
            )
    if generator.state_size and not isinstance(generator.state_dynamics, StateDynamics):
        raise ConfigError(
            f"the generator takes states (state_size={generator.state_size}) and does not predict them; give it "
            "state_dynamics = vidpred.models.dynamics.StateDynamics(state_size, action_size)"
        )
    return generator
