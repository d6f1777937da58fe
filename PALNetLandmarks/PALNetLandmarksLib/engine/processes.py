"""Work spread over processes: results as they come, and an end that is explained when a process dies."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context, parent_process
from multiprocessing.connection import wait as wait_for
from typing import Any, TypeVar

from PALNetLandmarksLib.errors import DeviceError

Item = TypeVar("Item")
Result = TypeVar("Result")


def as_completed(
    function: Callable[[Item], Result],
    items: Sequence[Item],
    jobs: int,
    *,
    initializer: Callable[..., None],
    initargs: tuple[Any, ...],
    hint: str,
    code: str,
) -> Iterator[Result]:
    """Call a function for each item in fresh processes.

    Parameters
    ----------
    function, initializer : callable
        At the top level of a module. The initializer is called with ``initargs`` when a process starts.
    items : sequence
    jobs : int
        Processes.
    hint, code : str
        What to do when a process ended unexpectedly, and the stable name of that.

    Yields
    ------
    object
        The function's results, in any order. What has not begun is given up when the caller stops asking.

    Raises
    ------
    DeviceError
        When a process ended unexpectedly.
    """
    pool = ProcessPoolExecutor(
        min(jobs, len(items)),
        mp_context=get_context("spawn"),
        initializer=_begin,
        initargs=(initializer, initargs),
    )
    try:
        pending: set[Future[Result]] = {pool.submit(function, item) for item in items}
        while pending:
            finished, pending = wait(pending, return_when=FIRST_COMPLETED)
            for future in finished:
                yield future.result()
    except BrokenProcessPool as error:
        raise DeviceError("A process ended unexpectedly, often for lack of memory.", hint, code=code) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _begin(initializer: Callable[..., None], initargs: tuple[Any, ...]) -> None:
    end_with_parent()
    initializer(*initargs)


def end_with_parent() -> None:
    """End this process of a pool as soon as the one that started it is gone.

    A pool's processes hold both ends of its queues: when the parent is killed they would wait for ever, or go on
    writing results into a folder that a later run has taken over.
    """
    parent = parent_process()
    if parent is not None:
        threading.Thread(target=_watch, args=(parent.sentinel,), name="parent", daemon=True).start()


def _watch(sentinel: int) -> None:
    wait_for([sentinel])
    os._exit(1)
