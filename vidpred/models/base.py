"""The model contracts: everything the rest of the package requires of a generator or a discriminator.

Models derive from `Generator` or `Discriminator` and change the attributes that differ from the defaults, in the class
or in `__init__`. `as_generator` wraps other modules.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal, NamedTuple, NoReturn

import torch
from torch import Tensor, nn

from vidpred.data.settings import DataSettings
from vidpred.errors import ConfigError
from vidpred.models.dynamics import StateDynamics
from vidpred.models.exported_step import ExportedStep

Forward = Callable[..., list[Tensor] | Tensor]
NoiseName = Literal["gaussian", "uniform", "binary"]


class StreamForward(ABC):
    """A forward pass for contexts that follow each other, part of which can be computed before the context is there."""

    @abstractmethod
    def __call__(self, *args: Any, **kwargs: Any) -> list[Tensor] | Tensor:
        """Return what the generator's `forward` returns for these arguments, or only the first frames of it."""

    @abstractmethod
    def prepare(self, context: Tensor, ahead: int) -> None:
        """Compute what a later call needs and these frames determine; it changes no result.

        Args:
            context: The newest frames that are there, `(1, T, C, H, W)` in [0, 1].
            ahead: Number of frames from the newest of these to the newest of that call, at least 1.
        """


class Shape(NamedTuple):
    """The shape of an image."""

    channels: int
    height: int
    width: int

    @property
    def values(self) -> int:
        """Number of values in an image."""
        return self.channels * self.height * self.width


# Attributes of a generator that data settings fix -> those settings.
FRAMES = {"context_frames": "context_frames", "pred_frames": "pred_frames", "lead": "lead", "channels": "channels"}


