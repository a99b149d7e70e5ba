"""A generator that moves pixels: a per-pixel blend of copies and warps along the measured motion.

The parts come from video coding and interpolation: several motion-compensated predictions of a pixel, weighed by how
they disagree (compare Liu et al. 2017, "Video frame synthesis using deep voxel flow", and Niklaus & Liu 2018,
"Context-aware synthesis", which also warps features along with the pixels).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Literal, NamedTuple, Self

import torch
import torch.nn.functional as functional
from einops import repeat
from pydantic import Field, model_validator
from torch import Tensor, nn

from vidpred.bounds import MOST_WIDTH
from vidpred.data.settings import DataSettings
from vidpred.errors import ConfigError
from vidpred.models.conditioned import ConditionedPredictor
from vidpred.models.optical_flow import (
    Care,
    FlowCache,
    dense_flow,
    smooth_displacements,
    warp,
    warp_backward,
    warp_sharp,
)
from vidpred.models.pyramid import crop, pad_to_multiple
from vidpred.models.settings import ModelSettings

PADDING = 8  # pixels: half resolution, halved twice more
CARRIED = 16  # features that are warped with the motion
FLOW_SCALE = 16.0  # displacement in pixels of a network input of 1
FLOOR = 1e-5  # noise level of mean squared differences: 50 dB
LEADS = (1, 2, 4, 8)  # of the backtests on context frames
USUAL_TRUST = (0.95, 0.9, 0.75, 0.6)  # share of motion at those leads without a backtest
WHOLE, DRAWN = 1.0, 2.0  # backtest weights of the whole frame and of `USUAL_TRUST`, relative to a neighborhood's
# Path smoothing in pixels per frame ahead. Tuned untrained at frame 8 on development and train clips: 25.3 dB at 0 and
# 0.25, 25.1 at 0.5, 24.7 at 1, 24.4 at 2. On the development clips alone, whose flow is noisy, 1 is best.
SMOOTHED = 0.35
# Power of the path's shares: a path half way between two likely ones ends at neither's place, so the likelier one
# counts more. Tuned at frame 8: powers 1, 2 and 4 have 24.6, 24.8 and 24.8 dB on four train clips, and 27.5 dB each on
# the development clips; the feature distance is smallest with 2.
DECISION = 2.0
# What one standard deviation of noise changes in the path of frame t+8, half of it in that of t+4: the logarithm of its
# length, its direction in radians, and the logarithm of the share of the last frame. Tuned for the best of 8 samples:
# over the single prediction it gains 0.45 dB on the development clips and 0.33 on five train clips at frame 8; about
# three times as much of the first two gains 0.55 and loses 0.15.
NOISE_EFFECTS, NOISE_LEAD = (0.15, 0.05, 1.0), 8
SHORT = 0.15  # share of training batches with three context frames only, to train for short clips
# Shares of the moved candidates in the share of motion before training; the last frame has the rest.
CANDIDATE_PRIORS = {
    "half way": 0.1, "pushed": 0.5, "steady": 0.2, "earlier": 0.17, "blurred": 0.02, "blurred mean": 0.003,
}  # fmt: skip
NUM_CANDIDATES = 1 + len(CANDIDATE_PRIORS)
# Position along the pushed path that each candidate's pixels come from; "steady" has a separate path.
ALONG = (0.0, 0.5, 1.0, 0.0, 1.0, 1.0, 0.5)
REGION_FEATURES, PIXEL_FEATURES = 12 + 3 * len(LEADS), 5  # input channels of the gate and of the detail network


class MotionSettings(ModelSettings):
    """Settings of the motion-aware generator."""

    name: Literal["motion"] = Field(
        "motion", description="Frame predictor for real video: moves pixels along their motion."
    )
    gate_width: int = Field(
        32,
        ge=4,
        le=MOST_WIDTH,
        description="Feature maps of the network that weighs the candidates (copy, moved "
        "and blurred last frame) for every future frame and place.",
    )
    backtest: bool = Field(True, description="Measure on the context frames first how well extrapolation works.")
    refine: bool = Field(
        False,
        description="Add a UNet that takes the frames themselves, corrects motion and adds details; needed for noise, "
        "actions and states.",
    )
    sharpness: float = Field(
        0.0,
        ge=0,
        le=1,
        description="How sharp predictions are: 0 blends pixel values, which scores the highest PSNR and blurs; 1 "
        "blends where pixels come from and warps once. Above 0 the path has separate shares; at 1 only these are "
        "trained. predict --sharpness overrides it.",
    )
    widths: tuple[int, int, int] = Field(
        (32, 64, 96), description="Feature maps of the refining UNet at 1/2, 1/4 and 1/8 of the resolution."
    )
    head_width: int = Field(
        32,
        ge=4,
        le=MOST_WIDTH,
        description="Feature maps of the refining UNet's last layers, which run for every future frame.",
    )

    @model_validator(mode="after")
    def _conditions(self) -> Self:
        if (self.noise_channels or self.action_size or self.state_size) and not self.refine:
            raise ValueError("refine: only the refining network takes noise, actions and states; set model.refine=true")
        if self.sharpness and self.refine:
            raise ValueError("sharpness: the refining network blends pixel values; set model.refine=false")
        return self

    def build(self, data: DataSettings) -> MotionGenerator:
        if data.channels > 3:
            raise ConfigError(
                f"[model.name=motion] tracks one camera, not those of data.channels={data.channels}; choose film_unet "
                "or multiscale"
            )
        return MotionGenerator(self, data.context_frames, data.pred_frames, data.lead, data.channels)


class Motion(NamedTuple):
    """Motion in the context frames: maps `(B, ., H, W)` float32, trust and evidence at 1/8 of that resolution.

    Attributes:
        last: Frame t.
        before: Frame t-1.
        flow: Displacement in pixels of every pixel of t to its place in t-1.
        older: Displacement of the same content from t-1 to t-2.
        smooth: Like flow, but smoother.
        doubt: Difference between t and the warped frames t-1 and t-2, two channels.
        trust: See `backtest`.
        evidence: See `backtest`.
        activity: Root mean square change of the neighborhood from t-1 to t.
    """

    last: Tensor
    before: Tensor
    flow: Tensor
    older: Tensor
    smooth: Tensor
    doubt: Tensor
    trust: Tensor
    evidence: Tensor
    activity: Tensor

    @property
    def cell(self) -> int:
        """Pixels across a cell of trust and evidence: `PADDING`, or half of that in `halved` motion."""
        return int(self.last.shape[-1] // self.trust.shape[-1])

    @property
    def scale(self) -> int:
        """Pixels of the frame across a pixel of the maps: 1, or 2 in `halved` motion."""
        return PADDING // self.cell


class Scene(NamedTuple):
    """Candidates for one future frame, and features that weigh them.

    Differences are in units of the neighborhood's change, so features do not depend on the amount of motion.

    Attributes:
        path: Source of the pushed pixels, `(B, 2, H, W)`.
        steady: Source of the pixels along the smooth flow, `(B, 2, H, W)`.
        candidates: `(B, n, C, H, W)`, the last frame and those of `CANDIDATE_PRIORS`; n = 0 if only paths are used.
        prior: Logarithms of their shares, `(B, n, H, W)`.
        region_features: Statistics of neighborhoods at 1/8 of the resolution, `(B, REGION_FEATURES, h, w)`.
        pixel_features: Statistics of every pixel, `(B, PIXEL_FEATURES, H, W)`.
    """

    path: Tensor
    steady: Tensor
    candidates: Tensor
    prior: Tensor
    region_features: Tensor
    pixel_features: Tensor

    @property
    def cell(self) -> int:
        """Pixels across a cell of the region features."""
        return int(self.prior.shape[-1] // self.region_features.shape[-1])


class MotionGenerator(ConditionedPredictor):
    """Predictor of frames t+k, k = lead, ..., lead + pred_frames - 1, each directly from the context frames.

    The reliability of motion is measured on the context frames first (`backtest`). Candidates for a future frame
    (`imagine`) are the last frame and its warps. Two small networks predict their shares: the gate for every
    neighborhood, from statistics of it and of the whole frame; the detail network for every pixel. Before training,
    shares are those of the backtest.

    `sharpness` interpolates between two ends. At 0, the candidates' values are blended: the mean of the possible
    futures, with the least squared error. At 1, the places that the candidates' pixels come from are blended at half
    the resolution, with shares of a separate gate and detail network, and the last frame is warped once along that
    path (`blend_paths`), so the image keeps its detail whatever the shares. In between, both images are mixed. Noise,
    which is optional, varies that path: each draw is another sharp future (`vary`).

    With `refine`, a UNet at half resolution runs once on the context frames. For every k its features are warped with
    the motion, and a head of three convolutions takes them at both their old and new places. It corrects the shares,
    adds one more candidate with a corrected path, and adds a residual in proportion to the candidates' differences.
    Noise, actions and states are input planes of the UNet. The flow is OpenCV's DIS, of whole frames: crops would lower
    its reliability at their borders.

    Any height and width, any number of context frames (the newest ten are used), 1 or 3 channels.
    """

    min_context_frames = 2

    def __init__(
        self, settings: MotionSettings, context_frames: int, pred_frames: int = 1, lead: int = 1, channels: int = 3
    ) -> None:
        super().__init__(settings, context_frames, pred_frames, lead, channels)
        self.backtests = settings.backtest
        width = settings.gate_width
        self.gate, self.detail = gate_network(width), detail_network()
        if settings.sharpness:
            self.path_gate, self.path_detail = gate_network(width), detail_network()
        if settings.sharpness == 1:  # the other end stays unchanged
            self.gate.requires_grad_(False)
            self.detail.requires_grad_(False)
        self.refinement = Refinement(settings, channels, self.condition_size) if settings.refine else None
        self.sharpness = None if settings.refine else settings.sharpness
        if not settings.refine:
            self.noise_channels, self.noise, self.noise_optional = len(NOISE_EFFECTS), "gaussian", True

    @property
    def last_weight(self) -> Tensor | None:
        """The weight of the refinement's last convolution; None without refinement."""
        return None if self.refinement is None else self.refinement.last.weight

    def forward(
        self, context: Tensor, noise: Tensor | None = None, actions: Tensor | None = None,
        states: Tensor | None = None,
    ) -> list[Tensor]:  # fmt: skip
        """Predict future frames.

        Args:
            context: `(B, T, C, H, W)` in [0, 1].
            noise: See `ConditionedPredictor.conditions`, which raises ValueError for unsuitable conditions. Without
                refinement `(B, 3)` or None: see `vary`.
            actions: See there.
            states: See there.

        Returns:
            A list of one, `(B, K, C, H, W)` in [0, 1].
        """
        height, width = context.shape[-2:]
        conditions = self.planes(context, noise, actions, states)
        if self.training and float(torch.rand((), device="cpu")) < SHORT:
            context = context[:, -3:]
        return self.from_motion(observe(context, self.backtests), conditions, height, width)

    def from_motion(
        self, motion: Motion, conditions: Tensor | None, height: int, width: int, most: int | None = None
    ) -> list[Tensor]:
        """Predict future frames of a size from the motion in the context frames, see `forward`; `most` of them.

        `conditions` are planes `(B, n, 1, 1)`; without refinement, noise is the only one.
        """
        if self.refinement is not None:
            images = self._refined(motion, conditions)
        elif self.sharpness == 1:
            images = self._warped(motion, conditions)
        elif not self.sharpness:
            images = self._blended(motion)
        else:
            pairs = zip(self._blended(motion), self._warped(motion, conditions), strict=True)
            images = (torch.lerp(blended, sharp, self.sharpness) for blended, sharp in pairs)
        return [torch.stack([crop(image.clamp(0, 1), height, width) for image in islice(images, most)], 1)]

    def stream_forward(self, num_frames: int) -> MotionStream:
        return MotionStream(self, num_frames if num_frames < self.pred_frames else None)

    def _scenes(self, motion: Motion, with_candidates: bool = True) -> Iterator[tuple[int, Scene]]:
        """Yield the leads and their scenes, see `imagine`."""
        last_lead = self.lead + self.pred_frames - 1
        paths = zip(follow(motion.flow, last_lead), follow(motion.smooth, last_lead), strict=True)
        energies = energies_of(motion)
        for lead, (path, steady) in enumerate(paths, 1):
            if lead >= self.lead:
                yield lead, imagine(motion, energies, lead, (path, steady), with_candidates)

    def _refined(self, motion: Motion, planes: Tensor | None) -> Iterator[Tensor]:
        assert self.refinement is not None
        features = self.refinement.look(motion, planes)
        for lead, scene in self._scenes(motion):
            yield self.refinement(motion, scene, self._shares(scene), features, lead)

    def _blended(self, motion: Motion) -> Iterator[Tensor]:
        """Yield the frames of sharpness 0, `(B, C, H, W)`."""
        for _, scene in self._scenes(motion):
            yield blend(scene.candidates, self._shares(scene))

    def _warped(self, motion: Motion, noise: Tensor | None) -> Iterator[Tensor]:
        """Yield the frames of sharpness 1, `(B, C, H, W)`, for noise `(B, 3, 1, 1)`."""
        for lead, scene in self._scenes(halved(motion), with_candidates=False):
            shares = self._shares(scene, "path_")
            if noise is not None:
                scene, shares = vary(scene, shares, lead, noise)
            path = 2 * enlarge(blend_paths(scene, shares, lead))
            # In training torch's bicubic kernel: nearly equal, and faster with its gradient.
            yield warp(motion.last, path, "bicubic") if self.training else warp_sharp(motion.last, path)

    def _shares(self, scene: Scene, kind: str = "") -> Tensor:
        """Return logarithms of the candidates' shares, `(B, n, H, W)`.

        Args:
            scene: The candidates.
            kind: "path_" for the shares of the path; a model without sharpness training uses those of the values.
        """
        gate, detail = (self._modules.get(kind + name, self._modules[name]) for name in ("gate", "detail"))
        assert gate is not None
        assert detail is not None
        whole = scene.region_features.mean((2, 3), keepdim=True).expand_as(scene.region_features)
        near: Tensor = gate(torch.cat([scene.region_features, whole], 1)).float()
        exact: Tensor = detail(scene.pixel_features).float()
        return scene.prior + (enlarge(near, scene.cell) + exact)

    def weights_from(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Convert a run's weights: initialize missing path networks from those of the values, drop unused ones."""
        own = self.state_dict()
        found = {name: value for name, value in tensors.items() if name in own or not name.startswith("path_")}
        for name in own:
            if name.startswith("path_") and name not in found and name.removeprefix("path_") in found:
                found[name] = found[name.removeprefix("path_")]
        return found


class MotionStream:
    """The forward pass for the contexts of one stream: the flow between two frames is computed once.

    Attributes:
        generator: The generator, in evaluation mode.
        most: Number of frames to predict; None: all.
    """

    def __init__(self, generator: MotionGenerator, most: int | None = None) -> None:
        self.generator, self.most, self.cache = generator, most, FlowCache()

    def __call__(
        self, context: Tensor, noise: Tensor | None = None, actions: Tensor | None = None, states: Tensor | None = None,
    ) -> list[Tensor]:  # fmt: skip
        """Return the first frames of `generator(context, ...)`."""
        motion = observe(context, self.generator.backtests, self.cache)
        conditions = self.generator.planes(context, noise, actions, states)
        height, width = context.shape[-2:]
        return self.generator.from_motion(motion, conditions, height, width, self.most)


def gate_network(width: int) -> nn.Sequential:
    """Build the network of shares per neighborhood; before training they are those of the backtest."""
    gate = nn.Sequential(
        convolution(2 * REGION_FEATURES, width), nn.ReLU(inplace=True),
        convolution(width, width), nn.ReLU(inplace=True), nn.Conv2d(width, NUM_CANDIDATES, 1),
    )  # fmt: skip
    nn.init.zeros_(gate[-1].weight)  # type: ignore[arg-type]
    nn.init.zeros_(gate[-1].bias)  # type: ignore[arg-type]
    return gate


def detail_network() -> nn.Sequential:
    """Build the network of per-pixel corrections to the shares; zero before training."""
    detail = nn.Sequential(
        nn.Conv2d(PIXEL_FEATURES, 8, 1), nn.ReLU(inplace=True), nn.Conv2d(8, NUM_CANDIDATES, 1, bias=False)
    )
    nn.init.zeros_(detail[-1].weight)  # type: ignore[arg-type]
    return detail


class Refinement(nn.Module):
    """The UNet and its head, see `MotionGenerator`."""

    def __init__(self, settings: MotionSettings, channels: int, conditions: int) -> None:
        super().__init__()
        fine, middle, coarse = settings.widths
        self.enter = block(4 * (2 * channels + 2) + 6 + 1 + conditions, fine)
        self.down_1, self.down_2 = block(fine, middle, stride=2), block(middle, coarse, stride=2)
        self.up_2, self.up_1 = block(coarse + 3 * len(LEADS) + middle, middle), block(middle + fine, fine)
        self.carried = nn.Conv2d(fine, CARRIED, 1)
        width = settings.head_width
        self.head = nn.Sequential(
            convolution(2 * CARRIED + 4 * PIXEL_FEATURES + 2 + 1, width), nn.ReLU(inplace=True),
            convolution(width, width), nn.ReLU(inplace=True),
        )  # fmt: skip
        self.last = nn.Conv2d(width, 4 * (NUM_CANDIDATES + 1) + 3 + 4 * channels, 1)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)  # type: ignore[arg-type]

    def look(self, motion: Motion, planes: Tensor | None) -> Tensor:
        """Return features of frame t at half resolution, `(B, F, h, w)`."""
        moved = warp_backward(motion.before, motion.flow)
        relative = torch.cat([motion.last - moved, motion.doubt], 1) / motion.activity
        inputs = unshuffle(torch.cat([motion.last - 0.5, relative.clamp(-4, 4)], 1))
        flows = torch.cat([motion.flow / FLOW_SCALE, motion.older - motion.flow, motion.smooth - motion.flow], 1)
        flows = functional.avg_pool2d(torch.cat([flows.clamp(-4, 4), motion.activity.log() / 2 + 2], 1), 2)
        parts = [inputs, flows]
        if planes is not None:
            parts.append(planes.expand(-1, -1, *inputs.shape[-2:]))
        fine = self.enter(torch.cat(parts, 1).contiguous(memory_format=torch.channels_last))
        middle = self.down_1(fine)
        up: Tensor = torch.cat([enlarge(torch.cat([self.down_2(middle), motion.evidence], 1)), middle], 1)
        up = torch.cat([enlarge(self.up_2(up)), fine], 1)
        found: Tensor = self.carried(self.up_1(up))
        return found.float()

    def forward(self, motion: Motion, scene: Scene, shares: Tensor, features: Tensor, lead: int) -> Tensor:
        """Return the frame `(B, C, H, W)`; `shares` are logarithms of the shares of the scene's candidates."""
        coarse_path = functional.avg_pool2d(scene.path, 2) / 2
        inputs = [
            features,
            warp(features, coarse_path),
            unshuffle(scene.pixel_features),
            coarse_path * 2 / FLOW_SCALE,
            torch.full_like(coarse_path[:, :1], lead / 8),
        ]
        out = self.last(self.head(torch.cat(inputs, 1).contiguous(memory_format=torch.channels_last))).float()
        sizes = [4 * (NUM_CANDIDATES + 1), 3]
        gates, correction, paint = out.split([*sizes, out.shape[1] - sum(sizes)], 1)
        stretch, shift = enlarge(correction).split([1, 2], 1)
        corrected = warp_backward(motion.last, scene.path * (1 + stretch) + shift * lead)
        candidates = torch.cat([scene.candidates, corrected[:, None]], 1)
        # The corrected candidate starts with the share of the pushed one, which it corrects.
        pushed = shares[:, PUSHED : PUSHED + 1]
        image = blend(candidates, torch.cat([shares, pushed], 1) + functional.pixel_shuffle(gates, 2))
        differing = (scene.candidates[:, 0] - scene.candidates[:, PUSHED]).abs().mean(1, keepdim=True)
        differing = differing + warp(motion.doubt, scene.path).mean(1, keepdim=True)
        return image + functional.pixel_shuffle(paint, 2) * enlarge(functional.avg_pool2d(differing, 2))


