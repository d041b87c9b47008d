"""A blinded study of emoji that rules answer in place of people: a proxy, and called so.

``python bench/experiments/study_proxy.py`` writes ``results/study-proxy.json`` and
``results/study-proxy-pairs.json``.

The study is made of the demo's pictures and names, as ``helip study make`` does. Four rules answer
its questions from what Unicode says of each emoji, which no encoder has seen: its *group* (people
and body), its *subgroup* (person-role), and its *base*, the emoji without skin tone and sex. By a
rule a caption is also right where target and row are the same at its level, and that pool is
harder of which more rows are the same. ``subgroup, other base`` compares pools only: rows that are
of one subgroup and not the same thing.

Groups are those of npm ``emojibase-data`` (MIT).
"""

from __future__ import annotations

import argparse
import json
import tarfile
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import records
from emoji_sets import npm_package

import helip
import helip_view
from helip_demo import data as demo_data
from helip_demo.quick import embedded
from helip_view import Question

CACHE = Path(__file__).resolve().parent.parent.parent / ".cache" / "bench" / "study"
EMOJIBASE = "17.0.0"
CARDS, K, SEED = 1200, 50, 0
KINDS = {"product": "HPM", "image": "image only", "text": "text only", "random": "random"}
LEVELS = ("group", "subgroup", "base")
NEAR = "subgroup, other base"
_TONES = range(0x1F3FB, 0x1F400)
_SIGNS = {0x2640, 0x2642}  # of women and men, after a joiner
_PERSON = {0x1F468: 0x1F9D1, 0x1F469: 0x1F9D1, 0x1F466: 0x1F9D2, 0x1F467: 0x1F9D2,
           0x1F474: 0x1F9D3, 0x1F475: 0x1F9D3, 0x1F385: 0x1F9D1, 0x1F936: 0x1F9D1,
           0x1F934: 0x1FAC5, 0x1F478: 0x1FAC5, 0x1F470: 0x1F935, 0x1F930: 0x1FAC4,
           0x1FAC3: 0x1FAC4, 0x1F57A: 0x1F483, 0x1F46C: 0x1F46B, 0x1F46D: 0x1F46B}  # fmt: skip

Codes = tuple[int, ...]
Rule = Callable[[Question], str]


def base_of(codes: Sequence[int]) -> Codes:
    """An emoji without skin tone and sex: a woman's and a man's are those of a person."""
    kept: list[int] = []
    for code in demo_data.without_selectors(codes):
        if code in _SIGNS and kept and kept[-1] == 0x200D:
            kept.pop()
        elif code not in _TONES:
            kept.append(_PERSON.get(code, code))
    return tuple(kept)


def groups() -> dict[Codes, tuple[int, int]]:
    """(group, subgroup) of each emoji in the order of Unicode, by its code points."""
    with tempfile.TemporaryDirectory() as folder:
        archive = npm_package("emojibase-data", EMOJIBASE, Path(folder))
        with tarfile.open(archive) as tar:
            listed = tar.extractfile("package/en/data.json")
            assert listed is not None
            entries = json.load(listed)
    return {
        codes_of(each["hexcode"]): (each["group"], each["subgroup"])
        for entry in entries
        if "group" in entry
        for each in (entry, *entry.get("skins", ()))
    }


def codes_of(key: str) -> Codes:
    return demo_data.without_selectors(int(code, 16) for code in key.split("/")[-1].split("-"))


def labels_of(keys: Sequence[str], known: Mapping[Codes, tuple[int, int]]) -> dict[str, list[Any]]:
    """What is the same thing at each level, a label a row."""
    codes = [codes_of(key) for key in keys]
    if missing := [key for key, each in zip(keys, codes, strict=True) if each not in known]:
        raise SystemExit(f"{len(missing)} emoji have no group, such as {missing[0]}")
    return {
        "group": [known[each][0] for each in codes],
        "subgroup": [known[each][1] for each in codes],
        "base": [base_of(each) for each in codes],
    }


def rule_of(same: Callable[[int, int], bool]) -> Rule:
    """Answers by whether two rows are the same thing."""

    def rule(question: Question) -> str:
        target = question.target
        if question.type == "caption":
            return "yes" if same(target, question.pools[0][0]) else "no"
        alike = [sum(same(target, row) for row in pool) for pool in question.pools]
        first, second = sorted(alike)[-1:-3:-1]
        return "same" if first == second else str(alike.index(first) + 1)

    return rule


def rules_of(labels: Mapping[str, Sequence[Any]]) -> dict[str, Rule]:
    def same(level: str) -> Callable[[int, int], bool]:
        return lambda a, b: bool(labels[level][a] == labels[level][b])

    rules = {level: rule_of(same(level)) for level in LEVELS}
    rules[NEAR] = rule_of(lambda a, b: same("subgroup")(a, b) and not same("base")(a, b))
    return rules


def answered(study: helip_view.Study, rules: Mapping[str, Rule]) -> dict[str, Any]:
    """Results by the name of each rule."""
    for name, rule in rules.items():
        if name != NEAR:
            study.answer_all(rule, name)
            continue
        for question in study.questions:
            if question.type == "harder":
                study.answer(question, name, rule(question))
    return {name: study.results(people=(name,)) for name in rules}


def captions_table(results: Mapping[str, Any]) -> list[list[str]]:
    rows = [["same thing by", *KINDS.values()]]
    for level in LEVELS:
        found = results[level]["caption"]
        rows.append([level, *(words(found[kind]) for kind in KINDS)])
    return rows


def pairs_table(results: Mapping[str, Any]) -> list[list[str]]:
    rows = [["harder, by more rows of one", *results]]
    for place, pair in enumerate(results["base"]["pairs"]):
        name = " against ".join(KINDS[kind] for kind in pair["kinds"])
        rows.append([name, *(words(each["pairs"][place]) for each in results.values())])
    return rows


def words(found: Mapping[str, Any]) -> str:
    return "{:.0f} % [{:.0f}, {:.0f}]".format(*(100 * found[k] for k in ("value", "low", "high")))


def opened(cache: Path) -> Any:
    """All the demo's pictures with their names."""
    demo_data.build(cache / "openmoji")
    return helip.open_dataset(sorted(str(p) for p in (cache / "openmoji").rglob("*.tar")))


def without_details(results: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, value in results.items():
        kept = ("caption", "harder", "pairs", "sides")
        yield name, {key: value[key] for key in kept}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--cards", type=int, default=CARDS)
    parser.add_argument("--cache", type=Path, default=CACHE)
    args = parser.parse_args()
    data = opened(args.cache)
    store = embedded(data, args.cache / "store", progress=True)
    pairs = helip.mine(store, k=K, method="exact", device="cpu", progress=False)
    with tempfile.TemporaryDirectory() as folder, helip_view.make_study(
        pairs, data=data, store=store, out=Path(folder) / "emoji.study", cards=args.cards,
        seed=SEED,
    ) as study:  # fmt: skip
        results = answered(study, rules_of(labels_of(data.keys, groups())))
        about = {"rows": len(data), "options": study.options, "drawn": study.drawn, "k": K}
    captions, comparisons = captions_table(results), pairs_table(results)
    title = "Rules in place of people, a proxy"
    kept = dict(without_details(results))
    records.write(
        "study-proxy",
        {"title": f"{title}: captions that are also right", "table": captions, "study": about,
         "results": kept},
    )  # fmt: skip
    records.write("study-proxy-pairs", {"title": f"{title}: harder pools", "table": comparisons})
    print(records.markdown(captions), records.markdown(comparisons), sep="\n")


if __name__ == "__main__":
    main()
