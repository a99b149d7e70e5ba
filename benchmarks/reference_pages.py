"""Write the pages of docs that are generated from code. Run: python -m benchmarks.reference_pages.

A test finds stale ones.
"""

from __future__ import annotations

import inspect
import re
from itertools import takewhile
from pathlib import Path
from typing import Any

import typer
import yaml

from vidpred import errors
from vidpred.commands.app import app
from vidpred.config.explain import explain
from vidpred.evaluation.images import MOST_TRAINING, NAMES
from vidpred.evaluation.metric_networks import KINDS
from vidpred.evaluation.metric_table import METRICS, PROTOCOLS, Metric
from vidpred.files import write_file
from vidpred.media.text_table import markdown_table
from vidpred.training.diagnosis import CHECKS

CHECKOUT = Path(__file__).parent.parent


def pages() -> dict[str, str]:
    """Return the text of every generated page by its file name."""
    texts = {
        "cli.md": cli_page(),
        "settings.md": explain(markdown=True),
        "presets.md": presets_page(),
        "metrics.md": metrics_page(),
        "exit-codes.md": exit_codes_page(),
        "../guide/troubleshooting.md": troubleshooting_page(),
    }
    return {name: text.rstrip("\n") + "\n" for name, text in texts.items()}


def cli_page() -> str:
    """Return the command line's reference: every verb with its arguments, options and defaults."""
    group: Any = typer.main.get_command(app)
    names = sorted(name for name, command in group.commands.items() if not command.hidden)
    parts = [
        "# Command line",
        "`vidpred VERB --help` prints the same. Settings are given as `KEY=VALUE`, as in `data.root=clips`; "
        "[Settings](settings.md) lists them. Exit codes: [0 to 75](exit-codes.md).",
        markdown_table(["verb", "what it does"], ([f"[`{x}`](#{x})", _first(group.commands[x].help)] for x in names)),
    ]
    for name in names:
        command = group.commands[name]
        parts += [f"## {name}", " ".join(command.help.split())]
        shown = [parameter for parameter in command.params if not parameter.hidden and parameter.name != "help"]
        arguments = [parameter for parameter in shown if not parameter.opts[0].startswith("-")]
        options = ["[OPTIONS]"] if len(shown) > len(arguments) else []
        usage = " ".join(["vidpred", name, *map(_argument, arguments), *options])
        parts.append(f"```text\n{usage}\n```")
        if name == "prepare":
            parts.append("`vidpred prepare` lists the data sets, `vidpred prepare NAME --help` the options of one; see "
                         "[Data sets](../guide/data-sets.md).")  # fmt: skip
        if shown:
            rows = ([_names(parameter), _default(parameter), parameter.help or ""] for parameter in shown)
            parts.append(markdown_table(["argument or option", "default", "meaning"], rows))
    return "\n\n".join(parts)


def _first(text: str) -> str:
    return re.split(r"(?<=[.;:])\s", " ".join(text.split()))[0].rstrip(";:")


def _argument(parameter: Any) -> str:
    name = parameter.metavar or parameter.name.upper()
    name = name if parameter.required or name.startswith("[") else f"[{name}]"
    return name if parameter.nargs == 1 or "..." in name else f"{name}..."


def _names(parameter: Any) -> str:
    if not parameter.opts[0].startswith("-"):
        return f"`{_argument(parameter)}`"
    return ", ".join(f"`{name}`" for name in [*parameter.opts, *parameter.secondary_opts])


def _default(parameter: Any) -> str:
    if parameter.required:
        return "required"
    default = parameter.default
    if default is None or default is False or callable(default):
        return ""
    return f"`{'on' if default is True else default}`"


def presets_page() -> str:
    """Return the list of configs/*.yaml, with each header comment and model."""
    parts = ["# Presets", "`vidpred train --config NAME.yaml` trains one; `vidpred config NAME.yaml` prints every "
             "setting with the origin of its value. Copy a preset's settings into your own YAML file, or change "
             "single settings on the command line. Without a time, the hardware is an estimate."]  # fmt: skip
    rows = []
    for path in sorted((CHECKOUT / "configs").glob("*.yaml")):
        text = path.read_text()
        tree = yaml.safe_load(text) or {}
        # The description ends at the "#" line before command, hardware, time and score.
        lines = takewhile(lambda line: line.startswith("# "), text.splitlines())
        about = " ".join(line.removeprefix("# ").strip() for line in lines)
        found = (re.search(rf"^#   {word}: +(.*)", text, re.MULTILINE) for word in ("hardware", "time"))
        hardware, seconds = (match[1] if match else "" for match in found)
        model = tree.get("model", {}).get("name", "multiscale")
        rows.append([f"`{path.name}`", model, about, hardware, "" if "not measured" in seconds else seconds])
    parts.append(markdown_table(["preset", "model", "description", "hardware", "time"], rows))
    return "\n\n".join(parts)


