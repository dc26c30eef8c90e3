"""Measure `evaluate` by two worker processes of Dask beside `evaluate` on two threads of one process.

    python benchmarks/cluster.py             4 GB: a table, and a record in benchmarks/record/cluster
    python benchmarks/cluster.py --rows 1e4  smaller; nothing is recorded

The scores are float32 in a file of NumPy in a temporary folder, 1000 classes a row, and in the page cache
before anything is timed. The workers have a thread each. The contenders run in turns: the file through the
client, a Dask array whose chunks are read from the same file, and one process. Tallies are compared byte
for byte, then they are timed. The speed is the shortest time of one process over that of the workers: all
else that runs on the machine can only add to a time, and adds more to three processes than to one.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
from distributed import Client, LocalCluster
from run import Record, in_turns, machine, table, write_record

import lastlayer as ll

RECORDS = Path(__file__).resolve().parent / "record" / "cluster"
CLASSES, ASK, WORKERS = 1000, 0.8, 2
CHUNK = 1 << 29  # bytes, as many as a partition of a file has


def write_scores(folder: Path, rows: int) -> tuple[Path, Path]:
    """Draw logits of which the target's is raised, so that about half of the rows are right."""
    r = np.random.default_rng(0)
    step = min(rows, 1 << 14)
    part, target = 2 * r.standard_normal((step, CLASSES), np.float32), r.integers(0, CLASSES, step)
    part[np.arange(step), target] += 6
    shape, where = (rows, CLASSES), (folder / "scores.npy", folder / "targets.npy")
    scores = np.lib.format.open_memmap(where[0], mode="w+", dtype=np.float32, shape=shape)
    for start in range(0, rows, step):
        scores[start : start + step] = part[: rows - start]
    np.save(where[1], np.resize(target, rows))
    return where


def chunk(path: str, block_info: Any = None) -> np.ndarray:
    """The rows of a chunk, read by the worker that computes it."""
    start, stop = block_info[None]["array-location"][0]
    return np.load(path, mmap_mode="r")[start:stop]


def tally_of(scores: Any, targets: Any, **options: Any) -> bytes:
    found: list[ll.Tally] = []
    ll.evaluate(scores, targets, counted=found.append, **options)
    return found[0].to_bytes()


def measured(client: Client, rows: int, options: argparse.Namespace, folder: Path) -> Record:
    scores, targets = write_scores(folder, rows)
    step = max(1, CHUNK // (4 * CLASSES))
    chunks = (tuple(min(step, rows - i) for i in range(0, rows, step)), (CLASSES,))
    array = da.map_blocks(chunk, str(scores), chunks=chunks, dtype=np.float32, meta=np.empty((0, 0), "f4"))
    runs = {
        "threads": lambda: tally_of(scores, targets),
        "workers, file": lambda: tally_of(scores, targets, client=client),
        "workers, Dask array": lambda: tally_of(array, targets, client=client),
    }
    if len({run() for run in runs.values()}) != 1:
        raise AssertionError("the tallies differ")
    times = in_turns(runs, options.repetitions, options.budget)
    seconds = {name: min(t) for name, t in times.items()}
    medians = {name: round(statistics.median(t), 3) for name, t in times.items()}
    one = seconds.pop("threads")
    return {
        "rows": rows,
        "classes": CLASSES,
        "gigabytes": round(rows * CLASSES * 4 / 1e9, 3),
        "ask": ASK,
        "seconds": {"threads": round(one, 3), **{name: round(s, 3) for name, s in seconds.items()}},
        "medians": medians,
        "speed": {name: round(one / s, 3) for name, s in seconds.items()},
    }


def rendered(found: Record) -> str:
    """The table of a measurement: seconds, and the speed of the workers over that of the threads."""
    one = found["seconds"]["threads"]
    lines = [
        [
            name,
            f"{found['seconds'][name]:.3g}",
            f"{one:.3g}",
            f"{speed:.3g}",
            "yes" if speed >= ASK else "**no**",
        ]
        for name, speed in found["speed"].items()
    ]
    return table(["who", "seconds", "one process", "speed", f"at least {ASK}"], lines)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=float, default=1e6)
    parser.add_argument("--repetitions", type=int, default=9)
    parser.add_argument("--budget", type=float, default=90.0, help="seconds for all repetitions")
    options = parser.parse_args(argv)
    ll.set_num_threads(WORKERS)
    cluster = LocalCluster(n_workers=WORKERS, threads_per_worker=1, processes=True, dashboard_address=None)
    with cluster, Client(cluster) as client, tempfile.TemporaryDirectory() as folder:
        threads = list(client.run(ll.get_num_threads).values())
        if threads != [1] * WORKERS:
            raise AssertionError(f"the workers have {threads} threads")
        found = measured(client, int(options.rows), options, Path(folder))
    print(rendered(found))
    if options.rows == parser.get_default("rows"):
        date = datetime.now(timezone.utc).date().isoformat()
        write_record({"machine": machine(), "date": date, "workers": WORKERS, "measured": found}, RECORDS)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
