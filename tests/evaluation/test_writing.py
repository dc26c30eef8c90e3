"""Files that are written whole: what a path may be, and what stays as it was."""

from __future__ import annotations

import os
import sys
import threading

import pytest

import lastlayer as ll
from lastlayer.evaluation.writing import write_whole


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no named pipes in folders")
def test_a_pipe_is_written_to_and_stays_a_pipe(tmp_path):
    path = tmp_path / "pipe"
    os.mkfifo(path)
    read = []
    reader = threading.Thread(target=lambda: read.append(path.read_bytes()), daemon=True)
    reader.start()
    write_whole("path", str(path), [b"all ", b"of it"])
    assert path.is_fifo()
    reader.join(timeout=10)
    assert read == [b"all of it"]
    assert os.listdir(tmp_path) == ["pipe"]


def test_what_cannot_be_written_is_an_error(tmp_path):
    for path in (
        str(tmp_path),
        str(tmp_path / "no" / "file"),
        "null\0character",
        str(tmp_path / ("n" * 300)),
    ):
        with pytest.raises(ll.OptionError, match="expected a file that can be written"):
            write_whole("path", path, b"data")
    assert os.listdir(tmp_path) == []
