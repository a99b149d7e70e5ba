"""The user's own generators, modules or functions, as predictors."""

from __future__ import annotations

import importlib
import inspect
import os
import sys
from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from vidpred.data.settings import DataSettings
from vidpred.errors import ConfigError, one_line
from vidpred.inference.predictor import Predictor
from vidpred.models.base import FRAMES

OwnGenerator = nn.Module | Callable[[Tensor], Tensor]


class FunctionGenerator(nn.Module):
    """A function of the context frames as a module."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function
        for name in FRAMES:
            if hasattr(function, name):
                setattr(self, name, getattr(function, name))

    def forward(self, context: Tensor, **conditions: Tensor) -> Any:
        """Call the function with the context `(B, T, C, H, W)`; return what it returns."""
        return self.function(context, **conditions)


def own_predictor(
    generator: OwnGenerator,
    context_frames: int | None = None,
    data: DataSettings | None = None,
    name: str | None = None,
) -> Predictor:
    """Return a predictor of a user's own generator.

    Args:
        generator: Maps `(B, T, C, H, W)` in [0, 1] to the future frames `(B, K, C, H, W)`. Its attributes
            `context_frames` (T), `pred_frames` (K), `lead` and `channels` override those of the settings.
        context_frames: Number of context frames, for a generator without such an attribute.
        data: Settings of the frames, such as their size; None: as they are.
        name: Its name in tables; None: the name of the class or function.

    Raises:
        ConfigError: The number of context frames is not known.
    """
    named = name or str(getattr(generator, "__name__", type(generator).__name__))
    module = generator if isinstance(generator, nn.Module) else FunctionGenerator(generator)
    own = {setting: getattr(module, attribute) for attribute, setting in FRAMES.items() if hasattr(module, attribute)}
    if context_frames is not None:
        own = {"context_frames": context_frames, **own}
    if "context_frames" not in own:
        raise ConfigError(f"{named} has no attribute context_frames; set it, or give --context N")
    plain = {"pred_frames": 1, "lead": 1, "unroll": 1}
    settings = (data or DataSettings()).model_copy(update={**plain, **own})
    predictor = Predictor(module, settings, named)
    predictor.check_predicts_frames()
    return predictor


def import_generator(place: str) -> OwnGenerator:
    """Import a generator as `package.module:NAME`, from the current folder too.

    NAME is a module, a class of modules or a function without parameters that makes one, or a function of the context.

    Raises:
        ConfigError: It cannot be imported, or is something else.
    """
    module_name, separator, name = place.partition(":")
    if not separator or not module_name or not name:
        raise ConfigError(f"[--generator {place}] write package.module:NAME, for example my_models:Net")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        found: Any = importlib.import_module(module_name)
        for part in name.split("."):
            found = getattr(found, part)
        if callable(found) and not isinstance(found, nn.Module) and _is_factory(found):
            found = found()
    except Exception as error:  # the user's code may raise anything
        reason = f"{type(error).__name__}: {one_line(error)}"
        raise ConfigError(
            f"cannot import the generator: {reason} [--generator {place}]; --debug shows where"
        ) from error
    if not callable(found):
        raise ConfigError(f"[--generator {place}] a {type(found).__name__}, not a module or a function of the context")
    return found  # type: ignore[no-any-return]


def _is_factory(found: Any) -> bool:
    """Return whether something makes generators: a class, or a function without required parameters."""
    if isinstance(found, type):
        return True
    parameters = inspect.signature(found).parameters.values()
    return not any(parameter.default is parameter.empty for parameter in parameters)
