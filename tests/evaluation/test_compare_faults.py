"""Wrong calls of `compare` and `PairedTally`, by the exact text of their errors."""

from __future__ import annotations

import numpy as np
import pytest
from assertions import raises

import lastlayer as ll

Z, Y = np.eye(4)[:, :3].repeat(3, axis=0) * 2.0, np.arange(12) % 3


def test_rows_and_classes_have_to_be_as_many():
    with raises(ll.ShapeError, "compare: b is of 11 rows; expected 12, as a has"):
        ll.compare(Z, Z[:11], Y)
    with raises(ll.ShapeError, "compare: b is of 2 classes; expected 3, as a has"):
        ll.compare(Z, Z[:, :2], Y)
    with raises(ll.ShapeError, "compare: b is of rows of shape (4, 3); expected (3, 4), the rows of a"):
        ll.compare(Z.reshape(3, 4, 3), Z.reshape(4, 3, 3), Y.reshape(3, 4))
    tally = ll.PairedTally(3)
    with raises(
        ll.ShapeError, "PairedTally.update: b is of rows of shape (2,); expected (12,), the rows of a"
    ):
        tally.update(Z, Z[:2], Y)
    with raises(ll.ShapeError, "PairedTally.update: b is of shape (12, 2); expected 3 classes on axis -1"):
        tally.update(Z, Z[:, :2], Y)
    assert tally.n == 0


def test_batches_of_unknown_number():
    def batches(n):
        return ((Z[i : i + 1], Y[i : i + 1]) for i in range(n))

    assert ll.compare(batches(12), [(Z, Y)]) == ll.compare(Z, Z, Y)
    with raises(ll.ShapeError, "compare: b is of 5 rows; expected as many as a has, which has more"):
        ll.compare(batches(7), batches(5))
    with raises(ll.ShapeError, "compare: b is of more than 5 rows; expected 5, as a has"):
        ll.compare(batches(5), batches(7))


def test_other_targets_in_b(tmp_path):
    np.savez(tmp_path / "a.npz", logits=Z, targets=Y)
    np.savez(tmp_path / "b.npz", logits=Z, targets=np.where(np.arange(12) == 7, 0, Y))
    remedy = "both need the same rows in the same order"
    with raises(ll.TargetError, f"compare: targets[7] in b is class 0; expected class 1, as in a; {remedy}"):
        ll.compare(tmp_path / "a.npz", tmp_path / "b.npz")
    assert ll.compare(tmp_path / "a.npz", tmp_path / "b.npz", Y).n == 12  # given targets come first
    np.save(tmp_path / "b.npy", Z)
    assert ll.compare(tmp_path / "a.npz", tmp_path / "b.npy").n == 12  # it has none


def test_targets_of_b_that_are_too_few(tmp_path):
    np.savez(tmp_path / "a.npz", logits=Z, targets=Y)
    np.savez(tmp_path / "b.npz", logits=Z, targets=Y[:9])
    with raises(ll.ShapeError, "compare: targets is of length 9; expected 12 as b has on its first axis"):
        ll.compare(tmp_path / "a.npz", tmp_path / "b.npz")


def test_tables_whose_length_is_known_at_the_end(tmp_path):
    pytest.importorskip("pyarrow")

    def write(name, rows, label="label"):
        lines = [",".join(["logit:x", "logit:y", "logit:z", label])]
        lines += [",".join(map(str, [*Z[i], "xyz"[Y[i]]])) for i in range(rows)]
        (tmp_path / name).write_text("\n".join(lines) + "\n")
        return tmp_path / name

    a, b = write("a.csv", 12), write("b.csv", 10)
    with raises(ll.ShapeError, "compare: b is of 10 rows; expected as many as a has, which has more"):
        ll.compare(a, b)
    with raises(ll.ShapeError, "compare: b is of more than 10 rows; expected 10, as a has"):
        ll.compare(b, a)
    found = ll.compare(a, write("c.csv", 12, "other"))  # b has no column of labels: those of a
    assert found.numbers() == ll.compare(Z, Z, Y).numbers() | {"labels": ["x", "y", "z"]}
    columns = "('logit:x', 'logit:y', 'logit:z', 'label')"
    with raises(ll.OptionError, f"compare: label is 'y'; expected a column of the table {columns}"):
        ll.compare(a, b, label="y")


def test_other_names_of_classes_in_b():
    pa = pytest.importorskip("pyarrow")
    first = pa.table({"logit:x": Z[:, 0], "logit:y": Z[:, 1], "label": ["x"] * 12})
    other = pa.table({"logit:x": Z[:, 0], "logit:z": Z[:, 1], "label": ["x"] * 12})
    remedy = "pass labels=[...] if they are the same classes"
    with raises(ll.OptionError, f"compare: the name of class 1 in b is 'z'; expected 'y', as in a; {remedy}"):
        ll.compare(first, other)
    assert ll.compare(first, other, labels=["x", "y"]).labels == ("x", "y")


