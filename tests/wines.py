"""The wines of scikit-learn in files of every form: what the tests of `fit` and `predict` share."""

from __future__ import annotations

import numpy as np

NAMES = np.array(["barolo", "grignolino", "barbera"])


def table(x, **columns):
    import pyarrow as pa

    return pa.table({f"x{k}": x[:, k] for k in range(x.shape[1])} | columns)


def write(x, y, rows):
    """Files in this folder: the rows to fit are "train", the others "test"."""
    import pyarrow as pa
    import pyarrow.parquet as pq
    from pyarrow import csv

    for part, cut in ("train", slice(0, rows)), ("test", slice(rows, None)):
        named = table(x[cut], grape=NAMES[y[cut]].tolist(), row=np.arange(len(x))[cut])
        pq.write_table(named, f"{part}.parquet", row_group_size=30)
        csv.write_csv(named, f"{part}.csv")
        np.save(f"{part}-x.npy", x[cut])
        np.save(f"{part}-y.npy", y[cut])
        np.savez(f"{part}.npz", features=x[cut], targets=y[cut])
        lists = pa.FixedSizeListArray.from_arrays(pa.array(x[cut].reshape(-1)), x.shape[1])
        pq.write_table(
            pa.table({"embedding": lists, "grape": NAMES[y[cut]].tolist()}), f"{part}-list.parquet"
        )


FEATURES = ["--features", "x0,x1,x2,x3"]
WAYS = {
    "parquet": (["train.parquet", "--label", "grape", *FEATURES], ["test.parquet", "--label", "grape"]),
    "csv": (["train.csv", "--label", "grape", *FEATURES], ["test.csv", "--label", "grape"]),
    "npy": (["train-x.npy", "train-y.npy"], ["test-x.npy", "test-y.npy"]),
    "npz": (
        ["train.npz", "--features", "features"],
        ["test.npz", "--features", "features", "--label", "targets"],
    ),
    "lists": (
        ["train-list.parquet", "--label", "grape", "--features", "embedding"],
        ["test-list.parquet", "--label", "grape", "--features", "embedding"],
    ),
    "parquet, npy": (["train.parquet", "--label", "grape", *FEATURES], ["test-x.npy", "test-y.npy"]),
}