PUSHED, STEADY = (1 + list(CANDIDATE_PRIORS).index(name) for name in ("pushed", "steady"))


def blend(candidates: Tensor, shares: Tensor) -> Tensor:
    """Blend candidates `(B, n, C, H, W)` by logarithms of shares `(B, n, H, W)` to `(B, C, H, W)`."""
    return (candidates * shares.softmax(1)[:, :, None]).sum(1)


def blend_paths(scene: Scene, shares: Tensor, lead: int) -> Tensor:
    """Return the source of the pixels of frame t+lead, `(B, 2, H, W)`: the mean of the candidates' paths, smoothed.

    Weights are the shares to the power `DECISION`; the Gaussian has `SMOOTHED` of the frame's pixels per frame ahead. A
    mean of values has a ghost at every candidate's place; a mean of places has one image, at a place in between.

    Args:
        scene: The candidates.
        shares: Logarithms, `(B, n, H, W)`.
        lead: Number of frames ahead.
    """
    parts = (shares * DECISION).softmax(1)
    along = (parts * parts.new_tensor(ALONG).view(1, -1, 1, 1)).sum(1, keepdim=True)
    return smooth_displacements(
        along * scene.path + parts[:, STEADY : STEADY + 1] * scene.steady, SMOOTHED * lead * scene.cell / PADDING
    )


