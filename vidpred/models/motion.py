"""A generator that moves pixels: per pixel a blend of copies, warps along the motion seen so far, and paint.

What it is made of is known from video coding and interpolation: several compensated predictions of a pixel, chosen by
what their disagreement tells (compare Liu et al. 2017, "Video frame synthesis using deep voxel flow", and Niklaus & Liu
2018, "Context-aware synthesis", which moves features along with the pixels as is done here).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal, NamedTuple, Self

import torch
import torch.nn.functional as functional
from einops import repeat
from pydantic import Field, model_validator
from torch import Tensor, nn

from vidpred.data.settings import DataSettings
from vidpred.models.conditioned import ConditionedPredictor
from vidpred.models.optical_flow import Care, dense_flow, smooth_displacements, warp, warp_backward, warp_sharp
from vidpred.models.pyramid import pad_to_multiple
from vidpred.models.settings import ModelSettings

PADDING = 8  # pixels: half resolution, halved twice more
CARRIED = 16  # features that are carried along with the motion
FLOW_SCALE = 16.0  # pixels that count as 1 for the network
FLOOR = 1e-5  # mean squared difference that is noise: 50 dB
LEADS = (1, 2, 4, 8)  # at which extrapolation is tried on what is known
USUAL_TRUST = (0.95, 0.9, 0.75, 0.6)  # the share of motion at those leads where nothing is known
WHOLE, DRAWN = 1.0, 2.0  # in a backtest, the weights of the whole frame and of the usual trust; a neighbourhood has 1
# Pixels per frame ahead by which a path is smoothed. At frame 8, untrained, 0 and 0.25 have 25.3 dB on development and
# train clips, 0.5 has 25.1, 1 24.7 and 2 24.4 dB; on the development clips alone, whose flow is noisy, 1 is the best.
SMOOTHED = 0.35
# The power to which the path's shares are raised. A path half way between two likely ones ends at neither's place, so
# the likelier one counts more. At frame 8, with 1, 2 and 4: 24.6, 24.8 and 24.8 dB on four train clips with moving
# cameras and jumping people, 27.5, 27.5 and 27.5 on the development clips; the feature distance is least with 2.
DECISION = 2.0
SHORT = 0.15  # the share of training batches that know three frames only, so that short clips are no news
# What the moved candidates have of the share of motion before anything is learned; the last frame has the rest.
MOVED = {"half way": 0.1, "pushed": 0.5, "steady": 0.2, "earlier": 0.17, "blurred": 0.02, "veiled": 0.003}
NUM_CANDIDATES = 1 + len(MOVED)
# How far along the pushed path each candidate's pixels come from; those of "steady" have a path of their own.
ALONG = (0.0, 0.5, 1.0, 0.0, 1.0, 1.0, 0.5)
TOLD, SEEN = 12 + 3 * len(LEADS), 5  # channels of what the gate is told and of what is seen of every pixel


class MotionSettings(ModelSettings):
    """Settings of the motion-aware generator."""

    name: Literal["motion"] = Field("motion", description="Kind of generator.")
    gate_width: int = Field(
        32, ge=4, description="Feature maps of the network that weighs the candidates for every future frame and place."
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
        "blends where pixels come from and warps once. Above 0 the path has shares of its own; at 1 only these are "
        "trained. predict --sharpness overrides it.",
    )
    widths: tuple[int, int, int] = Field(
        (32, 64, 96), description="Feature maps of the refining UNet at 1/2, 1/4 and 1/8 of the resolution."
    )
    head_width: int = Field(
        32, ge=4, description="Feature maps of the refining UNet's last layers, which run for every future frame."
    )

    @model_validator(mode="after")
    def _conditions(self) -> Self:
        if (self.noise_channels or self.action_size or self.state_size) and not self.refine:
            raise ValueError(
                "refine: noise, actions and states are seen by the refining network alone; set model.refine=true"
            )
        if self.sharpness and self.refine:
            raise ValueError("sharpness: the refining network blends pixel values; set model.refine=false")
        return self

    def build(self, data: DataSettings) -> MotionGenerator:
        return MotionGenerator(self, data.context_frames, data.pred_frames, data.lead, data.channels)


class Motion(NamedTuple):
    """What the known frames say about motion. Maps `(B, ., H, W)` float32, trust and evidence at 1/8 of that.

    last, before: frames t and t-1. flow: where every pixel of t was in t-1, in pixels. older: where what is there was
    from t-1 to t-2. smooth: like flow, but smoother. doubt: how badly t-1 and t-2, moved along, agree with t, two
    channels. trust, evidence: see `backtest`. activity: how much the neighbourhood changed from t-1 to t, the root of
    the mean square.
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


