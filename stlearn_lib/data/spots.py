"""The spots of several sections as one table of arrays, from which batches are read."""

import hashlib
import mmap
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from stlearn_lib.errors import SectionError


class SpotTable:
    """Spots of several sections, one below the other, in named columns that may lie in memory-mapped files.

    Rows are read many at a time: one read for each section that they come from, and no Python for each spot.

    Args:
        columns: For each name one array per section, (N_s, ...); all columns have the same spots.

    Raises:
        SectionError: If there is no spot, the columns do not have the same spots, or the rows of a column are of
            different shapes or types.

    Example:
        >>> table = SpotTable({"position": [np.zeros((3, 2)), np.ones((2, 2))]})
        >>> len(table), table.rows([0, 4])["position"][:, 0]
        (5, tensor([0., 1.], dtype=torch.float64))
    """

    def __init__(self, columns: Mapping[str, Sequence[np.ndarray]]) -> None:
        self.columns = {name: list(blocks) for name, blocks in columns.items()}
        sizes = {name: [len(block) for block in blocks] for name, blocks in self.columns.items()}
        self.n_spots = next(iter(sizes.values()), [])
        """Spots of each section."""
        if not sum(self.n_spots) or any(size != self.n_spots for size in sizes.values()):
            raise SectionError(f"a table of spots needs columns with the same spots of each section, not {sizes}.")
        for name, blocks in self.columns.items():
            kinds = {f"{block.dtype} {block.shape[1:]}" for block in blocks}
            if len(kinds) > 1:
                raise SectionError(f"the rows of column {name!r} differ between sections: {', '.join(sorted(kinds))}.")
        self._starts = np.cumsum([0, *self.n_spots])

    def __len__(self) -> int:
        return int(self._starts[-1])

    def rows(self, index: Sequence[int] | np.ndarray) -> dict[str, Tensor]:
        """Read rows.

        Args:
            index: Rows of the table, (B,).

        Returns:
            For each column a tensor, (B, ...).
        """
        index = np.asarray(index)
        section = np.searchsorted(self._starts, index, side="right") - 1
        return {name: torch.from_numpy(self._read(blocks, index, section)) for name, blocks in self.columns.items()}

    def shuffled(self, rng: np.random.Generator, batch_size: int) -> np.ndarray:
        """Return the order of an epoch's rows, (N,); a batch is a run of `batch_size` of them."""
        return rng.permutation(len(self))

    def _read(self, blocks: list[np.ndarray], index: np.ndarray, section: np.ndarray) -> np.ndarray:
        values = np.empty((len(index), *blocks[0].shape[1:]), dtype=blocks[0].dtype)
        for s in np.unique(section):
            chosen = section == s
            values[chosen] = blocks[s][index[chosen] - self._starts[s]]
        return values

    def fingerprint(self) -> str:
        """Hash what is in the table; a memory-mapped file stands for its bytes by its name, which changes with them.

        A part of such a file is hashed by its bytes.
        """
        digest = hashlib.blake2b(digest_size=12)
        for name, blocks in self.columns.items():
            digest.update(f"{name} {[(block.shape, str(block.dtype)) for block in blocks]}".encode())
            for block in blocks:
                if isinstance(block, np.memmap) and isinstance(block.base, mmap.mmap) and block.filename is not None:
                    digest.update(f"{Path(block.filename).name} {block.offset}".encode())
                else:
                    digest.update(np.ascontiguousarray(block).data)
        return digest.hexdigest()
