"""The 25 faults of docs/guide/reliability.md, what is promised for each, and the tests that try it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

CHECKOUT = Path(__file__).parents[2]
HERE = "tests/reliability"


@dataclass(frozen=True)
class Case:
    """One fault: what happens, what is promised, and the tests, by the beginning of their pytest names."""

    fault: str
    promise: str
    tests: tuple[str, ...]


CASES = (
    Case("all ranks killed within an epoch", "the resumed run equals an undisturbed one bit for bit",
         ("tests/training/test_trainer.py::test_killed_runs_resume_bit_for_bit[2]",)),
    Case("killed, resumed and killed again, with data workers", "as above, and the same samples in every step",
         ("tests/training/test_trainer.py::test_killed_runs_resume_bit_for_bit[1]", f"{HERE}/test_soak.py")),
    Case("killed at any system call of a save", "the previous checkpoint or the new one with its mark, never less",
         (f"{HERE}/test_kill_while_saving.py", f"{HERE}/test_leftovers.py")),
    Case("a checkpoint cut, flipped, or without a file", "the previous one with a warning; exit 4 if named explicitly",
         ("tests/test_checkpoint.py",)),
    Case("files of the run folder or indexes missing or damaged", "rebuilt with a warning",
         (f"{HERE}/test_damaged_run_folders.py", f"{HERE}/test_wrong_types.py", f"{HERE}/test_special_files.py",
          f"{HERE}/test_exit_files.py", f"{HERE}/test_damaged_indexes.py")),
    Case("a full disk, a lost standard stream", "logs: one warning; a checkpoint: exit 4, the old ones unchanged",
         (f"{HERE}/test_full_disk.py", f"{HERE}/test_streams.py")),
    Case("an unwritable run folder", "exit 4 before the first step",
         ("tests/test_checkpoint.py::test_an_unwritable_folder_is_refused_before_any_work",)),
    Case("SIGTERM to the launcher or to one rank", "all ranks save the same step; exit 75",
         (f"{HERE}/test_several_processes.py::test_sigterm_saves_on_all_ranks",
          f"{HERE}/test_ends_with_parent.py::test_ranks_of_a_lost_launcher_save_and_end")),
    Case("Ctrl-C once, twice, ten times", "saves; stops; no traceback at any moment", (f"{HERE}/test_interrupts.py",)),
    Case("a loss, gradient or weight that is not finite", "exit 5 before the update, naming the first network",
         (f"{HERE}/test_divergence.py",
          f"{HERE}/test_several_processes.py::test_values_of_one_rank_that_are_not_finite")),
    Case("a run that diverges again and again", "the same error every time, no endless loop",
         (f"{HERE}/test_several_processes.py::test_a_diverged_run_diverges_again",)),
    Case("a saturated discriminator, one prediction for all", "a warning with a remedy; the run goes on",
         ("tests/commands/test_diagnose.py",)),
    Case("bad videos among good ones", "exit 3 with all of them, or skipped and listed",
         ("tests/data/test_index.py", "tests/data/test_bad_videos.py", "tests/data/test_pieces.py",
          "tests/streaming/test_ends_of_sources.py", f"{HERE}/test_silent_losses.py")),
    Case("videos that are too short or have no video stream, or no videos at all", "exit 3, naming the setting",
         ("tests/data/test_index.py::test_too_short_videos_name_the_settings",
          "tests/data/test_index.py::test_missing_or_unreadable_data_raises")),
    Case("data that changes while it is used", "exit 3, naming the file; never a dead process",
         ("tests/data/test_video.py::test_a_changed_file_is_detected", f"{HERE}/test_damaged_prepared_sets.py")),
    Case("a data worker killed, hanging or stopped", "exit 3 within data.timeout_seconds, naming the file",
         ("tests/training/test_worker_failures.py", f"{HERE}/test_lost_processes.py::test_a_stopped_data_worker")),
    Case("a rank killed, stalled or failing", "exit 6 on the others, with the cause; no process is left",
         (f"{HERE}/test_lost_processes.py", f"{HERE}/test_ends_with_parent.py", f"{HERE}/test_two_writers.py")),
    Case("data that the ranks cannot share equally", "every window once per epoch, whatever the number of ranks",
         ("tests/data/test_sources.py::test_every_window_is_drawn_once_per_epoch",
          "tests/data/test_sources.py::test_processes_share_the_positions_of_a_step")),
    Case("another number of processes on resume", "announced; the same samples, weights within rounding",
         (f"{HERE}/test_several_processes.py::test_another_number_of_processes",)),
    Case("odd and hostile configs", "exit 2, one line with the place, within two seconds",
         ("tests/test_config.py", f"{HERE}/test_hostile_yaml.py", f"{HERE}/test_odd_values.py")),
    Case("hostile checkpoints, archives and networks", "nothing executed, nothing outside the folder",
         (f"{HERE}/test_damaged_run_folders.py", "tests/data_prep/test_archives.py")),
    Case("huge videos, playlists and images named like videos", "exit 3 before anything is decoded",
         ("tests/data/test_bad_videos.py",)),
    Case("variable rates, rotation, odd sizes, any name", "read as players do; random access equals decoding in order",
         ("tests/data/test_video.py", "tests/data/test_what_players_play.py", "tests/data/test_mutated_videos.py")),
    Case("few file descriptors, long runs", "file descriptors, threads, memory and disk stay bounded",
         ("tests/data/test_video.py::test_containers_are_closed", f"{HERE}/test_soak.py",
          f"{HERE}/test_surroundings.py")),
    Case("outputs that exist, appear or cannot be written", "exit 4; nothing is overwritten or half-written",
         ("tests/inference/test_predict_outputs.py", f"{HERE}/test_outputs.py",
          f"{HERE}/test_output_names.py")),
)  # fmt: skip


def run(tests: Sequence[str]) -> dict[str, tuple[bool, float]]:
    """Run tests; return for each whether it passed (or was skipped), and its seconds."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "MPLBACKEND": "Agg"}
        options = [f"--junitxml={report}", "-o", "junit_family=xunit1"]
        words = [sys.executable, "-m", "pytest", *tests, *options]
        subprocess.run(words, cwd=CHECKOUT, env=environment, check=False)
        cases = ElementTree.parse(report).iter("testcase")
        return {
            f"{case.get('file')}::{case.get('name')}": (
                case.find("failure") is None and case.find("error") is None,
                float(case.get("time") or 0),
            )
            for case in cases
        }


