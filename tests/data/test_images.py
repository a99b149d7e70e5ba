"""Images from every kind of source: the same pixels, labels and splits, directly or prepared."""

from __future__ import annotations

import re
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from data_prep.images import Images
from tests.image_files import digits, write_digits, write_idx
from tests.settings_for_tests import data_settings
from vidpred.data.build import build_source
from vidpred.data.images.files import center_square, find_images
from vidpred.data.prepared.pipeline import prepare
from vidpred.data.settings import DataSettings
from vidpred.errors import DataError

PLAIN = {"context_frames": 0, "channels": 1, "crop_size": 8, "horizontal_flip": False}


def by_label(source: object, count: int) -> dict[int, set[bytes]]:
    """Return the images of the first `count` draws by label."""
    batch = source.draw(range(count), range(count), 0)
    assert batch.context.shape[:2] == (count, 0)
    assert batch.labels is not None
    found: dict[int, set[bytes]] = {}
    for image, label in zip(batch.future[:, 0, 0], batch.labels.tolist(), strict=True):
        found.setdefault(label, set()).add(image.numpy().tobytes())
    return found


def test_every_image_keeps_its_label_plain_and_prepared(tmp_path: Path) -> None:
    file = write_digits(tmp_path / "digits.npz")
    images, labels = (values[:300] for values in digits())
    wanted = {label: {image.tobytes() for image in images[labels == label]} for label in range(10)}
    target = tmp_path / "prepared"
    prepare(Images(source=file, channels=1, fractions=(1, 0, 0)), target, workers=1, progress=False)
    for root in (file, target):
        chosen = data_settings(root=str(root), split_fractions=(1, 0, 0), **PLAIN)
        source = build_source(chosen, "train", [0])
        assert len(source) == 300
        assert source.classes == [str(label) for label in range(10)]
        assert by_label(source, 300) == wanted


def test_idx_files_define_their_splits(tmp_path: Path) -> None:
    images, labels = digits()
    for name, part, compressed in (("train", slice(0, 200), True), ("t10k", slice(200, 260), False)):
        suffix = ".gz" if compressed else ""
        write_idx(tmp_path / "raw" / f"{name}-images-idx3-ubyte{suffix}", images[part], compressed)
        write_idx(tmp_path / "raw" / f"{name}-labels-idx1-ubyte{suffix}", labels[part], compressed)
    found = find_images(tmp_path)
    assert found is not None
    parts = found.divided((0.7, 0.1, 0.2))
    assert sorted(parts["test"].tolist() + parts["train"].tolist() + parts["validation"].tolist()) == list(range(260))
    # Files are read in alphabetical order: t10k before train. The test split is the whole official one.
    assert {found.read(i).tobytes() for i in parts["test"]} == {p[..., None].tobytes() for p in images[200:260]}
    assert len(parts["validation"]) == 25  # an eighth of the training images, as 0.1 of 0.8
    assert found.labels is not None
    np.testing.assert_array_equal(found.labels, np.concatenate([labels[200:260], labels[:200]]))


