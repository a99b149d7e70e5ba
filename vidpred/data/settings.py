"""Settings of the `data` section of a config."""

from __future__ import annotations

from typing import Annotated, Literal, Self, get_args

from pydantic import AfterValidator, Field, field_validator, model_validator

from vidpred.bounds import LEAST_RATE, MOST_FRAMES, MOST_PROCESSES, MOST_SECONDS, MOST_SIDE
from vidpred.data.videos.limits import Limits
from vidpred.settings import Settings, absent_at_defaults, with_home

PointsName = Literal["eight_gaussians", "twenty_five_gaussians"]
WorldName = Literal["forking_ball", "moving_shapes", "rotating_solids", "bouncing_balls", PointsName]


class VideoSettings(Settings):
    """Settings for reading videos and other data from files."""

    on_bad_video: Literal["use", "skip", "error"] = Field(
        "use",
        description="For a damaged video: use its undamaged frames, skip it, or stop. Skipped and damaged videos are "
        "listed in bad_videos.csv. For an image that cannot be read: skip it (use, skip) and list it in "
        "bad_images.csv, or stop.",
    )
    max_pixels: int = Field(
        Limits.pixels,
        ge=1,
        description="Maximum number of pixels per frame or image. Larger ones count as unreadable, see "
        "on_bad_video and data.max_bad_fraction.",
    )
    max_frames: int = Field(
        Limits.frames,
        ge=1,
        description="Maximum number of frames per video. Longer videos count as unreadable, see "
        "on_bad_video and data.max_bad_fraction.",
    )
    max_hours: float = Field(
        Limits.hours,
        gt=0,
        description="Maximum duration of a video in hours. Longer videos count as unreadable, see "
        "on_bad_video and data.max_bad_fraction.",
    )
    white_level: float | None = Field(
        None,
        gt=0,
        description="Sample value of image files with more than 8 bits that is read as white, such as 4095. null: what "
        "the file states, else 65535 for unsigned 16-bit integers and 1 for floats; others are refused.",
    )
    fps: float | None = Field(
        None,
        ge=LEAST_RATE,
        le=1000,
        description="Frame rate to which videos are resampled, in frames per second. null: every frame of the file.",
    )
    skip_cuts: bool = Field(
        True,
        description="Leave out windows that contain a hard cut (a sudden change of the shot), in training "
        "and evaluation.",
    )
    cache_mb: int = Field(
        1024,
        ge=0,
        description="Memory in MB per reading process for caching decoded data. Below 512, videos are not cached "
        "unless all frames of all videos of the split fit, scaled to data.size. 0: nothing is cached.",
    )


class AugmentSettings(Settings):
    """Settings of the augmentation of training samples. All frames of a sample are changed in the same way."""

    horizontal_flip: bool = Field(True, description="Flip half of the training samples left to right.")
    vertical_flip: bool = Field(False, description="Flip half of the training samples upside down.")
    transpose: bool = Field(False, description="Swap height and width of half of the training samples.")
    time_reverse: bool = Field(False, description="Play half of the training samples backwards.")
    camera_shake: float = Field(
        0.0,
        ge=0,
        le=MOST_SIDE,
        description="Camera shake, applied to half of the training samples: largest root mean square velocity along "
        "each axis, in pixels per frame. 0: none.",
    )
    color_jitter: float = Field(
        0.0,
        ge=0,
        le=1,
        description="Strength s of color jitter: channel gains and gamma are drawn between exp(-s) and exp(s).",
    )
    max_speed: int = Field(
        1,
        ge=1,
        le=8,
        description="Maximum playback speed: keep every n-th frame of a training sample, with n drawn from 1 to this "
        "value, and reduced to what fits where the shot is too short.",
    )
    time_warp: float = Field(
        0.0,
        ge=0,
        le=1,
        description="Share of the training samples that are played back and forth, at speeds up to "
        "data.augment.max_speed that change over time. At max_speed=1 only the direction "
        "changes.",
    )


class WorldSettings(Settings):
    """Settings of the embedded worlds."""

    name: WorldName = Field(
        "forking_ball",
        description="Embedded world to train on if data.root is null: forking_ball (a ball that may fall "
        "to either side), moving_shapes, rotating_solids, bouncing_balls, or points in the "
        "plane, drawn from eight or twenty-five Gaussians.",
    )
    synthetic_share: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="Share of the training samples that are synthetic clips of moving shapes, mixed into "
        "the data; needs data.crop_size.",
    )


DEFAULT_VIDEO, DEFAULT_AUGMENT, DEFAULT_WORLD = VideoSettings(), AugmentSettings(), WorldSettings()


