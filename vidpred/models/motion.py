"""A generator that moves pixels: a per-pixel blend of copies and warps along the measured motion.

The parts come from video coding and interpolation: several motion-compensated predictions of a pixel, weighed by how
they disagree (compare Liu et al. 2017, "Video frame synthesis using deep voxel flow", and Niklaus & Liu 2018,
"Context-aware synthesis", which also warps features along with the pixels).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import islice
from typing import Any, ClassVar, Literal, Self

import torch
import torch.nn.functional as functional
from pydantic import Field, model_validator
from torch import Tensor, nn

from vidpred.bounds import MOST_WIDTH
from vidpred.data.settings import DataSettings
from vidpred.errors import ConfigError
from vidpred.models.base import Forward
from vidpred.models.motion_candidates import (
    NOISE_EFFECTS,
    NUM_CANDIDATES,
    PIXEL_FEATURES,
    PUSHED,
    REGION_FEATURES,
    Scene,
    ahead,
    blend,
    blend_paths,
    energies_of,
    imagine,
    repeat_batch,
    split_repeated,
    vary,
)
from vidpred.models.motion_estimation import LEADS, Motion, enlarge, halved, observe
from vidpred.models.motion_predictor import MotionPredictor
from vidpred.models.motion_step import MotionStep
from vidpred.models.motion_stream import MotionStream
from vidpred.models.optical_flow import follow, warp, warp_backward, warp_sharp
from vidpred.models.pyramid import crop
from vidpred.models.settings import ModelSettings

CARRIED = 16  # features that are warped with the motion
FLOW_SCALE = 16.0  # displacement in pixels of a network input of 1
MOST_PIXELS = 80_000  # predicted at once: few enough for the caches of processors; four frames of 240x320, halved
SHORT = 0.15  # share of training batches with three context frames only, to train for short clips


class MotionSettings(ModelSettings):
    """Settings of the motion-aware generator."""

    starts_from_flow: ClassVar[bool] = True

    name: Literal["motion"] = Field(
        "motion", description="Frame predictor for real video: moves pixels along their motion."
    )
    noise_channels: int = Field(
        0,
        ge=0,
        le=100_000,
        description="Length of the refining UNet's noise vector; only with refine (0: no noise). Without refine, and "
        "with sharpness above 0, several futures are drawn by noise that needs no setting.",
    )
    gate_width: int = Field(
        32,
        ge=4,
        le=MOST_WIDTH,
        description="Feature maps of the network that predicts, for every future frame and neighborhood, "
        f"the shares of the {NUM_CANDIDATES} candidates: the last frame, motion-compensated frames and "
        "blurred ones.",
    )
    backtest: bool = Field(
        True,
        description="Estimate first, by predicting the newest context frames from older ones, how "
        "reliable extrapolation is; the shares depend on it.",
    )
    refine: bool = Field(
        False,
        description="Add a UNet that takes the frames themselves, corrects motion and adds details; needed for "
        "model.noise_channels, action_size and state_size, not possible with sharpness above 0.",
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
        (32, 64, 96),
        description="Feature maps of the refining UNet at 1/2, 1/4 and 1/8 of the resolution; only with refine.",
    )
    head_width: int = Field(
        32,
        ge=4,
        le=MOST_WIDTH,
        description="Feature maps of the refining UNet's last layers, which run for every future frame; "
        "only with refine.",
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


class MotionGenerator(MotionPredictor):
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
        return self._predict(context, noise, actions, states)

    def _predict(
        self, context: Tensor, noise: Tensor | None = None, actions: Tensor | None = None,
        states: Tensor | None = None, leads: range | None = None,
    ) -> list[Tensor]:  # fmt: skip
        height, width = context.shape[-2:]
        conditions = self.planes(context, noise, actions, states)
        if self.training and float(torch.rand((), device="cpu")) < SHORT:
            context = context[:, -3:]
        return self.from_motion(observe(context, self.backtests), conditions, height, width, leads)

    def from_motion(
        self, motion: Motion, conditions: Tensor | None, height: int, width: int, leads: range | None = None,
        sharp_warp: Callable[[Tensor, Tensor], Tensor] = warp_sharp,
    ) -> list[Tensor]:  # fmt: skip
        leads = range(self.lead, self.lead + self.pred_frames) if leads is None else leads
        if self.refinement is not None:
            images = self._refined(motion, leads, conditions)
        elif self.sharpness == 1:
            images = self._warped(motion, leads, conditions, sharp_warp)
        elif not self.sharpness:
            images = self._blended(motion, leads)
        else:
            warped = self._warped(motion, leads, conditions, sharp_warp)
            pairs = zip(self._blended(motion, leads), warped, strict=True)
            images = (torch.lerp(blended, sharp, self.sharpness) for blended, sharp in pairs)
        return [torch.stack([crop(image.clamp(0, 1), height, width) for image in images], 1)]

    def first_frames(self, num_frames: int) -> Forward:
        return partial(self._predict, leads=self._first_leads(num_frames))

    def stream_forward(self, num_frames: int) -> MotionStream:
        return MotionStream(self, self._first_leads(num_frames))

    def _first_leads(self, num_frames: int) -> range:
        return range(self.lead, self.lead + min(num_frames, self.pred_frames))

    def exported_step(self, state: Mapping[str, Any]) -> MotionStep:
        return MotionStep(self, state)

    def _scenes(
        self, motion: Motion, leads: range, with_candidates: bool = True
    ) -> Iterator[tuple[range, Motion, Scene]]:
        """Yield groups of the leads, the motion repeated for each of them, and their scenes, see `imagine`."""
        followed = follow(torch.cat([motion.flow, motion.smooth]), leads[-1])
        paths = islice(followed, leads[0] - 1, None)
        energies = energies_of(motion)
        # In an exported program the sizes are unknown: a group that depends on them would fix the batch.
        group_len = 1 if torch.compiler.is_exporting() else max(MOST_PIXELS // motion.last[:, 0].numel(), 1)
        for first in range(0, len(leads), group_len):
            group = leads[first : first + group_len]
            parts = [split_repeated(path, 2) for path in islice(paths, len(group))]
            path, steady = (torch.cat(part) for part in zip(*parts, strict=True))
            each = Motion(*(repeat_batch(part, len(group)) for part in motion))
            scene = imagine(each, repeat_batch(energies, len(group)), group, (path, steady), with_candidates)
            yield group, each, scene

    def _refined(self, motion: Motion, leads: range, planes: Tensor | None) -> Iterator[Tensor]:
        assert self.refinement is not None
        features = self.refinement.look(motion, planes)
        for group, each, scene in self._scenes(motion, leads):
            carried = repeat_batch(features, len(group))
            yield from split_repeated(self.refinement(each, scene, self._shares(scene), carried, group), len(group))

    def _blended(self, motion: Motion, leads: range) -> Iterator[Tensor]:
        """Yield the frames of sharpness 0, `(B, C, H, W)`."""
        for group, _, scene in self._scenes(motion, leads):
            yield from split_repeated(blend(scene.candidates, self._shares(scene)), len(group))

    def _warped(
        self, motion: Motion, leads: range, noise: Tensor | None, sharp_warp: Callable[[Tensor, Tensor], Tensor]
    ) -> Iterator[Tensor]:
        """Yield the frames of sharpness 1, `(B, C, H, W)`, for noise `(B, 3, 1, 1)`."""
        for group, _, scene in self._scenes(halved(motion), leads, with_candidates=False):
            shares = self._shares(scene, "path_")
            if noise is not None:
                scene, shares = vary(scene, shares, group, repeat_batch(noise, len(group)))
            path = 2 * enlarge(blend_paths(scene, shares, group))
            last = repeat_batch(motion.last, len(group))
            # In training torch's bicubic kernel: nearly equal, and faster with its gradient.
            warped = warp(last, path, "bicubic") if self.training else sharp_warp(last, path)
            yield from split_repeated(warped, len(group))

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
        return enlarge((scene.prior + near).contiguous(), scene.cell) + exact

    def weights_from(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Convert a run's weights: initialize missing path networks from those of the values, drop unused ones."""
        own = self.state_dict()
        found = {name: value for name, value in tensors.items() if name in own or not name.startswith("path_")}
        for name in own:
            if name.startswith("path_") and name not in found and name.removeprefix("path_") in found:
                found[name] = found[name.removeprefix("path_")]
        return found


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
        """Return features of frame t, `(B, F, H/2, W/2)`, to be warped along the motion for every future frame.

        Args:
            motion: The motion in the context frames.
            planes: Conditions `(B, n, 1, 1)`; None: none.
        """
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

    def forward(self, motion: Motion, scene: Scene, shares: Tensor, features: Tensor, leads: Sequence[int]) -> Tensor:
        """Return the corrected frames `(B, C, H, W)`, whose batch is one of `ahead`.

        Args:
            motion: The motion in the context frames.
            scene: The candidates.
            shares: Logarithms of the candidates' shares, `(B, n, H, W)`.
            features: What `look` returns.
            leads: Numbers of frames ahead, see `ahead`.
        """
        lead = ahead(leads, features)
        coarse_path = functional.avg_pool2d(scene.path, 2) / 2
        inputs = [
            features,
            warp(features, coarse_path),
            unshuffle(scene.pixel_features),
            coarse_path * 2 / FLOW_SCALE,
            (lead / 8).expand_as(coarse_path[:, :1]),
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


def unshuffle(images: Tensor) -> Tensor:
    """Move each 2x2 block of pixels of `(B, C, H, W)` to the channels: `(B, 4C, H/2, W/2)`."""
    return functional.pixel_unshuffle(images, 2)


def convolution(channels_in: int, channels_out: int, stride: int = 1) -> nn.Conv2d:
    """Return a 3x3 convolution that repeats the border: zero padding would look like an edge."""
    return nn.Conv2d(channels_in, channels_out, 3, stride, padding=1, padding_mode="replicate")


def block(channels_in: int, channels_out: int, stride: int = 1) -> nn.Sequential:
    """Return two 3x3 convolutions with ReLU after each; the first has the stride."""
    return nn.Sequential(
        convolution(channels_in, channels_out, stride), nn.ReLU(inplace=True),
        convolution(channels_out, channels_out), nn.ReLU(inplace=True),
    )  # fmt: skip
