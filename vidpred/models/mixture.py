"""Mixture of Gaussians on the principal axes of images: an explicit density, fitted by expectation maximization.

Needs scikit-learn.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar, Literal, NamedTuple, Self

import numpy as np
import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from vidpred.bounds import MOST_WIDTH
from vidpred.data.settings import DataSettings
from vidpred.errors import ConfigError, install_extra
from vidpred.models.base import Shape
from vidpred.models.images import ImageGenerator, ImageSettings, image_shape

NEGLIGIBLE = 1e-9  # smallest variance of a principal axis that is whitened
LARGEST = 1 - 2**-24  # largest float32 value of uniform noise in (-1, 1)
ROUNDING = 1 / 255**2 / 12  # variance of rounding to 8 bits, a lower bound of the dropped variance


class MixtureSettings(ImageSettings):
    """Settings of the Gaussian mixture, which is fitted directly."""

    fitted: ClassVar[bool] = True

    name: Literal["gaussian_mixture"] = Field(
        "gaussian_mixture", description="Mixture of Gaussians over images, fitted instead of trained."
    )
    noise_channels: int = Field(
        51,
        ge=2,
        le=1024,
        description="Total number of noise values: the first chooses a Gaussian of the mixture, the others are "
        "positions along the principal axes that are kept, one per value.",
    )
    components: int = Field(100, ge=1, le=MOST_WIDTH, description="Number of Gaussians, each with its own covariance.")
    ridge: float = Field(
        1e-6,
        gt=0,
        description="Addition to each Gaussian's variances along the principal axes, where all images together have "
        "variance 1.",
    )
    iterations: int = Field(
        100,
        ge=1,
        description="Largest number of iterations of expectation maximization, after an initialization by k-means.",
    )
    max_images: int = Field(
        20_000,
        ge=2,
        description="Largest number of training images that the mixture is fitted to; of more, that many evenly spaced "
        "ones are used.",
    )

    @model_validator(mode="after")
    def _continuous(self) -> Self:
        if self.noise == "binary":
            raise ValueError("noise: two values cannot choose between the components; set model.noise=gaussian")
        return self

    def build(self, data: DataSettings) -> MixtureGenerator:
        return MixtureGenerator(self, image_shape(data))


class MixtureGenerator(ImageGenerator):
    """Generator x = mean + axes (m_k + L_k z); the first noise value selects component k, the others are z."""

    fits_directly = has_density = True

    def __init__(self, settings: MixtureSettings, shape: Shape) -> None:
        super().__init__(settings, shape)
        self.settings, self.max_fit_images = settings, settings.max_images
        count, size, values = settings.components, settings.noise_channels - 1, shape.values
        if size > values:
            raise ConfigError(
                f"[model.noise_channels={size + 1}] an image of {values} values has no {size} principal axes; set "
                f"model.noise_channels={values + 1} or less"
            )
        sizes = {
            "mean": (values,), "axes": (values, size), "weights": (count,), "centres": (count, size),
            "factors": (count, size, size), "dropped": (),
        }  # fmt: skip
        for name, dimensions in sizes.items():
            self.register_parameter(name, nn.Parameter(torch.zeros(dimensions), requires_grad=False))

    mean: Tensor
    axes: Tensor
    weights: Tensor
    centres: Tensor  # the name in checkpoints
    factors: Tensor
    dropped: Tensor  # mean variance of the dropped axes

    def fit(self, images: Tensor, seed: int) -> None:
        """Fit the mixture to images `(N, C, H, W)` in [0, 1], in place, as a function of the seed.

        Raises:
            ConfigError: scikit-learn is missing, or there are too few images.
        """
        mixtures, decomposition = scikit_learn()
        settings, size = self.settings, self.noise_channels - 1
        flat = images.flatten(1).double().numpy()
        if len(flat) < max(settings.components, size + 1):
            raise ConfigError(
                f"[model.components={settings.components}] {len(flat)} images are too few; set model.components and "
                "model.noise_channels below their number"
            )
        analysis = decomposition.PCA(size, whiten=True, svd_solver="covariance_eigh").fit(flat)
        coded = analysis.transform(flat)
        mixture = mixtures.GaussianMixture(
            settings.components, reg_covar=settings.ridge, max_iter=settings.iterations, random_state=seed % 2**32
        )
        with np.errstate(all="ignore"):
            mixture.fit(coded)
        scale = np.sqrt(np.maximum(analysis.explained_variance_, NEGLIGIBLE))
        found = {
            "mean": analysis.mean_, "axes": analysis.components_.T * scale, "weights": mixture.weights_,
            "centres": mixture.means_, "factors": np.linalg.cholesky(mixture.covariances_),
            "dropped": np.asarray(max(analysis.noise_variance_, NEGLIGIBLE)),
        }  # fmt: skip
        with torch.no_grad():
            for name, values in found.items():
                getattr(self, name).copy_(torch.from_numpy(np.asarray(values)))

    def generate(self, latent: Tensor) -> Tensor:
        if self.noise == "uniform":  # convert to the mixture's standard normal noise
            latent = torch.erfinv(latent.clamp(-LARGEST, LARGEST)) * math.sqrt(2)
        chance = (1 + torch.erf(latent[:, 0] / math.sqrt(2))) / 2
        component = torch.searchsorted(self.weights.cumsum(0), chance).clamp(max=len(self.weights) - 1)
        coded = self.centres[component] + torch.einsum("bij,bj->bi", self.factors[component], latent[:, 1:])
        flat = self.mean + coded @ self.axes.T
        return flat.clamp(0, 1).view(-1, 1, *self.shape)

    def log_density(self, images: Tensor) -> Tensor:
        """Return log p of images `(N, C, H, W)` in [0, 1], `(N,)` in nats.

        The mixture covers the kept axes; the dropped ones are Gaussians of their mean variance (Tipping & Bishop 1999,
        "Mixtures of probabilistic principal component analysers").
        """
        flat = images.flatten(1).double() - self.mean.double()
        axes, size = self.axes.double(), self.axes.shape[1]
        lengths = axes.norm(dim=0)
        coded = flat @ axes / lengths**2
        offsets = coded[:, None] - self.centres.double()[None]  # (N, components, size)
        factors = self.factors.double()
        solved = torch.linalg.solve_triangular(factors, offsets.permute(1, 2, 0), upper=False)  # (components, size, N)
        volumes = factors.diagonal(dim1=1, dim2=2).log().sum(1)
        inside = -(solved.square().sum(1) / 2 + volumes[:, None]) - size * math.log(2 * math.pi) / 2
        mixed = (inside + self.weights.double().log()[:, None]).logsumexp(0)
        left, count = flat - coded @ axes.T, flat.shape[1] - size
        outside = -left.square().sum(1) / (2 * self.dropped.double())
        outside = outside - count * math.log(2 * math.pi * float(self.dropped)) / 2
        return torch.add(mixed - lengths.log().sum(), outside)

    def expected(self, images: Tensor, known: Tensor) -> Tensor:
        """Return the mean `(N, C, H, W)` of all images that share the given ones' known values, clamped to [0, 1].

        Exact: a conditioned mixture of Gaussians is one again (Bishop 2006, "Pattern recognition and machine learning",
        section 2.3). For the arguments see `Generator.expected`.
        """
        given = self._given(images, known)
        return self._finished((given.shares[..., None] * given.means).sum(1), images, known)

    def completions(self, images: Tensor, known: Tensor, count: int, seed: int) -> Tensor:
        """Draw `count` images for each given one, `(N, count, C, H, W)`, conditioned on its known values.

        A draw from a component is moved to the known values (Doucet 2010, "A note on efficient conditional simulation
        of Gaussian vectors").
        """
        given, random = self._given(images, known), np.random.default_rng(seed)
        directions, lengths = self._directions()
        drawn = []
        for image, shares in zip(images, given.shares.numpy(), strict=True):
            chosen = torch.from_numpy(random.choice(len(shares), count, p=shares / shares.sum()))
            inside = torch.from_numpy(random.standard_normal((count, len(lengths))))
            outside = torch.from_numpy(random.standard_normal((count, len(directions)))) * self._outside.sqrt()
            inside = torch.einsum("bij,bj->bi", self.factors.double()[chosen], inside) * lengths
            free = given.centers[chosen] + (inside - outside @ directions) @ directions.T + outside
            short = (image.flatten().double() - free) * known.flatten()
            moved = torch.einsum("bij,bj->bi", given.gains[chosen], short @ directions) @ directions.T
            drawn.append(self._finished(free + moved, image.expand(count, *image.shape), known))
        return torch.stack(drawn)

    @property
    def _outside(self) -> Tensor:
        """Variance of the dropped axes."""
        return self.dropped.double().clamp(min=ROUNDING)

    def _directions(self) -> tuple[Tensor, Tensor]:
        """Return the axes as unit vectors, `(values, size)`, and their standard deviations, `(size,)`."""
        lengths = self.axes.double().norm(dim=0)
        return self.axes.double() / lengths, lengths

    def _given(self, images: Tensor, known: Tensor) -> _Given:
        """Condition the mixture on the known values of images.

        Component k is N(c, s I + U M U'), with U the directions and s the dropped variance. Of its known rows U_K only
        G = U_K' U_K is needed: the rest is the matrix inversion lemma.
        """
        directions, lengths = self._directions()
        size, mask, dropped = len(lengths), known.flatten().double(), self._outside
        spread = self.factors.double() * lengths[:, None]
        unit = torch.eye(size, dtype=torch.float64)
        matrices = spread @ spread.transpose(1, 2) - dropped * unit  # M
        inner = dropped * unit + matrices @ (directions.T @ (mask[:, None] * directions))
        gains = torch.linalg.solve(inner, matrices)
        centers = self.mean.double() + self.centres.double() @ (directions * lengths).T  # (components, values)
        apart = (images.flatten(1).double()[:, None] - centers) * mask  # (N, components, values)
        coded = apart @ directions
        moved = torch.einsum("kij,nkj->nki", gains, coded)
        squares = (apart.square().sum(2) - (coded * moved).sum(2)) / dropped
        volumes = torch.linalg.slogdet(inner).logabsdet + (mask.sum() - size) * dropped.log()
        shares = (self.weights.double().log() - (squares + volumes) / 2).softmax(1)
        return _Given(shares, centers + moved @ directions.T, centers, gains)

    def _finished(self, flat: Tensor, images: Tensor, known: Tensor) -> Tensor:
        """Return the known values of images and the filled-in values elsewhere."""
        return torch.where(known, images, flat.view(-1, *self.shape).clamp(0, 1).to(images))


class _Given(NamedTuple):
    """Mixture conditioned on the known values of images.

    Attributes:
        shares: Posterior of the components, `(N, components)`.
        means: Conditional mean of each component, `(N, components, values)`.
        centers: Means of the components, `(components, values)`.
        gains: Shift of each component along the directions per known offset along them, `(components, size, size)`.
    """

    shares: Tensor
    means: Tensor
    centers: Tensor
    gains: Tensor


def scikit_learn() -> tuple[Any, Any]:
    """Return the modules sklearn.mixture and sklearn.decomposition.

    Raises:
        ConfigError: scikit-learn is not installed.
    """
    try:
        from sklearn import decomposition, mixture
    except ImportError:
        raise ConfigError(
            f"[model.name=gaussian_mixture] scikit-learn is not installed; {install_extra('images')}"
        ) from None
    return mixture, decomposition
