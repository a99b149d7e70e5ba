"""The command line. Handlers import their dependencies when they run, so that `vidpred --help` is instant."""

from __future__ import annotations

import copy
import errno
import os
import sys
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from vidpred.commands.checked import Checked, CheckedWithoutTorch, check_words
from vidpred.commands.data import prepare
from vidpred.commands.demo import demo
from vidpred.commands.doctor import doctor
from vidpred.commands.evaluate import compare, evaluate
from vidpred.commands.exit_status import end, leave_exit_code, set_run_folder
from vidpred.commands.export import export
from vidpred.commands.images import complete, sample
from vidpred.commands.lecture import lecture
from vidpred.commands.option_bounds import bounded_command
from vidpred.commands.planning import plan, record
from vidpred.commands.predict import predict
from vidpred.commands.stream import stream
from vidpred.commands.train import show_config, train
from vidpred.errors import ConfigError, StorageError, VidpredError, for_command, lacks_memory, one_line, printable, warn
from vidpred.files import TOO_MANY_FILES
from vidpred.processes.imports import FEW_LINES, WAITING_THREADS
from vidpred.processes.interrupts import EXIT_CODE, end_on_interrupt
from vidpred.processes.parent_watch import SAVE_SECONDS, end_with_parent, started_by_launcher
from vidpred.processes.streams import check_stdout, protect_streams
from vidpred.version import __version__

