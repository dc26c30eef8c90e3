"""Wrong calls of fit and predict: one line that says what is wrong, and an output that stays as it was."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

pytest.importorskip("sklearn")
pytest.importorskip("pyarrow")

import pyarrow.parquet as pq
from wines import NAMES, WAYS, table

from lastlayer.sklearn import SoftmaxClassifier


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ("fit train-x.npy", "fit: TARGETS is None; expected the targets of DATA, or their file"),
        ("fit nowhere.npy", "fit: DATA is 'nowhere.npy'; expected a file, folder"),
        ("fit train-x.npy test-y.npy", "fit: TARGETS is of length 78; expected 100 as DATA has on its first"),
        ("fit train.parquet", "fit: label is 'label'; expected a column of the table ('x0', 'x1', 'x2', 'x3"),
        ("fit train.parquet --label row", "fit: the column 'grape' is of string; expected numbers; name the"),
        ("fit train.csv --label row --features grape", "fit: the column 'grape' is of string; expected numb"),
        ("fit train.parquet --label grape --features x9", "fit: features is 'x9'; expected a column of the"),
        ("fit train.parquet --label grape --weight x9", "fit: weight is 'x9'; expected a column of the tabl"),
        ("fit train.parquet --label x0 --features x1", "fit: Unknown label type: continuous"),
        ("fit train.parquet --label row --features x0,row", "fit: --features has 'row'; expected other"),
        ("fit empty.parquet --label grape --features x0", "fit: TARGETS is without a label in every row"),
        ("predict m.safetensors test-x.npy soft.npy", "predict: TARGETS has rows of shape (3,); expected"),
        ("fit train-x.npy train-y.npy --C -1", "fit: The 'C' parameter of SoftmaxClassifier must be a float"),
        ("fit train-x.npy train-y.npy --C 1 --cv 3", "fit: --C is given with --cv, which chooses it"),
        ("fit train-x.npy train-y.npy --Cs 1,2", "fit: --Cs is given without --cv; expected both, or --C"),
        ("fit train-x.npy train-y.npy --cv 3 --Cs 1,b", "fit: --Cs is '1,b'; expected numbers between comma"),
        ("fit train-x.npy train-y.npy --cv 3 --Cs -1", "fit: Cs is [-1.0]; expected numbers above 0"),
        ("fit train-x.npy train-y.npy --cv 1", "fit: The 'cv' parameter of SoftmaxClassifierCV must be"),
        ("fit nan.npy train-y.npy", "fit: X[7, 2] is NaN; expected finite numbers"),
        ("fit nan.parquet --label grape --features x0,x1", "fit: DATA[7, 'x1'] is NaN, or missing; expected"),
        ("fit cube.npy train-y.npy", "fit: DATA is of shape (100, 2, 2); expected rows of features, (N, D)"),
        ("fit train-x.npy unlabelled.npy", "fit: TARGETS is without a label in every row; expected labels"),
        ("fit train-x.npy one.npy", "needs samples of at least 2 classes in the data, but the data contains"),
        ("predict m.safetensors test-y.npy", "predict: DATA is of shape (78,); expected"),
        ("predict m.safetensors nan.npy", "predict: DATA[7, 2] is NaN, or missing; expected finite numbers"),
        ("predict m.safetensors nan.parquet", "predict: DATA[7, 'x1'] is NaN, or missing; expected finite"),
        ("predict m.safetensors wide.npy", "predict: DATA has 5 features; expected 4, as MODEL was fitted t"),
        ("predict m.safetensors test-list.parquet", "predict: features is 'x0'; expected a column of the ta"),
        ("predict m.safetensors test.parquet --label x9", "predict: label is 'x9'; expected a column of the"),
        ("predict m.safetensors test.parquet --keep x9", "predict: keep[0] is 'x9'; expected a column of th"),
        ("predict m.safetensors test-x.npy --keep x9", "predict: --keep is 'x9'; expected none: DATA has no"),
        ("predict m.safetensors test.parquet test-y.npy", "predict: TARGETS is 'test-y.npy'; expected none:"),
        ("predict test-x.npy test-x.npy", "predict: MODEL is 'test-x.npy'; expected a name that ends in .sa"),
        ("predict no.safetensors test-x.npy", "predict: MODEL is 'no.safetensors'; expected a file that exi"),
        ("predict bad.safetensors test-x.npy", "predict: MODEL is 'bad.safetensors'; expected a file of arr"),
        ("predict nameless.safetensors test.parquet", "predict: --features is missing; expected the columns"),
        ("predict m.safetensors taken.parquet --keep logit:barolo", "predict: the column 'logit:barolo' is"),
    ],
)  # fmt: skip
def test_a_wrong_call_is_one_line_and_leaves_the_output(run, files, wine, argv, message):
    x, y = wine
    SoftmaxClassifier().fit(x[:100], y[:100]).save("nameless.safetensors")
    assert run("fit", *WAYS["parquet"][0], "--out", "m.safetensors")[0] == 0
    wrong = x[:100].copy()
    wrong[7, 2] = np.nan
    np.save("nan.npy", wrong)
    wrong[7, 1] = np.nan
    pq.write_table(table(wrong, grape=NAMES[y[:100]].tolist()), "nan.parquet")
    np.save("cube.npy", x[:100].reshape(100, 2, 2))
    np.save("wide.npy", np.ones((10, 5)))
    pq.write_table(pq.read_table("train.parquet").slice(0, 0), "empty.parquet")
    np.save("soft.npy", np.full((78, 3), 1 / 3))
    np.save("unlabelled.npy", np.full(100, -100))
    np.save("one.npy", np.ones(100, int))
    pq.write_table(table(x, **{"logit:barolo": x[:, 0]}), "taken.parquet")
    (files / "bad.safetensors").write_bytes(b"none")
    out = "out.safetensors" if argv.startswith("fit") else "out.parquet"
    (files / out).write_text("before")
    status, said, err = run(*argv.split(), "--out", out)
    assert (status, said) == (2, "")
    assert message.removeprefix("fit: ") in err
    assert err.startswith(f"lastlayer: {argv.split()[0]}: ")
    assert err.count("\n") == 1
    assert (files / out).read_text() == "before"
    assert not list(files.glob("*.part"))


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ("fit train-x.npy train-y.npy", "fit: missing option '--out'; try 'lastlayer fit --help'"),
        (
            "fit train-x.npy train-y.npy --out m.pkl",
            "fit: --out is 'm.pkl'; expected a name that ends in .safet",
        ),
        ("fit train-x.npy train-y.npy --out no/m.safetensors", "expected a file in a folder that exists"),
        ("fit a.safetensors y.npy --out ./a.safetensors", "'a.safetensors'; expected another file than DATA"),
        (
            "predict m.safetensors a.csv --out a.csv",
            "predict: --out is 'a.csv'; expected another file than DATA",
        ),
        ("predict m.safetensors a.csv --out a.npy", "expected a name that ends in .parquet or .csv"),
    ],
)
def test_outputs_are_checked_first(run, files, argv, message):
    status, said, err = run(*argv.split())
    assert (status, said) == (2, "")
    assert message in err


def test_without_scikit_learn_the_remedy_is_named():
    program = (
        "import sys\n"
        "sys.modules['sklearn'] = sys.modules['sklearn.base'] = None\n"
        "from lastlayer.cli.main import main\n"
        "sys.exit(main(['fit', 'x.npy', 'y.npy', '--out', 'm.safetensors']))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr == (
        "lastlayer: fit: this needs the package sklearn; run: pip install 'lastlayer[sklearn]'\n"
    )
