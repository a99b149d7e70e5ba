"""What the data section of a config says."""

from __future__ import annotations

import os
from typing import Annotated, Literal, Self, get_args

from pydantic import AfterValidator, Field, field_validator, model_validator

from vidpred.data.videos.limits import Limits
from vidpred.settings import Settings, absent_at_defaults

PointsName = Literal["eight_gaussians", "twenty_five_gaussians"]
WorldName = Literal["forking_ball", "moving_shapes", "rotating_solids", "bouncing_balls", PointsName]


class VideoSettings(Settings):
    """Settings of reading videos and other data from files."""

    on_bad_video: Literal["use", "skip", "error"] = Field(
        "use",
        description="For a damaged video: use its whole frames, skip it, or stop. Skipped and damaged videos are "
        "listed in bad_videos.csv.",
    )
    max_pixels: int = Field(
        Limits.pixels, ge=1, description="Largest number of pixels in a frame. Larger videos are bad videos."
    )
    max_frames: int = Field(
        Limits.frames, ge=1, description="Largest number of frames in a video. Longer videos are bad videos."
    )
    max_hours: float = Field(
        Limits.hours, gt=0, description="Longest duration of a video in hours. Longer videos are bad videos."
    )
    fps: float | None = Field(
        None,
        gt=0,
        le=1000,
        description="Frames per second at which videos are read, at even times. null: every frame of the file.",
    )
    skip_cuts: bool = Field(True, description="Leave out windows that span a hard cut.")
    cache_mb: int = Field(
        1024,
        ge=0,
        description="Memory in MB that each reading process may use for decoded data. Below 512: no videos.",
    )


class AugmentSettings(Settings):
    """Settings of random changes of training samples. All frames of a sample are changed alike."""

    horizontal_flip: bool = Field(True, description="Mirror half of the training samples.")
    vertical_flip: bool = Field(False, description="Turn half of the training samples upside down.")
    transpose: bool = Field(False, description="Swap height and width of half of the training samples.")
    time_reverse: bool = Field(False, description="Play half of the training samples backwards.")
    camera_shake: float = Field(
        0.0,
        ge=0,
        description="Largest displacement per frame, in pixels, of an unsteady camera in half of the training samples.",
    )
    color_jitter: float = Field(
        0.0, ge=0, le=1, description="Largest change of the gains and the gamma of a training sample, as a power of e."
    )
    max_speed: int = Field(
        1,
        ge=1,
        le=8,
        description="Keep every n-th frame of a training sample, n drawn from 1 to this where the shot is long enough.",
    )
    time_warp: float = Field(
        0.0,
        ge=0,
        le=1,
        description="Share of the training samples whose speed and direction of time change on the way.",
    )


class WorldSettings(Settings):
    """Settings of the embedded worlds."""

    name: WorldName = Field(
        "forking_ball",
        description="World to train on without data.root: forking_ball (a ball that may fall to either side), "
        "moving_shapes, rotating_solids, bouncing_balls, or points in the plane.",
    )
    synthetic_share: float = Field(
        0.0, ge=0, lt=1, description="Share of the training samples that are synthetic clips of moving things."
    )


DEFAULT_VIDEO, DEFAULT_AUGMENT, DEFAULT_WORLD = VideoSettings(), AugmentSettings(), WorldSettings()