def vary(scene: Scene, shares: Tensor, lead: int, noise: Tensor) -> tuple[Scene, Tensor]:
    """Return another possible future: faster or slower, turned, and more or less likely to stay.

    One draw is one outcome: everything in the frame changes alike, and in all frames in the same direction.

    Args:
        scene: The candidates.
        shares: Logarithms, `(B, n, H, W)`.
        lead: Number of frames ahead; the change grows in proportion.
        noise: `(B, 3, 1, 1)`, standard normal; 0 changes nothing.
    """
    stretch, turn, stay = (noise * noise.new_tensor(NOISE_EFFECTS).view(1, 3, 1, 1) * lead / NOISE_LEAD).split(1, 1)
    along, across = stretch.exp() * turn.cos(), stretch.exp() * turn.sin()
    moved = (
        torch.cat([along * path[:, :1] - across * path[:, 1:], across * path[:, :1] + along * path[:, 1:]], 1)
        for path in (scene.path, scene.steady)
    )
    path, steady = moved
    return scene._replace(path=path, steady=steady), torch.cat([shares[:, :1] + stay, shares[:, 1:]], 1)


@torch.no_grad()
def imagine(
    motion: Motion, energies: Tensor, lead: int, paths: tuple[Tensor, Tensor], with_candidates: bool = True
) -> Scene:
    """Return the candidates for frame t+lead, and what weighs them; `energies` are those of `energies_of`.

    Sources of pixels come from the flow at t, written to its destination (`push`), from the first path where nothing
    arrives, and from the second one, along the smooth flow. The candidates: the last frame; it moved half as far; as
    pushed; along the smooth flow; t-1 moved; the pushed one slightly blurred; the strongly blurred mean of the first
    and the pushed one.
    """
    path, steady_path = paths
    cell, path = motion.cell, push(motion.flow, lead, path, motion.scale)
    copied, pushed = motion.last, warp_backward(motion.last, path)
    steady = warp_backward(motion.last, steady_path)
    # From t back to t-1: one more step along the flow where the path ends.
    earlier = warp_backward(motion.before, path + warp(motion.flow, path))
    candidates = []
    if with_candidates:
        half_way = warp_backward(motion.last, path / 2)
        blurred = enlarge(functional.avg_pool2d(pushed, 2))
        blurred_mean = enlarge(functional.avg_pool2d((copied + pushed) / 2, 4), 4)
        candidates = [copied, half_way, pushed, steady, earlier, blurred, blurred_mean]  # as in CANDIDATE_PRIORS
    trust = trust_at(motion.trust, lead)
    prior = torch.cat([1 - trust, *(share * trust for share in CANDIDATE_PRIORS.values())], 1).log()
    differences = [other - pushed for other in (copied, steady, earlier)]
    sizes = torch.cat([difference.abs().mean(1, keepdim=True) for difference in differences], 1)
    pixel_features = (torch.cat([sizes, warp(motion.doubt, path)], 1) / motion.activity).clamp(max=4)
    squares = torch.cat([difference.square().mean(1, keepdim=True) for difference in differences], 1)
    far, unsteady, aged = around(squares, cell).split(1, 1)
    doubt, old_doubt, speed, turn, unsmooth, activity, contrast = energies.split(1, 1)
    region_features = [
        compare(far, activity), compare(unsteady, far), compare(aged, far), compare(doubt, activity),
        compare(old_doubt, activity), activity.log() / 4 + 2, (contrast + FLOOR).log() / 4 + 2,
        (speed + 1e-3).log() / 4, compare(turn, speed, 1e-3), compare(unsmooth, speed, 1e-3),
        trust * 2 - 1.5, torch.full_like(trust, lead / 8), motion.evidence,
    ]  # fmt: skip
    images = torch.stack(candidates, 1) if candidates else copied[:, None, :0]
    return Scene(
        path, steady_path, images, enlarge(prior, cell),
        torch.cat(region_features, 1), pixel_features,
    )  # fmt: skip


