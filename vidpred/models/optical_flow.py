"""Dense optical flow, the only caller of OpenCV's DIS (Kroeger et al. 2016, arXiv 1603.03590), warping, and paths."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as functional
from numpy.typing import NDArray
from torch import Tensor

from vidpred.data.batch import to_float
from vidpred.models.pyramid import pad_to_multiple
from vidpred.models.worker_threads import WorkerThreads

LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601, red green blue
Care = Literal["medium", "fine", "smooth"]
Pair = tuple[int, int]  # numbers of two frames
MINIMUM_SIDE = 16  # below it one 8x8 patch exceeds the finest scale: OpenCV raises or reads out of bounds


def to_gray(images: Tensor) -> Tensor:
    """Convert images to gray: the luma, rounded.

    Args:
        images: `(N, C, H, W)` uint8 or float in [0, 1], C = 1 or 3 (red, green, blue).

    Returns:
        `(N, H, W)` uint8.

    Raises:
        ValueError: The number of dimensions or channels is another.
    """
    if images.ndim != 4 or images.shape[1] not in (1, 3):
        raise ValueError(f"images must be (N, C, H, W) with 1 or 3 channels, not {tuple(images.shape)}")
    values = to_float(images.detach())
    if values.shape[1] == 3:
        values = values * values.new_tensor(LUMA).view(1, 3, 1, 1)
    return (values.sum(1) * 255).round().clamp(0, 255).to(torch.uint8)


def dense_flow(first: Tensor, second: Tensor, care: Care = "medium") -> Tensor:
    """Compute the displacement of every pixel: first(x, y) corresponds to second(x + flow[0], y + flow[1]).

    The method is DIS on gray images, on the CPU and without gradients. Images with a side below `MINIMUM_SIDE` are
    enlarged by the smallest sufficient whole factor, and the flow is shrunk back.

    Args:
        first: `(N, C, H, W)` uint8 or float in [0, 1], C = 1 or 3.
        second: The same shape.
        care: "medium": OpenCV's most accurate preset (finest scale 1/2, 8x8 patches every 3 pixels, 5 variational
            iterations). "fine": down to full resolution, patches every 4 pixels; about three times as slow and more
            accurate between adjacent frames. "smooth": the medium preset with four times the smoothness weight, which
            extrapolates better where motion is unsteady.

    Returns:
        `(N, 2, H, W)` float32 on the device of `first`: displacements in pixels, to the right and down.

    Raises:
        ValueError: The shapes differ, an image is empty, or the channels are not 1 or 3.
    """
    if first.shape != second.shape:
        raise ValueError(f"both frames need one shape, not {tuple(first.shape)} and {tuple(second.shape)}")
    if first.ndim == 4 and 0 in first.shape[-2:]:
        raise ValueError(f"images must have at least one pixel, not {tuple(first.shape)}")
    starts, ends = to_gray(first).cpu().numpy(), to_gray(second).cpu().numpy()
    flow = np.zeros((*starts.shape, 2), np.float32)
    for index, (start, end) in enumerate(zip(starts, ends, strict=True)):
        flow[index] = _flow_of_any_size(start, end, care)
    return torch.from_numpy(flow).permute(0, 3, 1, 2).contiguous().to(first.device)


class FlowCache:
    """Flows between the newest frames of a stream, and the paths along them, kept between calls.

    A frame is recognized by its values, so the results are those of `dense_flow` and `follow` for any frames.
    """

    def __init__(self, most_frames: int = 24, multiple: int = 1, workers: WorkerThreads | None = None) -> None:
        """Start empty.

        Args:
            most_frames: Number of frames to keep: those that were used last.
            multiple: Flows are padded until both sides are multiples of it, see `pad_to_multiple`.
            workers: Threads for `begin`.
        """
        self._most, self._multiple, self._count = most_frames, multiple, 0
        self._frames: OrderedDict[int, tuple[bytes, Tensor]] = OrderedDict()  # number -> some values, frame
        self._flows: dict[tuple[Pair, Care], Future[Tensor]] = {}
        self._paths: dict[tuple[Pair, Care], tuple[int, Tensor]] = {}  # the number of steps, and where they lead
        self._workers = workers

    def numbers(self, frames: Tensor) -> list[int]:
        """Return a number for each frame of `(T, C, H, W)`, the same for equal frames as long as they are kept."""
        found = [self._number(frame) for frame in frames]
        while len(self._frames) > max(self._most, len(frames)):
            oldest, _ = self._frames.popitem(last=False)
            self._flows = {key: flow for key, flow in self._flows.items() if oldest not in key[0]}
            self._paths = {key: path for key, path in self._paths.items() if oldest not in key[0]}
        return found

    def _number(self, frame: Tensor) -> int:
        some = frame.flatten()[::97].cpu().numpy().tobytes()  # almost always enough to tell frames apart
        for number, (values, kept) in reversed(self._frames.items()):
            if values == some and kept.shape == frame.shape and torch.equal(kept, frame):
                self._frames.move_to_end(number)
                return number
        self._count += 1
        self._frames[self._count] = (some, frame.clone())
        return self._count

    def begin(self, pairs: Iterable[Pair], care: Care) -> None:
        """Begin to compute flows that are not kept, see `flow`, if there are worker threads."""
        pool = self._workers.pool() if self._workers else None
        if pool is not None:
            for pair in pairs:
                if (pair, care) not in self._flows:
                    self._flows[pair, care] = pool.submit(self._between, pair, care)

    def flow(self, pair: Pair, care: Care) -> Tensor:
        """Return `dense_flow` from the first to the second kept frame of a pair of `numbers`, padded."""
        if (pair, care) not in self._flows:
            self._flows[pair, care] = Future()
            self._flows[pair, care].set_result(self._between(pair, care))
        return self._flows[pair, care].result()

    def path(self, pair: Pair, care: Care, steps: int) -> Tensor:
        """Return `path_after` that many steps along the flow between two frames; it goes on from a shorter kept one."""
        flow = self.flow(pair, care)
        done, path = self._paths.get((pair, care), (0, None))
        if path is None or done > steps:
            done, path = 0, torch.zeros_like(flow)
        self._paths[pair, care] = (steps, path_after(flow, steps - done, path))
        return self._paths[pair, care][1]

    def _between(self, pair: Pair, care: Care) -> Tensor:
        start, end = (self._frames[number][1] for number in pair)
        return pad_to_multiple(dense_flow(start[None], end[None], care), self._multiple)


def _flow_of_any_size(start: NDArray[np.uint8], end: NDArray[np.uint8], care: Care) -> NDArray[np.float32]:
    """Compute the flow `(H, W, 2)` between two `(H, W)` uint8 images of any size."""
    import cv2

    height, width = start.shape
    factor = -(-MINIMUM_SIDE // min(height, width))
    if factor <= 1:
        return _flow_between(start, end, care)
    size = (width * factor, height * factor)
    large_start = np.asarray(cv2.resize(start, size, interpolation=cv2.INTER_LINEAR), np.uint8)
    large_end = np.asarray(cv2.resize(end, size, interpolation=cv2.INTER_LINEAR), np.uint8)
    flow = _flow_between(large_start, large_end, care)
    return np.asarray(cv2.resize(flow, (width, height), interpolation=cv2.INTER_AREA), np.float32) / np.float32(factor)


def _flow_between(start: NDArray[np.uint8], end: NDArray[np.uint8], care: Care) -> NDArray[np.float32]:
    """Compute the flow `(H, W, 2)` between two `(H, W)` uint8 images with sides of at least `MINIMUM_SIDE`."""
    import cv2

    # A new object for every pair: OpenCV's keeps state, so the previous pair would change the result.
    method = cv2.DISOpticalFlow.create(cv2.DISOpticalFlow_PRESET_MEDIUM)
    if care == "fine":
        method.setFinestScale(0)
        method.setPatchStride(4)
    elif care == "smooth":
        method.setVariationalRefinementAlpha(80.0)  # the preset's is 20
    return np.asarray(method.calc(start, end, None), np.float32)  # type: ignore[call-overload]


def warp(maps: Tensor, flow: Tensor, mode: Literal["bilinear", "bicubic"] = "bilinear") -> Tensor:
    """Read every pixel (x, y) at maps(x + flow[0], y + flow[1]), the border repeated outside.

    Args:
        maps: `(N, C, H, W)` of any values.
        flow: Displacement (x, y) in pixels from each pixel of the result to its place in `maps`, `(N, 2, H, W)`.
        mode: The kernel; bicubic is Keys' with a = -3/4.

    Returns:
        `(N, C, H, W)` float32.
    """
    height, width = maps.shape[-2:]
    rows = torch.arange(height, dtype=torch.float32, device=maps.device)[:, None]
    columns = torch.arange(width, dtype=torch.float32, device=maps.device)
    # With align_corners, -1 and 1 are the centers of the first and last pixel; a side of 1 has only one center.
    horizontal = (columns + flow[:, 0]) * (2 / max(width - 1, 1)) - 1
    vertical = (rows + flow[:, 1]) * (2 / max(height - 1, 1)) - 1
    grid = torch.stack([horizontal, vertical], dim=1).movedim(1, -1)  # 20 times as fast as at dim=-1
    return functional.grid_sample(maps.float(), grid, mode, padding_mode="border", align_corners=True)


def warp_backward(images: Tensor, flow: Tensor) -> Tensor:
    """Return `warp` of images in [0, 1], clamped to that range.

    Args:
        images: `(N, C, H, W)`.
        flow: `(N, 2, H, W)`, displacement (x, y) in pixels from each pixel of the result to its place in the images.
    """
    return warp(images, flow).clamp(0, 1)  # rounded bilinear weights may sum to slightly above 1


def warp_sharp(images: Tensor, flow: Tensor) -> Tensor:
    """Warp like `warp_backward` by a Catmull-Rom kernel, which keeps detail that bilinear weights blur.

    The kernel is Keys' cubic convolution with a = -1/2 (Keys 1981); `grid_sample`'s bicubic mode has a = -3/4, which
    reproduces no linear ramp. Whole-pixel displacements are exact, and so are quadratics away from the border.

    Args:
        images: `(N, C, H, W)` in [0, 1].
        flow: Displacement (x, y) in pixels from each pixel of the result to its place in the images, `(N, 2, H, W)`;
            a gradient flows to it.

    Returns:
        `(N, C, H, W)` float32 in [0, 1]; overshoot is clamped, the border repeated outside.
    """
    channels, height, width = images.shape[1:]
    rows = torch.arange(height, dtype=torch.float32, device=images.device)[:, None]
    columns = torch.arange(width, dtype=torch.float32, device=images.device)
    across = (columns + flow[:, 0]).clamp(0, width - 1)
    down = (rows + flow[:, 1]).clamp(0, height - 1)
    left, top = across.detach().floor(), down.detach().floor()
    weights_across, weights_down = catmull_rom(across - left), catmull_rom(down - top)
    stride = width + 3  # padded, so that each of the 16 neighbors is the same number of places away
    pixels = functional.pad(images.float(), (1, 2, 1, 2), "replicate").flatten(2)
    places = (top * stride + left).long().flatten(1)[:, None].expand(-1, channels, -1)
    across_rows, down_rows = ([w.flatten(1)[:, None] for w in part] for part in (weights_across, weights_down))
    warped: Tensor | None = None
    for y, weight_down in enumerate(down_rows):
        values = (pixels[:, :, y * stride + x :].gather(2, places) for x in range(4))
        line = across_rows[0] * next(values)
        for weight_across, value in zip(across_rows[1:], values, strict=True):
            line.addcmul_(weight_across, value)
        warped = weight_down * line if warped is None else warped.addcmul_(weight_down, line)
    assert warped is not None
    sharp: Tensor = warped.unflatten(2, (height, width))
    return sharp.clamp(0, 1)


def warp_sharp_opencv(images: Tensor, flow: Tensor) -> Tensor:
    """Warp like `warp_sharp` by OpenCV's bicubic and bilinear kernels, on the CPU and without gradients.

    Keys' kernel is linear in a: with a = -1/2 it is 2/3 of OpenCV's with a = -3/4 and 1/3 of that with a = 0, which is
    bilinear with fractions f of a pixel replaced by f² (3 - 2f). For the product of both directions that leaves out 2/9
    of the product of the kernels' differences. It and OpenCV's places in 1/32 of a pixel differ from `warp_sharp` by up
    to 0.01 in white noise and about 0.001 in frames of a video, in a third of the time.

    Args:
        images: `(N, C, H, W)` in [0, 1], C = 1 or 3.
        flow: As in `warp_sharp`, `(N, 2, H, W)`.

    Returns:
        `(N, C, H, W)` float32 in [0, 1].
    """
    import cv2

    channels, height, width = images.shape[1:]
    across = (torch.arange(width, dtype=torch.float32) + flow[:, 0]).clamp_(0, width - 1)
    down = (torch.arange(height, dtype=torch.float32)[:, None] + flow[:, 1]).clamp_(0, height - 1)
    # One image that is repeated in a batch, a view, is warped at once along all paths.
    batch = 1 if images.stride(0) == 0 else len(images)
    pixels = images[:batch].float().movedim(1, -1).contiguous().squeeze(-1)  # OpenCV has no axis of one channel

    def remapped(kernel: int) -> Tensor:
        result = torch.empty(len(flow), height, width, *pixels.shape[3:])
        parts = (part.view(batch, -1, *part.shape[2:]).numpy() for part in (pixels, across, down, result))
        for image, x, y, target in zip(*parts, strict=True):
            cv2.remap(image, x, y, kernel, dst=target, borderMode=cv2.BORDER_REPLICATE)
        return result.view(-1, height, width, channels)

    cubic = remapped(cv2.INTER_CUBIC)
    for places in (across, down):
        fraction = places.frac()
        places.sub_(fraction).add_(fraction * fraction * (3 - 2 * fraction))
    # As planes: all that follows would be slow on channels that alternate.
    return remapped(cv2.INTER_LINEAR).lerp_(cubic, 2 / 3).clamp_(0, 1).movedim(-1, 1).contiguous()


def catmull_rom(fraction: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the weights of the four pixels at -1, 0, 1 and 2 around a place `fraction` (in [0, 1]) beyond pixel 0."""
    t = fraction
    return (
        ((2 - t) * t - 1) * t / 2,
        ((3 * t - 5) * t * t + 2) / 2,
        ((4 - 3 * t) * t + 1) * t / 2,
        (t - 1) * t * t / 2,
    )


