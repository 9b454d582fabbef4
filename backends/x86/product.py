"""Products of two computed matrices, or of many: runtime/product.h. The second is packed while the network runs."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, prod

from pruneir.backends.x86.template import instance

_TILES = {4: (6, 4), 8: (6, 2), 16: (12, 2)}
"""Rows and vectors of a register tile, by the floats of a vector."""


@dataclass(frozen=True, slots=True)
class Product:
    """The kernel. Pointers: a, b, y, operands of the epilogue.

    counts             how many matrices, along each axis in front
    a_batch, b_batch   how far these lie apart; 0 where all are one
    rows, terms, columns   a is rows × terms, b terms × columns
    a_row              how far rows of a lie apart; its terms lie side by side
    b_term, b_column   how far terms and columns of b lie apart
    """

    counts: tuple[int, ...]
    a_batch: tuple[int, ...]
    b_batch: tuple[int, ...]
    rows: int
    terms: int
    columns: int
    a_row: int
    b_term: int
    b_column: int
    lanes: int
    weight_bytes: int = 0

    @property
    def vectors(self) -> int:
        """Of a panel."""
        return _TILES[self.lanes][1]

    @property
    def items(self) -> int:
        """Independent shares of the work: panels of each matrix."""
        return prod(self.counts) * ceil(self.columns / (self.vectors * self.lanes))

    @property
    def scratch(self) -> int:
        """Bytes of private memory that a thread needs: a panel."""
        return 4 * self.terms * self.vectors * self.lanes

    @property
    def macs(self) -> int:
        """Products."""
        return prod(self.counts) * self.rows * self.terms * self.columns

    @property
    def cycles(self) -> float:
        """Estimated, of its arithmetic and of packing."""
        vectors = prod(self.counts) * ceil(self.columns / self.lanes) * self.terms
        return vectors * (self.rows / 2 + (1 if self.b_column == 1 else self.lanes))

    def source(self, name: str, finish: str) -> str:
        """Its C; see `instance`."""
        tiles = ceil(self.rows / _TILES[self.lanes][0])
        size, larger = divmod(self.rows, tiles)
        tables = {"COUNTS": self.counts, "A_BATCH": self.a_batch, "B_BATCH": self.b_batch}
        macros = {
            "OC": self.columns,
            "ROWS": self.rows,
            "TERMS": self.terms,
            "NV": self.vectors,
            "A_ROW": self.a_row,
            "B_TERM": self.b_term,
            "B_COLUMN": self.b_column,
            "AXES": len(self.counts),
            **{table: ", ".join(map(str, values)) or "0" for table, values in tables.items()},
            "SIZE": size,
            "LARGER": larger,
            "TILES": tiles,
        }
        return instance("product.h", name, finish, macros)
