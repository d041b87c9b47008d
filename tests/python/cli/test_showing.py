"""Tables of the command line."""

from __future__ import annotations

from helip.cli.showing import account_text, cache_rows


def test_the_account_of_an_epoch_names_what_was_lost_and_why() -> None:
    text = account_text(
        {
            "epoch": 1,
            "emitted": 1990,
            "targets": 1000,
            "hard_pairs": 990,
            "random_fills": 10,
            "replaced": 3,
            "unfilled": 0,
            "quarantined": {"unreadable_image": 6, "io": 4},
            "quarantined_rows": [{"message": f"sample 'k{row}': damaged"} for row in range(10)],
        }
    )
    lines = [line.split() for line in text.splitlines()]
    assert lines[0][-1] == "2,000"
    assert ["emitted", "1,990"] in lines
    assert ["quarantined:", "io", "4"] in lines
    assert ["quarantined:", "unreadable_image", "6"] in lines
    assert ["hard", "pairs", "990"] in lines
    assert not any("unfilled" in line for line in lines)
    assert lines[-1][:4] == ["...", "and", "7", "more;"]


def test_the_account_of_a_clean_epoch_is_short() -> None:
    stats = {"epoch": 0, "emitted": 8, "targets": 4, "hard_pairs": 4, "quarantined": {}}
    assert len(account_text(stats).splitlines()) == 4


def test_the_cache_of_a_run_is_told_in_blocks_and_bytes() -> None:
    counts = {
        "hits": 1500, "misses": 500, "bytes_fetched": 32_000_000, "bytes_from_cache": 96_000_000,
        "evicted": 7, "damaged": 0, "not_kept": 0,
    }  # fmt: skip
    assert cache_rows(counts) == [
        ("cache: blocks read", "2,000, of which 1,500 (75.0%) were there"),
        ("  from the disk", "96.0 MB"), ("  fetched", "32.0 MB"), ("  evicted", "7"),
    ]  # fmt: skip
    assert cache_rows({}) == []
