"""Boxes of one unit that meet on a core become one: fewer axons, fewer packets."""

from __future__ import annotations

from collections.abc import Sequence

from ndeploy.place.links import Box


def joined(a: Box, b: Box) -> Box | None:
    """The box that two boxes make together, None where they make none."""
    differ = [axis for axis, (x, y) in enumerate(zip(a, b, strict=True)) if x != y]
    if len(differ) != 1:
        return None
    axis = differ[0]
    (start, stop), (begin, end) = sorted((a[axis], b[axis]))
    if stop != begin:
        return None
    return (*a[:axis], (start, end), *a[axis + 1 :])


def merged(boxes: Sequence[Box]) -> list[Box]:
    """Disjoint boxes with all pairs joined that make a box, the first pair first, again and again."""
    found = sorted(boxes)
    again = True
    while again:
        again = False
        for i in range(len(found)):
            for j in range(i + 1, len(found)):
                box = joined(found[i], found[j])
                if box is not None:
                    found[i : j + 1] = [box, *found[i + 1 : j]]
                    again = True
                    break
            if again:
                break
    return found
