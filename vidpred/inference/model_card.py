"""The model card: what a model is, how to use it, its data, settings and metrics, as Markdown."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from vidpred.errors import counted
from vidpred.media.text_table import markdown_table
from vidpred.settings import dump_yaml

COLORS = {1: "gray", 3: "color"}
USE_FRAMES = """```python
from vidpred import Predictor, read_video

predictor = Predictor.from_pretrained({quoted})
context = read_video("clip.mp4", start=-{context}{size})  # the last frames of the clip
prediction = predictor.predict(context, num_frames=8)
```

```bash
vidpred predict clip.mp4 --model {name} --output future.mp4
```
"""
USE_IMAGES = """```bash
vidpred sample --model {name} --grid --output samples.png
```
"""
HEADER = """---
library_name: vidpred
tags: [{tag}]
---
"""


def model_card(
    name: str,
    config: Mapping[str, Any],
    shared: Mapping[str, Any],
    state: Mapping[str, Any],
    metrics: Mapping[str, Any] | None,
) -> str:
    """Return the card as Markdown.

    Args:
        name: What to load it by: a path or a repository.
        config: Its settings, by section.
        shared: The settings that the card shows.
        state: Entries of the checkpoint's state.json.
        metrics: Numbers of `vidpred evaluate --json`; None: none.
    """
    data = config["data"]
    frames = bool(data["context_frames"])
    kind = state.get("own_generator") or config["model"]["name"]
    what = (
        f"Predicts future frames of a video: {data['pred_frames']} from {data['context_frames']} context frames at "
        "once, and more recursively."
        if frames
        else "Generates images from noise."
    )
    unmeasured = f"Not measured yet: `vidpred evaluate --model {shlex.quote(name)} --data FOLDER`.\n"
    return "\n".join([
        HEADER.format(tag="video-prediction" if frames else "image-generation"),
        f"# {PurePosixPath(name).name}\n",
        f"{what} Model `{kind}`, {state['parameters']:,} parameters, {state['step']} training steps, made with "
        "vidpred.\n",
        "## Use\n",
        (USE_FRAMES if frames else USE_IMAGES).format(
            quoted=json.dumps(name, ensure_ascii=False), name=shlex.quote(name), context=data["context_frames"],
            size=f", size={data['size']}" if data.get("size") else "",
        ),
        "## Data\n",
        *_about_data(data, state),
        "## Metrics\n",
        *(_tables(metrics) if metrics else [unmeasured]),
        "## Settings\n",
        f"```yaml\n{dump_yaml(dict(shared), sort_keys=False)}```",
    ]) + "\n"  # fmt: skip


def _about_data(data: Mapping[str, Any], state: Mapping[str, Any]) -> list[str]:
    root = data.get("root")
    world = (data.get("world") or {}).get("name", "forking_ball")
    source = state.get("data") or (f"`{Path(root).name}`" if root else f"the embedded world `{world}`")
    size = f"short side {data['size']} pixels" if data.get("size") else "the size of the files"
    color = COLORS.get(data["channels"], "color, several cameras")
    lines = [
        f"- training data: {source}",
        f"- {'frames' if data['context_frames'] else 'images'}: {size}, {color}",
    ]
    if (data.get("video") or {}).get("fps"):
        lines.append(f"- frames per second: {data['video']['fps']}")
    shares = ", ".join(f"{share:g}" for share in data["split_fractions"])
    lines.append(f"- shares of training, validation and test: {shares}")
    if state.get("classes"):
        lines.append(f"- classes: {', '.join(state['classes'])}")
    if state.get("credits"):
        lines.append(f"- credits: {state['credits']}")
    return [*lines, ""]


def _tables(metrics: Mapping[str, Any]) -> list[str]:
    """Return a table of the first and the last frame ahead, or of the numbers of images, with all definitions."""
    lines = []
    if "models" in metrics:
        ahead = sorted({1, metrics["steps"]})
        data = f" of `{metrics['data']}`" if "data" in metrics else ""
        windows = counted(metrics["windows"], "window")
        lines.append(f"{windows} of the {metrics.get('split', 'test')} split{data}, protocol "
                     f"`{metrics['protocol']}`; mean ± standard error.\n")  # fmt: skip
        for step in ahead:
            first = next(iter(metrics["models"].values()))["overall"]
            rows = [
                [name, *(_cell(scores["overall"][metric], step - 1) for metric in first)]
                for name, scores in metrics["models"].items()
            ]
            lines.append(markdown_table([f"frame t+{step}", *first], rows))
    else:
        columns = list(dict.fromkeys(key for numbers in metrics.get("numbers", {}).values() for key in numbers))
        rows = [
            [name, *("-" if (value := numbers.get(key)) is None else f"{value:.4g}" for key in columns)]
            for name, numbers in metrics.get("numbers", {}).items()
        ]
        lines.append(f"{metrics.get('samples')} samples, {metrics.get('split')} split.\n")
        lines.append(markdown_table(["", *columns], rows))
    return [*lines, *(f"- `{name}`: {text}" for name, text in metrics["definitions"].items()), ""]


def _cell(totals: Mapping[str, list[float | None]], place: int) -> str:
    mean, error = totals["mean"][place], totals["standard_error"][place]
    return "-" if mean is None else f"{mean:.4g}" + ("" if error is None else f" ± {error:.2g}")
