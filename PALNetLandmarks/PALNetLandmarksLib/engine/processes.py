"""Work spread over processes: results as they come, and an end that is explained when a process dies."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
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
        min(jobs, len(items)), mp_context=get_context("spawn"), initializer=initializer, initargs=initargs
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