def energies_of(motion: Motion) -> Tensor:
    """Return means of squares around every cell, the same at every lead, `(B, 7, h, w)`.

    They are of both channels of doubt, the speed, its change, the roughness of the flow, the activity and the edges.
    """
    flows = [motion.scale * part for part in (motion.flow, motion.older - motion.flow, motion.smooth - motion.flow)]
    squares = [part.square().mean(1, keepdim=True) for part in (*motion.doubt.split(1, 1), *flows)]
    edges = (motion.last - enlarge(functional.avg_pool2d(motion.last, 2))).square().mean(1, keepdim=True)
    return around(torch.cat([*squares, motion.activity.square(), edges], 1), motion.cell)


def halved(motion: Motion) -> Motion:
    """Return the motion at half the resolution, in pixels of that."""
    maps = (motion.last, motion.before, motion.flow, motion.older, motion.smooth, motion.doubt, motion.activity)
    last, before, flow, older, smooth, doubt, activity = (functional.avg_pool2d(part, 2) for part in maps)
    flows = (flow / 2, older / 2, smooth / 2)
    return Motion(last, before, *flows, doubt, motion.trust, motion.evidence, activity)


def compare(first: Tensor, second: Tensor, floor: float = FLOOR) -> Tensor:
    """Return half the logarithm of the ratio of two energies, clamped to [-3, 3]."""
    return (((first + floor) / (second + floor)).log() / 2).clamp(-3, 3)