class DataSettings(Settings):
    """Settings of the data: what is read and how training windows are cut from it."""

    root: str | None = Field(
        None,
        description="Folder of videos at any depth, a video, a prepared set, or images (a folder, whose subfolders are"
        " classes, or a file of them). null: an embedded world.",
    )
    context_frames: int = Field(4, ge=0, description="Number of context frames. 0: none, for generators of images.")
    pred_frames: int = Field(1, ge=1, description="Number of frames that the generator predicts at once.")
    lead: int = Field(1, ge=1, description="Distance in frames from the last context frame to the first prediction.")
    unroll: int = Field(
        1,
        ge=1,
        le=64,
        description="Number of predictions in a row in training, each but the first from predicted frames. The losses "
        "compare all of them with unroll * pred_frames true frames.",
    )
    frame_skip: int = Field(1, ge=1, description="Keep every n-th frame.")
    channels: Literal[1, 3] = Field(3, description="Channels of a frame: 3 for color, 1 for gray.")
    size: int | None = Field(
        None, ge=8, description="Short side in pixels to which frames are scaled. null: as they are."
    )
    crop_size: int | None = Field(
        32, ge=8, description="Side of the square training crops in pixels. null: whole frames."
    )
    min_motion: float = Field(
        0.0,
        ge=0,
        description="Least mean squared difference, of values in [0, 1], between the last context frame and the first "
        "future frame of a crop. Crops that move less are drawn again.",
    )
    num_workers: int = Field(0, ge=0, description="Number of processes that read data. 0: the training process reads.")
    timeout_seconds: float = Field(
        120.0,
        ge=0,
        description="How long training waits for a batch of a data worker before it ends, in seconds. 0: forever.",
    )
    split: Literal["auto", "file", "time"] = Field(
        "auto", description="Divide videos by whole file, by time within each file, or auto (by file from 5 files on)."
    )
    split_fractions: tuple[float, float, float] = Field(
        (0.7, 0.1, 0.2), description="Shares of training, validation and test; they add up to 1."
    )
    split_file: str | None = Field(
        None,
        description="CSV file of `relative/path,train|validation|test` lines instead of a division. null: splits.csv "
        "in the root, if there is one.",
    )
    max_bad_fraction: float = Field(
        0.2, ge=0, le=1, description="Largest fraction of the videos that may be skipped as unreadable or damaged."
    )
    labelled: int | None = Field(
        None, ge=1, description="Number of training images whose class is used, balanced over classes. null: all."
    )
    labelled_share: float = Field(
        0.0, ge=0, lt=1, description="Least mean share of the training samples that are labelled images."
    )
    video: Annotated[VideoSettings | None, AfterValidator(absent_at_defaults)] = Field(
        None, description="How files are read. null: the defaults."
    )
    augment: Annotated[AugmentSettings | None, AfterValidator(absent_at_defaults)] = Field(
        None, description="Random changes of training samples. null: the defaults, mirroring only."
    )
    world: Annotated[WorldSettings | None, AfterValidator(absent_at_defaults)] = Field(
        None, description="The embedded worlds. null: the defaults."
    )

    @field_validator("root", "split_file")
    @classmethod
    def _home(cls, value: str | None) -> str | None:
        return value if value is None else os.path.expanduser(value)

    @model_validator(mode="after")
    def _fractions(self) -> Self:
        if min(self.split_fractions) < 0 or abs(sum(self.split_fractions) - 1) > 1e-6 or self.split_fractions[0] == 0:
            raise ValueError(f"split_fractions: three parts that add up to 1, got {self.split_fractions}")
        return self

    @model_validator(mode="after")
    def _one_size(self) -> Self:
        if self.world_settings.synthetic_share and self.crop_size is None:
            raise ValueError("world.synthetic_share: samples of one size are mixed; set data.crop_size")
        return self

    @model_validator(mode="after")
    def _some_labelled(self) -> Self:
        if self.labelled_share and self.labelled is None:
            raise ValueError("labelled_share: is of the images that tell their class; set labelled to their number")
        return self

    @model_validator(mode="after")
    def _one_recursion(self) -> Self:
        if self.unroll > 1 and self.lead > 1:
            raise ValueError(f"unroll: {self.unroll} predictions in a row need lead=1, got lead={self.lead}")
        return self

    @model_validator(mode="after")
    def _points(self) -> Self:
        if self.has_points and (self.channels, self.context_frames) != (1, 0):
            raise ValueError("world.name: points in the plane are images; set data.channels=1, data.context_frames=0")
        return self

    @property
    def video_settings(self) -> VideoSettings:
        """The section `video`, or its defaults."""
        return self.video or DEFAULT_VIDEO

    @property
    def augment_settings(self) -> AugmentSettings:
        """The section `augment`, or its defaults."""
        return self.augment or DEFAULT_AUGMENT

    @property
    def world_settings(self) -> WorldSettings:
        """The section `world`, or its defaults."""
        return self.world or DEFAULT_WORLD

    @property
    def has_points(self) -> bool:
        """Whether the run is on one of the worlds of points."""
        return self.root is None and self.world_settings.name in get_args(PointsName)

    @property
    def future_frames(self) -> int:
        """How many coming frames a training window holds."""
        return self.pred_frames * self.unroll

    @property
    def limits(self) -> Limits:
        """Size limits of videos."""
        video = self.video_settings
        return Limits(video.max_pixels, video.max_frames, video.max_hours)

    @property
    def history_len(self) -> int:
        """How many known frames a prediction of frame t+1, t+2, ... needs: with `lead`, frame t+1 is
        predicted from the context that ends `lead` frames before it."""
        return self.context_frames + self.lead - 1