def test_errors_say_which_model_and_which_row():
    with raises(ll.OptionError, "compare: targets is None; expected the targets of a, or their file"):
        ll.compare(Z, Z)
    with raises(
        ll.ShapeError, "compare: b is of shape (3,); expected rows of scores; of a single row pass b[None]"
    ):
        ll.compare(Z, Z[0], Y)
    with raises(ll.DtypeError, "compare: b is of dtype complex128; expected real numbers"):
        ll.compare(Z, Z * 1j, Y)
    with raises(ll.DtypeError, "compare: a is of dtype complex128; expected real numbers"):
        ll.compare(Z * 1j, Z, Y)
    with raises(
        ll.TargetError,
        "compare: targets[4] is 9; expected a class in [0, 3) or ignore_index=-100; "
        "unknown='wrong' counts such rows as wrong",
    ):
        ll.compare(Z, Z, np.where(np.arange(12) == 4, 9, Y))
    with raises(
        ll.OptionError,
        "compare: kind is ('logits', 'odds'); expected one of 'logits', 'probabilities', "
        "'log-probabilities', or a pair of them",
    ):
        ll.compare(Z, Z, Y, kind=("logits", "odds"))
    with raises(
        ll.OptionError, "compare: temperature is (1.0, 2.0, 3.0); expected one for both models, or a pair"
    ):
        ll.compare(Z, Z, Y, temperature=(1.0, 2.0, 3.0))
    with raises(ll.OptionError, "compare: temperature is -1; expected a finite number above 0"):
        ll.compare(Z, Z, Y, temperature=(1, -1))


def test_tallies_of_other_options_are_not_added():
    tally = ll.PairedTally(3)
    for other, text in (
        (ll.PairedTally(4), "of classes=(4, 4); expected classes=(3, 3)"),
        (
            ll.PairedTally(3, kind=("logits", "probabilities")),
            "of kind=('logits', 'probabilities'); expected kind=('logits', 'logits')",
        ),
    ):
        with raises(ll.OptionError, f"PairedTally: other is {text}"):
            tally + other
    with raises(ll.DtypeError, "PairedTally: other is a Tally; expected a PairedTally"):
        tally + ll.Tally(3)


def test_weights_too_small_for_exact_sums():
    tally = ll.PairedTally(3)
    tally.update(Z, Z, Y, sample_weight=np.full(12, 2.0**-100))
    with raises(
        ll.OptionError,
        "Comparison.of: sample_weight is 7.88861e-31 in the mean; expected 2^-48 or more: sums are exact to "
        "2^-120; multiply them by one number",
    ):
        ll.Comparison.of(tally)


def test_damaged_files_are_refused():
    saved = ll.compare(Z, 2 * Z, Y, groups=Y).to_dict()
    with raises(ll.OptionError, "Comparison.from_dict: schema is None; expected 'lastlayer.comparison/1'"):
        ll.Comparison.from_dict({})
    with raises(
        ll.OptionError,
        "PairedTally.from_dict: schema is 'lastlayer.tally/1'; expected 'lastlayer.paired-tally/1'",
    ):
        ll.Comparison.from_bytes(ll.Tally(3).to_bytes())
    for change, why in (
        ({"only_a": -1}, "'only_a' is -1"),
        ({"n": 3}, "more rows are right or unknown than there are"),
        ({"divergences": {"size": 4, "counts": {}}}, "'divergences' is that of other options"),
        ({"moments": None}, "'moments' is that of other options"),
    ):
        rule = f"expected what PairedTally.to_dict gave ({why})"
        with raises(ll.OptionError, f"PairedTally.from_dict: saved is damaged; {rule}"):
            ll.PairedTally.from_dict(saved["tally"] | change)
    for name in saved["tally"]:
        less = {k: v for k, v in saved["tally"].items() if k != name}
        with pytest.raises(ll.OptionError, match=r"^PairedTally\.from_dict: "):
            ll.PairedTally.from_dict(less)
    for text in (b"", b"[", b"1", b"{}"):
        with pytest.raises(ll.OptionError, match=r"^PairedTally\.from_"):
            ll.Comparison.from_bytes(text)


def test_nothing_to_compare():
    for found in (ll.compare(Z, Z, np.full(12, -100)), ll.Comparison.of(ll.PairedTally(3))):
        assert (found.n, found.mcnemar, list(found.flips)) == (0, 1.0, [0, 0, 0, 0])
        assert np.isnan(
            [found.log_loss.difference.value, found.kl.value, found.kl_quantiles[0.5].value]
        ).all()
        assert str(found).startswith("0 rows")
        assert ll.Comparison.from_dict(found.to_dict()) == found
