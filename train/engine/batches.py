"""Which rows stand in which batch, in every epoch, on every process: a pure function of (seed, epoch, step).

Because the order is computed and never drawn from a global generator, a resumed run sees the batches that an
uninterrupted one sees, and two processes together see the batches that one process sees.
"""

from collections.abc import Iterator

import torch
from torch.utils.data import Sampler


class GlobalBatches(Sampler[list]):
    """Batch sampler: a shuffled order cut into global batches, of which each process takes its share.

    Args:
        rows: number of rows of the data set.
        batch_size: rows of one *global* batch, over all processes; the last incomplete batch is dropped.
        seed: seed of the order.
        rank, num_processes: this process and how many there are.
        with_steps: yield (step, row) in place of row, for data whose rows depend on the step that they are for. Steps
            count from 0 over all epochs.

    Raises:
        ValueError: fewer rows than one batch, or a batch that cannot be shared out equally.
    """

    def __init__(
        self, rows: int, batch_size: int, seed: int, rank: int = 0, num_processes: int = 1, with_steps: bool = False
    ) -> None:
        if rows < batch_size:
            raise ValueError(
                f"{rows} training rows are fewer than one batch of {batch_size}; use --batch_size {rows} or less"
            )
        if batch_size % num_processes:
            raise ValueError(f"--batch_size {batch_size} cannot be shared by {num_processes} processes; use a multiple")
        self.rows, self.batch_size, self.seed = rows, batch_size, seed
        self.rank, self.share = rank, batch_size // num_processes
        self.epoch, self.first_step, self.with_steps = 0, 0, with_steps

    def start(self, epoch: int, first_step: int = 0) -> None:
        """Choose the epoch, and how many of its steps are already done."""
        self.epoch, self.first_step = epoch, first_step

    @property
    def steps_per_epoch(self) -> int:
        return self.rows // self.batch_size

    def __len__(self) -> int:
        return self.steps_per_epoch - self.first_step

    def order(self) -> list[int]:
        """All rows in the order of this epoch."""
        return torch.randperm(self.rows, generator=row_generator(self.seed, self.epoch)).tolist()

    def __iter__(self) -> Iterator[list]:
        order = self.order()
        for step in range(self.first_step, self.steps_per_epoch):
            begin = step * self.batch_size + self.rank * self.share
            share = order[begin : begin + self.share]
            yield [(self.epoch * self.steps_per_epoch + step, row) for row in share] if self.with_steps else share


class NeighbourBatches(GlobalBatches):
    """Batches of linked rows: a row is followed by rows that it is linked with, the rest of the order is random.

    Used with photos as rows and triplets as links: a batch then holds whole triplets, and look-alikes as wrong answers.
    Every process gets the whole global batch, because which queries it asks depends on all photos of the batch.

    Args:
        links: for each row, the rows that it is linked with.
        most_neighbours: how many of them may follow it.
        Others: as for [`GlobalBatches`].
    """

    def __init__(
        self, links: list[list[int]], batch_size: int, seed: int, rank: int = 0, num_processes: int = 1
    ) -> None:
        super().__init__(len(links), batch_size, seed, rank, num_processes)
        self.links, self.most_neighbours = links, 7
        self.rank, self.share = 0, batch_size

    def order(self) -> list[int]:
        draw = row_generator(self.seed, self.epoch)
        taken, order = [False] * self.rows, []
        for row in torch.randperm(self.rows, generator=draw).tolist():
            if taken[row]:
                continue
            around = [n for n in self.links[row] if not taken[n]]
            around = [around[i] for i in torch.randperm(len(around), generator=draw)[: self.most_neighbours].tolist()]
            for chosen in (row, *around):
                taken[chosen] = True
                order.append(chosen)
        return order


def row_generator(seed: int, epoch: int, row: int = 0) -> torch.Generator:
    """A generator of its own for every (seed, epoch, row): captions and augmentation never touch the global one."""
    mixed = (seed * 1_000_003 + epoch) * 1_000_003 + row
    return torch.Generator().manual_seed(mixed % (2**63 - 1))