@torch.no_grad()
def observe(context: Tensor, backtests: bool = True, cache: FlowCache | None = None) -> Motion:
    """Return the motion in the newest frames of `(B, T, C, H, W)`, padded to multiples of `PADDING`.

    With fewer than three frames, the first is repeated. Equal consecutive rows, as with a planner's candidates, are
    processed once. A cache is used for a batch of one.
    """
    if len(context) > 1 and not context.is_meta:
        rows, places = torch.unique_consecutive(context, dim=0, return_inverse=True)
        if len(rows) < len(context):
            return Motion(*(part[places] for part in observe(rows, backtests)))
    frames = context[:, -(LEADS[-1] + 2) :].float()
    origins = flow_origins(frames.shape[1], backtests)
    if frames.shape[1] < 3:
        missing = repeat(frames[:, :1], "b 1 c h w -> b n c h w", n=3 - frames.shape[1])
        frames = torch.cat([missing, frames], 1)
    if cache is None or len(frames) > 1:
        fine, smooth = flows_at(frames, [0, 1], "fine"), flows_at(frames, origins, "smooth")
    else:
        fine, smooth = cached_flows(cache, frames[0], [0, 1], "fine"), cached_flows(cache, frames[0], origins, "smooth")
    return motion_of(frames, origins, fine, smooth)