def test_folders_are_classes(tmp_path: Path) -> None:
    for split in ("train", "test"):
        for kind, value in (("cat", 40), ("dog", 200)):
            for number in range(3):
                path = tmp_path / split / kind / f"{number}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                cv2.imwrite(str(path), np.full((20, 30, 3), value + number, np.uint8))
    chosen = DataSettings(root=str(tmp_path), context_frames=0, size=16, crop_size=16, split_fractions=(1, 0, 0))
    for split in ("train", "test"):
        source = build_source(chosen, split, [0])
        batch = source.draw(range(6), range(6), 0)
        assert source.classes == ["cat", "dog"]
        assert batch.future.shape == (6, 1, 3, 16, 16)
        assert [int(value) // 200 for value in batch.future.amax((1, 2, 3, 4))] == batch.labels.tolist()  # type: ignore[union-attr]


def test_the_center_square_is_scaled() -> None:
    image = np.zeros((4, 8, 3), np.uint8)
    image[:, 2:6] = 100
    np.testing.assert_array_equal(center_square(image, 2), np.full((2, 2, 3), 100, np.uint8))


def test_flips_and_crops_are_a_function_of_seed_and_position(tmp_path: Path) -> None:
    images = np.arange(2 * 12 * 12, dtype=np.uint16).astype(np.uint8).reshape(2, 12, 12)
    np.save(tmp_path / "a.npy", images)
    chosen = data_settings(
        root=str(tmp_path / "a.npy"), split_fractions=(1, 0, 0), **{**PLAIN, "horizontal_flip": True}
    )
    source = build_source(chosen, "train", [0])
    batch = source.draw([0] * 40, range(40), 3)
    again = build_source(chosen, "train", [0]).draw([0, 0], [7, 30], 3)
    np.testing.assert_array_equal(again.future[0], batch.future[7])
    np.testing.assert_array_equal(again.future[1], batch.future[30])
    steps = batch.future[:, 0, 0, 0, 1].int() - batch.future[:, 0, 0, 0, 0].int()
    assert set(steps.tolist()) == {1, -1}, "some are mirrored, some are not"
    assert len({image.numpy().tobytes() for image in batch.future}) > 10, "from different places"


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"images": np.full((3, 8, 8), 256)}, "int64 values from 256 to 256"),
        ({"images": np.full((3, 8, 8), 2.5)}, "float values from 2.5 to 2.5"),
        ({"pixels": np.zeros((3, 8, 8), np.uint8)}, "none of the arrays"),
        ({"images": np.zeros((3, 8, 8), np.uint8), "labels": np.zeros(2)}, "labels of shape"),
        ({"images": np.zeros((3, 8), np.uint8)}, "fits none of NHW"),
        ({"images": np.zeros((3, 8, 8), np.uint8), "labels": np.array([0, 1, np.nan])}, "labels that are not finite"),
    ],
)
def test_wrong_arrays_have_clear_errors(arrays: dict[str, np.ndarray], words: str, tmp_path: Path) -> None:
    np.savez(tmp_path / "wrong.npz", **arrays)  # type: ignore[arg-type]
    with pytest.raises(DataError, match=words):
        find_images(tmp_path / "wrong.npz")


def test_a_truncated_idx_file_is_rejected(tmp_path: Path) -> None:
    write_idx(tmp_path / "train-images-idx3-ubyte", digits()[0][:10])
    whole = (tmp_path / "train-images-idx3-ubyte").read_bytes()
    (tmp_path / "train-images-idx3-ubyte").write_bytes(whole[:-5])
    with pytest.raises(DataError, match="not a complete IDX file"):
        find_images(tmp_path)


def test_an_idx_file_of_impossible_size_is_rejected(tmp_path: Path) -> None:
    """The product of its sizes is 0 in 64 bits."""
    path = tmp_path / "train-images-idx3-ubyte"
    path.write_bytes(b"\0\0\x08\x03" + (1 << 31).to_bytes(4, "big") * 3)
    with pytest.raises(DataError, match="not a complete IDX file"):
        find_images(path)


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_a_csv_as_spreadsheets_write_it(tmp_path: Path, delimiter: str) -> None:
    rows = ["label p0 p1 p2 p3", "3 1 2 3 4", "5 6 7 8 255", ""]
    text = "\r\n".join(row.replace(" ", delimiter) for row in rows) + "\r\n"
    (tmp_path / "a.csv").write_bytes(text.encode("utf-8-sig"))
    found = find_images(tmp_path / "a.csv")
    assert found is not None
    assert found.classes == ["3", "5"]
    assert np.asarray(found.arrays).tolist() == [[[1, 2], [3, 4]], [[6, 7], [8, 255]]]