class Scene(NamedTuple):
    """Candidates for one coming frame and what is known of them.

    path, steady: where the pushed pixels and those of the smooth flow come from, `(B, 2, H, W)`. candidates: `(B, n, C,
    H, W)`, the last frame and those of `MOVED`. prior: logarithms of their shares, `(B, n, H, W)`. told: statistics of
    neighbourhoods at 1/8 of the resolution, `(B, TOLD, h, w)`; seen: of every pixel, `(B, SEEN, H, W)`; differences in
    units of the neighbourhood's own change, so that it matters not how much moves.
    """

    path: Tensor
    steady: Tensor
    candidates: Tensor
    prior: Tensor
    told: Tensor
    seen: Tensor


class MotionGenerator(ConditionedPredictor):
    """Frames t+k for k = step, ..., step + pred_frames - 1, each straight from the known frames, whatever k is.

    How far motion can be trusted is measured on the known frames first (`backtest`). Candidates for a coming frame
    (`imagine`) are the last frame and what motion makes of it. Two small networks give their shares: the gate for
    every neighbourhood, from statistics of it and of the whole frame; the detail for every pixel. Before training,
    shares are those of the backtest.

    `sharpness` is a dial between two ends. At 0 the candidates' values are blended: the mean over what may come, with
    the least squared error. At 1 the places are blended where the candidates' pixels come from, by shares of the path's
    own gate and detail, and the last frame is warped once along that path (`blend_paths`): whatever the shares are, the
    picture keeps its detail. Between them both pictures are mixed.

    With `refine`, a UNet at half resolution looks at the known frames once. For every k its features are carried along
    with the motion, and a head of three convolutions, which sees them where they were and where they arrive, adds to
    the shares, to one more candidate, moved with a correction of its own, and paints in proportion to how much the
    candidates differ. Noise, actions and states are planes that the UNet sees.
    The flow is OpenCV's DIS, of whole frames: at borders of patches it would be trusted too little.

    Any height and width, any number of known frames (the newest ten are looked at), 1 or 3 channels.
    """

    least_frames = 2  # it makes do with fewer known frames than context_frames

    def __init__(
        self, settings: MotionSettings, context_frames: int, pred_frames: int = 1, step: int = 1, channels: int = 3
    ) -> None:
        super().__init__(settings, context_frames, pred_frames, step, channels)
        self.backtests = settings.backtest
        width = settings.gate_width
        self.gate, self.detail = gate_network(width), detail_network()
        if settings.sharpness:
            self.path_gate, self.path_detail = gate_network(width), detail_network()
        if settings.sharpness == 1:  # the other end of the dial stays as it is
            self.gate.requires_grad_(False)
            self.detail.requires_grad_(False)
        self.refinement = Refinement(settings, channels, self.condition_size) if settings.refine else None
        self.sharpness = None if settings.refine else settings.sharpness

    def forward(
        self, context: Tensor, noise: Tensor | None = None, actions: Tensor | None = None,
        states: Tensor | None = None,
    ) -> list[Tensor]:  # fmt: skip
        """`(B, T, C, H, W)` in [0, 1] -> a list of one, `(B, K, C, H, W)` in [0, 1]. noise, actions, states:
        see `ConditionedPredictor.conditions`, which raises ValueError where they do not fit."""
        height, width = context.shape[-2:]
        planes = self.planes(context, noise, actions, states)
        if self.training and float(torch.rand((), device="cpu")) < SHORT:
            context = context[:, -3:]
        motion = observe(context, self.backtests)
        features = None if self.refinement is None else self.refinement.look(motion, planes)
        last_lead = self.step + self.pred_frames - 1
        paths = zip(follow(motion.flow, last_lead), follow(motion.smooth, last_lead), strict=True)
        pictures = []
        for lead, (path, steady) in enumerate(paths, 1):
            if lead < self.step:
                continue
            scene = imagine(motion, lead, path, steady)
            if self.refinement is None or features is None:
                picture = self._between(motion, scene, lead)
            else:
                picture = self.refinement(motion, scene, self._shares(scene), features, lead)
            pictures.append(picture.clamp(0, 1)[..., :height, :width])
        return [torch.stack(pictures, 1)]

    def _between(self, motion: Motion, scene: Scene, lead: int) -> Tensor:
        """The frame `(B, C, H, W)` where the dial stands."""
        sharpness = self.sharpness or 0.0
        blended = blend(scene.candidates, self._shares(scene)) if sharpness < 1 else None
        sharp = None
        if sharpness:
            path = blend_paths(scene, self._shares(scene, "path_"), lead)
            # In training torch's bicubic kernel, nearly the same and five times as fast with its gradient.
            sharp = warp(motion.last, path, "bicubic") if self.training else warp_sharp(motion.last, path)
        if blended is None or sharp is None:
            return blended if sharp is None else sharp  # type: ignore[return-value]
        return torch.lerp(blended, sharp, sharpness)

    def _shares(self, scene: Scene, kind: str = "") -> Tensor:
        """Logarithms of the candidates' shares `(B, n, H, W)`. kind: "path_" for those of the path, which are those of
        the values in a model that was not trained for sharpness."""
        gate, detail = (self._modules.get(kind + name, self._modules[name]) for name in ("gate", "detail"))
        assert gate is not None
        assert detail is not None
        whole = scene.told.mean((2, 3), keepdim=True).expand_as(scene.told)
        near: Tensor = gate(torch.cat([scene.told, whole], 1)).float()
        exact: Tensor = detail(scene.seen).float()
        return scene.prior + (enlarge(near, PADDING) + exact)

    def weights_from(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Begin the path's shares with those of the values where the other run has none of its own, and leave them out
        where this model has none."""
        own = self.state_dict()
        found = {name: value for name, value in tensors.items() if name in own or not name.startswith("path_")}
        for name in own:
            if name.startswith("path_") and name not in found and name.removeprefix("path_") in found:
                found[name] = found[name.removeprefix("path_")]
        return found


def gate_network(width: int) -> nn.Sequential:
    """Shares for every neighborhood; those of the backtest before training."""
    gate = nn.Sequential(
        convolution(2 * TOLD, width), nn.ReLU(inplace=True),
        convolution(width, width), nn.ReLU(inplace=True), nn.Conv2d(width, NUM_CANDIDATES, 1),
    )  # fmt: skip
    nn.init.zeros_(gate[-1].weight)  # type: ignore[arg-type]
    nn.init.zeros_(gate[-1].bias)  # type: ignore[arg-type]
    return gate


def detail_network() -> nn.Sequential:
    """What every pixel adds to the shares of its neighborhood; nothing before training."""
    detail = nn.Sequential(nn.Conv2d(SEEN, 8, 1), nn.ReLU(inplace=True), nn.Conv2d(8, NUM_CANDIDATES, 1, bias=False))
    nn.init.zeros_(detail[-1].weight)  # type: ignore[arg-type]
    return detail


class Refinement(nn.Module):
    """The UNet and its head: see `MotionGenerator`."""

    def __init__(self, settings: MotionSettings, channels: int, conditions: int) -> None:
        super().__init__()
        fine, middle, coarse = settings.widths
        self.enter = block(4 * (2 * channels + 2) + 6 + 1 + conditions, fine)
        self.down_1, self.down_2 = block(fine, middle, stride=2), block(middle, coarse, stride=2)
        self.up_2, self.up_1 = block(coarse + 3 * len(LEADS) + middle, middle), block(middle + fine, fine)
        self.carried = nn.Conv2d(fine, CARRIED, 1)
        width = settings.head_width
        self.head = nn.Sequential(
            convolution(2 * CARRIED + 4 * SEEN + 2 + 1, width), nn.ReLU(inplace=True),
            convolution(width, width), nn.ReLU(inplace=True),
        )  # fmt: skip
        self.last = nn.Conv2d(width, 4 * (NUM_CANDIDATES + 1) + 3 + 4 * channels, 1)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)  # type: ignore[arg-type]

    def look(self, motion: Motion, planes: Tensor | None) -> Tensor:
        """Features at half resolution of what is seen at t, `(B, F, h, w)`."""
        moved = warp_backward(motion.before, motion.flow)
        relative = torch.cat([motion.last - moved, motion.doubt], 1) / motion.activity
        seen = unshuffle(torch.cat([motion.last - 0.5, relative.clamp(-4, 4)], 1))
        flows = torch.cat([motion.flow / FLOW_SCALE, motion.older - motion.flow, motion.smooth - motion.flow], 1)
        flows = functional.avg_pool2d(torch.cat([flows.clamp(-4, 4), motion.activity.log() / 2 + 2], 1), 2)
        parts = [seen, flows]
        if planes is not None:
            parts.append(planes.expand(-1, -1, *seen.shape[-2:]))
        fine = self.enter(torch.cat(parts, 1).contiguous(memory_format=torch.channels_last))
        middle = self.down_1(fine)
        up: Tensor = torch.cat([enlarge(torch.cat([self.down_2(middle), motion.evidence], 1)), middle], 1)
        up = torch.cat([enlarge(self.up_2(up)), fine], 1)
        found: Tensor = self.carried(self.up_1(up))
        return found.float()

    def forward(self, motion: Motion, scene: Scene, shares: Tensor, features: Tensor, lead: int) -> Tensor:
        """The frame `(B, C, H, W)`; shares: logarithms of those of the scene's candidates."""
        coarse_path = functional.avg_pool2d(scene.path, 2) / 2
        seen = [
            features,
            warp(features, coarse_path),
            unshuffle(scene.seen),
            coarse_path * 2 / FLOW_SCALE,
            torch.full_like(coarse_path[:, :1], lead / 8),
        ]
        out = self.last(self.head(torch.cat(seen, 1).contiguous(memory_format=torch.channels_last))).float()
        sizes = [4 * (NUM_CANDIDATES + 1), 3]
        gates, correction, paint = out.split([*sizes, out.shape[1] - sum(sizes)], 1)
        stretch, shift = enlarge(correction).split([1, 2], 1)
        corrected = warp_backward(motion.last, scene.path * (1 + stretch) + shift * lead)
        candidates = torch.cat([scene.candidates, corrected[:, None]], 1)
        # The corrected one begins with a share like that of the one that it corrects.
        pushed = shares[:, PUSHED : PUSHED + 1]
        picture = blend(candidates, torch.cat([shares, pushed], 1) + functional.pixel_shuffle(gates, 2))
        differing = (scene.candidates[:, 0] - scene.candidates[:, PUSHED]).abs().mean(1, keepdim=True)
        differing = differing + warp(motion.doubt, scene.path).mean(1, keepdim=True)
        return picture + functional.pixel_shuffle(paint, 2) * enlarge(functional.avg_pool2d(differing, 2))


PUSHED, STEADY = (1 + list(MOVED).index(name) for name in ("pushed", "steady"))


def blend(candidates: Tensor, shares: Tensor) -> Tensor:
    """`(B, n, C, H, W)` and logarithms of shares `(B, n, H, W)` -> `(B, C, H, W)`."""
    return (candidates * shares.softmax(1)[:, :, None]).sum(1)


def blend_paths(scene: Scene, shares: Tensor, lead: int) -> Tensor:
    """Return where the pixels of frame t+lead come from: the mean of the candidates' paths, smoothed.

    The weights are the shares to the power `DECISION`; the Gaussian has `SMOOTHED` pixels per frame ahead.

    A mean of values has a ghost at every candidate's place; a mean of places has one picture, at a place between.

    Args:
        scene: The candidates' paths.
        shares: Logarithms of the candidates' shares, `(B, n, H, W)`.
        lead: How many frames ahead.

    Returns:
        Displacements in pixels, `(B, 2, H, W)`.
    """
    parts = (shares * DECISION).softmax(1)
    along = (parts * parts.new_tensor(ALONG).view(1, -1, 1, 1)).sum(1, keepdim=True)
    return smooth_displacements(along * scene.path + parts[:, STEADY : STEADY + 1] * scene.steady, SMOOTHED * lead)


@torch.no_grad()
def imagine(motion: Motion, lead: int, path: Tensor, steady_path: Tensor) -> Scene:
    """What frame t+lead could be. Where its pixels come from is found from the flow of what is seen at t, written to
    where it will be (`push`), or followed back where nothing arrives (path), and along the smooth flow (steady_path).

    The candidates: the last frame; it moved half as far; as pushed; along the smooth flow; t-1 moved; the pushed one
    blurred a little; the mean of the first and it blurred much.
    """
    path = push(motion.flow, lead, path)
    copied, pushed = motion.last, warp_backward(motion.last, path)
    moved = {
        "half way": warp_backward(motion.last, path / 2),
        "pushed": pushed,
        "steady": warp_backward(motion.last, steady_path),
        # From t on back to t-1: one step more along the flow that is found where the path ends.
        "earlier": warp_backward(motion.before, path + warp(motion.flow, path)),
        "blurred": enlarge(functional.avg_pool2d(pushed, 2)),
        "veiled": enlarge(functional.avg_pool2d((copied + pushed) / 2, 4), 4),
    }
    trust = trust_at(motion.trust, lead)
    prior = torch.cat([1 - trust, *(share * trust for share in MOVED.values())], 1).log()
    differences = [other - pushed for other in (copied, moved["steady"], moved["earlier"])]
    sizes = torch.cat([difference.abs().mean(1, keepdim=True) for difference in differences], 1)
    seen = (torch.cat([sizes, warp(motion.doubt, path)], 1) / motion.activity).clamp(max=4)
    flows = (motion.flow, motion.older - motion.flow, motion.smooth - motion.flow)
    squares = [part.square().mean(1, keepdim=True) for part in (*differences, *motion.doubt.split(1, 1), *flows)]
    edges = (motion.last - enlarge(functional.avg_pool2d(motion.last, 2))).square().mean(1, keepdim=True)
    energies = around(torch.cat([*squares, motion.activity.square(), edges], 1))
    far, steady, earlier, doubt, old_doubt, speed, turn, unsmooth, activity, contrast = energies.split(1, 1)
    told = [
        compare(far, activity), compare(steady, far), compare(earlier, far), compare(doubt, activity),
        compare(old_doubt, activity), activity.log() / 4 + 2, (contrast + FLOOR).log() / 4 + 2,
        (speed + 1e-3).log() / 4, compare(turn, speed, 1e-3), compare(unsmooth, speed, 1e-3),
        trust * 2 - 1.5, torch.full_like(trust, lead / 8), motion.evidence,
    ]  # fmt: skip
    return Scene(
        path, steady_path, torch.stack([copied, *moved.values()], 1), enlarge(prior, PADDING), torch.cat(told, 1), seen
    )


def compare(first: Tensor, second: Tensor, floor: float = FLOOR) -> Tensor:
    """Half the logarithm of the quotient of two energies, within -3 and 3."""
    return (((first + floor) / (second + floor)).log() / 2).clamp(-3, 3)


@torch.no_grad()
def observe(context: Tensor, backtests: bool = True) -> Motion:
    """The motion in the newest frames of `(B, T, C, H, W)`; under three, the first is taken to have stood still. Padded
    to multiples of `PADDING`. Rows that are the same, as under a planner's candidates, are looked at once."""
    if len(context) > 1 and not context.is_meta:
        rows, places = torch.unique_consecutive(context, dim=0, return_inverse=True)
        if len(rows) < len(context):
            return Motion(*(part[places] for part in observe(rows, backtests)))
    frames = context[:, -(LEADS[-1] + 2) :].float()
    known = frames.shape[1] - 1  # pairs of frames
    if known < 2:
        missing = repeat(frames[:, :1], "b 1 c h w -> b n c h w", n=2 - known)
        frames = torch.cat([missing, frames], 1)
    # How far back frames are from which it is extrapolated: t itself, and those with a frame before them, to be judged.
    origins = [0, *(lead for lead in LEADS if backtests and lead < known)]
    padded = pad_to_multiple(frames, PADDING)
    flow, older = flows_at(frames, [0, 1], "fine")
    smooth, *old_flows = flows_at(frames, origins, "smooth")
    oldest, before, last = padded[:, -3:].unbind(1)
    older = warp(older, flow)
    doubts = [warp_backward(before, flow), warp_backward(oldest, flow + older)]
    doubt = torch.cat([(last - moved).abs().mean(1, keepdim=True) for moved in doubts], 1)
    trust, evidence = backtest(padded, dict(zip(origins[1:], old_flows, strict=True)))
    change = (last - before).square().mean(1, keepdim=True)
    activity = enlarge((around(change) + FLOOR).sqrt(), PADDING)
    return Motion(last, before, flow, older, smooth, doubt, trust, evidence, activity)


def flows_at(frames: Tensor, origins: Sequence[int], care: Care) -> list[Tensor]:
    """The flows from t-o to the frame before it for every origin o, padded like `observe`."""
    newest = frames.shape[1] - 1
    starts = torch.cat([frames[:, newest - origin] for origin in origins])
    ends = torch.cat([frames[:, newest - origin - 1] for origin in origins])
    # Of shapes there is no flow: a plan counts memory so.
    flows = starts.new_empty(len(starts), 2, *starts.shape[-2:]) if starts.is_meta else dense_flow(starts, ends, care)
    return list(pad_to_multiple(flows[:, None], PADDING)[:, 0].chunk(len(origins)))


def backtest(frames: Tensor, flows: Mapping[int, Tensor]) -> tuple[Tensor, Tensor]:
    """What extrapolating would have been worth: t is predicted from the frame `lead` frames before it.

    frames: `(B, T, C, H, W)`; flows: for some of `LEADS`, the flow from that frame to the one before.
    Returns two maps at 1/8 of the resolution. trust, `(B, leads, h, w)` in (0, 1): the share w of the moved frame with
    the least squared error of copy + w (moved - copy) around every place, drawn towards that of the whole frame and
    `USUAL_TRUST`, which stands where there is no flow. evidence, `(B, 3 leads, h, w)`: trust less the usual one, and
    how the predicted change correlates with the true one, there and in the whole frame; 0 where there is no flow.
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


def around(maps: Tensor) -> Tensor:
    """Means over a neighbourhood of about 40 pixels, at 1/8 of the resolution."""
    maps = functional.avg_pool2d(maps, PADDING)
    for _ in range(2):
        maps = functional.avg_pool2d(functional.pad(maps, (1, 1, 1, 1), "replicate"), 3, 1)
    return maps


def trust_at(trust: Tensor, lead: int) -> Tensor:
    """`(B, leads, h, w)` -> `(B, 1, h, w)`: that of any lead, between those of `LEADS` by its logarithm."""
    place = min(math.log2(lead), len(LEADS) - 1)
    low = min(int(place), len(LEADS) - 2)
    return torch.lerp(trust[:, low : low + 1], trust[:, low + 1 : low + 2], place - low)


def follow(flow: Tensor, steps: int) -> Iterator[Tensor]:
    """Where the pixels of t+1, t+2, ... were at t, if everything keeps its velocity: paths in pixels `(B, 2, H, W)`.

    The path of t+k is that of t+k-1 and the flow where that one ends.
    """
    path = torch.zeros_like(flow)
    for _ in range(steps):
        path = path + warp(flow, path)
        yield path


def push(flow: Tensor, lead: int, elsewhere: Tensor) -> Tensor:
    """Paths like those of `follow`, found from the other end: what is at y at t will be at x = y - lead * flow(y).

    Following alone never brings a thing to where it has not been yet: there the ground's flow is read. Here every pixel
    writes its path where it arrives, into the four pixels around (weights bilinear); where several arrive, the faster
    ones count more, for what moves is mostly in front (softmax splatting: Niklaus & Liu 2020, arXiv 2003.05534). Where
    next to nothing arrives, the path is that of `elsewhere`, `(B, 2, H, W)`.
    """
    batch, _, height, width = flow.shape
    rows = torch.arange(height, dtype=torch.float32, device=flow.device)[:, None]
    columns = torch.arange(width, dtype=torch.float32, device=flow.device)
    across, down = columns - lead * flow[:, 0], rows - lead * flow[:, 1]  # where every pixel arrives
    urgency = torch.exp(flow.square().sum(1).sqrt().clamp(max=8))  # vector_norm over so few is slow
    left, top = across.floor(), down.floor()
    written = flow.new_zeros(batch, 4, height * width)  # weighted path, weight, and weight without urgency
    for right, below in ((0, 0), (0, 1), (1, 0), (1, 1)):
        x, y = left + right, top + below
        weight = (1 - (across - x).abs()) * (1 - (down - y).abs())
        weight = weight * ((x >= 0) & (x < width) & (y >= 0) & (y < height))
        place = (y.clamp(0, height - 1) * width + x.clamp(0, width - 1)).long().flatten(1)
        values = torch.cat([flow * lead * (weight * urgency)[:, None], (weight * urgency)[:, None], weight[:, None]], 1)
        written.scatter_add_(2, place[:, None].expand(-1, 4, -1), values.flatten(2))
    path, total, arrived = written.unflatten(2, (height, width)).split([2, 1, 1], 1)
    return torch.where(arrived > 0.3, path / total.clamp(min=1e-6), elsewhere)


def unshuffle(pictures: Tensor) -> Tensor:
    """`(B, C, H, W)` -> `(B, 4C, H/2, W/2)`."""
    return functional.pixel_unshuffle(pictures, 2)


def enlarge(maps: Tensor, factor: int = 2) -> Tensor:
    """So many times the height and width, bilinear."""
    return functional.interpolate(maps, scale_factor=factor, mode="bilinear", align_corners=False)


def convolution(channels_in: int, channels_out: int, stride: int = 1) -> nn.Conv2d:
    # Zeros beyond the border would be seen as an edge; the border is repeated instead.
    return nn.Conv2d(channels_in, channels_out, 3, stride, padding=1, padding_mode="replicate")


def block(channels_in: int, channels_out: int, stride: int = 1) -> nn.Sequential:
    """Two convolutions with ReLU; the first may halve the resolution."""
    return nn.Sequential(
        convolution(channels_in, channels_out, stride), nn.ReLU(inplace=True),
        convolution(channels_out, channels_out), nn.ReLU(inplace=True),
    )  # fmt: skip
