"""Masks of blocks: how many cells, what shapes, and that a mask depends on its row alone."""

import random

import pytest
import torch

from train.engine.patch_masking import PatchMasking


def masks(masking, count=3000):
    draw = random.Random(0)
    return torch.stack([masking(draw) for _ in range(count)])


def test_most_masks_have_the_target_and_none_more():
    sizes = masks(PatchMasking()).sum(dim=(1, 2))
    assert sizes.max() == 8 and sizes.min() >= 4
    assert (sizes == 8).double().mean() == pytest.approx(0.972, abs=0.015)  # of 20,000 draws of the original
    assert sizes.double().mean() == pytest.approx(7.97, abs=0.02)


def test_the_centre_is_masked_more_often_than_a_corner():
    often = masks(PatchMasking()).double().mean(dim=0)
    assert often[3, 3] == pytest.approx(0.265, abs=0.03)
    for corner in (often[0, 0], often[0, 6], often[6, 0], often[6, 6]):
        assert corner == pytest.approx(0.058, abs=0.02)


class Fixed:
    """Draws by hand: areas and log-aspects in turn, blocks at given corners."""

    def __init__(self, uniforms, corners):
        self.uniforms, self.corners, self.bounds = list(uniforms), list(corners), []

    def uniform(self, a, b):
        self.bounds.append((a, b))
        return self.uniforms.pop(0)

    def randint(self, a, b):
        self.bounds.append((a, b))
        return self.corners.pop(0)


def test_a_block_by_hand():
    draw = Fixed([4, 0, 4, 0], [1, 2, 5, 5])
    mask = PatchMasking()(draw)
    assert mask.nonzero().tolist() == [[1, 2], [1, 3], [2, 2], [2, 3], [5, 5], [5, 6], [6, 5], [6, 6]]
    areas, corners = draw.bounds[0::4], draw.bounds[2::4]
    assert areas == [(4, 8), (4, 4)] and corners == [(0, 5), (0, 5)]


def test_a_block_that_adds_nothing_or_too_much_is_tried_again_and_then_given_up():
    # 2 x 2, then 9 cells, of which 5 would be new; then the same 2 x 2 until the attempts are used up.
    draw = Fixed([4, 0] + [9, 0] + [4, 0] * 2, [0, 0] + [0, 0] + [0, 0] * 2)
    mask = PatchMasking(attempts=3)(draw)
    assert int(mask.sum()) == 4 and not draw.uniforms and not draw.corners


def test_a_block_as_high_as_the_grid_is_skipped_before_its_place_is_drawn():
    draw = Fixed([8, 3.0, 4, 0], [3, 3])  # height 13
    assert PatchMasking(target=4, attempts=2)(draw)[3:5, 3:5].all()


def test_no_cells_at_all_and_grids_of_other_shapes():
    assert not PatchMasking(target=0)(random.Random(0)).any()
    wide = masks(PatchMasking(grid=(3, 14), target=6, smallest=1), 500)
    assert wide.shape[1:] == (3, 14) and (wide.sum(dim=(1, 2)) == 6).double().mean() > 0.9


def test_a_mask_depends_on_seed_epoch_and_row_alone():
    masking = PatchMasking()
    rows = [{"row": row, "epoch": 1} for row in range(5)]
    batch = masking.batch(rows, seed=2)
    assert batch.shape == (5, 49) and batch.dtype == torch.bool
    assert torch.equal(batch[3:4], masking.batch(rows[3:4], seed=2))
    assert not torch.equal(batch, masking.batch([row | {"epoch": 2} for row in rows], seed=2))
    assert not torch.equal(batch, masking.batch(rows, seed=3))


def test_settings_that_cannot_work_are_refused():
    with pytest.raises(ValueError, match="50 masked cells don't fit a grid of 7 x 7"):
        PatchMasking(target=50)
    with pytest.raises(ValueError, match="expected min_aspect > 0"):
        PatchMasking(min_aspect=0)