def smooth_displacements(flow: Tensor, sigma: float) -> Tensor:
    """Blur displacements `(N, 2, H, W)` by a Gaussian of `sigma` pixels, with the border repeated; float32."""
    if flow.is_meta:  # autocast does not support the meta device
        return torch.empty_like(flow, dtype=torch.float32)
    with torch.autocast(flow.device.type, enabled=False):  # bfloat16 would round ten pixels to a sixteenth
        return _convolve(flow.float(), sigma)


def _convolve(flow: Tensor, sigma: float) -> Tensor:
    radius = math.ceil(3 * sigma)
    places = torch.arange(-radius, radius + 1, dtype=flow.dtype, device=flow.device)
    kernel = torch.exp(-0.5 * (places / sigma).square())
    kernel = kernel / kernel.sum()
    planes = flow.flatten(0, 1)[:, None]
    planes = functional.conv2d(functional.pad(planes, (0, 0, radius, radius), "replicate"), kernel.view(1, 1, -1, 1))
    planes = functional.conv2d(functional.pad(planes, (radius, radius, 0, 0), "replicate"), kernel.view(1, 1, 1, -1))
    smooth: Tensor = planes[:, 0].unflatten(0, flow.shape[:2])
    return smooth


def follow(flow: Tensor, steps: int) -> Iterator[Tensor]:
    """Yield the paths of t+1, t+2, ...: displacements from each pixel to its place in t under constant velocity.

    The path of t+k is that of t+k-1 plus the flow where that one ends.

    Args:
        flow: Displacement (x, y) in pixels from each pixel of t to its place in t-1, `(B, 2, H, W)`.
        steps: Number of paths.

    Yields:
        `(B, 2, H, W)`, (x, y) in pixels.
    """
    path = torch.zeros_like(flow)
    for _ in range(steps):
        path = path_after(flow, 1, path)
        yield path


