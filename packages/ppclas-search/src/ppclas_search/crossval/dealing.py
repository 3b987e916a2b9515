"""Deal photos out to folds: every class evenly, no group on two sides."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import NDArray
from ppclas_core.errors import DataError

ALWAYS = -1
"""The fold of photos that are in every training part and in no validation part."""


def deal(
    classes: Sequence[tuple[int, ...]], groups: Sequence[Hashable], folds: int, seed: int = 0
) -> list[int]:
    """The fold, 0 to ``folds`` - 1, that each photo validates in.

    Photos of a group are in one fold. Groups are dealt out from the largest to the smallest, each
    to the fold that has the smallest share of its classes so far; where every photo is a group of
    its own, the photos of a class in two folds differ in number by one at most. A class that only
    one group has could not be learnt without it: that group is ``ALWAYS`` trained on.

    >>> deal([(0,), (0,), (1,), (1,), (1,)], "abcde", folds=2)
    [0, 1, 1, 0, 1]
    >>> deal([(0,), (0,), (1,)], "abc", folds=2)  # no other photo shows class 1
    [0, 1, -1]

    Args:
        classes: class indices of each photo; several labels are several.
        groups: the group of each photo.
        folds: how many, 2 or more.
        seed: of the order among groups that are as large.

    Raises:
        DataError: there are fewer groups than folds.
    """
    members: dict[Hashable, list[int]] = defaultdict(list)
    for photo, group in enumerate(groups):
        members[group].append(photo)
    counts = {
        group: Counter(label for photo in photos for label in classes[photo])
        for group, photos in members.items()
    }
    left = Counter(label for count in counts.values() for label in count)
    dealt = [group for group in counts if not any(left[label] == 1 for label in counts[group])]
    if len(dealt) < folds:
        raise DataError(
            f"{folds} folds: expected as many groups of photos or more, each of a class that "
            f"another group has too; got {len(dealt)}. Use fewer folds, or a finer --group."
        )
    totals: Counter[int] = sum((counts[group] for group in dealt), Counter())
    held = np.zeros(folds)
    of_class: dict[int, NDArray[np.float64]] = defaultdict(lambda: np.zeros(folds))
    found = [ALWAYS] * len(classes)
    chance = np.random.default_rng(seed).permutation(len(dealt)).tolist()
    order = sorted(
        range(len(dealt)), key=lambda place: (-len(members[dealt[place]]), chance[place])
    )
    for place in order:
        group = dealt[place]
        crowded, forbidden = np.zeros(folds), np.zeros(folds, bool)
        for label, count in counts[group].items():
            crowded += count * of_class[label] / totals[label] ** 2
            left[label] -= 1
            if left[label] == 0 and (of_class[label] > 0).sum() == 1:
                # All others of the class validate in one fold: they need this group to train on.
                forbidden |= of_class[label] > 0
        if forbidden.all():
            continue
        crowded[forbidden] = np.inf
        fold = int(np.lexsort((held, crowded))[0])
        for label, count in counts[group].items():
            of_class[label][fold] += count
        held[fold] += len(members[group])
        for photo in members[group]:
            found[photo] = fold
    return found
