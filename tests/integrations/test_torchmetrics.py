"""The metric under torchmetrics' own interface: the numbers of `score_moments`, however split."""

import pickle
import subprocess
import sys
import textwrap
from typing import Any

import pytest
import torch
from torch import Tensor
from torchmetrics import MeanMetric, MetricCollection

from ntpscore import Moments, NextTokenPerceptionScore, score_moments
from ntpscore.errors import MissingPackageError, MomentsError
from tests.support.paths import ROOT

# Sums of float64 in another order, at condition numbers of some 1e3: see tests/tolerances.py.
SAME = 1e-9
Batch = tuple[Tensor, Tensor, Tensor, Tensor]


def batches(n: int, seed: int = 0) -> list[Batch]:
    """n batches of eight texts: two layers of width 5, three classes, two shuffles."""
    generator = torch.Generator().manual_seed(seed)
    made = []
    for _ in range(n):
        hidden = torch.randn(2, 8, 6, 5, generator=generator)
        lengths = torch.randint(2, 7, (8, 1), generator=generator)
        mask = (torch.arange(6) < lengths).long()
        labels = torch.randint(0, 3, (3, 8), generator=generator)
        made.append((hidden, mask, labels[0], labels[1:]))
    return made


def metric_of(parts: list[Batch]) -> NextTokenPerceptionScore:
    metric = NextTokenPerceptionScore(2, 5, 3, 2)
    for part in parts:
        metric.update(*part)
    return metric


def moments_of(parts: list[Batch]) -> Moments:
    moments = Moments(2, 5, 3, 2)
    for part in parts:
        moments.update(*part)
    return moments


def assert_same(found: dict[str, Tensor], parts: list[Batch]) -> None:
    table = score_moments(moments_of(parts))
    assert set(found) == {*table.names, "r2"}
    for layer, scores in enumerate(table.by_layer):
        for name in table.names:
            own = ~scores.basis_dependent[name]  # the rest is an eigensolver's arbitrary choice
            assert own.any()
            torch.testing.assert_close(
                found[name][layer][own], scores.values[name][own],
                rtol=SAME, atol=SAME, equal_nan=True,
            )  # fmt: skip
        assert float(found["r2"][layer]) == pytest.approx(scores.r2, abs=SAME)


def test_scores_are_those_of_the_moments() -> None:
    parts = batches(6)
    metric = metric_of(parts)
    assert_same(metric.compute(), parts)
    shuffled = score_moments(metric.moments).by_layer[1].shuffled["retained"]
    expected = score_moments(moments_of(parts)).by_layer[1].shuffled["retained"]
    torch.testing.assert_close(shuffled, expected, rtol=SAME, atol=SAME)
    assert (metric.moments.n_texts, metric.moments.n_tokens) == (
        48, sum(int(part[1].sum()) for part in parts)
    )  # fmt: skip


@pytest.mark.parametrize("how", ["add", "merge", "dict"])
def test_halves_make_the_whole(how: str) -> None:
    parts = batches(6)
    one, other = metric_of(parts[:3]), metric_of(parts[3:])
    if how == "add":
        whole = one + other
        assert_same(one.compute(), parts[:3])  # these are left as they were
        assert_same(other.compute(), parts[3:])
    else:
        whole = one
        one.merge_state(other if how == "merge" else other.metric_state)
    assert_same(whole.compute(), parts)


def test_forward_gives_the_batch_and_adds_it() -> None:
    parts = batches(6)
    metric = NextTokenPerceptionScore(2, 5, 3, 2)
    for part in parts:
        assert_same(metric(*part), [part])
    assert_same(metric.compute(), parts)


def test_reset_forgets_and_takes_texts_again() -> None:
    parts = batches(4)
    metric = metric_of(parts)
    metric.reset()
    assert metric.moments.n_texts == 0
    with (
        pytest.warns(UserWarning, match="before the ``update``"),
        pytest.raises(MomentsError, match="no text was added"),
    ):
        metric.compute()
    for part in parts[:2]:
        metric.update(*part)
    assert_same(metric.compute(), parts[:2])


def test_copies_go_their_own_way() -> None:
    parts = batches(4)
    metric = metric_of(parts[:2])
    for copy in (metric.clone(), pickle.loads(pickle.dumps(metric))):  # noqa: S301
        copy.update(*parts[2])
        assert_same(copy.compute(), parts[:3])
    assert_same(metric.compute(), parts[:2])


def test_state_is_kept_and_loaded() -> None:
    parts = batches(3)
    metric = metric_of(parts[:2])
    metric.persistent(mode=True)
    fresh = NextTokenPerceptionScore(2, 5, 3, 2)
    fresh.persistent(mode=True)
    fresh.load_state_dict(metric.state_dict())
    fresh.update(*parts[2])
    assert_same(fresh.compute(), parts)


def test_states_move_and_stay_float64() -> None:
    metric = metric_of(batches(2)).float().to("meta")
    assert {state.device.type for state in metric.metric_state.values()} == {"meta"}
    assert metric.sum_N.dtype == torch.float64


def test_it_stands_in_a_collection() -> None:
    parts = batches(3)
    collection = MetricCollection({"ntps": metric_of([])})
    for part in parts:
        collection.update(*part)
    found = collection.compute()
    assert_same({name.removeprefix("ntps_"): value for name, value in found.items()}, parts)


def test_what_does_not_fit_is_refused() -> None:
    metric = metric_of(batches(1))
    with pytest.raises(MomentsError, match="don't add up"):
        metric.merge_state(NextTokenPerceptionScore((0, 2), 5, 3, 2))
    with pytest.raises(MomentsError, match="don't add up"):
        metric + NextTokenPerceptionScore(1, 5, 3, 2)  # would broadcast
    with pytest.raises(MomentsError, match="no token"):
        metric.update(torch.ones(2, 1, 6, 5), torch.zeros(1, 6), torch.tensor([0]),
                      torch.zeros(2, 1).long())  # fmt: skip
    assert metric.moments.n_texts == 8
    assert type(metric + MeanMetric()).__name__ == "CompositionalMetric"


def test_a_missing_package_is_told_with_its_pip_line(monkeypatch: pytest.MonkeyPatch) -> None:
    import ntpscore

    monkeypatch.setitem(sys.modules, "torchmetrics", None)
    monkeypatch.delitem(sys.modules, "ntpscore.integrations.torchmetrics")
    with pytest.raises(MissingPackageError, match=r"pip install torchmetrics$") as caught:
        _ = ntpscore.NextTokenPerceptionScore
    assert isinstance(caught.value, ImportError)


@pytest.mark.slow
def test_two_processes_make_one_score(tmp_path: Any) -> None:
    code = textwrap.dedent(
        """
        import sys, torch, torch.distributed as dist
        from tests.integrations.test_torchmetrics import assert_same, batches, metric_of
        rank = int(sys.argv[1])
        dist.init_process_group("gloo", init_method=sys.argv[2], rank=rank, world_size=2)
        parts = batches(6)
        metric = metric_of(parts[rank::2])
        assert_same(metric.compute(), parts)
        assert metric.moments.n_texts == 24
        dist.destroy_process_group()
        print("same")
        """
    )
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(rank), f"file://{tmp_path}/meet"],
            cwd=ROOT,
            env={"PYTHONPATH": f"{ROOT / 'src'}:{ROOT}", "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    ended = [process.communicate(timeout=110) for process in processes]
    assert [out for out, _ in ended] == ["same\n", "same\n"], ended