@pytest.mark.parametrize(
    "damaged", ["3,1,2,3", "3,1,2,3,4,5", "3,1,x,3,4", "3,1,2,3,256", "3,-1,2,3,4", "3,nan,2,3,4", "nan,1,2,3,4"]
)
def test_a_damaged_row_of_a_csv_costs_one_image(
    tmp_path: Path, damaged: str, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = ["label,a,b,c,d", *(f"{number},{number},2,3,4" for number in range(10))]
    (tmp_path / "a.csv").write_text("\n".join([*rows[:5], damaged, *rows[5:]]))
    found = find_images(tmp_path / "a.csv")
    assert found is not None
    assert [int(image[0, 0]) for image in np.asarray(found.arrays)] == list(range(10))
    assert found.classes == [str(number) for number in range(10)]
    message = "1 of 11 images are not rows of numbers in [0, 255] of one length, from number 4; left out"
    assert message in capsys.readouterr().err
    (tmp_path / "a.csv").write_text("\n".join([*rows[:5], damaged, damaged]))
    with pytest.raises(DataError, match=r"2 of 6 images .* of one length, from number 4, 5 .*correct them"):
        find_images(tmp_path / "a.csv")


def test_a_csv_of_digits(tmp_path: Path) -> None:
    images, labels = digits()
    rows = np.concatenate([images[:20].reshape(20, -1), labels[:20, None]], 1)
    np.savetxt(tmp_path / "digits.csv", rows, "%d", ",")
    found = find_images(tmp_path / "digits.csv")
    assert found is not None
    assert found.labels is not None
    np.testing.assert_array_equal(found.arrays, images[:20])
    np.testing.assert_array_equal(np.array(found.classes, int)[found.labels], labels[:20])


@pytest.mark.filterwarnings("ignore:Data type alias:DeprecationWarning")  # numpy, of a damaged header
@pytest.mark.slow
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damaged_files_raise_a_named_error(tmp_path: Path, data: st.DataObject) -> None:
    """Check that changing or truncating a file yields images, or an error that names the file."""
    files = damageable(tmp_path)
    name = data.draw(st.sampled_from(sorted(files)))
    content = bytearray(files[name])
    for place in data.draw(st.lists(st.integers(0, len(content) - 1), max_size=4)):
        content[place] = data.draw(st.integers(0, 255))
    file = tmp_path / "damaged" / name
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(bytes(content[: data.draw(st.integers(0, len(content)))]))
    found, error = None, ""
    try:
        found = find_images(file)
    except DataError as raised:
        error = str(raised)
    if found is None:
        assert file.name in error
        assert "\n" not in error
    else:
        assert found.read(0).dtype == np.uint8


def damageable(folder: Path) -> dict[str, bytes]:
    """Return the contents of a file of every kind by name, written once."""
    kept = folder / "whole"
    if not kept.is_dir():
        kept.mkdir()
        images, labels = (values[:20] for values in digits())
        write_idx(kept / "train-images-idx3-ubyte.gz", images, True)
        write_idx(kept / "train-images-idx3-ubyte", images)
        np.savez_compressed(kept / "small.npz", images=images, labels=labels)
        np.savez(kept / "plain.npz", images=images / 255, labels=labels)
        np.save(kept / "array.npy", images)
        np.savetxt(kept / "table.csv", images.reshape(20, -1), "%d", ",")
    return {file.name: file.read_bytes() for file in sorted(kept.iterdir())}


@pytest.mark.parametrize("shape", [(0, 8, 8), (3, 0, 8)])
@pytest.mark.parametrize("kind", [np.uint8, np.float32])
def test_empty_arrays_are_rejected(tmp_path: Path, shape: tuple[int, ...], kind: type) -> None:
    np.savez(tmp_path / "empty.npz", images=np.zeros(shape, kind))
    with pytest.raises(DataError, match=r"contain no images \[.*empty.npz\]"):
        find_images(tmp_path / "empty.npz")


def test_messages_name_the_file_of_an_array_and_the_place_in_it(tmp_path: Path) -> None:
    file = tmp_path / "small.npz"
    labels = np.full(30, 77)
    np.savez(file, images=np.zeros((30, 8, 8), np.uint8), labels=labels)
    chosen = DataSettings(root=str(file), crop_size=16, context_frames=0, channels=1)
    source = build_source(chosen, "train", [0])
    with pytest.raises(DataError, match=rf"data.crop_size=16 \[{re.escape(str(file))}: image \d+\]"):
        source.draw([0], [0], 0)
    file.write_bytes(file.read_bytes().replace(labels.tobytes(), bytes(labels.nbytes)))
    with pytest.raises(DataError, match=rf"array 'labels': .* \[{re.escape(str(file))}\]"):
        build_source(chosen, "train", [0])