class DataSettings(Settings):
    """Settings of the data and of the windows that are cut from it."""

    root: str | None = Field(
        None,
        description="Folder of videos (at any depth), single video, prepared data set, folder of images (with one "
        "subfolder per class), or file of images. null: an embedded world.",
    )
    context_frames: int = Field(
        4, ge=0, le=MOST_FRAMES, description="Number of context frames. 0: none, for image generators."
    )
    pred_frames: int = Field(
        1, ge=1, le=MOST_FRAMES, description="Number of consecutive frames that the generator predicts at once."
    )
    lead: int = Field(
        1,
        ge=1,
        le=MOST_FRAMES,
        description="Distance in frames from the last context frame to the first predicted one. 1: the next frame.",
    )
    unroll: int = Field(
        1,
        ge=1,
        le=64,
        description="Number of consecutive predictions per training step; each after the first takes predicted frames "
        "as its context. The losses compare all of them with unroll * pred_frames future frames.",
    )
    frame_skip: int = Field(
        1, ge=1, le=MOST_FRAMES, description="Keep every n-th frame of a clip, for context and future alike."
    )
    channels: Literal[1, 3, 6, 9, 12] = Field(
        3, description="Channels of a frame: 3 for color, 1 for gray, 6 to 12 for the two to four cameras of a set."
    )
    size: int | None = Field(
        None, ge=8, le=MOST_SIDE, description="Short side in pixels to which frames are scaled. null: unscaled."
    )
    crop_size: int | None = Field(
        32,
        ge=8,
        le=MOST_SIDE,
        description="Side in pixels of the square training crops, at random positions; frame predictors "
        "are evaluated on whole frames. null: train on whole frames.",
    )
    min_motion: float = Field(
        0.0,
        ge=0,
        description="Minimum mean squared difference, of values in [0, 1], between the last context frame "
        "and the first future frame of a training crop. Crops with less motion are drawn "
        "again, a limited number of times.",
    )
    num_workers: int = Field(
        0, ge=0, le=MOST_PROCESSES, description="Number of processes that read data. 0: the training process reads."
    )
    timeout_seconds: float = Field(
        120.0,
        ge=0,
        le=MOST_SECONDS,
        description="Seconds that training waits for a batch from a data worker before it stops. 0: forever.",
    )
    sharded: bool = Field(
        False,
        description="Whether every machine has its own part of the data in its data.root, without a shared disk; only "
        "with several processes. Samples then depend on the number of machines, and splits are not stored but follow "
        "from the files again.",
    )
    split: Literal["auto", "file", "time"] = Field(
        "auto",
        description="Divide videos by file, by time within each file, or auto (by folders named train, validation, "
        "test if there are any, else by file if there are at least 5, else by time).",
    )
    split_fractions: tuple[float, float, float] = Field(
        (0.7, 0.1, 0.2), description="Shares of training, validation and test; they must add up to 1."
    )
    split_file: str | None = Field(
        None,
        description="CSV file with lines `relative/path,train|validation|test` that defines the splits. null: "
        "splits.csv in the root, if there is one.",
    )
    max_bad_fraction: float = Field(
        0.2,
        ge=0,
        le=1,
        description="Largest fraction of the videos or images that may be skipped as unreadable or damaged.",
    )
    labeled: int | None = Field(
        None, ge=1, description="Number of training images whose label is used, balanced over classes. null: all."
    )
    labeled_share: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="Smallest share of labeled images among the training samples, on average: they are "
        "drawn more often. Needs data.labeled.",
    )
    video: Annotated[VideoSettings | None, AfterValidator(absent_at_defaults)] = Field(
        None, description="Reading of files. null: the defaults."
    )
    augment: Annotated[AugmentSettings | None, AfterValidator(absent_at_defaults)] = Field(
        None, description="Augmentation of training samples. null: the defaults, horizontal flips only."
    )
    world: Annotated[WorldSettings | None, AfterValidator(absent_at_defaults)] = Field(
        None, description="The embedded worlds. null: the defaults."
    )

    _home = field_validator("root", "split_file")(with_home)

    @model_validator(mode="after")
    def _fractions(self) -> Self:
        if min(self.split_fractions) < 0 or abs(sum(self.split_fractions) - 1) > 1e-6 or self.split_fractions[0] == 0:
            raise ValueError(
                f"split_fractions: three shares must add up to 1, that of training above 0; got {self.split_fractions}"
            )
        return self

    @model_validator(mode="after")
    def _one_size(self) -> Self:
        if self.world_settings.synthetic_share and self.crop_size is None:
            raise ValueError("world.synthetic_share: mixing needs samples of one size; set data.crop_size")
        return self

    @model_validator(mode="after")
    def _some_labeled(self) -> Self:
        if self.labeled_share and self.labeled is None:
            raise ValueError("labeled_share: requires a number of labeled images; set labeled")
        return self

    @model_validator(mode="after")
    def _one_recursion(self) -> Self:
        if self.unroll > 1 and self.lead > 1:
            raise ValueError(f"unroll: {self.unroll} consecutive predictions need lead=1, got lead={self.lead}")
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
        """Whether the data is one of the worlds of points."""
        return self.root is None and self.world_settings.name in get_args(PointsName)

    @property
    def future_frames(self) -> int:
        """Number of future frames in a training window."""
        return self.pred_frames * self.unroll

    @property
    def limits(self) -> Limits:
        """Limits on the size and length of videos, from `video`."""
        video = self.video_settings
        return Limits(video.max_pixels, video.max_frames, video.max_hours)

    @property
    def allowed_bad_fraction(self) -> float:
        """Largest fraction of videos or images that may be skipped: 0 where the first bad one is an error."""
        return 0.0 if self.video_settings.on_bad_video == "error" else self.max_bad_fraction

    @property
    def history_len(self) -> int:
        """Number of frames needed to predict frames t+1, t+2, ...: the context of t+1 ends `lead` frames before it."""
        return self.context_frames + self.lead - 1
