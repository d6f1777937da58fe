"""Observers of VTK objects that can all be dropped at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import contextmanager
from typing import Any, Iterator


class Observers:
    """What one object of ours observes, with the tags to let go of it again.

    An observer that is left behind keeps its Python object alive and is called on nodes long closed.
    """

    def __init__(self) -> None:
        self._tags: list[tuple[Any, int]] = []

    def add(self, sender: Any, events: Iterable[Any], function: Callable[[Any, Any], None]) -> None:
        """Call a function with (sender, event) on any of the events; nothing happens for None as the sender."""
        if sender is not None:
            self._tags.extend((sender, sender.AddObserver(event, function)) for event in events)

    def drop(self, sender: Any = None) -> None:
        """Observe an object no longer; all of them by default."""
        kept = []
        for observed, tag in self._tags:
            if sender is None or observed is sender:
                observed.RemoveObserver(tag)
            else:
                kept.append((observed, tag))
        self._tags = kept

    def __len__(self) -> int:
        return len(self._tags)


@contextmanager
def one_event(node: Any) -> Iterator[None]:
    """Let a node tell of several changes by one event."""
    was_modifying = node.StartModify()
    try:
        yield
    finally:
        node.EndModify(was_modifying)
