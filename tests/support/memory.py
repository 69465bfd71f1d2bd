"""Plans of memory that tests ask for."""

from ntpscore.reading.memory import How, MemoryPlan, Room, Sizes


def plan_of(how: How, *, layers: int, host: int | None = None) -> MemoryPlan:
    """A plan to read in this way, whatever memory there is, with batches of as many tokens."""
    sizes = Sizes(layers=layers, width=32, inner=64, outputs=3, shuffles=3, number=4)
    room = Room((0,), (10**12,), 10**12 if how.on_host else host)
    return MemoryPlan(sizes, room, How(how.batch_tokens), how)
