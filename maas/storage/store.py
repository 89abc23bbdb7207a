"""What both stores do alike: each says how its transactions begin, and what it holds open."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Generic, TypeVar

from maas.errors import MaasError, NotReadyError, StorageError
from maas.storage.reader import Caches, Reader
from maas.storage.writer import Writer

R = TypeVar("R", bound=Reader)
W = TypeVar("W", bound=Writer)


class Store(Generic[R, W]):
    """Implements MemoryStore, but for ``wipe``."""

    def __init__(self, caches: Caches) -> None:
        self.caches = caches
        self._closed = False

    @contextmanager
    def read(self) -> Iterator[R]:
        self._refuse_closed()
        with self._reading() as reader:
            yield reader

    @contextmanager
    def write(self) -> Iterator[W]:
        self._refuse_closed()
        with self._writing() as writer:
            yield writer
        # Only after the commit: a reader that saw the user's rows until then may use its cache until then.
        for number in writer.erased:
            self._forget(number)

    def check_writable(self) -> None:
        try:
            with self.write() as writer:
                writer.touch()
        except MaasError as error:
            raise NotReadyError(f"the database takes no writes: {error.detail}", retry_after=1) from error

    def close(self) -> None:
        self._closed = True
        self.caches.clear()
        self._dispose()

    def _refuse_closed(self) -> None:
        if self._closed:
            raise StorageError("the store is closed; open a new PersonalMemoryBrain")

    def _forget(self, number: int) -> None:
        """What is kept of a user who was erased."""
        self.caches.forget(number)

    def _reading(self) -> AbstractContextManager[R]:
        raise NotImplementedError

    def _writing(self) -> AbstractContextManager[W]:
        raise NotImplementedError

    def _dispose(self) -> None:
        raise NotImplementedError