class Generator(nn.Module):
    """Base class of the generators: context frames in, future frames out; or noise in, one image out.

    `forward(context, **conditions)` maps `(B, T, C, H, W)` in [0, 1] to predictions of the future frames in [0, 1],
    `(B, K, C, H, W)`: one tensor, or a list of tensors coarse to fine. The generator's attributes select which of the
    conditions noise, actions, states, labels and target (see `models.conditions.Conditions`) are passed, by name.
    """

    context_frames: int = 1
    """Number T of context frames; 0: the model makes images from noise."""
    pred_frames: int = 1
    """Number K of frames predicted at once."""
    lead: int = 1
    """Offset of the first predicted frame from the last context frame, in frames."""
    channels: int = 3
    """Channels of a frame: 1 or 3."""
    num_scales: int = 1
    """Number of tensors in a prediction, coarse to fine."""
    shape: Shape = Shape(0, 0, 0)
    """Shape of images made from noise; predicted frames have the size of their context."""
    min_context_frames: int | None = None
    """Minimum number of context frames; None: `context_frames`."""
    noise_channels: int = 0
    """Length of the noise vector; 0: no noise, one prediction only."""
    noise: NoiseName = "gaussian"
    """Noise distribution, a name in `models.noise.NOISES`."""
    noise_optional: bool = False
    """Whether it predicts without noise too: a single prediction then has none, and only several futures draw it."""
    action_size: int = 0
    """Number of values in an action; 0: takes no actions."""
    state_size: int = 0
    """Number of values in a state; 0: takes no states."""
    state_dynamics: StateDynamics | None
    """Model of the states of predicted frames; required with `state_size`."""
    num_labels: int = 0
    """Number of classes whose labels it takes; 0: takes no labels."""
    takes_target: bool = False
    """Whether `forward` takes the true future frames in training, `(B, K, C, H, W)`, as encoders do."""
    latent_cost: Tensor | None = None
    """Cost of each sample's code, `(B,)`, set by the last forward pass of a generator that encodes the target."""
    extra_losses: Mapping[str, Tensor] = {}
    """Weighted losses of the last forward pass with a target, scalars by name, which the objective adds to its own:
    those of context frames, or of hidden features."""
    growing: bool = False
    """Whether `grow` changes its size, so that early steps leave parameters unused."""
    progress: Tensor
    """Growth of a growing network, a buffer: 0 is 4x4 pixels, and each doubling adds 1."""
    fits_directly: bool = False
    """Whether `fit` replaces training by gradients."""
    max_fit_images: int = 0
    """Maximum number of images that `fit` uses."""
    has_density: bool = False
    """Whether `log_density`, `expected` and `completions` are available."""
    sharpness: float | None = None
    """Sharpness from 0, a blend of the possible futures, to 1, one sharp image; None: not adjustable."""
    num_styles: int = 0
    """Number of layers with a separate style; 0: no styles."""

    @property
    def last_weight(self) -> Tensor | None:
        """The weight of the last layer, at which `objective.adversarial.balanced` compares gradients; None: none."""
        return None

    def __init__(self) -> None:
        super().__init__()
        self.state_dynamics = None  # on the instance: a class default would hide a submodule of that name

    @property
    def history_len(self) -> int:
        """Number of frames that a rollout starts from: the context plus lead - 1."""
        return self.context_frames + self.lead - 1

    @property
    def min_history_len(self) -> int:
        """Minimum number of frames that a rollout starts from; actions and states need one row per context frame."""
        minimum = self.min_context_frames
        if self.action_size or self.state_size or minimum is None:
            minimum = self.context_frames
        return min(minimum, self.context_frames) + self.lead - 1

    def empty_context(self, count: int, device: torch.device | str = "cpu") -> Tensor:
        """Return the context of `count` images made from noise, `(count, 0, C, H, W)`."""
        return torch.empty(count, 0, *self.shape, device=device)

    def first_frames(self, num_frames: int) -> Forward:
        """Return a forward pass whose first `num_frames` frames are the module's up to rounding; by default the module.

        A class that predicts several frames at once, independently of each other, may leave out the later ones.
        """
        return self

    def stream_forward(self, num_frames: int) -> Forward:
        """Return a forward pass for contexts that follow each other, which may keep results for the next call.

        It returns what the module returns, or only the first `num_frames` frames. By default it is the module; a
        `StreamForward` also prepares calls.
        """
        return self

    def fast_forward(self, dtype: torch.dtype) -> Forward | None:
        """Return a faster forward pass for inference, with the weights that the module has now; None: there is none.

        It receives the arguments of `forward`. A class that changes `forward` changes this too.

        Args:
            dtype: Precision of the computation, on the device of the weights.
        """
        return None

    def exported_step(self, state: Mapping[str, Any]) -> ExportedStep | None:
        """Return the module that `export` writes, for the entries of a checkpoint's state.json.

        None: one with the inputs that the generator's attributes declare.
        """
        return None

    def grow(self, share: float) -> None:
        """Set what is scheduled for a share, in [0, 1], of the training; by default a no-op.

        It is called before every training step: with a size (`growing`), or the chance of true frames as inputs.
        """

    def weights_from(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Convert another run's weights to this model's names, to initialize training from them."""
        return dict(tensors)

    def fit(self, images: Tensor, seed: int) -> None:
        """Fit the model to all images `(N, C, H, W)` in [0, 1] at once, in place; only with `fits_directly`."""
        self._lacks("is trained by gradients and has no fit [model.name]")

    def log_density(self, images: Tensor) -> Tensor:
        """Return log p of images `(N, C, H, W)` in [0, 1], `(N,)` in nats."""
        self._lacks("has no density [model.name]")

    def expected(self, images: Tensor, known: Tensor) -> Tensor:
        """Return the mean of all images that share the known values of the given ones.

        Args:
            images: `(N, C, H, W)` in [0, 1].
            known: Boolean mask `(C, H, W)`.

        Returns:
            `(N, C, H, W)` in [0, 1].
        """
        self._lacks("has no density [model.name]")

    def completions(self, images: Tensor, known: Tensor, count: int, seed: int) -> Tensor:
        """Draw `count` images for each given one, conditioned on its known values.

        Args:
            images: `(N, C, H, W)` in [0, 1].
            known: Boolean mask `(C, H, W)`.
            count: Number of draws per image.
            seed: Seed of the draws.

        Returns:
            `(N, count, C, H, W)` in [0, 1].
        """
        self._lacks("has no density [model.name]")

    def styles(self, noise: Tensor, labels: Tensor | None = None) -> Tensor:
        """Return the style of every layer, `(B, num_styles, width)`, for noise `(B, noise_channels)`."""
        self._lacks("has no styles [model.name]")

    def images_of_styles(self, styles: Tensor) -> Tensor:
        """Return images `(B, C, H, W)` in [0, 1] for styles `(B, num_styles, width)`, which may mix several samples."""
        self._lacks("has no styles [model.name]")

    def truncated(self, truncation: float | None) -> AbstractContextManager[None]:
        """Return a context manager that sets the truncation of styles, in [0, 1]; None: the configured one."""
        if truncation is not None:
            self._lacks("has no styles [model.name]")
        return nullcontext()

    def _lacks(self, what: str) -> NoReturn:
        raise ConfigError(f"{type(self).__name__} {what}")


class Discriminator(nn.Module):
    """Base class of the discriminators: logits of images or frames at every scale.

    `forward(context, images, **conditions)` takes the context `(B, T, C, H, W)` and, coarse to fine, the frames to
    score `(B, K, C, h, w)`, both in [0, 1], and returns logits `(B, num_scales)`, or `(B, scales, places)` of patches,
    whose losses are means over places. with_features=True adds each scored scale's last hidden features, a list of
    `(B, F)`. labels, target and `num_groups` are passed by name where the attributes request them: labels are class
    numbers `(B,)` from 0 to num_labels - 1 (with num_labels=0, unused and may be None), and B is a multiple of
    `num_groups`.
    """

    num_scales: int = 1
    """Number of scales of the images that it takes, coarse to fine."""
    num_labels: int = 0
    """Number of classes whose labels it takes; 0: takes no labels."""
    classes: int = 0
    """Number of predicted classes; 0: none. with_classes=True adds their logits `(B, classes)` to the output."""
    takes_target: bool = False
    """Whether `forward` takes the true frames, on whose coarse scales the images were built."""
    split_batch_stats: bool = False
    """Whether batch statistics are computed per group (real, generated, ...): `forward` then takes `num_groups`, the
    number of equal, consecutive groups in the batch."""
    compares_samples: bool = False
    """Whether a logit depends on the other samples of the batch other than by batch norm (minibatch discrimination)."""
    growing: bool = False
    """Whether `grow` changes its size, so that early steps leave parameters unused."""

    @property
    def pixel_repeat(self) -> int:
        """Side, in image pixels, of one input pixel of the network: above 1 while it grows."""
        return 1

    def match_fade(self, frames: Tensor) -> Tensor:
        """Return true frames `(B, K, C, H, W)`, for a growing network blended with a coarser version of themselves."""
        return frames

    def grow(self, share: float) -> None:
        """Set the size scheduled for a share, in [0, 1], of the training; by default a no-op."""


class AdaptedGenerator(Generator):
    """A user's module behind the generator contract, with the module's own state dict."""

    def __init__(self, module: nn.Module, data: DataSettings | None) -> None:
        """Wrap a module.

        Raises:
            ConfigError: The module lacks frame counts and there are no data settings to take them from.
        """
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
        """Call the module and copy its `latent_cost` and `extra_losses`; see `Generator` for arguments and returns."""
        prediction: list[Tensor] | Tensor = self.module(context, **conditions)
        self.latent_cost = getattr(self.module, "latent_cost", None)
        self.extra_losses = getattr(self.module, "extra_losses", {})
        return prediction

    def __getattr__(self, name: str) -> Any:
        """Look up attributes outside the contract on the module."""
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("module"), name)

    def state_dict(self, *args: Any, **kwargs: Any) -> Any:
        """Return the module's state dict, so that checkpoints keep its names."""
        return self.module.state_dict(*args, **kwargs)

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        """Load the module's state dict, whose names lack this wrapper's; for the arguments see torch."""
        return self.module.load_state_dict(state_dict, strict, assign)


def as_generator(module: nn.Module, data: DataSettings | None = None) -> Generator:
    """Return a module as a `Generator`, wrapped unless it already is one.

    Args:
        module: Any module that maps `(B, T, C, H, W)` to the future frames. Its attributes override those of the
            contract; missing frame counts come from the data settings.
        data: Settings that its frame counts must match; None: no check.

    Raises:
        ConfigError: The module contradicts the data settings, or takes states and cannot predict them.
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
            f"the generator takes states [state_size={generator.state_size}] but cannot predict them; set its "
            "attribute state_dynamics to a vidpred.models.dynamics.StateDynamics"
        )
    return generator
