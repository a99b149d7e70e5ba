"""Ctrl-C, once or many times, at any moment: no traceback, exit code 130 or 75, no damage, no process left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from tests.reliability.conftest import Start, has_step, train_words
from vidpred.checkpoint import RunFolder
from vidpred.processes import interrupts
from vidpred.processes.pool import in_processes


def interrupt_often(pid: int, times: int = 10, seconds: float = 0.03, number: int = signal.SIGINT) -> None:
    """Send a signal to a process and its children, as a terminal does."""
    for _ in range(times):
        try:
            os.killpg(pid, number)
        except ProcessLookupError:
            return
        time.sleep(seconds)


def check(start: Start, clips: Path, run: Path, after: float | None) -> None:
    started = start(*train_words(clips, run, data__num_workers=1))
    if after is None:
        started.wait_until(lambda: has_step(run))
    else:
        time.sleep(after)
    started.children()
    interrupt_often(started.process.pid)
    errors = started.errors(30)
    started.wait_for_family()
    assert "Traceback" not in errors, errors
    assert "Exception ignored" not in errors, errors
    assert started.process.returncode in (130, 75, -signal.SIGINT), errors
    newest = RunFolder(run).newest() if run.exists() else None
    assert newest is None or newest.step > 0


def run_python(code: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run code without the packages that an environment loads when Python starts."""
    paths = f"import sys; sys.path[:0] = [{str(folder)!r}, {os.getcwd()!r}]\n"
    return subprocess.run(
        [sys.executable, "-S", "-c", paths + code], capture_output=True, text=True, check=False,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # else ignored in background jobs
    )  # fmt: skip


@pytest.mark.slow
def test_an_import_cannot_drop_it(tmp_path: Path) -> None:
    """As torch does while it imports numpy, which then cannot be imported again."""
    (tmp_path / "inner.py").write_text("import os, signal; os.kill(os.getpid(), signal.SIGINT)")
    (tmp_path / "outer.py").write_text("try:\n    import inner\nexcept BaseException:\n    pass")
    done = run_python(
        "from vidpred.processes.interrupts import end_on_interrupt; end_on_interrupt()\n"
        "print('begun')\nimport outer\nprint('dropped')",
        tmp_path,
    )
    assert (done.returncode, done.stdout, done.stderr) == (130, "begun\n", "")


@pytest.mark.slow
def test_little_is_loaded_before_it_is_handled(tmp_path: Path) -> None:
    done = run_python("import vidpred.processes.interrupts; print(*sys.modules)", tmp_path)
    assert not {"pathlib", "typing", "threading", "inspect", "torch"} & set(done.stdout.split()), done.stdout


def test_a_cleanup_that_hangs_can_be_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    ended: list[bool] = []
    monkeypatch.setattr(interrupts, "_end_at_once", lambda: ended.append(True))
    monkeypatch.setattr(interrupts, "_interrupted_at", None)
    with pytest.raises(KeyboardInterrupt):
        interrupts.interrupt()
    interrupts.interrupt()
    assert not ended
    monkeypatch.setattr(interrupts, "_interrupted_at", time.monotonic() - interrupts.CLEANUP_SECONDS - 1)
    interrupts.interrupt()
    assert ended


def end_parent(job: tuple[int, str]) -> None:
    os.kill(os.getppid(), job[0])
    time.sleep(30)


@pytest.mark.reliability
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_work_in_processes_is_cleaned_up(number: int) -> None:
    """SIGTERM would end this process at once, and leave its processes and temporary files."""
    if signal.getsignal(number) != signal.SIG_DFL:
        pytest.skip("ignored here")
    before = set(psutil.Process().children())
    with pytest.raises(SystemExit) as ended:
        list(in_processes(end_parent, [(number, "a"), (number, "b")], 2, "", False))
    assert ended.value.code == 128 + number
    assert signal.getsignal(number) == signal.SIG_DFL
    for child in set(psutil.Process().children()) - before:
        assert "resource_tracker" in str(child.cmdline())


@pytest.mark.reliability
def test_ten_interrupts_while_it_trains(start: Start, clips: Path, tmp_path: Path) -> None:
    check(start, clips, tmp_path / "run", None)


@pytest.mark.reliability
@pytest.mark.parametrize("after", [0.1, *(0.4 * number for number in range(1, 15))])
def test_ten_interrupts_at_any_moment(start: Start, clips: Path, tmp_path: Path, after: float) -> None:
    check(start, clips, tmp_path / "run", after)


@pytest.mark.reliability
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_one_signal_saves(start: Start, clips: Path, tmp_path: Path, number: signal.Signals) -> None:
    """SIGHUP comes where a terminal or a connection is closed."""
    run = tmp_path / "run"
    started = start(*train_words(clips, run, data__num_workers=1))
    started.wait_until(lambda: has_step(run))
    interrupt_often(started.process.pid, 1, number=number)
    errors = started.errors(30)
    assert started.process.returncode == 75, errors
    assert RunFolder(run).newest() is not None
