"""What the data section of a config says."""

from __future__ import annotations

from typing import Literal, Self, get_args

from pydantic import Field, model_validator

from vidpred.data.videos.limits import Limits
from vidpred.settings import Settings

PointsName = Literal["eight_gaussians", "twenty_five_gaussians"]
WorldName = Literal["two_way", "motion", "rotating_solids", "bouncing_balls", PointsName]


class DataSettings(Settings):
    """Videos, windows and patches.

    root: a folder of videos at any depth, or one video; none: the embedded `world`, `two_way` (a ball that may fall to
    either side), `motion` (moving things), `rotating_solids`, `bouncing_balls`, `eight_gaussians` or
    `twenty_five_gaussians` (points in the plane). synthetic_share: of the training samples from videos, so many are
    clips of the world of moving things instead. Pictures are turned upright, laid over black where they are
    transparent, scaled to a video's first where their size changes.
    on_bad_video: stop at a video that cannot be read, or skip it (listed in bad_videos.csv). So can those not that have
    pictures of more than max_pixels, more than max_frames of them, or last longer than max_hours.
    context_frames known frames go in (0: none, for generators of pictures; root may then be a folder of pictures, whose
    folders are classes, or a file of them), pred_frames come out at once; the first of them lies `step` frames after
    the last known one (1: the next frame). unroll: how many predictions training makes one after the other, each but
    the first from the generator's own frames, and judges against unroll * pred_frames true ones.
    rate: the frames of a video that are shown at this many even times a second (none: every frame of the file);
    frame_skip n keeps every n-th of them.
    channels: 3 for colour, 1 for gray.
    size: the short side in pixels to which videos are scaled (none: as they are).
    patch_size: the side of the square training patches (none: whole frames).
    movement_threshold: the least mean squared difference (of values in [0, 1]) between a patch's last known and first
    future frame; patches that move less are drawn again.
    flip: mirror half of the training samples; flip_vertical: turn half upside down; transpose: swap height and width of
    half; reverse: play half backwards; shake: move half as an unsteady camera of up to so many pixels a frame would;
    colour: change every sample's gains and gamma by up to this much of a factor e; speed: keep every n-th frame of a
    sample, n drawn from 1 to this (where the shot is long enough); wander: let this share of the samples change their
    speed on the way, up to `speed`, and turn round in time. All frames of a clip are treated alike. skip_cuts: leave
    out windows that span a hard cut.
    split: how videos are divided in train, validation and test by split_fractions: by whole file, by time within each
    file, or `auto` (by file from 5 files on). split_file, lines of `relative/path,train|validation|test`, overrides
    it; a splits.csv in the root is found by itself.
    labelled: how many pictures of the training split tell their class, as many of each as can be (none: all).
    labelled_share: the least share of training samples that are such pictures, in the mean.
    workers: processes that read data beside the training. timeout_seconds: how long the training waits for a batch of
    theirs before it ends and names the file that was being read (0: for ever). memory_mb: what each process that reads
    videos may keep of them decoded: all if they fit, else as much as is soon needed again; below 512 nothing.
    """

    root: str | None = None
    world: WorldName = "two_way"
    synthetic_share: float = Field(0.0, ge=0, lt=1)
    on_bad_video: Literal["error", "skip"] = "error"
    max_pixels: int = Field(Limits.pixels, ge=1)
    max_frames: int = Field(Limits.frames, ge=1)
    max_hours: float = Field(Limits.hours, gt=0)
    context_frames: int = Field(4, ge=0)
    pred_frames: int = Field(1, ge=1)
    step: int = Field(1, ge=1)
    unroll: int = Field(1, ge=1, le=64)
    rate: float | None = Field(None, gt=0, le=1000)
    frame_skip: int = Field(1, ge=1)
    channels: Literal[1, 3] = 3
    size: int | None = Field(None, ge=8)
    patch_size: int | None = Field(32, ge=8)
    movement_threshold: float = Field(0.0, ge=0)
    flip: bool = True
    flip_vertical: bool = False
    transpose: bool = False
    reverse: bool = False
    shake: float = Field(0.0, ge=0)
    colour: float = Field(0.0, ge=0, le=1)
    speed: int = Field(1, ge=1, le=8)
    wander: float = Field(0.0, ge=0, le=1)
    skip_cuts: bool = True
    split: Literal["auto", "file", "time"] = "auto"
    split_fractions: tuple[float, float, float] = (0.7, 0.1, 0.2)
    split_file: str | None = None
    labelled: int | None = Field(None, ge=1)
    labelled_share: float = Field(0.0, ge=0, lt=1)
    workers: int = Field(0, ge=0)
    timeout_seconds: float = Field(120.0, ge=0)
    memory_mb: int = Field(1024, ge=0)

    @model_validator(mode="after")
    def _fractions(self) -> Self:
        if min(self.split_fractions) < 0 or abs(sum(self.split_fractions) - 1) > 1e-6 or self.split_fractions[0] == 0:
            raise ValueError(f"split_fractions: three parts that add up to 1, got {self.split_fractions}")
        return self

    @model_validator(mode="after")
    def _one_size(self) -> Self:
        if self.synthetic_share and self.patch_size is None:
            raise ValueError("synthetic_share: samples of one size are mixed; set patch_size")
        return self

    @model_validator(mode="after")
    def _some_labelled(self) -> Self:
        if self.labelled_share and self.labelled is None:
            raise ValueError("labelled_share: is of the pictures that tell their class; set labelled to their number")
        return self

    @model_validator(mode="after")
    def _one_recursion(self) -> Self:
        if self.unroll > 1 and self.step > 1:
            raise ValueError(f"unroll: {self.unroll} predictions in a row need step=1, got step={self.step}")
        return self

    @model_validator(mode="after")
    def _points(self) -> Self:
        if self.has_points and (self.channels, self.context_frames) != (1, 0):
            raise ValueError(f"world: points of {self.world} are pictures; set data.channels=1, data.context_frames=0")
        return self

    @property
    def has_points(self) -> bool:
        """Whether the run is on one of the worlds of points."""
        return self.root is None and self.world in get_args(PointsName)

    @property
    def future_frames(self) -> int:
        """How many coming frames a training window holds."""
        return self.pred_frames * self.unroll

    @property
    def limits(self) -> Limits:
        return Limits(self.max_pixels, self.max_frames, self.max_hours)

    @property
    def history_frames(self) -> int:
        """How many known frames a prediction of frame t+1, t+2, ... needs: with a lead of `step`, frame t+1 is
        predicted from the context that ends `step` frames before it."""
        return self.context_frames + self.step - 1
