"""Frames of LeRobot episodes from several cameras, or from images inside the Parquet files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from vidpred.data.images.decode import image_from_bytes, read_image
from vidpred.data.prepared.frame_writer import Item
from vidpred.data.splits import Part
from vidpred.data.videos.probe import probe
from vidpred.data.videos.reader import VideoInfo, read_frames, scaled_size
from vidpred.errors import DataError

from .base import clip_name
from .lerobot_files import file_path, first_frames, read_table

EPISODES_AN_ITEM, BLOCK = 50, 32  # frames decoded at once


def items_by_data(
    source: Path, info: dict[str, Any], cameras: Mapping[str, str], episodes: list[dict[str, Any]],
    parts: Mapping[str, list[Part]], columns: dict[str, str | None],
) -> list[Item]:  # fmt: skip
    """Return items of up to `EPISODES_AN_ITEM` episodes of a data file.

    Args:
        source: The set.
        info: meta/info.json.
        cameras: Kind of each camera's frames, video or image.
        episodes: Rows of the table of episodes, with the place of their `views`.
        parts: Parts of the episodes that are used, by the episodes' names.
        columns: Names of the columns of actions and states.
    """
    videos: dict[str, list[dict[str, Any]]] = {}
    files: dict[str, list[dict[str, Any]]] = {}
    for episode in episodes:
        facts = {"episode": int(episode["episode"]), "length": int(episode["length"])}
        views: dict[str, str | None] = dict.fromkeys(cameras)
        for camera, place in episode["views"].items():
            name = file_path(source, info, "video_path", camera, place["chunk"], place["file"])
            views[camera] = name
            videos.setdefault(name, []).append({**facts, "from": place["from"]})
        own = parts.get(f"episode_{episode['episode']:06}", [])
        data = file_path(source, info, "data_path", None, episode["data_chunk"], episode["data_file"])
        named = [[clip_name(part, own), part.split, part.first, part.end] for part in own]
        if own:
            files.setdefault(data, []).append({**facts, "data": data, "views": views, "parts": named})
    items = []
    for data, found in sorted(files.items()):
        for first in range(0, len(found), EPISODES_AN_ITEM):
            chosen = found[first : first + EPISODES_AN_ITEM]
            used = sorted({name for episode in chosen for name in episode["views"].values() if name})
            places = {name: sorted(videos[name], key=lambda episode: episode["from"]) for name in used}
            detail = {"episodes": chosen, "videos": places, "rate": float(info["fps"]), "columns": columns}
            name = f"{data} from {first}" if first else data
            items.append(Item(name, tuple(str(source / file) for file in (data, *used)), detail=detail))
    return items


class Views:
    """The frames of an item's episodes, by camera."""

    def __init__(self, source: Path, item: Item, channels: int) -> None:
        self.source, self.item, self.channels = source, item, channels
        self._videos: dict[str, tuple[VideoInfo, dict[int, int | str]]] = {}  # info, first frame of each episode

    def frames(self, episode: dict[str, Any], camera: str, place: slice, size: int | None) -> Iterator[np.ndarray]:
        """Yield frames `(H, W, C)` uint8 of a part of an episode. Raises DataError where they cannot be read."""
        name = episode["views"][camera]
        if name is None:
            yield from self._images(episode, camera, place)
            return
        info, firsts = self._video(name)
        first = firsts[episode["episode"]]
        if isinstance(first, str):
            raise DataError(first)
        shape = scaled_size(info.height, info.width, size)
        for start in range(first + place.start, first + place.stop, BLOCK):
            numbers = range(start, min(start + BLOCK, first + place.stop))
            yield from read_frames(self.source / name, info, numbers, shape, self.channels)

    def _video(self, name: str) -> tuple[VideoInfo, dict[int, int | str]]:
        if name not in self._videos:
            info, episodes = probe(self.source / name), self.item.detail["videos"][name]
            total = sum(one["length"] for one in episodes)
            found = first_frames(info, [{**one, "total": total} for one in episodes], self.item.detail["rate"])
            firsts = {one["episode"]: first for one, first in zip(episodes, found, strict=True)}
            self._videos[name] = info, firsts
        return self._videos[name]

    def _images(self, episode: dict[str, Any], camera: str, place: slice) -> Iterator[np.ndarray]:
        """Yield the images of a column: the bytes of a file each, or its path in the set."""
        file = self.source / episode["data"]
        for cell in read_table(file, [camera], episode["episode"])[camera].slice(place.start, place.stop - place.start):
            value = cell.as_py()
            content, path = (value.get("bytes"), value.get("path")) if isinstance(value, dict) else (value, None)
            if content is not None:
                yield image_from_bytes(content, file)
            elif path:
                yield read_image(self.source / path)
            else:
                raise DataError(f"an image of episode {episode['episode']} is missing [{file}: {camera}]")