def metrics_page() -> str:
    """Return the definition of every metric that an evaluation prints."""
    frames = ([f"`{name}`", metric.title, _sentence(metric.definition), _better(metric)]
              for name, metric in METRICS.items())  # fmt: skip
    protocols = ([f"`{protocol.name}`", ", ".join(f"`{name}`" for name in protocol.metrics)]
                 for protocol in PROTOCOLS.values())  # fmt: skip
    blanks = {"features": "a network", "split": "held-out", "most": f"{MOST_TRAINING:,}"}
    images = ([f"`{name}`", _sentence(re.sub(r"\{(\w+)[^}]*\}", lambda m: blanks.get(m[1], m[1]), text))]
              for name, text in NAMES.items())  # fmt: skip
    networks = (
        [f"`--{name.replace('_', '-')}`", kind.title, _sentence(kind.definition)] for name, kind in KINDS.items()
    )
    return "\n\n".join([
        "# Metrics",
        "The code, the JSON file of `vidpred evaluate --json` and the page of `vidpred compare` use the definitions "
        "below. All frame metrics are computed in float32 on frames in [0, 1], for one frame at a time, then averaged "
        "over windows.",
        "## Frames", markdown_table(["metric", "title", "definition", "better"], frames),
        "## Protocols", "`--protocol` chooses the metrics:", markdown_table(["protocol", "metrics"], protocols),
        "## Images", "`vidpred evaluate` on a run that makes images prints:",
        markdown_table(["metric", "definition"], images),
        "## With your own network files", "LPIPS, FID and FVD need a network that you provide (TorchScript):",
        markdown_table(["option", "title", "definition"], networks),
    ])  # fmt: skip


def _better(metric: Metric) -> str:
    if metric.best is not None:
        return f"nearer to {metric.best:g}"
    return "lower" if metric.lower_is_better else "higher"


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:].rstrip(".") + "."


SYMPTOMS = {
    "data": "The data looks wrong", "learning": "The losses do not fall, or are not finite",
    "adversary": "Generator and discriminator are out of balance", "frames": "Predicted frames are poor",
    "images": "Samples of an image generator are alike", "results": "Outputs are blurred, noisy or out of range",
}  # fmt: skip


def troubleshooting_page() -> str:
    """Return the checks of the doctor by symptom, with why each finding matters and what to try."""
    parts = [
        "# When training goes wrong",
        "`vidpred doctor RUN` looks for all of these in the numbers of a run, shows what it observed, and gives the "
        "advice that the run's settings can follow; `vidpred doctor CONFIG` tries a config for a few steps. Serious "
        "findings are also printed while a run trains. A run that stopped with an error: see the message and the "
        "[exit codes](../reference/exit-codes.md).",
    ]
    for group, symptom in SYMPTOMS.items():
        parts.append(f"## {symptom}")
        for check in (check for check in CHECKS if check.group == group):
            title, why = (_either(text) for text in (check.title, check.why))
            advice = "\n".join(f"- {_settings(_sentence(_either(remedy.text)))}" for remedy in check.remedies)
            parts += [f"### {_sentence(title).rstrip('.')}", _sentence(why), advice]
    return "\n\n".join(parts) + "\n"


def _either(text: str) -> str:
    return text.replace("{frames}", "frames or images").replace("{predictions}", "predictions or samples")


def _settings(text: str) -> str:
    """Mark settings and presets as code."""
    setting = r"(?:data|model|discriminator|objective|training)\.[\w.]+\w(?:=[^\s;)]*[^\s;),.])?"
    return re.sub(rf"{setting}|\w+\.yaml", r"`\g<0>`", text)


def exit_codes_page() -> str:
    """Return the exit codes of the command line, from the exception classes."""
    kinds = [kind for _, kind in inspect.getmembers(errors, inspect.isclass)
             if issubclass(kind, errors.VidpredError) and "exit_code" in vars(kind)]  # fmt: skip
    rows = [[kind.exit_code, f"`{kind.__name__}`", " ".join((inspect.getdoc(kind) or "").split())]
            for kind in sorted(kinds, key=lambda kind: kind.exit_code)]  # fmt: skip
    signals = [["128 + N", "", "A signal ended the command before it had anything to save or to finish: 130 Ctrl-C, "
                "143 SIGTERM, 129 SIGHUP, as shells report it of any program. A stream that has shown a forecast "
                "finishes its outputs and ends with 0."]]  # fmt: skip
    return "\n\n".join([
        "# Exit codes",
        "A failure is one line on standard error; `--debug` adds the traceback. In Python the same failures are "
        "exceptions of `vidpred.errors`, whose messages name arguments in place of options; "
        "arguments of a wrong shape, type or range, such as too few context frames, raise "
        "`ValueError` or `TypeError`. In a distributed run every process also writes its exit code into the "
        "run folder (`exit.json`, `exit-process-1.json`).",
        markdown_table(["code", "exception", "meaning"], [[0, "", "Success."], *rows, *signals]),
    ])  # fmt: skip


def main() -> None:
    """Write all pages."""
    for name, text in pages().items():
        write_file(CHECKOUT / "docs/reference" / name, text)


if __name__ == "__main__":
    main()
