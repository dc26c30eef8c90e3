"""The memory of `evaluate` does not grow with the file."""

import subprocess
import sys
import time

import numpy as np
import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="/proc tells how much memory is anonymous")

V = 64
RUN = """
import sys, threading, time
import numpy as np
import lastlayer as ll
ll.evaluate(np.zeros((9, 3)), np.zeros(9, int))  # all that is imported and started once

def anonymous():
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("RssAnon")) / 1024

done, most = threading.Event(), anonymous()
def watch():
    global most
    while not done.wait(0.001):
        most = max(most, anonymous())
thread = threading.Thread(target=watch)
thread.start()
found = ll.evaluate(*sys.argv[1:])
done.set()
thread.join()
print(most, found.n)
"""


def megabytes(*paths):
    """The most anonymous memory of an evaluation, in MB, and its number of rows."""
    run = subprocess.run(
        [sys.executable, "-c", RUN, *map(str, paths)], capture_output=True, text=True, check=True
    )
    most, n = run.stdout.split()
    return float(most), int(n)


def write(folder, form, rows):
    """A file of logits, and its size in MB; it is made of pieces, so that the test has little memory too."""
    r, path = np.random.default_rng(0), folder / f"{rows}.{form}"
    if form == "npy":
        z = np.lib.format.open_memmap(path, "w+", np.float32, (rows, V))
        for i in range(0, rows, 1 << 14):
            z[i : i + (1 << 14)] = r.random(z[i : i + (1 << 14)].shape, dtype=np.float32)
        np.save(folder / f"{rows}.y.npy", r.integers(0, V, rows).astype(np.int32))
        return path, folder / f"{rows}.y.npy"
    z, y = r.random((rows, V), dtype=np.float32), r.integers(0, V, rows)
    if form == "npz":
        np.savez(path, logits=z, targets=y)
    else:
        pa = pytest.importorskip("pyarrow")
        table = pa.table({f"logit:{k}": z[:, k] for k in range(V)} | {"label": y})
        pytest.importorskip("pyarrow.parquet").write_table(
            table, path, row_group_size=1 << 15, use_dictionary=False, compression="none"
        )
    return (path,)


@pytest.mark.parametrize(
    ("form", "few", "many"),
    [("npy", 1 << 17, 1 << 19), ("npz", 1 << 17, 1 << 19), ("parquet", 1 << 18, 3 << 18)],
)
def test_memory_does_not_grow_with_the_file(tmp_path, form, few, many):
    small, large = (megabytes(*write(tmp_path, form, n)) for n in (few, many))
    assert (small[1], large[1]) == (few, many)
    more = (many - few) * V * 4 / 2**20  # MB of scores
    assert large[0] - small[0] < 0.4 * more, (small, large)
    assert large[0] < 300


def write_csv(folder, megabytes, columns=16):
    """A CSV of this size and its number of rows, written by pieces."""
    pa, csv = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.csv")
    r, rows, path = np.random.default_rng(0), 0, folder / f"{megabytes}-{columns}.csv"
    schema = pa.schema([(f"logit:{k}", pa.float64()) for k in range(columns)] + [("label", pa.int64())])
    with open(path, "wb") as file, csv.CSVWriter(file, schema) as writer:
        while file.tell() < megabytes << 20:
            z, y = np.round(r.normal(size=(1 << 14, columns)), 6), r.integers(0, max(2, columns), 1 << 14)
            writer.write_table(pa.table([*z.T, y], schema=schema))
            rows += len(y)
    return path, rows


@pytest.mark.parametrize("sizes", [(16, 64), pytest.param((30, 300), marks=pytest.mark.soak)])
def test_memory_does_not_grow_with_a_csv(tmp_path, sizes):
    files = [write_csv(tmp_path, size) for size in sizes]
    small, large = (megabytes(path) for path, _ in files)
    assert (small[1], large[1]) == tuple(rows for _, rows in files)
    assert large[0] - small[0] < 0.8 * (sizes[1] - sizes[0]), (small, large)
    assert large[0] < 300


@pytest.mark.soak
def test_memory_does_not_grow_with_a_csv_of_targets(tmp_path):
    """They are read faster than the rows are counted."""
    most = []
    for size in (16, 48):
        path, rows = write_csv(tmp_path, size, 0)
        scores = np.lib.format.open_memmap(tmp_path / f"{size}.npy", "w+", np.float32, (rows, 2))
        scores[:] = np.arange(2)
        most.append(megabytes(tmp_path / f"{size}.npy", path))
        assert most[-1][1] == rows
    assert most[1][0] - most[0][0] < 40, most  # of 134 MB of class indices more


def test_a_csv_is_not_read_ahead(tmp_path):
    """Whoever takes long over a batch has little of what follows in memory."""
    pa = pytest.importorskip("pyarrow")
    from lastlayer.evaluation.readers.columns import Wanted
    from lastlayer.evaluation.readers.datasets import Files

    def allocated():
        return pa.system_memory_pool().bytes_allocated() + pa.default_memory_pool().bytes_allocated()

    path, rows = write_csv(tmp_path, 16, 0)
    before, n = allocated(), 0
    for batch in Files("targets", [str(path)], "csv", Wanted(only_label=True)).batches(["label"], 1 << 16):
        if n == 0:
            time.sleep(0.5)  # all of it could be read meanwhile: 64 MB of class indices
        assert allocated() - before < 44 << 20
        n += batch.num_rows
    assert n == rows > 8_000_000


@pytest.mark.soak
@pytest.mark.parametrize("form", ["npy", "npz", "parquet"])
def test_the_memory_of_a_gigabyte(tmp_path, form):
    found = megabytes(*write(tmp_path, form, 4_000_000))
    assert found[1] == 4_000_000
    assert found[0] < 300
