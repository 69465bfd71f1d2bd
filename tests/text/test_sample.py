import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ntpscore.errors import DataError
from ntpscore.text import load_text
from ntpscore.text.sample import draw_sample, share_out

counts = st.lists(st.integers(1, 25), min_size=2, max_size=6)


@st.composite
def _size_and_counts(draw):
    drawn = draw(counts)
    return draw(st.integers(len(drawn), sum(drawn))), drawn


@given(_size_and_counts())
def test_shares_add_up_and_each_class_has_one_at_least(case):
    size, counts = case
    shares = share_out(size, counts)
    assert sum(shares) == size
    assert all(1 <= share <= count for share, count in zip(shares, counts, strict=True))


@given(_size_and_counts())
def test_shares_are_proportional_within_one_where_no_class_is_raised_to_one(case):
    size, counts = case
    exact = [size * count / sum(counts) for count in counts]
    if min(exact) >= 1:
        shares = share_out(size, counts)
        assert all(abs(share - e) < 1 for share, e in zip(shares, exact, strict=True))


def test_shares_take_the_row_of_a_small_class_from_the_largest():
    assert share_out(10, [97, 2, 1]) == [8, 1, 1]


def test_sample_smaller_than_the_classes_is_refused():
    with pytest.raises(DataError, match="a sample of 2 is too small for 3 classes"):
        share_out(2, [5, 5, 5])


@given(_size_and_counts(), st.integers(0, 2**32), st.randoms(use_true_random=False))
def test_stratified_sample_has_the_size_and_shares_in_row_order(case, seed, random):
    size, counts = case
    labels = [label for label, count in enumerate(counts) for _ in range(count)]
    random.shuffle(labels)
    classes = np.array(labels)
    rows = draw_sample(np.arange(len(classes)), size, seed, classes)
    assert len(rows) == size
    assert rows == sorted(set(rows))
    assert np.bincount(classes[rows]).tolist() == share_out(size, counts)
    assert rows == draw_sample(np.arange(len(classes)), size, seed, classes)


@given(st.integers(1, 100), st.data(), st.integers(0, 2**32))
def test_simple_sample_has_the_size_in_row_order(n_rows, data, seed):
    size = data.draw(st.integers(1, n_rows))
    rows = draw_sample(np.arange(n_rows), size, seed)
    assert len(rows) == size
    assert rows == sorted(set(rows))
    assert set(rows) <= set(range(n_rows))
    assert rows == draw_sample(np.arange(n_rows), size, seed)


def test_simple_sample_draws_every_row_about_equally_often():
    drawn = np.bincount([row for seed in range(400) for row in draw_sample(np.arange(10), 3, seed)])
    # Each count is binomial, mean 120 and standard deviation 9.2: this is 5 of them.
    assert np.abs(drawn - 120).max() < 46


def _frame(n_rows=40):
    return pd.DataFrame(
        {
            "text": [f"text {i}" for i in range(n_rows)],
            "label": ["common" if i % 4 else "rare" for i in range(n_rows)],
        }
    )


def test_sampled_text_keeps_shares_and_order():
    whole, text = load_text(_frame()), load_text(_frame(), max_texts=8, seed=3)
    assert text.class_counts() == {"common": 6, "rare": 2}
    positions = [whole.texts.index(one) for one in text.texts]
    assert positions == sorted(positions)
    assert text.labels.tolist() == whole.labels[positions].tolist()
    assert text.source.n_rows == 40


def test_sample_depends_on_the_seed_alone():
    np.random.seed(0)  # noqa: NPY002  # the global generator must have no say
    state = np.random.get_state()[1].tolist()  # noqa: NPY002
    texts = [load_text(_frame(), max_texts=8, seed=seed).texts for seed in (1, 1, 2)]
    assert texts[0] == texts[1] != texts[2]
    assert np.random.get_state()[1].tolist() == state  # noqa: NPY002


def test_sample_does_not_depend_on_rows_of_other_splits():
    train, test = _frame().assign(split="train"), _frame(12).assign(split="test")
    mixed = pd.concat([test.iloc[:5], train.iloc[:20], test.iloc[5:], train.iloc[20:]])
    alone, among = (load_text(frame, max_texts=8) for frame in (train, mixed))
    assert alone.texts == among.texts
    assert alone.source.content_hash == among.source.content_hash


@pytest.mark.parametrize("max_texts", [None, 40, 1000])
def test_sample_of_all_texts_is_all_texts(max_texts):
    assert load_text(_frame(), max_texts=max_texts).texts == _frame()["text"].tolist()


def test_sample_of_regression_is_standardised_itself():
    frame = _frame().assign(label=np.linspace(0, 1, 40))
    text = load_text(frame, max_texts=10)
    assert text.labels.shape == (10, 1)
    assert text.labels.mean() == pytest.approx(0)


def test_sample_of_multilabel_leaves_out_classes_it_misses():
    frame = _frame().assign(label=[["a"], ["b"]] * 19 + [["a", "only here"], ["b"]])
    text = load_text(frame, max_texts=10, seed=0)
    assert text.classes == ("a", "b")
    assert text.labels.sum(axis=0).min() > 0


def test_sample_smaller_than_the_number_of_classes_is_refused():
    with pytest.raises(DataError, match="--max-texts be at least 2"):
        load_text(_frame(), max_texts=1)
