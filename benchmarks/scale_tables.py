"""A plan of trainings on several GPUs, computed from measured rates; nothing in it was measured on several GPUs."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.markdown import Results, grid
from vidpred.config import load_config
from vidpred.models.build import build_discriminator, build_generator, count_parameters
from vidpred.models.meta_device import meta_device

PRESET, BATCH = "ucf101.yaml", 32  # samples a GPU
GPUS_PER_MACHINE, CORES_PER_GPU = 8, 12
WITHIN, BETWEEN = 200e9, 25e9  # bytes per second between the GPUs of a machine, and between machines
FRAMES, SIDE = 5, 64  # frames and height of a clip of the frame cache whose reading was measured
WIDE = 4 / 3  # width of a frame to its height
STEP_RATE = f"ucf101, batch {BATCH}, 32 px: samples, bfloat16"
SLOW = 0.2  # share of the exchange in a step above which it is a bottleneck


@dataclass(frozen=True)
class Videos:
    """A data set by its published size.

    Attributes:
        name: Its name.
        count: Number of videos.
        frames: Frames of all of them.
        container: Kind of file in the measurement of reading that is nearest to its own.
    """

    name: str
    count: int
    frames: float
    container: str


DATA_SETS = (
    Videos("UCF101", 13_320, 27 * 3600 * 25, "mpeg4.avi"),  # 27 hours at 25 frames per second
    Videos("Kinetics-400", 306_245, 306_245 * 10 * 25, "h264_gop250.mp4"),  # 10 seconds each
)


@dataclass(frozen=True)
class Rates:
    """Measured rates.

    Attributes:
        samples: Samples per second that a GPU trains on.
        videos: Clips per second that a core reads from the data set's video files.
        cached: Clips per second that a core reads from a frame cache.
        weights: Number of weights whose gradients are exchanged.
    """

    samples: float
    videos: float
    cached: float
    weights: int

    def exchange(self, gpus: int) -> float:
        """Return the seconds in which a ring of GPUs adds the gradients of a step, in float32."""
        bandwidth = WITHIN if gpus <= GPUS_PER_MACHINE else BETWEEN
        return 2 * (gpus - 1) / gpus * 4 * self.weights / bandwidth

    def together(self, gpus: int) -> float:
        """Return the samples per second of several GPUs that do nothing else while they exchange gradients."""
        return gpus * BATCH / (BATCH / self.samples + self.exchange(gpus))


def rates(results: Results, container: str) -> Rates:
    """Return the measured rates for a kind of video file."""
    step = results["GPU: rates, speed, rollouts", 0].values["figures"][STEP_RATE][0]
    reading = results["speed: reading clips", 0].values["clips_per_second"][container]
    config = load_config(PRESET)
    with meta_device():
        networks = [
            build_generator(config.model, config.data),
            build_discriminator(config.discriminator, config.model.num_scales, config.data),
        ]
    weights = sum(map(count_parameters, networks))
    return Rates(step, reading["vidpred, video files"]["median"], reading["vidpred, frame cache"]["median"], weights)


def next_bottleneck(found: Rates, gpus: int) -> str:
    """Return what limits the speed, reading from video files."""
    rate = found.together(gpus)
    if rate / gpus / found.videos > CORES_PER_GPU:
        return "decoding: prepare a frame cache"
    if found.exchange(gpus) / (gpus * BATCH / rate) > SLOW:
        return "exchange of gradients: larger batches a GPU"
    return "the GPU's small operations: larger batches a GPU"


def table(results: Results) -> str:
    """Return the plan as a Markdown table."""
    rows = []
    for videos in DATA_SETS:
        found = rates(results, videos.container)
        for gpus in (1, 8, 64):
            rate = found.together(gpus)
            rows.append([
                videos.name, f"{gpus}", f"{gpus * BATCH:,}", f"{rate:,.0f}",
                f"{videos.frames / FRAMES / rate / 60:,.1f}",
                f"{rate / found.videos:.1f}", f"{rate / found.cached:.2f}",
                f"{1000 * found.exchange(gpus):.1f} of {1000 * gpus * BATCH / rate:.1f}",
                next_bottleneck(found, gpus),
            ])  # fmt: skip
    head = ["data set", "GPUs", "batch", "samples/s", "minutes for every frame once", "cores that decode videos",
            "cores that read a frame cache", "ms of a step that exchange gradients", "next bottleneck"]  # fmt: skip
    return grid(head, rows)


def cache_sizes() -> str:
    """Return the size of a frame cache of every data set by the height of its frames, as a Markdown table."""
    rows = [
        [videos.name, f"{videos.count:,}", f"{videos.frames / 1e6:,.1f}",
         *(f"{videos.frames * 3 * side * round(side * WIDE) / 1e9:,.0f}" for side in (SIDE, 128, 240))]
        for videos in DATA_SETS
    ]  # fmt: skip
    return grid(["data set", "videos", "million frames", *(f"GB at {side} pixels" for side in (SIDE, 128, 240))], rows)
