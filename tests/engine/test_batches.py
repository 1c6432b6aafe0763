"""Batches are a pure function of (seed, epoch, step), on any number of processes."""

import pytest

from train.engine.batches import GlobalBatches, NeighbourBatches


def batches(sampler, epoch, first_step=0):
    sampler.start(epoch, first_step)
    return list(sampler)


def test_every_epoch_is_another_order_of_all_rows():
    sampler = GlobalBatches(12, 4, seed=3)
    first, second = batches(sampler, 0), batches(sampler, 1)
    assert sorted(sum(first, [])) == sorted(sum(second, [])) == list(range(12))
    assert first != second
    assert first == batches(GlobalBatches(12, 4, seed=3), 0)
    assert first != batches(GlobalBatches(12, 4, seed=4), 0)


def test_processes_share_the_batch_of_one_process():
    whole = batches(GlobalBatches(21, 6, seed=0), 2)
    parts = [batches(GlobalBatches(21, 6, seed=0, rank=r, num_processes=3), 2) for r in range(3)]
    assert [sum(shares, []) for shares in zip(*parts, strict=True)] == whole
    assert len(whole) == 3  # the incomplete fourth is dropped


def test_a_resumed_epoch_skips_what_was_done():
    sampler = GlobalBatches(20, 4, seed=1)
    assert batches(sampler, 5, first_step=2) == batches(GlobalBatches(20, 4, seed=1), 5)[2:]
    assert len(sampler) == 3


def test_batches_that_cannot_be_are_refused():
    with pytest.raises(ValueError, match="3 training rows are fewer than one batch of 4; use --batch_size 3 or less"):
        GlobalBatches(3, 4, seed=0)
    with pytest.raises(ValueError, match="cannot be shared by 3 processes"):
        GlobalBatches(30, 4, seed=0, num_processes=3)


def test_linked_rows_come_together_and_every_row_once():
    links = [[i ^ 1] for i in range(64)]  # pairs
    order = sum(batches(NeighbourBatches(links, 8, seed=0), 0), [])
    assert sorted(order) == list(range(64))
    assert all(order[i] == order[i + 1] ^ 1 for i in range(0, 64, 2))


def test_every_process_sees_the_whole_batch_of_linked_rows():
    links = [[] for _ in range(16)]
    ranks = [batches(NeighbourBatches(links, 8, seed=0, rank=r, num_processes=2), 1) for r in range(2)]
    assert ranks[0] == ranks[1] and len(ranks[0][0]) == 8