def flow_origins(num_frames: int, backtests: bool) -> list[int]:
    """Return the distances from t of the frames that smooth flows start at: 0, and the leads of the backtests."""
    return [0, *(lead for lead in LEADS if backtests and lead < num_frames - 1)]


def motion_of(frames: Tensor, origins: Sequence[int], fine: Sequence[Tensor], smooths: Sequence[Tensor]) -> Motion:
    """Return the motion in frames of known flows.

    Args:
        frames: `(B, T, C, H, W)` with T >= 3.
        origins: Distances from t of the frames that the smooth flows start at, see `flow_origins`.
        fine: Fine flows of the last two pairs of frames, the newest first, each `(B, 2, H', W')` padded like frames.
        smooths: Smooth flows at every origin.
    """
    padded = pad_to_multiple(frames, PADDING)
    (flow, older), (smooth, *old_flows) = fine, smooths
    oldest, before, last = padded[:, -3:].unbind(1)
    older = warp(older, flow)
    doubts = [warp_backward(before, flow), warp_backward(oldest, flow + older)]
    doubt = torch.cat([(last - moved).abs().mean(1, keepdim=True) for moved in doubts], 1)
    trust, evidence = backtest(padded, dict(zip(origins[1:], old_flows, strict=True)))
    change = (last - before).square().mean(1, keepdim=True)
    activity = enlarge((around(change) + FLOOR).sqrt(), PADDING)
    return Motion(last, before, flow, older, smooth, doubt, trust, evidence, activity)


