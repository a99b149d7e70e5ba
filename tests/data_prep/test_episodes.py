"""HDF5 and zarr episodes in the arrangements of robomimic, stable-worldmodel, ALOHA and diffusion policy."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data_prep.episodes import EpisodeArrays
from data_prep.hdf5 import Hdf5
from data_prep.preview import write_preview
from data_prep.zarr import Zarr
from tests.set_files import episode, find_square
from vidpred.data.build import build_source
from vidpred.data.prepared.format import PreparedFrames
from vidpred.data.prepared.pipeline import Summary, prepare
from vidpred.data.settings import DataSettings
from vidpred.errors import ConfigError, DataError
from vidpred.settings.overrides import parse_settings

LENGTHS = [24, 20, 26, 22, 24, 21]


def robomimic(path: Path, cameras: tuple[str, ...] = ("agentview_image",), masks: bool = False) -> None:
    h5py = pytest.importorskip("h5py")
    with h5py.File(path, "w") as file:
        for number, length in enumerate(LENGTHS):
            frames, actions, states = episode(number, length)
            demo = file.create_group(f"data/demo_{number}")
            demo["actions"], demo["states"] = actions, states
            for camera in cameras:
                demo[f"obs/{camera}"] = frames
                demo[f"next_obs/{camera}"] = np.roll(frames, -1, 0)
            demo["obs/robot0_eef_pos"] = states
        if masks:
            file["mask/train"] = np.array([b"demo_0", b"demo_2", b"demo_4", b"demo_5"])
            file["mask/valid"] = np.array([b"demo_1", b"demo_3"])


def flat(lengths: list[int] = LENGTHS) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return frames, actions and states of all episodes one after the other."""
    parts = zip(*(episode(number, length) for number, length in enumerate(lengths)), strict=True)
    frames, actions, states = map(np.concatenate, parts)
    return frames, actions, states


