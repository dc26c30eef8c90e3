"""A memory map is fitted without a copy: what the process holds beside the file stays small."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

FIT = """
import json, sys, threading, time
import numpy as np
from lastlayer.sklearn import SoftmaxClassifier

def anonymous():
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) << 10 for line in file if line.startswith("RssAnon"))

def watch():
    while not ended.wait(0.002):
        peak[0] = max(peak[0], anonymous())

x, y = np.load(sys.argv[1], mmap_mode="r"), np.load(sys.argv[2])
options = {"max_memory": 8 << 20, "random_state": 0, "C": 0.01}
SoftmaxClassifier(**options).fit(np.array(x[:2000]), y[:2000])  # what the first fit of all allocates
before, peak, ended = anonymous(), [0], threading.Event()
watcher = threading.Thread(target=watch)
watcher.start()
model = SoftmaxClassifier(**options).fit(x, y)
ended.set()
watcher.join()
print(json.dumps({"more": peak[0] - before, "norm": model.gradient_norm_, "coef": model.coef_.tolist()}))
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="anonymous memory is counted by Linux")
def test_a_fit_holds_less_than_a_copy_of_the_file(tmp_path):
    from lastlayer.sklearn import SoftmaxClassifier

    rng = np.random.default_rng(0)
    x = rng.standard_normal((60_000, 256)).astype(np.float16)  # 31 MB
    y = np.argmax(x[:, :8].astype(np.float32) + rng.gumbel(size=(60_000, 8)), axis=1)
    np.save(tmp_path / "x.npy", x)
    np.save(tmp_path / "y.npy", y)
    command = [sys.executable, "-c", FIT, str(tmp_path / "x.npy"), str(tmp_path / "y.npy")]
    found = json.loads(subprocess.run(command, check=True, capture_output=True, timeout=120).stdout)
    assert found["norm"] <= 1e-4
    assert found["more"] < x.nbytes // 2
    whole = SoftmaxClassifier(random_state=1, C=0.01).fit(x.astype(np.float64), y)
    np.testing.assert_allclose(found["coef"], whole.coef_, rtol=0, atol=2e-3)
