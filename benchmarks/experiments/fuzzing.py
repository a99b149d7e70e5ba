"""Random damage of videos, configs, checkpoints, prepared data sets and indexes: no crash, no hang, no silent loss.

Every case is a function of (kind, seed, number), runs in a forked process with a limit of time, and is recorded in
cases.jsonl, so an interrupted experiment continues with the next case.
"""

from __future__ import annotations

import json
import os
import random
import resource
import shutil
import signal
import time
import zlib
from collections import Counter
from collections.abc import Callable
from contextlib import redirect_stderr
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

from benchmarks.experiments.base import Experiment
from tests.data.numbered_set import NumberedSet
from tests.data.odd_videos import FFV1, whole
from tests.data.test_mutated_videos import FILES, differing, mutated
from tests.reliability import scorecard
from tests.reliability.soak import LONG, soak
from vidpred.checkpoint import write_manifest
from vidpred.config import Config, load_config, preset_folder, to_yaml
from vidpred.data.prepared.pipeline import prepare
from vidpred.data.prepared.windows import prepared_source
from vidpred.data.settings import DataSettings
from vidpred.data.videos.index import scan
from vidpred.errors import ConfigError, DataError, StorageError, VidpredError, one_line
from vidpred.inference.predictor import Predictor
from vidpred.run import plan, train
from vidpred.settings.keys import known_keys

CASES = 1000
SECONDS, MEMORY = 20, 8 << 30  # of a case: processor time, and address space beyond what is used already
KEPT = 40  # descriptions of failed cases in the result
ODD: tuple[Any, ...] = (
    None, True, "", "x", "../../etc/passwd", -1, 0, 1, 2, 3, 7, 2**31, 2**63, 10**30, -(10**30), 0.5, -0.5, 1e-30, 1e30,
    1e308, float("inf"), float("nan"), [], [1], [[1]], [[4], [4]], ["x"], {}, {"name": "x"}, {"a": {"b": 1}},
)  # fmt: skip
ODD_TEXTS = (
    "{", "[[[[", "&a [*a]", "!!int x", "!!python/name:os.system", "2026-11-26", "12:30:00", "010", "1e999", "\t", "'",
    "~", "<<", "%", "@", "`", "? [a]", "- - - -", "|", ">", "é\u2028", "\x00", "null", "1_000", "0x10", ".inf", "1e-4",
)  # fmt: skip
Fuzzer = Callable[[Path, int, random.Random], str]


@dataclass(frozen=True)
class Outcome:
    """What a case led to: "refused", "used", or a failure with its description."""

    kind: str
    text: str = ""