def measure(folder: Path, seed: int) -> dict[str, Any]:
    """Run the tests of all cases, and return for each how many passed and how long they took.

    The outcomes of every file are kept in the folder, so that an interrupted experiment continues with the next file,
    and after a failure only the files that failed are run again.
    """
    tests = list(dict.fromkeys(test for case in CASES for test in case.tests))
    outcomes: dict[str, tuple[bool, float]] = {}
    for file in dict.fromkeys(test.partition("::")[0] for test in tests):
        outcomes |= measure_file(folder, file, [test for test in tests if test.startswith(file)])
    rows = {}
    for number, case in enumerate(CASES, 1):
        found = [outcome for name, outcome in outcomes.items() if name.startswith(case.tests)]
        passed = sum(good for good, _ in found)
        rows[str(number)] = {"tests": len(found), "passed": passed, "seconds": round(sum(time for _, time in found), 1)}
    return {"cases": rows, "tests": len(outcomes), "seconds": round(sum(time for _, time in outcomes.values()))}


def measure_file(folder: Path, file: str, tests: Sequence[str]) -> dict[str, tuple[bool, float]]:
    """Return the outcomes of tests of one file, as recorded in a folder if all passed, else by running them."""
    record = folder / f"{file.replace('/', '-')}.json"
    found = json.loads(record.read_text()) if record.is_file() else {}
    if not found or not all(passed for passed, _ in found.values()):
        found = run([file] if file in tests else tests)
        record.write_text(json.dumps(found))
    return {name: (bool(passed), float(seconds)) for name, (passed, seconds) in found.items()}