def flows_at(frames: Tensor, origins: Sequence[int], care: Care) -> list[Tensor]:
    """Return the flows from t-o to the frame before it for every origin o, padded as in `observe`."""
    newest = frames.shape[1] - 1
    starts = torch.cat([frames[:, newest - origin] for origin in origins])
    ends = torch.cat([frames[:, newest - origin - 1] for origin in origins])
    # On the meta device, for memory estimates, the flow is empty.
    flows = starts.new_empty(len(starts), 2, *starts.shape[-2:]) if starts.is_meta else dense_flow(starts, ends, care)
    return list(pad_to_multiple(flows[:, None], PADDING)[:, 0].chunk(len(origins)))


def cached_flows(cache: FlowCache, frames: Tensor, origins: Sequence[int], care: Care) -> list[Tensor]:
    """Return what `flows_at` does for one clip `(T, C, H, W)`, from a cache."""
    numbers = cache.numbers(frames)[::-1]
    flows = [cache.flow(numbers[origin], numbers[origin + 1], care) for origin in origins]
    return [pad_to_multiple(flow[:, None], PADDING)[:, 0] for flow in flows]


def backtest(frames: Tensor, flows: Mapping[int, Tensor]) -> tuple[Tensor, Tensor]:
    """Measure how well extrapolation predicts frame t from the frame `lead` frames before it.

    Args:
        frames: `(B, T, C, H, W)`.
        flows: For some of `LEADS`, the flow from the frame that far back to the one before it.

    Returns:
        Two maps at 1/8 of the resolution. trust, `(B, leads, h, w)` in (0, 1): the share w of the moved frame with the
        least squared error of copy + w (moved - copy) around every place, drawn toward that of the whole frame and
        `USUAL_TRUST`, which applies where there is no flow. evidence, `(B, 3 leads, h, w)`: trust minus the usual one,
        and the correlation of predicted and true change, there and in the whole frame; 0 where there is no flow.
    """
    last = frames[:, -1]
    trusts, evidence = [], []
    for lead, usual in zip(LEADS, USUAL_TRUST, strict=True):
        if lead in flows:
            origin = frames[:, -1 - lead]
            *_, path = follow(flows[lead], lead)
            predicted, true = warp_backward(origin, path) - origin, last - origin
            products = [predicted.square(), predicted * true, true.square()]
            local = around(torch.cat([product.mean(1, keepdim=True) for product in products], 1))
            whole = local.mean((2, 3), keepdim=True)
            size, match, _ = (local + WHOLE * whole).split(1, 1)
            trust = ((match + usual * (DRAWN * size + FLOOR)) / ((1 + DRAWN) * size + FLOOR)).clamp(0.05, 0.98)
            agreements = [map_[:, 1:2] / (map_[:, :1] * map_[:, 2:] + FLOOR**2).sqrt() for map_ in (local, whole)]
            evidence += [trust - usual, agreements[0], agreements[1].expand_as(trust)]
        else:
            trust = torch.full_like(around(last[:, :1]), usual)
            evidence += [torch.zeros_like(trust)] * 3
        trusts.append(trust)
    return torch.cat(trusts, 1), torch.cat(evidence, 1)