def in_child(work: Callable[[], str], seconds: float = SECONDS) -> Outcome:
    """Run a case in a forked process. Its result is "used", "rebuilt" or a description of what is wrong."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(read)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(int(4 * seconds) + 1)
        resource.setrlimit(resource.RLIMIT_CPU, (int(seconds), int(seconds)))
        os.write(write, json.dumps(_attempt(work)).encode()[:60_000])
        os._exit(0)
    os.close(write)
    with open(read, "rb") as pipe:
        content = pipe.read()
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        hung = number in (signal.SIGXCPU, signal.SIGALRM, signal.SIGKILL)
        return Outcome("hang" if hung else "crash", f"signal {number}")
    return Outcome(*json.loads(content))


def _attempt(work: Callable[[], str]) -> tuple[str, str]:
    try:
        with open(os.devnull, "w", errors="backslashreplace") as nowhere, redirect_stderr(nowhere):
            result = work()
        return ("silent", result) if result not in ("used", "rebuilt") else (result, "")
    except (ConfigError, DataError, StorageError) as error:
        line = one_line(error)
        return ("refused", "") if line and "\n" not in str(error) else ("crash", f"not one line: {error}")
    except VidpredError as error:
        return "refused", one_line(error)
    except BaseException as error:
        frames = []
        at = error.__traceback__
        while at is not None:
            frames.append(f"{Path(at.tb_frame.f_code.co_filename).name}:{at.tb_lineno}")
            at = at.tb_next
        return "crash", f"{type(error).__name__}: {str(error)[:150]} at {' '.join(frames[-4:])}"


def fuzz(folder: Path, seed: int, kind: str, case: Fuzzer, count: int = CASES) -> dict[str, Any]:
    """Run all cases that have no record yet; return the counts.

    Args:
        folder: Folder of the experiment.
        seed: The seed.
        kind: Name of the kind of file.
        case: Function of (folder, number, random numbers) that makes a file and uses it.
        count: Number of cases.
    """
    records = folder / "cases.jsonl"
    done = [json.loads(line) for line in records.read_text().splitlines()] if records.is_file() else []
    place = folder / "case"
    with records.open("a") as file:
        for number in range(len(done), count):
            shutil.rmtree(place, ignore_errors=True)
            place.mkdir()
            start = time.monotonic()

            def work(number: int = number) -> str:
                return case(place, number, random.Random(f"{kind} {seed} {number}"))

            outcome = in_child(work)
            record = {
                "case": number,
                "outcome": outcome.kind,
                "text": outcome.text,
                "seconds": round(time.monotonic() - start, 2),
            }
            done.append(record)
            file.write(json.dumps(record) + "\n")
            file.flush()
    failures = [record for record in done if record["outcome"] in ("crash", "hang", "silent")]
    return {
        "cases": len(done),
        "outcomes": dict(Counter(record["outcome"] for record in done)),
        "slowest_seconds": max(record["seconds"] for record in done),
        "failures": [f"{record['case']}: {record['outcome']}: {record['text']}" for record in failures[:KEPT]],
    }


# Videos


def videos(folder: Path, seed: int) -> dict[str, Any]:
    """Flip bits of videos, cut and splice them; what is called good must equal FFmpeg's own decoding."""
    originals_folder = folder / "originals"
    originals_folder.mkdir(exist_ok=True)
    kinds = {**FILES, "b.mkv": FFV1}
    originals = {name: whole(originals_folder / name, **how) for name, how in kinds.items()}

    def case(place: Path, number: int, chance: random.Random) -> str:
        names = list(originals)
        name = names[number % len(names)]
        path = place / f"x{Path(name).suffix}"
        numbers = np.random.default_rng(chance.randrange(2**32))
        path.write_bytes(mutated(number // len(names) % 4, bytearray(originals[name]), numbers))
        outcome = differing(path, numbers)
        if outcome == "bad":
            raise DataError("refused")
        return "used" if outcome in ("good", "usable") else outcome

    return fuzz(folder, seed, "videos", case)


# Configs


def mutated_text(text: str, chance: random.Random) -> str:
    """Return YAML with one to three random changes."""
    lines = text.splitlines()
    for _ in range(chance.randint(1, 3)):
        place = chance.randrange(len(lines))
        kind = chance.randrange(7)
        if kind == 0:
            lines[place] = lines[place].partition(":")[0] + ": " + chance.choice(ODD_TEXTS)
        elif kind == 1:
            lines[place] = lines[place].partition(":")[0] + ": " + yaml.safe_dump(chance.choice(ODD)).split("\n")[0]
        elif kind == 2:
            lines.insert(place, lines[chance.randrange(len(lines))])
        elif kind == 3:
            lines[place] = " " * chance.randint(0, 60) + lines[place].lstrip()
        elif kind == 4:
            letters = list(lines[place] or " ")
            letters[chance.randrange(len(letters))] = chr(chance.choice([0, 9, 27, 34, 39, 58, 91, 123, 233, 0x2028]))
            lines[place] = "".join(letters)
        elif kind == 5:
            lines[place] += chance.choice(ODD_TEXTS) * chance.choice([1, 2, 50])
        else:
            lines.insert(place, f"{chance.choice(KEYS).rpartition('.')[2]}: {chance.choice(ODD_TEXTS)}")
    return "\n".join(lines)


KEYS = sorted(key for key in known_keys(Config, "") if "." in key)


def configs(folder: Path, seed: int) -> dict[str, Any]:
    """Mutate presets and overrides; what loads is written, loaded again and planned."""
    presets = [file.read_text() for file in sorted(preset_folder().glob("*.yaml"))]
    torch.set_num_threads(1)

    def case(place: Path, number: int, chance: random.Random) -> str:
        file = place / "config.yaml"
        text = chance.choice(presets)
        overrides = [f"run={place}/run"]
        if number % 2:
            file.write_bytes(mutated_text(text, chance).encode("utf-8", "surrogatepass"))
        else:
            file.write_text(text)
            for _ in range(chance.randint(1, 2)):
                value = chance.choice([*ODD_TEXTS, *(yaml.safe_dump(odd).split("\n")[0] for odd in ODD)])
                overrides.append(f"{chance.choice(KEYS)}={value}")
        config = load_config(file, overrides)
        again = place / "again.yaml"
        again.write_text(to_yaml(config))
        if load_config(again) != config:
            return "it differs when it is written and read again"
        if config.data.root is None:
            plan(config)
        return "used"

    return fuzz(folder, seed, "configs", case)


# Checkpoints, prepared data sets and indexes


def mutated_file(file: Path, chance: random.Random) -> None:
    """Flip bits of a file, cut it, splice it, or replace a value of its JSON."""
    content = bytearray(file.read_bytes())
    kind = chance.randrange(5)
    if kind == 4 and file.suffix in (".json", ".jsonl"):
        lines = file.read_text().splitlines()
        place = chance.randrange(len(lines)) if file.suffix == ".jsonl" else 0
        tree = json.loads(lines[place] if file.suffix == ".jsonl" else file.read_text())
        changed = json.dumps(with_odd_value(tree, chance))
        file.write_text(
            changed if file.suffix == ".json" else "\n".join([*lines[:place], changed, *lines[place + 1 :], ""])
        )
        return
    if kind == 0:
        content = content[: chance.randrange(len(content) + 1)]
    elif kind == 1:
        place, part = chance.randrange(len(content)), chance.randrange(len(content))
        content = content[:place] + content[part : part + 500] + content[place:]
    else:
        for _ in range(chance.choice([1, 3, 30])):
            content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
    file.write_bytes(content)


def with_odd_value(tree: Any, chance: random.Random) -> Any:
    """Return nested lists and mappings with one value replaced, removed or added."""
    if isinstance(tree, dict) and tree and chance.random() < 0.9:
        key = chance.choice(list(tree))
        if chance.random() < 0.15:
            return {other: value for other, value in tree.items() if other != key}
        return {**tree, key: with_odd_value(tree[key], chance)}
    if isinstance(tree, list) and tree and chance.random() < 0.7:
        place = chance.randrange(len(tree))
        return [*tree[:place], with_odd_value(tree[place], chance), *tree[place + 1 :]]
    return chance.choice(ODD)


TINY: dict[str, Any] = {
    "training.batch_size": 2, "model.scales": 1, "model.feature_maps": [[4]], "model.kernel_sizes": [[3, 3]],
    "training.validate_every": 0, "training.image_every": 0, "training.log_every": 1, "training.monitor_every": 0,
    "training.device": "cpu", "training.steps": 4, "checkpoint.every": 2, "data.num_workers": 0,
}  # fmt: skip


def checkpoints(folder: Path, seed: int) -> dict[str, Any]:
    """Mutate a file of a run; half of the cases let the manifest match, as an attacker does. Predict and resume."""
    run = folder / "run"
    if not (run / "config.yaml").is_file():
        train(load_config(None, {**TINY, "run": str(run)}))
    context = torch.rand(4, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    expected = Predictor.load(run, "last", "cpu").predict(context, 2)

    def case(place: Path, number: int, chance: random.Random) -> str:
        copy = place / "run"
        shutil.copytree(run, copy)
        newest = copy / "checkpoints" / "step-4"
        files = sorted(newest.iterdir()) + [copy / name for name in ("config.yaml", "metrics.jsonl", "last.json")]
        file = files[number % len(files)]
        mutated_file(file, chance)
        hostile = file.parent == newest and file.name != "manifest.json" and number // len(files) % 2
        if hostile:
            (newest / "manifest.json").unlink()
            write_manifest(newest, 4)
        try:
            found = Predictor.load(copy, "last", "cpu").predict(context, 2)
            if not hostile and not torch.equal(found, expected):
                return "another prediction"
        except (StorageError, ConfigError):
            if file.parent != newest:
                return f"{file.name} prevents predictions"
        try:
            train(load_config(None, {**TINY, "run": str(copy), "training.steps": 5}))
        except (StorageError, ConfigError):
            if not hostile and file.parent == newest:
                return "the run cannot be resumed from its previous checkpoint"
            raise
        return "used"

    return fuzz(folder, seed, "checkpoints", case)


def sets_and_indexes(folder: Path, seed: int) -> dict[str, Any]:
    """Mutate the index or the frames of a prepared data set, or the index of a folder of videos."""
    source, clips = folder / "set", folder / "videos"
    if not (source / "prepared.json").is_file():
        prepare(NumberedSet(Path("source"), num_items=4), source, workers=1, progress=False)
    clips.mkdir(exist_ok=True)
    for name, how in list(FILES.items())[:3]:
        if not (clips / name).is_file():
            whole(clips / name, **how)
    expected, _ = scan(clips)
    drawn = checksum_of(source)

    def of_set(place: Path, chance: random.Random) -> str:
        copy = place / "set"
        shutil.copytree(source, copy)
        frames = sorted((copy / "frames").glob("*.u8")) + sorted((copy / "frames").glob("*.f32"))
        file = chance.choice([copy / "index.jsonl", copy / "prepared.json", chance.choice(frames)])
        size = file.stat().st_size
        mutated_file(file, chance)
        found = checksum_of(copy)
        pixels = file.parent.name == "frames" and file.stat().st_size == size  # flipped pixels have no checksum
        return "used" if found == drawn or pixels or file.name == "prepared.json" else "other frames"

    def case(place: Path, number: int, chance: random.Random) -> str:
        if number % 2:
            return of_set(place, chance)
        copy = place / "videos"
        shutil.copytree(clips, copy)
        mutated_file(copy / ".vidpred" / "index.jsonl", chance)
        return "rebuilt" if scan(copy)[0] == expected else "another index"

    return fuzz(folder, seed, "prepared sets and indexes", case)


def checksum_of(folder: Path) -> int:
    """Return a checksum of all windows of a prepared data set, with their actions and states."""
    total = 0
    for split in ("train", "validation", "test"):
        settings = {"root": str(folder), "crop_size": None, "augment": {"horizontal_flip": False}}
        source: Any = prepared_source(DataSettings.model_validate(settings), split, range(5))
        for index in range(len(source)):
            parts = (source.window(index), source.window_actions(index), source.window_states(index))
            total = zlib.crc32(b"".join(np.ascontiguousarray(part).tobytes() for part in parts), total)
    return total


def soak_for_half_an_hour(processes: int) -> Callable[[Path, int], dict[str, Any]]:
    """Return a measurement that kills trainings for half an hour."""

    def measure(folder: Path, seed: int) -> dict[str, Any]:
        shutil.rmtree(folder / "runs", ignore_errors=True)
        return soak(folder / "runs", 30.0, processes, seed, LONG)

    return measure


FUZZ_EXPERIMENTS = [
    Experiment("fuzz: videos", 0, videos),
    Experiment("fuzz: configs", 0, configs),
    Experiment("fuzz: checkpoints", 0, checkpoints),
    Experiment("fuzz: prepared sets and indexes", 0, sets_and_indexes),
    Experiment("reliability: scorecard", 0, scorecard.measure),
    Experiment("reliability: soak, 1 process", 0, soak_for_half_an_hour(1)),
    Experiment("reliability: soak, 2 processes", 0, soak_for_half_an_hour(2)),
]
