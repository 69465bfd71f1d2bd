"""Sums of layers that were read, kept in a file while others are read.

The file is mapped into memory: whatever reads the moments reads the file, and the system takes the
memory back when it is wanted.
"""

import mmap
from pathlib import Path

import torch

from ntpscore.core.moments import Moments
from ntpscore.errors import MomentsError, OutputError
from ntpscore.files import TemporaryFolder, reserve

NAME = "sums-of-layers"
_ALIGNMENT = 64


class SumsOnDisk:
    """Moments in a file.

    Args:
        folder: where the file is; None makes one that lasts as long as this.
        empty: of all layers, on the device `meta`.
        resume: go on with a file that is there.

    Attributes:
        moments: of all layers, zero where none were put.

    Raises:
        OutputError: the disk has no room for them.
        MomentsError: there is no file to go on with, or one of another size.
    """

    def __init__(self, folder: Path | None, empty: Moments, *, resume: bool = False) -> None:
        self._temporary: TemporaryFolder | None = None
        if folder is None:
            self._temporary = TemporaryFolder()
            folder = self._temporary.path
        path = folder / NAME
        # Each begins where its numbers may.
        starts, size = {}, 0
        for name, value in empty.sums.items():
            starts[name] = size
            size += -(-value.numel() * value.element_size() // _ALIGNMENT) * _ALIGNMENT
        if not resume:
            try:
                reserve(path, size)
            except OSError as error:
                raise OutputError(
                    f"can't keep the sums of {len(empty.layers)} layers, which don't fit into "
                    f"memory, in {path.parent} ({size / 1e9:.1f} GB): {error.strerror or error}; "
                    f"choose another {'TMPDIR, an --out' if self._temporary else '--out'}, or "
                    "fewer --layers"
                ) from error
        try:
            with path.open("r+b") as file:
                self._map = mmap.mmap(file.fileno(), size)
        except (OSError, ValueError) as error:
            raise MomentsError(f"no sums of layers at {path}: {error}") from error
        whole = torch.frombuffer(self._map, dtype=torch.uint8)
        for name, value in empty.sums.items():
            part = whole[starts[name] :][: value.numel() * value.element_size()]
            setattr(empty, name, part.view(value.dtype).view(value.shape))
        self.moments = empty

    def put(self, group: Moments) -> None:
        """Take over the sums of some layers, and what is no layer's.

        Args:
            group: of all texts.
        """
        pairs = [(self.moments.sums_of(layer), group.sums_of(layer)) for layer in group.layers]
        others = group.sums.keys() - pairs[0][1].keys()
        pairs.append((self.moments.sums, {name: group.sums[name] for name in others}))
        for totals, values in pairs:
            for name, value in values.items():
                totals[name].copy_(value)
        self._map.flush()
        self.moments.n_texts, self.moments.n_tokens = group.n_texts, group.n_tokens