def around(maps: Tensor, cell: int = PADDING) -> Tensor:
    """Return means over a neighborhood of about five cells of that many pixels, one value a cell."""
    maps = functional.avg_pool2d(maps, cell)
    for _ in range(2):
        maps = functional.avg_pool2d(functional.pad(maps, (1, 1, 1, 1), "replicate"), 3, 1)
    return maps


def trust_at(trust: Tensor, lead: int) -> Tensor:
    """Interpolate trust `(B, leads, h, w)` between `LEADS`, in the logarithm of the lead: `(B, 1, h, w)`."""
    place = min(math.log2(lead), len(LEADS) - 1)
    low = min(int(place), len(LEADS) - 2)
    return torch.lerp(trust[:, low : low + 1], trust[:, low + 1 : low + 2], place - low)


def follow(flow: Tensor, steps: int) -> Iterator[Tensor]:
    """Yield where the pixels of t+1, t+2, ... were at t under constant velocity: paths in pixels `(B, 2, H, W)`.

    The path of t+k is that of t+k-1 plus the flow where that one ends.
    """
    path = torch.zeros_like(flow)
    for _ in range(steps):
        path = path + warp(flow, path)
        yield path


def push(flow: Tensor, lead: int, elsewhere: Tensor, scale: int = 1) -> Tensor:
    """Return paths like those of `follow`, found from the other end: y at t will be at x = y - lead * flow(y).

    Following alone never moves an object to a new place: there it reads the background's flow. Here every pixel writes
    its path to the four pixels around its destination (bilinear weights). Where several arrive, faster ones weigh more,
    because moving objects are mostly in front (softmax splatting: Niklaus & Liu 2020, arXiv 2003.05534). Where almost
    nothing arrives, the path is that of `elsewhere`, `(B, 2, H, W)`. Speeds are compared in 1 / scale of a pixel.
    """
    batch, _, height, width = flow.shape
    rows = torch.arange(height, dtype=torch.float32, device=flow.device)[:, None]
    columns = torch.arange(width, dtype=torch.float32, device=flow.device)
    across, down = columns - lead * flow[:, 0], rows - lead * flow[:, 1]  # destination of every pixel
    urgency = torch.exp((scale * flow.square().sum(1).sqrt()).clamp(max=8))  # vector_norm is slow over two values
    left, top = across.floor(), down.floor()
    written = flow.new_zeros(batch, 4, height * width)  # weighted path, weight, weight without urgency
    for right, below in ((0, 0), (0, 1), (1, 0), (1, 1)):
        x, y = left + right, top + below
        weight = (1 - (across - x).abs()) * (1 - (down - y).abs())
        weight = weight * ((x >= 0) & (x < width) & (y >= 0) & (y < height))
        place = (y.clamp(0, height - 1) * width + x.clamp(0, width - 1)).long().flatten(1)
        values = torch.cat([flow * lead * (weight * urgency)[:, None], (weight * urgency)[:, None], weight[:, None]], 1)
        written.scatter_add_(2, place[:, None].expand(-1, 4, -1), values.flatten(2))
    path, total, arrived = written.unflatten(2, (height, width)).split([2, 1, 1], 1)
    return torch.where(arrived > 0.3, path / total.clamp(min=1e-6), elsewhere)


def unshuffle(images: Tensor) -> Tensor:
    """Rearrange `(B, C, H, W)` to `(B, 4C, H/2, W/2)`."""
    return functional.pixel_unshuffle(images, 2)


def enlarge(maps: Tensor, factor: int = 2) -> Tensor:
    """Resize maps by a factor, bilinear."""
    return functional.interpolate(maps, scale_factor=factor, mode="bilinear", align_corners=False)


def convolution(channels_in: int, channels_out: int, stride: int = 1) -> nn.Conv2d:
    """Return a 3x3 convolution that repeats the border: zero padding would look like an edge."""
    return nn.Conv2d(channels_in, channels_out, 3, stride, padding=1, padding_mode="replicate")


def block(channels_in: int, channels_out: int, stride: int = 1) -> nn.Sequential:
    """Return two convolutions with ReLU; the first may halve the resolution."""
    return nn.Sequential(
        convolution(channels_in, channels_out, stride), nn.ReLU(inplace=True),
        convolution(channels_out, channels_out), nn.ReLU(inplace=True),
    )  # fmt: skip