def stable_worldmodel(path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    frames, actions, states = flat()
    actions[np.cumsum(LENGTHS) - 1] = np.nan  # as the package marks the end of an episode
    with h5py.File(path, "w") as file:
        file["pixels"], file["action"], file["state"] = frames.transpose(0, 3, 1, 2), actions, states
        file["goal"] = frames[::-1]
        file["ep_len"], file["ep_offset"] = LENGTHS, np.cumsum([0, *LENGTHS[:-1]])


def aloha(folder: Path) -> None:
    h5py = pytest.importorskip("h5py")
    folder.mkdir()
    for number, length in enumerate(LENGTHS):
        frames, actions, states = episode(number, length)
        with h5py.File(folder / f"episode_{number}.hdf5", "w") as file:
            file["observations/images/top"], file["observations/qpos"] = frames, states
            file["action"] = actions[:-1]


def diffusion_policy(path: Path) -> None:
    zarr = pytest.importorskip("zarr")
    frames, actions, states = flat()
    group = zarr.open_group(str(path), mode="w", zarr_format=2)
    for name, values in (("img", frames.astype(np.float32)), ("action", actions), ("state", states)):
        group.create_array(f"data/{name}", data=values)
    group.create_array("meta/episode_ends", data=np.cumsum(LENGTHS))


def zipped(path: Path) -> None:
    zarr = pytest.importorskip("zarr")
    frames, actions, states = flat()
    store = zarr.storage.ZipStore(str(path), mode="w")
    group = zarr.open_group(store, mode="w")
    for name, values in (("img", frames), ("action", actions), ("state", states)):
        group.create_array(f"data/{name}", data=values)
    group.create_array("meta/episode_ends", data=np.cumsum(LENGTHS))
    store.close()


def prepared(kind: type[EpisodeArrays], source: Path, workers: int = 1, **settings: Any) -> Summary:
    settings = {"max_bad_fraction": 0.5, **settings}
    return prepare(kind(source=source, **settings), source.parent / "set", workers=workers, progress=False)


def check_squares(summary: Summary) -> None:
    """Check that every frame shows its state, and that actions lead from frame to frame."""
    for split in ("train", "validation", "test"):
        source = PreparedFrames(summary.target, summary.manifest, split)
        for clip in source.clips:
            states, actions = source.states(clip), source.actions(clip)
            places = np.stack([find_square(frame) for frame in source.frames(clip)])
            np.testing.assert_allclose(places, states, atol=0.6)
            np.testing.assert_allclose(states[1:], states[:-1] + actions[:-1], atol=1e-4)


def skipped(summary: Summary) -> dict[str, str]:
    with (summary.target / "left_out.csv").open() as file:
        return dict(list(csv.reader(file))[1:])


FILES: list[tuple[Callable[[Path], None], str, type[EpisodeArrays]]] = [
    (robomimic, "lift.hdf5", Hdf5),
    (stable_worldmodel, "pusht.h5", Hdf5),
    (aloha, "aloha", Hdf5),
    (diffusion_policy, "pusht.zarr", Zarr),
    (zipped, "pusht.zarr.zip", Zarr),
]


@pytest.mark.parametrize(("build", "name", "kind"), FILES)
def test_every_arrangement_gives_the_same_episodes(
    tmp_path: Path, build: Callable[[Path], None], name: str, kind: type[EpisodeArrays]
) -> None:
    build(tmp_path / name)
    summary = prepared(kind, tmp_path / name, workers=2 if build is diffusion_policy else 1)
    assert [clip.frames for clip in sorted(summary.clips, key=lambda clip: clip.clip)] == LENGTHS
    assert (summary.manifest.action_size, summary.manifest.state_size) == (2, 2)
    assert not skipped(summary)
    check_squares(summary)
    assert prepared(kind, tmp_path / name).written == 0
    if name.endswith(".zip"):
        return
    with pytest.raises(DataError, match=rf"run vidpred prepare {kind.name} .*{name} data/"):
        build_source(DataSettings(root=str(tmp_path / name)), "train", range(5))


def test_lists_of_the_file_are_its_splits(tmp_path: Path) -> None:
    robomimic(tmp_path / "a.hdf5", masks=True)
    splits = {clip.clip: clip.split for clip in prepared(Hdf5, tmp_path / "a.hdf5").clips}
    assert {name for name, split in splits.items() if split == "test"} == {"demo_1", "demo_3"}
    assert list(splits.values()).count("validation") == 1


def test_several_cameras_are_chosen_by_name(tmp_path: Path) -> None:
    source = tmp_path / "a.hdf5"
    robomimic(source, ("agentview_image", "wrist_image"))
    with pytest.raises(ConfigError, match=r"several cameras .*; set camera to one of obs/agentview_image, obs/wrist"):
        prepared(Hdf5, source)
    with pytest.raises(ConfigError, match=r"no camera=front .*; set camera to one of"):
        prepared(Hdf5, source, camera="front")
    with pytest.raises(ConfigError, match=r"no array states=pose in an episode .*; there are actions, "):
        prepared(Hdf5, source, camera="wrist_image", states="pose")
    summary = prepared(Hdf5, source, camera="wrist_image", states="obs/robot0_eef_pos")
    assert len(summary.clips) == 6
    check_squares(summary)


def test_several_cameras_are_stacked(tmp_path: Path) -> None:
    """The second camera's frames are larger and mirrored; they are scaled to the first's size."""
    source = tmp_path / "a.hdf5"
    robomimic(source, ("agentview_image", "wrist_image"))
    h5py = pytest.importorskip("h5py")
    with h5py.File(source, "r+") as file:
        for demo in file["data"].values():
            mirrored = np.asarray(demo["obs/wrist_image"])[:, :, ::-1].repeat(2, 1).repeat(2, 2)
            del demo["obs/wrist_image"]
            demo["obs/wrist_image"] = mirrored
    words = ["camera=agentview_image", "camera=wrist_image"]
    found = parse_settings(Hdf5, words, {"source": source}, "")
    summary = prepare(found, tmp_path / "stacked", workers=1, progress=False)
    first = prepare(found.model_copy(update={"camera": "agentview_image"}), tmp_path / "one", workers=1, progress=False)
    check_squares(first)
    one = PreparedFrames(first.target, first.manifest, "train")
    assert summary.manifest.channels == 6
    prepared_set = PreparedFrames(summary.target, summary.manifest, "train")
    for clip, alone in zip(prepared_set.clips, one.clips, strict=True):
        frames = prepared_set.frames(clip)
        assert np.array_equal(frames[:, 3:, :, ::-1], frames[:, :3])
        assert alone.bytes * 2 == clip.bytes
    for refused, message in (
        (["camera=wrist_image"] * 2, "one to 4 different ones, not wrist_image, wrist_image"),
        ([*words, "channels=1"], "several cameras are stacked in color; leave channels out"),
    ):
        with pytest.raises(ConfigError, match=message):
            parse_settings(Hdf5, refused, {"source": source}, "")
    assert write_preview(found, summary.target).is_file()
    settings = DataSettings(root=str(summary.target), channels=3, augment={"horizontal_flip": False})
    with pytest.raises(DataError, match="have 6 channels .*; set data.channels=6"):
        build_source(settings, "train", [0, 1])


def test_a_bad_episode_costs_only_itself(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    source = tmp_path / "a.hdf5"
    robomimic(source)
    with h5py.File(source, "r+") as file:
        file["data/demo_1/actions"][3, 0] = np.nan
        del file["data/demo_4/obs/agentview_image"]
        del file["data/demo_5/actions"]
        file["data/demo_5/actions"] = np.zeros((3, 2))
    summary = prepared(Hdf5, source)
    assert {clip.clip for clip in summary.clips} == {"demo_0", "demo_2", "demo_3"}
    bad = skipped(summary)
    assert set(bad) == {"demo_1", "demo_4", "demo_5"}
    assert "not finite" in bad["demo_1"]
    assert "no frames" in bad["demo_4"]
    check_squares(summary)


def test_values_that_are_no_numbers_and_states_of_other_lengths(tmp_path: Path) -> None:
    """Zeros may take the place of an action that nothing follows, but not of a state."""
    h5py = pytest.importorskip("h5py")
    source = tmp_path / "a.hdf5"
    robomimic(source)
    with h5py.File(source, "r+") as file:
        for demo, name, values in (
            ("demo_1", "actions", np.full((LENGTHS[1], 2), b"left")),
            ("demo_4", "states", np.asarray(file["data/demo_4/states"])[:-1]),
            ("demo_5", "actions", np.zeros(LENGTHS[5], [("x", "f4"), ("y", "f4")])),
        ):
            del file[f"data/{demo}/{name}"]
            file[f"data/{demo}/{name}"] = values
        file["data/demo_2/states"][-1] = np.nan
    summary = prepared(Hdf5, source, max_bad_fraction=0.7)
    assert {clip.clip for clip in summary.clips} == {"demo_0", "demo_3"}
    bad = skipped(summary)
    assert "actions has values of type |S4, not numbers" in bad["demo_1"]
    assert "states that are not finite numbers" in bad["demo_2"]
    assert "24 frames but states of shape (23, 2)" in bad["demo_4"]
    assert "not numbers" in bad["demo_5"]


@pytest.mark.parametrize("kind", ["actions", "states"])
def test_a_group_in_the_place_of_an_array_is_named(tmp_path: Path, kind: str) -> None:
    h5py = pytest.importorskip("h5py")
    source = tmp_path / "a.hdf5"
    robomimic(source)
    with h5py.File(source, "r+") as file:
        for demo in file["data"].values():
            values = np.asarray(demo[kind])
            del demo[kind]
            demo[f"{kind}/arm"] = values
    with pytest.raises(ConfigError, match=f"a group, not an array: {kind} .*; set {kind} to one of {kind}/arm"):
        prepared(Hdf5, source)
    check_squares(prepared(Hdf5, source, **{kind: f"{kind}/arm"}))


def test_lists_of_ends_without_episodes(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["pixels"], file["episode_ends"] = np.zeros((9, 16, 16, 3), np.uint8), np.zeros(0, int)
    with pytest.raises(DataError, match=r"a.h5: no episodes: the list of their ends"):
        prepared(Hdf5, tmp_path / "a.h5")


def test_a_file_that_cannot_be_read_costs_only_itself(tmp_path: Path) -> None:
    aloha(tmp_path / "aloha")
    cut = tmp_path / "aloha" / "episode_2.hdf5"
    cut.write_bytes(cut.read_bytes()[:3000])
    summary = prepared(Hdf5, tmp_path / "aloha")
    assert len(summary.clips) == 5
    assert "cannot read the file" in skipped(summary)["episode_2.hdf5"]


def test_rows_beyond_the_arrays_are_bad(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    stable_worldmodel(tmp_path / "a.h5")
    with h5py.File(tmp_path / "a.h5", "r+") as file:
        file["ep_len"][5] = 400
    summary = prepared(Hdf5, tmp_path / "a.h5")
    assert len(summary.clips) == 5
    assert "rows 116 to 516 of 137" in skipped(summary)["episode_000005"]


def test_links_and_odd_entries_of_hdf5_files(tmp_path: Path) -> None:
    """Links upwards and to nowhere, datasets without a shape, and masks that are no lists."""
    h5py = pytest.importorskip("h5py")
    source = tmp_path / "a.hdf5"
    robomimic(source)
    with h5py.File(source, "r+") as file:
        file["data/demo_0/whole"] = h5py.SoftLink("/data")
        file["data/demo_0/obs/up"] = file["data"]
        file["data/demo_0/obs/wrist"] = h5py.ExternalLink("missing.h5", "/x")
        file["data/demo_0/empty"] = h5py.Empty("f")
        file["data/demo_9"] = h5py.SoftLink("/nowhere")
        file["mask/train/inner"] = np.zeros(3)
        file["mask/test"] = "demo_0"
    summary = prepared(Hdf5, source)
    assert len(summary.clips) == 6
    assert set(skipped(summary)) == {"demo_9"}


def test_episodes_that_overlap_or_are_in_two_lists_are_refused(tmp_path: Path) -> None:
    """One frame could be in training and in the test."""
    h5py = pytest.importorskip("h5py")
    stable_worldmodel(tmp_path / "a.h5")
    robomimic(tmp_path / "b.h5", masks=True)
    with h5py.File(tmp_path / "a.h5", "r+") as file:
        file["ep_offset"][2] = 30
    with h5py.File(tmp_path / "b.h5", "r+") as file:
        file["mask/test"] = np.array([b"demo_3", b"demo_0"])
    with pytest.raises(DataError, match="the rows of two episodes overlap"):
        prepared(Hdf5, tmp_path / "a.h5")
    with pytest.raises(DataError, match="episode demo_0 is in the lists of "):
        prepared(Hdf5, tmp_path / "b.h5")


def test_episodes_in_no_list_are_named(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    robomimic(tmp_path / "a.h5", masks=True)
    with h5py.File(tmp_path / "a.h5", "r+") as file:
        del file["mask/train"]
        file["mask/train"] = np.array([b"demo_0", b"demo_2", b"demo_7"])
    reasons = dict.fromkeys(("demo_4", "demo_5"), "not in any split") | {"demo_7": "listed, but missing"}
    assert skipped(prepared(Hdf5, tmp_path / "a.h5")) == reasons


def test_a_file_without_the_camera_costs_only_itself(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    aloha(tmp_path / "aloha")
    with h5py.File(tmp_path / "aloha" / "episode_2.hdf5", "r+") as file:
        file.move("observations/images/top", "observations/images/left")
    summary = prepared(Hdf5, tmp_path / "aloha", camera="top")
    assert len(summary.clips) == 5
    assert "no camera=top" in skipped(summary)["episode_2.hdf5"]


@pytest.mark.slow
def test_zarr_at_any_depth_and_chunks_that_are_not_stored(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    zarr = pytest.importorskip("zarr")
    for name in ("a.zarr", "sub/b.zarr", ".hidden/c.zarr"):
        (tmp_path / "sets" / name).parent.mkdir(parents=True, exist_ok=True)
        diffusion_policy(tmp_path / "sets" / name)
    (tmp_path / "sets" / "loop").symlink_to(tmp_path / "sets")
    summary = prepared(Zarr, tmp_path / "sets")
    assert len(summary.clips) == 2 * len(LENGTHS)
    assert "not stored" not in capsys.readouterr().err
    array = zarr.open_group(str(tmp_path / "sets" / "a.zarr"), mode="r")["data/img"]
    chunks = [path for path in (tmp_path / "sets" / "a.zarr").rglob("*") if "img" in str(path) and path.is_file()]
    max(chunks, key=lambda path: path.stat().st_size).unlink()
    list(Zarr(source=tmp_path / "sets" / "a.zarr").items())
    assert f"1 of {array.nchunks} chunk" in capsys.readouterr().err


def test_zip_files_are_closed(tmp_path: Path) -> None:
    zipped(tmp_path / "a.zarr.zip")
    found = Zarr(source=tmp_path / "a.zarr.zip")
    with found.opened(tmp_path / "a.zarr.zip") as root:
        archive = root.store._zf
        assert archive.fp is not None
    assert archive.fp is None


def test_missing_packages_and_wrong_files_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    pytest.importorskip("h5py"), pytest.importorskip("zarr")
    h5py_file, group = tmp_path / "a.h5", tmp_path / "a.zarr"
    h5py_file.write_bytes(b"\x89HDF\r\n\x1a\n")
    with pytest.raises(DataError, match=r"none of the 1 items .*a.h5: cannot read the file"):
        prepared(Hdf5, h5py_file)
    group.mkdir()
    (group / ".zgroup").write_text("{")
    with pytest.raises(DataError, match=r"none of the 1 items .*a.zarr: "):
        prepared(Zarr, group)
    for name, kind, source in (("h5py", Hdf5, h5py_file), ("zarr", Zarr, group)):
        monkeypatch.setitem(sys.modules, name, None)
        with pytest.raises(ConfigError, match=rf"need {name}; install the extra \w+: pip install '\.\[{kind.name}\]'"):
            prepared(kind, source)
