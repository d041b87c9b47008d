"""What units of stages cost on one core, as it was measured: the only figures of a plan in stages.

CPU seconds of one thread of an AMD EPYC with AVX2, beside other work, on float16 embeddings of
1280 + 384 dimensions with pools of 50. docs/scale.md ("The plan of stages") has the runs and says
how each figure follows from them:

    python bench/stages.py --rows 120000 --cluster-rows 50000
    python bench/stages.py --rows 20000 --cluster-rows 160 --recall 0.01
    python bench/stages.py --rows 10000 --cluster-rows 2500 --overlap 1 --recall 0.985
    python bench/stages.py --rows 63000 --cluster-rows 30000 --new 0.05 --staged
    python bench/stages.py --rows 20400 --cluster-rows 8000 --new 0.02 --delete 0.001 --recall 0.985
    python bench/update.py --rows 63000 --threads 1
"""

from __future__ import annotations

import math

MEASURED_ON = (
    "one thread of an AMD EPYC with AVX2, at most 120,000 rows of 1280 + 384 dimensions, k = 50"
)
MEASURED_BY = "python bench/stages.py"
DIMENSIONS, POOL = 1664, 50  # of the runs

CENTRES = 1.2  # of the unit, whatever its sample
CENTRES_PRODUCT = 2.4e-6  # of a row of the sample and a centre, over all iterations
CERTIFY_UNIT = 1.2
CERTIFY_ROW = 7.0e-5
TARGETS = 1000  # of the runs
CERTIFY_PAIR = 5.6e-10  # of a row and each target above these, as exact mining in parts takes
ROUTE_ROW = 2.7e-5
ROUTE_COPY = 1.0e-5  # of a row that is written to a cluster
ROUTE_PRODUCT = 1.05e-7  # of a row and a centre
SOLVE_CLUSTER = 6.1  # of a cluster that partition mines
SOLVE_ROW = 2.06e-4  # of a row of it
SOLVE_SMALL_CLUSTER = 0.013  # of one that is mined exactly
SOLVE_SMALL_ROW = 4.5e-4
SOLVE_PAIR_OF_POOL = 0.0069  # share of a row's cost that each pair of a pool above 50 adds
MERGE_ROW = 5.5e-6  # of a row with two pools
SLICE = 1.4e-4  # of a cluster's slice in a block of rows of another unit's file
MEASURE_RANGE = 6.3e-3  # of a file of certify
REFINE_ROW = 9.1e-5
WRITE_ROW = 8.5e-7

# Of an update: rows that join clusters, or a table that was mined exactly, meet the rows of those.
OLD_ROW = 2.2e-5  # of a row that is there, or joins
JOINED_ROW = 9.6e-4  # of a row that joins
JOINED_PAIR = 1.7e-9  # of a row that joins and each other row
CERTIFY_SCORE = 1.0e-6  # of a target and a row, where fewer than FEW targets meet all
FEW = 64
FILL_ROW = 6.6e-4  # of a pool that lost a pair, and looks at those of its rows
OPEN_BYTE = 3.0e-10  # of a table's ids, compared with their checksum

CODE_BYTES = 2.4  # of codes in memory, a dimension of a row
EXACT_BELOW = 24  # a cluster is mined exactly below so many times what a row is compared with
COMPARED = 1024  # rows that a row is compared with at least

# Of a graph of hnswlib, which benchmarks.md has as well.
LINK_ROW = 1.06e-3  # of a row that is linked
FOUND_ROW = 7.8e-6  # of a target and each row that its search finds
LINKED = 5000  # rows of the graph that both are of; they grow with their logarithm
SCORED_ROW = 1.1e-6  # of a target and each row that it found


def hnswlib_seconds(rows: int, dimensions: int, ef: int) -> float:
    """CPU seconds in which a graph of hnswlib is built, searched once for each row and measured."""
    growth = math.log2(max(rows, 2)) / math.log2(LINKED)
    a_row = (LINK_ROW + FOUND_ROW * ef) * growth + SCORED_ROW * ef + CERTIFY_ROW
    return CERTIFY_UNIT + rows * a_row * dimensions / DIMENSIONS


def compared_with(kept: int) -> int:
    """Rows that partition compares a row with, in units of which EXACT_BELOW counts."""
    return max(COMPARED, 8 * kept)
