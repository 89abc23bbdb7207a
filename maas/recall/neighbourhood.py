"""What stands around a recalled passage in its document."""

from __future__ import annotations

from collections.abc import Sequence

from maas.records import Scope, SearchHit
from maas.storage.protocol import ReadTransaction


def with_neighbours(transaction: ReadTransaction, scope: Scope, hits: Sequence[SearchHit]) -> list[SearchHit]:
    """The hits; passages among them with the texts before and after them."""
    starts = {hit.id: (hit.document_id, hit.start) for hit in hits if hit.document_id and hit.start is not None}
    ends = {hit.id: (hit.document_id, hit.end) for hit in hits if hit.document_id and hit.end is not None}
    if not starts:
        return list(hits)
    before = transaction.texts_at(scope, set(starts.values()), ending=True)
    after = transaction.texts_at(scope, set(ends.values()), ending=False)
    return [
        hit.model_copy(update={"before": before.get(starts[hit.id]), "after": after.get(ends[hit.id])})
        if hit.id in starts and hit.id in ends
        else hit
        for hit in hits
    ]
