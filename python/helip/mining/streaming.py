"""Mines hard pairs while embeddings come by, from a memory of those that came last."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from helip import _core
from helip.common.errors import InvalidArgumentError, MismatchError
from helip.common.machine import core_threads
from helip.common.options import Positive, ThreadOptions, Whole, method_keywords
from helip.mining.options import StreamOptions
from helip.pairs.blocks import Pools
from helip.pairs.growing_pairs import GrowingPairs, array_of_state, row_numbers
from helip.store.matrices import MatrixView, host_array, matrix_of

_BLOCK = 8192  # rows that are read at once when a state is loaded


@dataclass(frozen=True, kw_only=True)
class StreamingCall(StreamOptions, ThreadOptions):
    """What a StreamingMiner is made of."""

    image_dim: Positive | None = None
    """Dimensions of image embeddings; None takes them from the first batch."""
    text_dim: Positive | None = None
    """Dimensions of text embeddings, likewise."""
    rows: Whole | None = None
    """Of the data set, where ids are its rows: what is found is then collected. A loader that is
    given the miner says it."""


class StreamingMiner:
    """Finds the hard pairs of each batch among the last ``memory`` embeddings; needs no store.

    A batch meets the rows that are remembered and its own. Its pools are those that
    :func:`helip.mine` gives for just these rows, in float64, on any number of threads (with
    ``search="hnsw"`` some pairs are missed); then the
    batch takes the place of the oldest rows. ``HardPairLoader(data, miner)`` and
    ``helip.train(pairs=miner)`` draw from what was found so far.

    ``memory`` · (4 · (d_image + d_text) + 80) bytes stay at most, touched as rows come, and
    rows · (8·k + 4) of :attr:`pairs`; with ``search="hnsw"`` d_image + d_text + 450 more for each
    row of the memory and of the largest batch. Threads may share it: its calls come one after the
    other.

    Raises:
        InvalidArgumentError: an option out of its bound. OutOfMemoryError: memory is too large.

    Examples:
        The second batch meets the first, which is remembered:

        >>> import helip, numpy as np
        >>> rows = np.float32([[1, 0], [0.8, 0.6], [0, 1], [0.6, 0.8]])
        >>> miner = helip.StreamingMiner(memory=1024, k=2)
        >>> miner.add([0, 1], rows[:2], rows[:2]).ids.tolist()  # -1: no more was found
        [[1, -1], [0, -1]]
        >>> miner.add([2, 3], rows[2:], rows[2:]).ids.tolist()
        [[3, 1], [1, 2]]
    """

    @method_keywords(StreamingCall)
    def __init__(self, call: StreamingCall) -> None:
        self._options = StreamOptions.of(call).as_dict()
        self._threads = core_threads(call.threads)
        self._dims = (call.image_dim, call.text_dim)
        self._pairs: GrowingPairs | None = None
        self._cores: dict[str, _core.StreamingMiner] = {}  # one, once the first rows came
        # What is out of bounds is refused here, not at the first batch.
        self._make_core(1, 1)
        if call.rows is not None:
            self.table_for(call.rows)

    @property
    def options(self) -> dict[str, Any]:
        """What decides which pairs are found; JSON-able."""
        return dict(self._options)

    @property
    def pairs(self) -> GrowingPairs | None:
        """The best pairs of each row of the data set so far; None while its rows are not known."""
        return self._pairs

    def __len__(self) -> int:
        """Rows that are remembered now."""
        core = self._cores.get("core")
        return 0 if core is None else len(core)

    def __repr__(self) -> str:
        known = "" if self._pairs is None else f", known={self._pairs.known:,}"
        return f"StreamingMiner({len(self):,} of {self._options['memory']:,} rows{known})"

    def table_for(self, rows: int) -> GrowingPairs:
        """Says that ids are rows of a data set of ``rows`` rows; from now on :attr:`pairs` grows.

        Raises:
            MismatchError: it grows for another number of rows already.
        """
        if self._pairs is None:
            self._pairs = GrowingPairs(rows, self._options["k"])
        if len(self._pairs) != rows:
            raise MismatchError(
                f"the miner collects pairs of {len(self._pairs)} rows, the data set has {rows}; "
                "make a miner for each data set"
            )
        return self._pairs

    def add(self, ids: Any, image: Any, text: Any) -> Pools:
        """The hard pairs of a batch; remembers it.

        A row whose id is remembered supersedes it. float64 is rounded to float32.

        Args:
            ids: whole numbers [b], from 0 on, each once: an array, a tensor or a list.
            image: [b, d_image] float64, float32, float16, bfloat16 or int8, of NumPy, torch (any
                device), Arrow or DLPack; need not be normalised, is taken without its gradient.
            text: [b, d_text], likewise.

        Raises:
            InvalidArgumentError: shapes, dtypes, an id that is negative, twice in the batch or no
                row of the data set, NaN or infinity with its row. Nothing is remembered then.
        """
        numbers, found = self._taken(_core.StreamingMiner.add, ids, image, text)
        pools = Pools(*found)
        if self._pairs is not None:
            self._pairs.offer(numbers, pools)
        return pools

    def remember(self, ids: Any, image: Any, text: Any) -> None:
        """Remembers rows without mining, as if they came in this order; takes what add() takes."""
        self._taken(_core.StreamingMiner.remember, ids, image, text)

    def forget(self) -> None:
        """Forgets every row, and every pair that was found."""
        core = self._cores.get("core")
        if core is not None:
            core.forget()
        if self._pairs is not None:
            self._pairs.clear()

    def state_dict(self) -> dict[str, np.ndarray]:
        """What is remembered and what was found, as arrays: a safetensors file can hold them.

        ``ids`` int64 [n] from the oldest to the newest, ``image`` float32 [n, d_image] and ``text``
        [n, d_text]; and of :attr:`pairs`, where there are any, ``rows``, ``targets``, ``pool_ids``,
        ``pool_scores`` and ``pool_counts``.
        """
        core = self._cores.get("core")
        if core is None:
            ids = np.zeros(0, dtype=np.int64)
            image = text = np.zeros((0, 0), dtype=np.float32)
        else:
            ids, image, text = core.rows()
        found = {} if self._pairs is None else self._pairs.state_dict()
        return {"ids": ids, "image": image, "text": text, **found}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on where ``state`` was taken; with less memory, from its newest rows.

        Raises:
            InvalidArgumentError: not a state of a miner, or of other dimensions. MismatchError: of
                a data set of another number of rows. Nothing is changed then.
        """
        ids = array_of_state(state, "ids", np.int64, 1)
        image, text = (array_of_state(state, name, np.float32, 2) for name in ("image", "text"))
        core = None
        if len(ids):
            core = self._make_core(image.shape[1], text.shape[1])
            for first in range(0, len(ids), _BLOCK):
                block = slice(first, first + _BLOCK)
                core.remember(
                    ids[block], _matrix(image[block], "image"), _matrix(text[block], "text")
                )
        pairs = self._pairs
        if "rows" in state:
            if pairs is None:
                rows = array_of_state(state, "rows", np.int64, 1)
                pairs = GrowingPairs(int(rows.sum()), self._options["k"])
            pairs.load_state_dict(state)
        elif pairs is not None:
            pairs.clear()
        self._cores, self._pairs = {} if core is None else {"core": core}, pairs

    def _make_core(self, *dims: int) -> _core.StreamingMiner:
        """For images and texts of these dimensions, if the caller named no others."""
        dims = tuple(
            dim if given is None else given for dim, given in zip(dims, self._dims, strict=True)
        )
        options = self.options
        options["signed_products"] = options.pop("signed")
        return _core.StreamingMiner(*dims, threads=self._threads, **options)

    def _taken(
        self, take: Callable[..., Any], ids: Any, image: Any, text: Any
    ) -> tuple[np.ndarray, Any]:
        """The ids as numbers, and what ``take``, a method of the core, gives for these rows."""
        numbers = row_numbers(ids, "ids")
        # Before anything is remembered; the core knows nothing of the data set.
        if self._pairs is not None and len(numbers) and numbers.max() >= len(self._pairs):
            place = int(numbers.argmax())
            raise InvalidArgumentError(
                f"id {numbers[place]} of row {place} is none of the rows 0 .. "
                f"{len(self._pairs) - 1} of the data set; pass the batch's index"
            )
        matrices = _matrix(image, "image"), _matrix(text, "text")
        while True:
            core = self._cores.get("core")
            if core is None:
                core = self._make_core(*(matrix.cols for matrix in matrices))
            found = take(core, numbers, *matrices)
            # Else another thread's rows were the first: these then belong to its memory.
            if self._cores.setdefault("core", core) is core:
                return numbers, found


def _matrix(matrix: Any, name: str) -> MatrixView:
    """A copy of what lies elsewhere or is strided."""
    matrix = host_array(matrix, name)
    if hasattr(matrix, "detach"):
        matrix = matrix.contiguous()
        if str(matrix.dtype) == "torch.int8":
            matrix = matrix.float()  # codes without a scale; a cosine needs none
    else:
        matrix = np.ascontiguousarray(matrix, np.float32 if matrix.dtype == np.int8 else None)
    return matrix_of(matrix, name=name)
