"""The same text again is no independent one: groups in samples, hold-outs and across splits."""

from collections import Counter

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ntpscore.errors import DataError, MissingSplitError
from ntpscore.text import describe_reading, hold_out_texts, load_splits, load_text
from ntpscore.text.groups import draw_whole_groups, find_groups


def _frame(texts, labels=None, **columns):
    labels = list("ab" * len(texts))[: len(texts)] if labels is None else labels
    return pd.DataFrame({"text": texts, "label": labels, **columns})


def test_same_texts_are_one_group_after_trimming():
    text = load_text(_frame(["a", "b", " a", "a\n", "A", "b  c"]))
    assert text.groups.tolist() == [0, 1, 0, 0, 2, 3]
    assert text.n_groups == 4
    assert text.groups.dtype == np.int64


def test_pairs_are_the_same_only_if_both_texts_are():
    frame = pd.DataFrame({"premise": ["p", "p", "p ", "q"], "hypothesis": ["h", "i", " h", "h"],
                          "label": list("abab")})  # fmt: skip
    assert load_text(frame).groups.tolist() == [0, 1, 0, 2]


def test_folds_and_hold_outs_keep_pairs_of_one_question_together():
    questions = [f"question {i // 2}" for i in range(40)]
    frame = pd.DataFrame(
        {"question1": questions, "question2": list("ab" * 20), "label": [0, 1] * 20}
    )
    text = load_text(frame)
    assert text.groups.tolist() == list(range(40))
    assert text.fold_groups.tolist() == [i // 2 for i in range(40)]
    splits = hold_out_texts(text, 0.25, seed=3)
    sides = [{one.split("\n")[0] for one in side.texts} for side in splits]
    assert len(splits.test) == 10
    assert not sides[0] & sides[1]
    single = load_text(_frame(["a", "b", "a"]))
    assert single.fold_groups is single.groups


def test_column_of_groups_joins_further_texts():
    frame = _frame(list("abcdae"), patient=["x", "y", "x", None, "z", ""])
    text = load_text(frame, group_column="patient")
    assert text.groups.tolist() == [0, 1, 0, 2, 0, 3]  # x and z are joined by the text a
    assert text.source.columns["group"] == "patient"
    with pytest.raises(DataError, match="no column 'x', which --group-column asks for"):
        load_text(frame, group_column="x")


@given(st.lists(st.tuples(st.sampled_from("abcd"), st.sampled_from([None, 1, 2, 3])), min_size=1))
def test_groups_are_the_connected_parts(rows):
    texts, chosen = zip(*rows, strict=True)
    groups = find_groups(texts, chosen)
    n = len(rows)
    joined = np.array([[a == c or (b is not None and b == d) for c, d in rows] for a, b in rows])
    reach = np.linalg.matrix_power(joined.astype(float), n) > 0
    assert (groups[:, None] == groups[None, :]).tolist() == reach.tolist()
    assert list(dict.fromkeys(groups.tolist())) == list(range(groups.max() + 1))


def test_repetitions_and_contradictions_are_told_and_kept():
    texts = ["a", "a", "a", "b", "b", "c", "d"]
    text = load_text(_frame(texts, list("xyxxxyy")))
    reading = text.source.reading
    assert (reading.repeated, reading.contradicting) == (3, 1)
    told = "\n".join(describe_reading(text))
    assert "3 of 7 texts (43%) repeat an earlier one; labels contradict each other for 1" in told
    assert "4 independent groups" in told
    assert "repeat" not in "\n".join(describe_reading(load_text(_frame(list("abcd")))))


def _repeated(n=120, seed=0):
    rng = np.random.default_rng(seed)
    texts = [f"t{i}" for i in rng.integers(0, n // 2, n)]
    return _frame(texts, [f"c{int(t[1:]) % 3}" for t in texts])


@given(size=st.integers(3, 120), seed=st.integers(0, 30))
def test_samples_keep_groups_whole(size, seed):
    frame = _repeated()
    whole = Counter(load_text(frame).texts)
    text = load_text(frame, max_texts=size, seed=seed)
    counts = Counter(text.texts)
    assert all(whole[t] == n for t, n in counts.items())
    # A class may need its smallest group, which may be larger than its share.
    assert len(text) <= max(size, 3 * max(whole.values()))
    assert text.groups.tolist() == find_groups(text.texts).tolist()


@given(share=st.floats(0.05, 0.9), seed=st.integers(0, 30))
def test_hold_outs_keep_groups_together(share, seed):
    text = load_text(_repeated())
    train, test = hold_out_texts(text, share, seed)
    assert not set(train.texts) & set(test.texts)
    assert len(train) + len(test) == len(text)
    assert abs(len(test) - share * len(text)) < 12
    for part in (train, test):
        assert part.groups.tolist() == find_groups(part.texts).tolist()
        assert part.source.reading.repeated == len(part) - part.n_groups


def test_what_a_hold_out_remembers_is_nothing():
    """A reader that knows every train text by heart is at chance on the rest."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 300)
    rows = np.concatenate([np.arange(300), rng.integers(0, 300, 130)])
    text = load_text(_frame([f"t{i}" for i in rows], [str(labels[i]) for i in rows]))
    train, test = hold_out_texts(text, 0.3, 0)
    known = dict(zip(train.texts, train.labels, strict=True))
    right = [known.get(t, 0) == y for t, y in zip(test.texts, test.labels, strict=True)]
    # About 90 different texts: five standard errors of a coin.
    assert abs(np.mean(right) - 0.5) < 0.26


def test_hold_out_of_one_group_leaves_nothing():
    with pytest.raises(DataError, match="leaves nothing to test"):
        hold_out_texts(load_text(_frame(["a", "a", "a"])), 0.5, 0)


def test_texts_on_both_sides_are_warned_of_and_the_hint_helps():
    train = _frame(["a", "b", "c", "d"]).assign(split="train")
    test = _frame([" a", "b", "x"], list("aab")).assign(split="test")
    splits = load_splits(pd.concat([train, test]))
    (warning,) = splits.test.source.reading.warnings
    assert warning.startswith("2 of 3 texts of split 'test' are also in split 'train', 1 of them")
    apart = load_splits(pd.concat([train, test]), hold_out=0.5)
    assert apart.test.source.reading.warnings == ()


def test_same_rows_on_both_sides_are_warned_of(tmp_path):
    path = tmp_path / "test.csv"
    _frame(["a", "b"]).to_csv(path, index=False)
    (warning,) = load_splits(path, test_data=path).test.source.reading.warnings
    assert warning.startswith("2 of 2 texts of split 'test' are also in split 'train', 0 of them")
    with pytest.raises(MissingSplitError, match="there is no test split"):
        load_splits(path)


def test_groups_of_the_user_on_both_sides_are_counted_and_said(tmp_path):
    patients = {"train": [1, 1, 2, 3, 4], "test": ["1", " 2", 5, 6, ""]}
    for split, names in patients.items():
        frame = _frame([f"{split} {i}" for i in range(5)])
        frame.assign(patient=names).to_csv(tmp_path / f"{split}.csv", index=False)
    splits = load_splits(tmp_path, group_column="patient")
    (warning,) = splits.test.source.reading.warnings
    assert warning == (
        "2 of 5 texts of split 'test' are of 2 groups of 'patient' that split 'train' has too, "
        "such as '1', '2': they are no new groups. --hold-out 0.2 keeps groups on one side"
    )
    assert f"warning: {warning}" in describe_reading(splits.test)
    train, test = load_splits(tmp_path, group_column="patient", hold_out=0.2)
    assert not set(train.chosen_groups) & set(test.chosen_groups)
    assert not test.source.reading.warnings
    assert not load_splits(tmp_path).test.source.reading.warnings
    some = _frame(["a", "b", "c"], patient=[1.0, 3.0, None])  # as pandas reads them
    test = load_splits(tmp_path, test_data=some, group_column="patient").test
    assert "2 of 3 texts" in test.source.reading.warnings[0]


@given(st.lists(st.integers(1, 5), min_size=1, max_size=20), st.integers(0, 50), st.data())
def test_whole_groups_are_drawn_up_to_the_size(sizes, seed, data):
    groups = np.repeat(np.arange(len(sizes)), sizes)
    size = data.draw(st.integers(1, len(groups)))
    rows = draw_whole_groups(groups, size, np.random.default_rng(seed))
    taken = Counter(groups[rows].tolist())
    assert len(set(rows.tolist())) == len(rows) > 0
    assert all(sizes[g] == n for g, n in taken.items())
    assert len(rows) <= size or len(rows) == min(sizes)
    left = [n for g, n in enumerate(sizes) if g not in taken]
    assert len(rows) > size or all(n > size - len(rows) for n in left)
