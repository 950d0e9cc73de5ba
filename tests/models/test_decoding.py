"""Decoding the difference: hand-made sets of voxels."""

import torch

from occflow.models.decoding import Voxels, corrected


def voxels(**labels: int) -> Voxels:
    """Voxels at keys k0, k1, ... with their labels."""
    keys = sorted(int(name[1:]) for name in labels)
    return Voxels(torch.tensor(keys, dtype=torch.int64), torch.tensor([labels[f"k{key}"] for key in keys],
                                                                     dtype=torch.int64))


def as_dict(found: Voxels) -> dict[int, int]:
    return dict(zip(found.keys.tolist(), found.labels.tolist()))


def test_where_the_state_says_nothing_new_the_base_stays():
    base, coded = voxels(k1=4, k2=11, k5=16), voxels(k1=3, k2=11, k7=15)  # the code errs at 1, 5 and 7
    assert as_dict(corrected(coded, coded, base)) == as_dict(base)


def test_what_the_state_changes_is_changed():
    base, coded = voxels(k1=4, k2=11), voxels(k1=4, k2=11)
    changed = voxels(k2=13, k3=7)  # 1 goes, 2 becomes a pavement, 3 comes
    assert as_dict(corrected(changed, coded, base)) == {2: 13, 3: 7}


def test_unlabelled_base_takes_the_decoded_label():
    base, coded = voxels(k1=255, k2=255), voxels(k1=4)
    assert as_dict(corrected(coded, coded, base)) == {1: 4}
