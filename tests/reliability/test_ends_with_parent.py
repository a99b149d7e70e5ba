"""No process outlives the one that started it."""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path

import psutil
import pytest

from tests.reliability.conftest import Start, has_step, train_words, two_ranks
from vidpred.checkpoint import RunFolder
from vidpred.errors import StoppedError

pytestmark = pytest.mark.slow

POOL = """
import time
from vidpred.processes.pool import in_processes
if __name__ == "__main__":
    for item, slept in in_processes({work}, [({seconds}, 1), ({seconds}, 2)], 2, "sleep", False):
        print(item)
"""


def write_pool(folder: Path) -> Path:
    """Write a script whose pool processes sleep for a minute."""
    (folder / "sleeping.py").write_text("import time\ndef sleep(job): time.sleep(job[0])\n")
    script = folder / "script.py"
    script.write_text("from sleeping import sleep\n" + POOL.format(work="sleep", seconds=60))
    return script


def spawned(process: psutil.Process) -> bool:
    """Return whether a process is one that multiprocessing spawned."""
    return any("spawn_main" in word for word in process.cmdline())


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_pool(start: Start, tmp_path: Path, number: signal.Signals) -> None:
    started = start(str(write_pool(tmp_path)), PYTHONPATH=":".join([str(tmp_path), *sys.path]))
    started.wait_until(lambda: sum(map(spawned, started.children())) == 2)
    started.wait_until(lambda: all(child.num_threads() > 1 for child in started.children() if spawned(child)))
    started.process.send_signal(number)
    started.wait_for_family()


def test_a_stopped_process_that_may_save(start: Start, tmp_path: Path) -> None:
    """SIGTERM waits until a stopped process goes on."""
    code = """
import time
from vidpred.processes.pool import spawn_pool
with spawn_pool(1, 5.0) as pool:
    pool.submit(time.sleep, 60).result()
"""
    started = start("-c", code)
    started.wait_until(lambda: any(spawned(child) and child.num_threads() > 1 for child in started.children()))
    for child in filter(spawned, started.children()):
        child.suspend()
    started.process.kill()
    started.wait_for_family(5)


@pytest.mark.reliability
def test_stopped_data_workers_of_a_killed_training(start: Start, clips: Path, tmp_path: Path) -> None:
    started = start(*train_words(clips, tmp_path / "run", data__num_workers=2))
    started.wait_until(lambda: has_step(tmp_path / "run"))
    workers = started.children()
    assert len(workers) >= 2
    for worker in workers:
        worker.suspend()
    started.process.kill()
    started.wait_for_family()


@pytest.mark.parametrize("stopped", [False, pytest.param(True, marks=pytest.mark.reliability)])
def test_ranks_of_a_lost_launcher_save_and_end(start: Start, clips: Path, tmp_path: Path, stopped: bool) -> None:
    run = tmp_path / "run"
    started = start(*two_ranks(train_words(clips, run, data__num_workers=1)))
    started.wait_until(lambda: has_step(run), 90)
    children = started.children()
    assert len(children) >= 4, "two ranks, and a worker of each"
    for child in children if stopped else []:
        child.suspend()
    started.process.kill()
    started.wait_for_family()
    assert RunFolder(run).newest() is not None
    for name in ("exit.json", "exit-process-1.json"):
        assert json.loads((run / name).read_text())["code"] == StoppedError.exit_code


@pytest.mark.reliability
def test_a_training_that_accelerate_started_alone(start: Start, clips: Path, tmp_path: Path) -> None:
    """Accelerate does not forward SIGTERM to a single process."""
    words = ["-m", "accelerate.commands.launch", "--cpu", "--num_processes", "1", "--num_machines", "1"]
    words += ["--mixed_precision", "no", "--dynamo_backend", "no"]
    started = start(*words, *train_words(clips, tmp_path / "run"))
    started.wait_until(lambda: has_step(tmp_path / "run"), 90)
    started.process.terminate()
    started.wait_for_family()
    assert RunFolder(tmp_path / "run").newest() is not None


@pytest.mark.reliability
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_trainings_of_the_demo(start: Start, tmp_path: Path, number: signal.Signals) -> None:
    """They save, and the demo ends as a training that a signal stops does."""
    code = f"""
from pathlib import Path
from vidpred.commands.exit_status import end
from vidpred.commands.parallel_runs import train_together
from vidpred.commands.run_demo import demo_config
from vidpred.errors import StoppedError
runs = [Path({str(tmp_path)!r}) / name for name in "ab"]
try:
    train_together([demo_config("forking_ball_mse.yaml", run, 0, 1, 100_000) for run in runs], "")
except StoppedError as error:
    end(error, False)
"""
    killed = number == signal.SIGKILL
    started = start("-c", code)
    started.wait_until(lambda: all((tmp_path / name / "metrics.jsonl").is_file() for name in "ab"), 90)
    assert sum(map(spawned, started.children())) == 2
    for child in filter(spawned, started.children() if killed else []):
        child.suspend()
    started.process.send_signal(number)
    errors = started.errors(30)
    started.wait_for_family()
    assert started.process.returncode == (-number if killed else StoppedError.exit_code), errors
    assert killed or "resource_tracker" not in errors
    assert all(RunFolder(tmp_path / name).newest() is not None for name in "ab")


def test_standard_input_is_no_module_to_import(start: Start) -> None:
    """Processes that import the main module cannot start, so this process does the work."""
    started = start("-", stdin=POOL.format(work="lambda job: time.sleep(job[0])", seconds=0.01))
    printed, errors = started.process.communicate(timeout=60)
    assert (started.process.returncode, printed) == (0, "1\n2\n"), errors


def test_a_script_without_a_guard_is_named(start: Start, tmp_path: Path) -> None:
    script = write_pool(tmp_path)
    script.write_text(script.read_text().replace('__name__ == "__main__"', "True"))
    started = start(str(script), PYTHONPATH=":".join([str(tmp_path), *sys.path]))
    errors = started.errors()
    assert errors.count("Traceback") == 1, errors
    assert "StorageError" in errors
    assert 'call vidpred under `if __name__ == "__main__":`' in errors
