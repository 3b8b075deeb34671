"""Ids looked up a batch at a time."""

from __future__ import annotations

import pyarrow as pa


class Places:
    """Where each of n ids stands, the first place of one that stands twice.

    For ids that come in batches: Arrow's own ``index_in`` and ``is_in`` hash all n anew in every call, which for the
    batches of a large catalogue is most of the work.
    """

    def __init__(self, ids: pa.Array | pa.ChunkedArray) -> None:
        known = ids.to_pylist()
        self._place = dict(zip(reversed(known), range(len(known) - 1, -1, -1), strict=True))
        self._place.pop(None, None)

    def of(self, ids: pa.Array) -> pa.Array:
        """int32 [m]: the place of each id, null where it is unknown."""
        place = self._place.get
        return pa.array([place(each) for each in ids.to_pylist()], pa.int32())

    def has(self, ids: pa.Array) -> pa.Array:
        """bool [m]: which ids are known."""
        known = self._place
        return pa.array([each in known for each in ids.to_pylist()], pa.bool_())
