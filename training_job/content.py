"""TF-IDF over attributes and text: each item's nearest hot items.

How an item that nobody has touched is reached (decision 6), and what "similar" shows. Bags of slots become TF-IDF
rows by scikit-learn; cosines are sparse products, block by block, so memory is bounded for any catalogue. A slot that
half the catalogue carries tells items apart from nobody but costs most of the work, so in large catalogues each slot
keeps only its most popular items. Serving finds those of an item that training never saw by the same rule
(`retrieval/hot_postings.py`). It knows nothing of towers; `fit.py` calls it.
"""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from sklearn.feature_extraction.text import TfidfTransformer

from contracts.feature_encoder import Bag
from contracts.fitted import ContentArrays
from retrieval.hot_postings import hot_by_popularity, most_champions

NEIGHBOURS = 20
"""Enough to fill a slate through one cold item, few enough for 160 bytes an item."""
BLOCK_FLOATS = 16_000_000
"""Similarities held at once (64 MB of values), at most."""


def fit_content(bag: Bag, n_slots: int, events: NDArray[np.integer], hot_threshold: int) -> ContentArrays:
    """Neighbours among items with at least `hot_threshold` events (all with any, where none has as many)."""
    n = len(bag)
    counts = sp.csr_matrix((bag.weights, bag.slots, bag.offsets), shape=(n, n_slots))
    if n_slots == 0 or counts.nnz == 0:
        return ContentArrays(np.ones(n_slots, np.float32), np.full((n, 0), -1, np.int32), np.zeros((n, 0), np.float32))
    transformer = TfidfTransformer(norm="l2").fit(counts)
    rows = transformer.transform(counts).astype(np.float32).tocsr()
    hot = hot_by_popularity(events, hot_threshold)
    neighbours, similarities = _nearest(rows, hot, min(NEIGHBOURS, len(hot)))
    return ContentArrays(transformer.idf_.astype(np.float32), neighbours, similarities)


def _nearest(rows: sp.csr_matrix, hot: NDArray[np.int64], k: int) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """Best `k` of the hot items for every row, itself left out; `hot` by falling popularity."""
    n = rows.shape[0]
    neighbours, similarities = np.full((n, k), -1, np.int32), np.zeros((n, k), np.float32)
    champions = _champions(rows[hot], most_champions(rows.nnz)).T.tocsr()
    longest = np.diff(champions.indptr)  # a row meets at most the champions of its slots
    widths = np.minimum(np.add.reduceat(np.append(longest[rows.indices], 0), rows.indptr[:-1]), len(hot))
    block = max(1, BLOCK_FLOATS // max(int(widths.max(initial=1)), 1))
    for start in range(0, n, block):
        products = (rows[start : start + block] @ champions).tocsr()
        lengths = np.diff(products.indptr)
        owners = np.repeat(np.arange(len(lengths)), lengths)
        products.data[hot[products.indices] == start + owners] = 0
        owners, taken = _best_of_rows(products, k)
        ranks = np.arange(len(owners)) - np.searchsorted(owners, owners)
        neighbours[start + owners, ranks] = hot[products.indices[taken]]
        similarities[start + owners, ranks] = products.data[taken]
    return neighbours, similarities


def _best_of_rows(products: sp.csr_matrix, k: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Row and place (in `data`) of the `k` largest positive entries of each row, best first, ties by column.

    A partition finds what the k-th is, and only what reaches it is sorted: sorting rows whole took 15 minutes at a
    million items, and so did partitioning them with their zeros.
    """
    lengths = np.diff(products.indptr)
    owners = np.repeat(np.arange(len(lengths)), lengths)
    width = max(int(lengths.max(initial=0)), k)
    padded = np.zeros((len(lengths), width), np.float32)
    padded[owners, np.arange(products.nnz) - products.indptr[owners]] = products.data
    padded.partition(width - k, axis=1)
    places = ((products.data >= padded[owners, width - k]) & (products.data > 0)).nonzero()[0]
    places = places[np.lexsort((products.indices[places], -products.data[places], owners[places]))]
    owners = owners[places]
    kept = np.arange(len(places)) - np.searchsorted(owners, owners) < k
    return owners[kept], places[kept]


def _champions(hot_rows: sp.csr_matrix, longest: int) -> sp.csr_matrix:
    """Each slot's most popular `longest` items only (rows come by falling popularity)."""
    by_slot = hot_rows.tocsc()
    by_slot.sort_indices()
    lengths = np.diff(by_slot.indptr)
    if lengths.max(initial=0) <= longest:
        return hot_rows
    rank = np.arange(by_slot.nnz) - np.repeat(by_slot.indptr[:-1], lengths)
    by_slot.data[rank >= longest] = 0
    by_slot.eliminate_zeros()
    return by_slot.tocsr()
