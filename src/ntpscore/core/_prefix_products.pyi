def is_supported() -> bool: ...
def scratch_length(width: int, /) -> int: ...
def prefix_totals(
    states: int,
    type: int,  # noqa: A002
    lengths: int,
    texts: int,
    positions: int,
    width: int,
    total: int,
    /,
) -> float: ...
def add_prefix_products(
    states: int,
    type: int,  # noqa: A002
    lengths: int,
    texts: int,
    positions: int,
    width: int,
    first: int,
    step: int,
    C0: int,
    C1: int,
    scratch: int,
    /,
) -> None: ...
def add_gram(
    rows: int, n: int, width: int, first: int, step: int, C: int, scratch: int, /
) -> None: ...
