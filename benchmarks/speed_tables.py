"""The tables of docs/results/speed.md."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from typing import Any

from benchmarks.markdown import Results, grid, numbers, percent

CEILINGS = "speed: training steps and ceilings"
DECISION, KINDS = "PushT, time of a decision", ("processor", "wall")


def milliseconds(results: Results, name: str, key: str = "milliseconds") -> str:
    """Return medians, extremes and the ratio to the first line."""
    values = results[name, 0].values[key]
    reference = next(iter(values.values()))["median"]
    rows = [
        [title, f"{time['median']:.1f}", f"{time['min']:.0f} - {time['max']:.0f}", f"{reference / time['median']:.2f}x"]
        for title, time in values.items()
    ]
    return grid(["", "median ms", "min - max ms", "speed-up"], rows)


def ceilings(results: Results) -> str:
    """Return the machine's ceilings, measured before every training step of `step_shares`."""
    values = results[CEILINGS, 0].values["ceilings_g_per_s"]
    titles = {
        "float32": "convolution, float32 (GFLOP/s)",
        "bfloat16": "convolution, bfloat16 (GFLOP/s)",
        "copy": "copy in memory (GB/s)",
    }
    return grid(
        ["", "median (min - max)"], [[title, _spread(values[key])] for key, title in titles.items() if key in values]
    )


def step_shares(results: Results) -> str:
    """Return the training steps, their share of the convolution ceiling, and the ratio to other implementations."""
    values = results[CEILINGS, 0].values
    ceiling = statistics.median(values["ceilings_g_per_s"][values["precision"]])
    rows = []
    for row in values["rows"]:
        (_, own), *others = row["seconds"].items()
        share = row["gflop"] / statistics.median(own) / ceiling
        ratios = [f"{statistics.median(other) / statistics.median(own):.2f}x ({name})" for name, other in others]
        times = _spread([1000 * value for value in own], 0)
        rows.append([row["label"], times, f"{row['gflop']:,.1f}", percent([share], 0), *(ratios or ["-"])])
    return grid(["training step", "ms", "GFLOP", "share of the ceiling", "speed-up over"], rows)


def decision(results: Results) -> str:
    """Return the time of a decision by variant."""
    rows = [
        [
            name,
            *(
                f"{time[f'{kind}_median']:.2f} ({time[f'{kind}_min']:.2f} - {time[f'{kind}_max']:.2f})"
                for kind in KINDS
            ),
        ]
        for name, time in results[DECISION, 0].values["seconds"].items()
    ]
    return grid(["", "CPU seconds", "wall-clock seconds"], rows)


def decision_stages(results: Results) -> str:
    """Return the share of each stage of a decision."""
    stages = results[DECISION, 0].values["stages"]
    return grid(
        ["stage", "share of the time"],
        [[name.replace("rectification", "ReLU"), percent([share], 0)] for name, share in stages.items()],
    )


def reading(results: Results) -> str:
    """Return clips per second by reader and file."""
    rows = []
    for file, readers in results["speed: reading clips", 0].values["clips_per_second"].items():
        fastest = max(rate["median"] for name, rate in readers.items() if not name.startswith("vidpred"))
        rows += [
            [file, name, f"{rate['median']:,.0f}", f"{rate['min']:,.0f} - {rate['max']:,.0f}",
             f"{rate['median'] / fastest:.1f}x", f"{rate['median'] / readers['decord2']['median']:.1f}x"]
            for name, rate in readers.items()
        ]  # fmt: skip
    return grid(["file", "reader", "clips per second", "min - max", "to the fastest other", "to decord2"], rows)


def _spread(found: list[float], digits: int = 1) -> str:
    return f"{statistics.median(found):,.{digits}f} ({min(found):,.{digits}f} - {max(found):,.{digits}f})"


def _starting(values: Mapping[str, Any]) -> list[list[str]]:
    return [
        ["from the command to the first logged step (s)", _spread(values["first_step_seconds"])],
        ["peak memory of the training process (MB)", _spread(values["trainer_mb"], 0)],
        ["peak memory of a data worker (MB)", _spread(values["worker_mb"], 0)],
    ]