app = typer.Typer(
    help="Predict the future frames of a video: train, predict, evaluate.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

USAGE_ERROR: type[Exception] = typer.BadParameter.__mro__[1]  # typer has no public name for it


def _show_version(requested: bool) -> None:
    if requested:
        typer.echo(f"vidpred {__version__}")
        raise typer.Exit


@app.callback()
def common(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    """Predict the future frames of a video: train, predict, evaluate."""


app.command(cls=Checked)(train)  # in the order of the help
app.command("config", cls=Checked)(show_config)
app.command(cls=Checked)(predict)
app.command(cls=Checked)(stream)
app.command(cls=Checked)(sample)
app.command(cls=Checked)(complete)
app.command(cls=Checked)(evaluate)
app.command(cls=Checked)(compare)
app.command(cls=Checked)(export)
app.command(cls=Checked)(doctor)
# Its handler names the settings that unknown options have become.
app.command(add_help_option=False, context_settings={"ignore_unknown_options": True}, cls=CheckedWithoutTorch)(prepare)
app.command(cls=Checked)(record)
app.command(cls=Checked)(plan)
app.command(cls=Checked)(demo)
app.command(cls=Checked)(lecture)


OF_THE_SYSTEM = (
    errno.EACCES, errno.EPERM, errno.EROFS, errno.EIO, errno.ESTALE, errno.ELOOP, errno.ENOSPC, errno.EDQUOT,
    errno.ENOTDIR, errno.EISDIR,
)  # fmt: skip

TRAININGS = {"train", "demo", "lecture"}  # which never fail because of what they print

MOST_MESSAGE = 160  # characters of a usage error
SMALLER = "use fewer or smaller frames, or a smaller batch or model"

RENAMED_OPTIONS = {  # verb -> old option -> new: accepted for one release
    "predict": {"--steps": "--frames"},
    "evaluate": {"--steps": "--frames", "--neighbours": "--neighbors"},
    "compare": {"--steps": "--frames"},
    "plan": {"--candidates": "--num-samples", "--execute": "--receding-horizon", "--beside": "--baselines"},
}


def with_new_names(words: Sequence[str]) -> list[str]:
    """Return the words of a command line with renamed options replaced, with a warning on stderr for each."""
    renamed = RENAMED_OPTIONS.get(words[0], {}) if words else {}
    found = []
    for word in words:
        name, equals, value = word.partition("=")
        if name in renamed:
            warn(f"{name} was renamed to {renamed[name]}")
        found.append(renamed.get(name, name) + equals + value)
    return found


def verb_of(command: Any) -> str:
    """Return the verb of a registered command."""
    return str(command.name or getattr(command.callback, "__name__", ""))


def with_verb_only(app: typer.Typer, words: Sequence[str]) -> typer.Typer:
    """Return the app with the verb of a command line alone, because building all commands takes as long as a step."""
    used = [command for command in app.registered_commands if verb_of(command) in words[:1]]
    if not used and list(words) not in ([], ["--help"]):
        return app
    one = copy.copy(app)
    one.registered_commands = used or [_listed(command) for command in app.registered_commands]
    return one


def _listed(command: Any) -> Any:
    """Return a registered command without its parameters, for the list of all."""
    found = copy.copy(command)
    found.name, found.help, found.callback = verb_of(command), command.callback.__doc__, lambda: None
    return found


@for_command(True)
def main() -> None:
    """Run the command line; expected failures print one line on stderr and exit with a documented code."""
    end_on_interrupt()
    protect_streams()
    for name, value in (WAITING_THREADS | ({} if sys.stderr.isatty() else FEW_LINES)).items():
        os.environ.setdefault(name, value)  # before torch and tqdm are loaded
    if started_by_launcher():
        end_with_parent(SAVE_SECONDS)
    set_run_folder(None)  # it may be set by an earlier call in the same process
    debug = "--debug" in sys.argv
    if debug:  # accepted at any position
        sys.argv.remove("--debug")
    sys.argv[1:] = with_new_names(sys.argv[1:])
    try:
        check_words(sys.argv[1:])
        code = bounded_command(with_verb_only(app, sys.argv[1:]))(standalone_mode=False, prog_name="vidpred")
        if not ({*sys.argv[1:2]} & TRAININGS) or "--dry-run" in sys.argv:
            _check_printed()
    except VidpredError as error:
        end(error, debug)
    except USAGE_ERROR as error:
        end(_usage_error(error), debug)
    except KeyboardInterrupt:
        sys.exit(EXIT_CODE)
    except Exception as error:
        if known := _explained(error):
            end(known, debug)
        leave_exit_code(1, f"{type(error).__name__}: {one_line(error)}")
        raise
    sys.exit(code if isinstance(code, int) else 0)


def _explained(error: Exception) -> VidpredError | None:
    """Return an error of any library as one that users can fix, if it is one."""
    if isinstance(error, OSError) and error.errno == errno.ENAMETOOLONG:
        return StorageError(f"a name is too long [{error.filename}]; choose a shorter one")
    if isinstance(error, OSError) and error.errno in OF_THE_SYSTEM and error.filename:
        name = printable(os.fsdecode(error.filename))
        return StorageError(f"cannot read or write [{name}]: {error.strerror}; check its permissions and the disk")
    if os.strerror(errno.EMFILE) in str(error) or getattr(error, "errno", None) == errno.ENFILE:
        return StorageError(TOO_MANY_FILES)
    if lacks_memory(error):
        return ConfigError(f"not enough memory ({one_line(error)[:80]}); {SMALLER}")
    return None


def _check_printed() -> None:
    try:
        check_stdout()
    except OSError as error:
        raise StorageError(f"cannot write standard output: {error.strerror}; redirect it to another file") from None


def _usage_error(error: Any) -> ConfigError:
    """Return Typer's usage error as a ConfigError of one line; without any argument show the help and exit."""
    message = error.format_message()
    if len(message) > MOST_MESSAGE:
        message = f"{message[: MOST_MESSAGE // 2]}...{message[-MOST_MESSAGE // 4 :]}"
    if "\n" in message:
        error.show()
        sys.exit(ConfigError.exit_code)
    verb = next((f" {verb}" for verb in map(verb_of, app.registered_commands) if verb in sys.argv[1:2]), "")
    return ConfigError(f"{message[:1].lower()}{message[1:].rstrip('.')}; see vidpred{verb} --help")
