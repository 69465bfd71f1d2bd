"""Work on several things at once, one thread each."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import torch

Item = TypeVar("Item")
Found = TypeVar("Found")


def side_by_side(
    fit: Callable[[Item], Found], items: Iterable[Item], workers: int | None = None
) -> Iterator[Found]:
    """What a fit makes of each item, in their order, several at once on the processor.

    Eigensolvers gain little from several threads: each item has one. No more is kept than is at
    work, for what is predicted of many texts and classes takes memory.

    Args:
        fit: called in a thread of its own.
        items: one after the other.
        workers: how many at once; None means as many as there are threads.
    """
    from threadpoolctl import threadpool_limits  # looks through all libraries

    threads = torch.get_num_threads()
    workers = workers or threads
    running: deque[Future[Found]] = deque()
    try:
        with (
            # SciPy's own library of products doesn't listen to torch.
            threadpool_limits(1, user_api="blas"),
            ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,)) as pool,
        ):
            for item in items:
                if len(running) == workers:
                    yield running.popleft().result()
                running.append(pool.submit(fit, item))
            while running:
                yield running.popleft().result()
    finally:
        torch.set_num_threads(threads)
