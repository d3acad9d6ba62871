"""The fewest edits that turn one sequence into another (Levenshtein), and which ones they are."""

from collections.abc import Sequence

import numpy as np


def edits(a: Sequence, b: Sequence) -> int:
    """Levenshtein distance."""
    return int(distances(a, b)[0, 0])


def distances(a: Sequence, b: Sequence) -> np.ndarray:
    """`(len(a) + 1, len(b) + 1)`: at `[i, j]` the distance between what is left, `a[i:]` and `b[j:]`."""
    codes: dict = {}
    b_codes = np.array([codes.setdefault(x, len(codes)) for x in b], dtype=np.int64)
    places = np.arange(len(b), -1, -1)
    table = np.empty((len(a) + 1, len(b) + 1), dtype=np.int64)
    table[len(a)] = places
    for i in range(len(a) - 1, -1, -1):
        below = table[i + 1]
        row = below + 1  # a[i] is deleted
        row[:-1] = np.minimum(row[:-1], below[1:] + (b_codes != codes.get(a[i], -1)))
        # insertions, from the end: the best of row[k] + (k - j) over k >= j
        table[i] = np.minimum.accumulate((row - places)[::-1])[::-1] + places
    return table


def steps(a: Sequence, b: Sequence) -> list[tuple[str, int, int]]:
    """The cheapest way from `a` to `b` as `(kind, i, j)`: hit, substitution, deletion or insertion. Of several the one
    that hits as early as it can: where an end is missing, the end is what is deleted."""
    table, i, j, way = distances(a, b), 0, 0, []
    while i < len(a) or j < len(b):
        left = table[i, j]
        if i < len(a) and j < len(b) and a[i] == b[j] and table[i + 1, j + 1] == left:
            kind, down, right = "hit", 1, 1
        elif i < len(a) and j < len(b) and table[i + 1, j + 1] + 1 == left:
            kind, down, right = "substitution", 1, 1
        elif j < len(b) and table[i, j + 1] + 1 == left:
            kind, down, right = "insertion", 0, 1
        else:
            kind, down, right = "deletion", 1, 0
        way.append((kind, i, j))
        i, j = i + down, j + right
    return way