def large_folder(results: Results) -> str:
    """Return what scanning and starting on a large tree of videos takes."""
    values = results["scale: a tree of 13,320 videos", 0].values
    rows = [
        ["videos decoded per second", _spread(values["decoded_per_second"])],
        ["videos scanned per second", _spread(values["scanned_per_second"])],
        ["scanning to decoding, median of turns", f"{values['scan_to_decoding']:.2f}"],
        ["scanned before the training was killed", f"{values['scanned_before_kill']:,} of {values['videos']:,}"],
        ["scanning the others after that (s)", f"{values['scan_seconds_after_kill']:.0f}"],
        ["index (MB)", f"{values['index_mb']:.1f}"],
        ["scan of an unchanged tree (s)", _spread(values["second_scan_seconds"], 2)],
    ]
    return grid(["", "value"], rows + _starting(values))


def large_image_folder(results: Results) -> str:
    """Return what checking and starting on a large folder of images takes."""
    values = results["scale: a folder of 200,000 images", 0].values
    ratio = values.get("scan_to_decoding")  # rows of earlier versions have none
    rows = [] if ratio is None else [["scanning to decoding, median of turns", f"{ratio:.2f}"]]
    rows += [
        ["decoding all images once, nothing else (s)", f"{values['decoding_seconds']:.0f}"],
        ["first scan, dividing included (s)", f"{values['first_scan_seconds']:.0f}"],
        ["index (MB)", f"{values['index_mb']:.1f}"],
        ["a second start: finding, checking, dividing (s)", _spread(values["second_start_seconds"], 2)],
    ]
    return grid(["", "value"], rows + _starting(values))


def preparing(results: Results) -> str:
    """Return seconds of `vidpred prepare` by cores."""
    seconds = results["speed: preparing", 0].values["seconds_by_cores"]
    rows = [[cores, numbers([value], 1), f"{seconds['1'] / value:.2f}x"] for cores, value in seconds.items()]
    return grid(["cores", "seconds", "speed-up"], rows)


def motion_speed(results: Results) -> str:
    """Return the time of a forecast by size: median and 95th percentile."""
    by_size = results["motion, time of a forecast", 0].values["milliseconds"]
    rows = [
        [size, *(f"{times['median']:,.4g} ({times['p95']:,.4g})" for times in variants.values())]
        for size, variants in by_size.items()
    ]
    return grid(["milliseconds", *next(iter(by_size.values()))], rows)


def stream_speed(results: Results) -> str:
    """Return the time of a forecast with and without the flows of earlier pairs, and the counts of a stream."""
    values = results["motion, forecasts of a stream", 0].values
    rows = [
        [name, *(f"{times[f'{kind}_median']:.3f} ({times[f'{kind}_min']:.3f})" for kind in KINDS)]
        for name, times in values["seconds"].items()
    ]
    found, memory = values["stream"], values["stream"]["memory_mb_every_20_s"]
    latency = found["latency_ms"]
    counts = [
        ["frames, at 10 a second", f"{found['frames']:,}"],
        ["forecasts a second", f"{found['forecasts_per_second']:.2f}"],
        ["dropped frames, late forecasts", f"{found['dropped']:,}, {found['late']}"],
        ["latency (ms): median, 95th percentile, maximum", "{p50:.0f}, {p95:.0f}, {max:.0f}".format(**latency)],
        ["threads", str(found["threads"])],
        ["memory of the process after 20, 100 and 160 s (MB)", f"{memory[1]:,.0f}, {memory[5]:,.0f}, {memory[8]:,.0f}"],
    ]
    return grid(["seconds of a forecast", *KINDS], rows) + "\n" + grid(["stream of 3 minutes", ""], counts)


def processes(results: Results) -> str:
    """Return the difference of the weights between runs of one process and of two, from the start or on resume."""
    found = dict(results["one and two processes", 0].values["relative_difference_of_weights_after_steps"])
    if changed := results.get(("processes changed on resume", 0)):
        name = f"two processes from step {changed.values['resumed_at']}; steps after that"
        found[name] = changed.values["relative_difference_of_weights_after_further_steps"]
    rows = [[name, *(f"{value:.1g}" if value < 1e-3 else f"{value:.3f}" for value in steps.values())]
            for name, steps in found.items()]  # fmt: skip
    return grid(["against one process, one thread", "after 20 steps", "after 100", "after 300"], rows)
