"""What becomes of memories on their way in: added, merged into what is there, or recognised as known."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from maas.errors import FieldError, InvalidInputError
from maas.items import Item, Vector, hash_of, indexed_text
from maas.records import Event, Memory, Scope
from maas.storage.protocol import ReadTransaction
from maas.storage.values import Where
from maas.twins import may_be_twins

_TWINS_SOUGHT = 5
# Starts the id of a memory that is decided on but not written yet; no real id holds this character.
PROVISIONAL = "+"


@dataclass(frozen=True, slots=True)
class Decision:
    """``memory`` is the state after this item: new, changed, or the known one as it was.

    ``expired`` held the key that a new one takes, and goes: what has expired does not come back as an earlier version.
    """

    item: Item
    event: Event
    memory: Memory
    before: Memory | None = None
    expired: Memory | None = None

    @property
    def needs_vector(self) -> bool:
        if self.event == "UPDATE":
            assert self.before is not None
            return indexed_text(self.before.text, self.before.name) != indexed_text(self.memory.text, self.memory.name)
        return self.event == "ADD"


def decide(
    transaction: ReadTransaction, items: Sequence[Item], fingerprint: str, now: datetime, same_meaning: float
) -> list[Decision]:
    """One decision an item, each seeing those before it.

    Args:
        same_meaning: cosine from which ``dedupe: semantic`` takes one for the other.

    Raises:
        InvalidInputError: ``supersedes`` names no memory of the user.
    """
    by_scope: dict[Scope, list[Item]] = defaultdict(list)
    for item in items:
        by_scope[item.scope].append(item)
    deciders = {
        scope: _Decider(transaction, scope, own, fingerprint, now, same_meaning) for scope, own in by_scope.items()
    }
    return [deciders[item.scope].decide(item) for item in items]


class _Decider:
    """Decides for one user; keeps what the items so far have changed on top of what the snapshot holds."""

    def __init__(
        self,
        transaction: ReadTransaction,
        scope: Scope,
        items: Sequence[Item],
        fingerprint: str,
        now: datetime,
        same_meaning: float,
    ) -> None:
        self._transaction, self._scope, self._fingerprint, self._now = transaction, scope, fingerprint, now
        self._same_at = same_meaning
        hashes = {item.text_hash for item in items if item.key is None and item.dedupe != "off"}
        self._by_hash = transaction.by_hash(scope, hashes, now) if hashes else {}
        keys = {item.key for item in items if item.key is not None}
        self._by_key = transaction.by_key(scope, keys) if keys else {}
        over = [key for key, known in self._by_key.items() if known.expires_at is not None and known.expires_at <= now]
        self._expired = {key: self._by_key.pop(key) for key in over}
        self._added: list[tuple[Vector, Memory]] = []
        # Memories of the snapshot that an item so far has replaced or superseded; those superseded and not said again.
        self._stale: set[str] = set()
        self._hidden: set[str] = set()
        self._new = 0
        self._refuse_unknown(items)

    def decide(self, item: Item) -> Decision:
        decision = self._decide(item)
        if decision.event != "NONE":
            if decision.before is not None:  # what it said before is known no more, and it is current
                self._forget(decision.before.id)
                self._hidden.discard(decision.before.id)
                self._added = [
                    (vector, decision.memory if memory.id == decision.memory.id else memory)
                    for vector, memory in self._added
                    if memory.id != decision.memory.id or not decision.needs_vector
                ]
            memory = decision.memory
            self._by_hash[item.text_hash if decision.before is None else hash_of(memory)] = memory
            if memory.key is not None:
                self._by_key[memory.key] = memory
            if item.vector is not None:
                self._added.append((item.vector, memory))
        if item.supersedes is not None and item.supersedes != decision.memory.id:
            self._forget(item.supersedes)
            self._hidden.add(item.supersedes)
        return decision

    def _forget(self, memory_id: str) -> None:
        """Nothing is the same as what this memory says in the snapshot."""
        self._stale.add(memory_id)
        self._by_hash = {known: memory for known, memory in self._by_hash.items() if memory.id != memory_id}

    def _decide(self, item: Item) -> Decision:
        if item.key is not None:
            known = self._by_key.get(item.key)
            return self._add(item) if known is None else self._merge(item, known)
        if item.dedupe != "off":
            known = self._by_hash.get(item.text_hash)
            if known is None and item.dedupe == "semantic" and item.vector is not None:
                known = self._same_meaning(item, item.vector)
            if known is not None:
                return self._keep(item, known)
        return self._add(item)

    def _keep(self, item: Item, known: Memory) -> Decision:
        """Said again: it lives as long as the longest-lived of those who say it."""
        if lasts(known.expires_at, item.expires_at):
            return Decision(item, "NONE", known)
        if known.document_id is not None:  # a passage stays whole, and goes with its document
            return self._add(item)
        change = {"expires_at": item.expires_at, "updated_at": self._now, "version": known.version + 1}
        return Decision(item, "UPDATE", known.model_copy(update=change), before=known)

    def _add(self, item: Item) -> Decision:
        self._new += 1
        memory = Memory(
            id=f"{PROVISIONAL}{self._new}",
            user_id=item.scope.user_id,
            text=item.text,
            metadata=item.metadata,
            agent_id=item.agent_id,
            session_id=item.session_id,
            role=item.role,
            name=item.name,
            key=item.key,
            importance=item.importance,
            created_at=item.created_at or self._now,
            updated_at=self._now,
            expires_at=item.expires_at,
            superseded_by=None,
            superseded_at=None,
            version=1,
        )
        return Decision(item, "ADD", memory, expired=self._expired.pop(item.key, None) if item.key else None)

    def _merge(self, item: Item, known: Memory) -> Decision:
        """Same key: what is said now replaces what was said, and makes it current again."""
        values = {
            name: getattr(item, name)
            for name in ("text", "metadata", "agent_id", "session_id", "role", "name", "importance", "expires_at")
        }
        values["created_at"] = item.created_at or known.created_at
        values["superseded_by"] = values["superseded_at"] = None
        merged = known.model_copy(update=values)
        # What is told of the same time in the same words was not said anew, and is the past if it was before.
        told = (item.created_at is not None and item.supersedes is None) and merged.same_as(
            known.model_copy(update={"superseded_by": None, "superseded_at": None})
        )
        if told or (merged.same_as(known) and known.id not in self._hidden):
            return Decision(item, "NONE", known)
        merged = merged.model_copy(update={"updated_at": self._now, "version": known.version + 1})
        return Decision(item, "UPDATE", merged, before=known)

    def _same_meaning(self, item: Item, vector: Vector) -> Memory | None:
        """The nearest memory that may say the same, by the same speaker."""
        for added, memory in self._added:
            if float(added @ vector) >= self._same_at and memory.id not in self._hidden and _twins(item, memory):
                return memory
        where = Where(now=self._now)
        near = self._transaction.dense(self._scope, self._fingerprint, vector[None, :], _TWINS_SOUGHT, where)[0]
        seqs = near.seqs[near.scores >= self._same_at].tolist()
        rows = self._transaction.by_seq(self._scope, seqs) if seqs else {}
        known = (rows[seq] for seq in seqs if seq in rows and rows[seq].id not in self._stale)
        return next((memory for memory in known if _twins(item, memory)), None)

    def _refuse_unknown(self, items: Sequence[Item]) -> None:
        named = {item.supersedes for item in items if item.supersedes is not None}
        missing = named - self._transaction.existing_ids(self._scope, named) if named else set()
        for item in items:
            if item.supersedes in missing:
                place = f"{item.place}.supersedes" if item.place else "supersedes"
                message = f"names {item.supersedes!r}, which is no memory of this user"
                raise InvalidInputError(f"{place}: {message}", errors=[FieldError(place, message)])


def lasts(expires_at: datetime | None, until: datetime | None) -> bool:
    """Whether what expires at the one time is kept ``until`` the other; None: for ever."""
    return expires_at is None or (until is not None and until <= expires_at)


def _twins(item: Item, memory: Memory) -> bool:
    return (item.name, item.role) == (memory.name, memory.role) and may_be_twins(item.text, memory.text)