def path_after(flow: Tensor, steps: int, path: Tensor | None = None) -> Tensor:
    """Extend a path by steps along the flow, and return only the last one, see `follow`.

    Args:
        flow: As in `follow`.
        steps: Number of steps.
        path: The path to extend, `(B, 2, H, W)`, (x, y) in pixels; None: displacements of 0.
    """
    path = torch.zeros_like(flow) if path is None else path
    for _ in range(steps):
        path = path + warp(flow, path)
    return path


def push(flow: Tensor, lead: int | Tensor, elsewhere: Tensor, scale: int = 1) -> Tensor:
    """Return paths like those of `follow`, found from the other end: y at t will be at x = y - lead * flow(y).

    Following alone never moves an object to a new place: there it reads the background's flow. Here every pixel writes
    its path to the four pixels around its destination (bilinear weights). Where several arrive, faster ones weigh more,
    because moving objects are mostly in front (softmax splatting: Niklaus & Liu 2020, arXiv 2003.05534). Where almost
    nothing arrives, the path is that of `elsewhere`.

    Args:
        flow: Displacement (x, y) in pixels from each pixel y of t to its place in t-1, `(B, 2, H, W)`.
        lead: Frames from t to the predicted frame; a tensor `(B, 1, 1, 1)` differs between samples.
        elsewhere: Displacement (x, y) in pixels from each pixel of t + lead to its place in t, `(B, 2, H, W)`.
        scale: Speeds are compared in 1 / scale of a pixel.

    Returns:
        Displacement as in `elsewhere`.
    """
    batch, _, height, width = flow.shape
    rows = torch.arange(height, dtype=torch.float32, device=flow.device)[:, None]
    columns = torch.arange(width, dtype=torch.float32, device=flow.device)
    moved = flow * lead
    # One pixel around the image takes what leaves it.
    across, down = (columns - moved[:, 0]).clamp(-1, width), (rows - moved[:, 1]).clamp(-1, height)
    urgency = torch.exp((scale * flow.square().sum(1, keepdim=True).sqrt()).clamp(max=8))  # vector_norm is slow
    values = torch.cat([moved * urgency, urgency, torch.ones_like(urgency)], 1).flatten(2)
    left, top = across.floor(), down.floor()
    right_share, lower_share = across - left, down - top
    stride = width + 3
    place = ((top + 1) * stride + (left + 1)).long().flatten(1)[:, None]
    written = flow.new_zeros(batch, 4, (height + 3) * stride)  # weighted path, weight, weight without urgency
    for right, below in ((0, 0), (0, 1), (1, 0), (1, 1)):
        weight = (right_share if right else 1 - right_share) * (lower_share if below else 1 - lower_share)
        corner = (place + (below * stride + right)).expand(-1, 4, -1)
        written.scatter_add_(2, corner, values * weight.flatten(1)[:, None])
    written = written.unflatten(2, (height + 3, stride))[:, :, 1 : height + 1, 1 : width + 1]
    path, total, arrived = written.split([2, 1, 1], 1)
    return torch.where(arrived > 0.3, path / total.clamp(min=1e-6), elsewhere)
