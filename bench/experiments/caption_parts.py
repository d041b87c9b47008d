"""Words of captions, their noun phrases and captions with words swapped, without a tagger.

The word lists are short and made for English captions of photographs: phrases and swaps are often
but not always what a parser would find.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import zip_longest

import numpy as np


def _listed(text: str) -> frozenset[str]:
    return frozenset(text.split())


TOKEN = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*|[^\w\s]")
#: Determiners begin a phrase and are no part of it.
DETERMINERS = _listed("a an the this that these those some any each every another")
PREPOSITIONS = _listed(
    "about above across after against along alongside amid among around as at atop away back "
    "before behind below beneath beside between beyond by down during for from in inside into "
    "like near next of off on onto out outside over past through to together toward towards under "
    "underneath up upon via while with within without"
)
OTHERS = _listed(
    "and or but nor so than then if because where when which who whom whose what there here it its "
    "he she they him her them his hers their theirs himself herself itself themselves i we us our "
    "you your my me one's is are was were be been being am has have had having do does did can "
    "could may might must shall should will would not no n't also very too just both all other "
    "others only still anything everything nothing something it's there's he's she's "
    "isn't aren't doesn't don't seems appears"
)
STOP = DETERMINERS | PREPOSITIONS | OTHERS
#: What follows is said of a thing and names none ("is empty"), but after "there".
BE = _listed("is are was were be been being")
#: Verbs of captions that do not end in "ing".
VERBS = _listed(
    "attached balances carries carry catch catches chases climb climbs covered dances decorated "
    "displayed dressed drives eats filled flies fly gathered gets gives goes hanging hangs held "
    "hit hits hold holds jump jumps kicks laid lays lean leans leaps lie lies located look looks "
    "made make makes parked perform performs placed play plays pose poses posed pulls pushes ran "
    "reaches reads rest rests ride rides run runs sat seated seen show shown shows sit sits skis "
    "sleeps smile smiles splashes stand stands stood surrounded swims swings takes talk talks "
    "throws tied tries using used walk walks watch watches wear wears worn"
)
#: Words in "ing" that are no verbs.
NOUNS_IN_ING = _listed(
    "awning building ceiling clothing crossing earring evening icing king lighting lightning "
    "morning offspring opening painting railing ring sibling siding spring string thing wedding "
    "wing wrapping"
)
#: Alone they name nothing: "red" of "red and white shirt".
MODIFIERS = _listed(
    "red orange yellow green blue purple pink brown black white grey gray tan beige silver gold "
    "dark light bright big large small little tiny long short tall old young new several many few "
    "two three four five six one blond blonde wooden"
)
#: "in front of": with "of", a preposition.
PLACES = _listed(
    "background bottom center centre corner edge end front left middle part right side top"
)


def noun_phrases(caption: str) -> list[str]:
    """The different noun phrases of a caption, in lower case, without determiners, in order.

    C2LIP (arXiv 2603.25722) takes them as further captions of the photograph. It finds them by a
    parser or a language model, and leaves out general places such as a street. Here a phrase is
    what stands between determiners, prepositions, pronouns, verbs and punctuation, and does not
    follow a form of "be"; places stay."""
    found = (" ".join(word[0].lower() for word in words) for words in _phrases(caption))
    return list(dict.fromkeys(found))


def swapped(caption: str, rng: np.random.Generator) -> str | None:
    """The caption with two of its words in each other's place; None if it has no two content words
    that differ.

    NegCLIP (arXiv 2210.01936) swaps two words of one part of speech (nouns, adjectives, adverbs),
    two noun phrases or two verb phrases, of which it draws one that the caption allows. Here the
    last words of two noun phrases stand for nouns and the first words of longer ones for
    adjectives; other kinds are left out. A caption without either has any two content words
    swapped, which may leave its meaning as it was."""
    phrases = _phrases(caption)
    kinds = [
        [words[-1] for words in phrases],
        [words[0] for words in phrases if len(words) > 1],
    ]
    allowed = [words for words in kinds if _different(words) > 1]
    if not allowed:
        allowed = [[word for word in TOKEN.finditer(caption) if _is_content(word[0].lower())]]
    words = allowed[rng.integers(len(allowed))]
    if _different(words) < 2:
        return None
    one = words[rng.integers(len(words))]
    rest = [word for word in words if word[0].lower() != one[0].lower()]
    other = rest[rng.integers(len(rest))]
    first, second = sorted((one, other), key=lambda word: word.start())
    return "".join([
        caption[: first.start()], second[0], caption[first.end() : second.start()], first[0],
        caption[second.end() :],
    ])  # fmt: skip


def content_words(caption: str) -> list[str]:
    """Words that are no stop words, in lower case and without plurals (`singular`), in order."""
    words = (token[0].lower() for token in TOKEN.finditer(caption))
    return [singular(word) for word in words if _is_content(word)]


def singular(word: str) -> str:
    """The same for a noun and its plural, by the ending alone: no more than a key of words."""
    word = word.removesuffix("'s").removesuffix("’s")
    if len(word) > 4 and word.endswith(("ie", "ies")):
        return word[: word.rindex("ie")] + "y"  # movie, movies; city, cities
    if word.endswith(("sses", "shes", "ches", "xes")):
        return word[:-2]
    if len(word) > 3 and word.endswith("s") and not word.endswith(("ss", "us", "is")):
        return word[:-1]
    return word


def _is_content(word: str) -> bool:
    return len(word) > 1 and any(map(str.isalpha, word)) and word not in STOP


def _is_verb(word: str) -> bool:
    return word in VERBS or (word.endswith("ing") and word not in NOUNS_IN_ING)


def _different(words: Sequence[re.Match[str]]) -> int:
    return len({word[0].lower() for word in words})


def _phrases(caption: str) -> list[list[re.Match[str]]]:
    """Words of each noun phrase, where they stand in the caption."""
    phrases: list[list[re.Match[str]]] = [[]]
    tokens = list(TOKEN.finditer(caption))
    before, predicate = "", False
    for token, after in zip_longest(tokens, tokens[1:]):
        word = token[0].lower()
        place = word in PLACES and after is not None and after[0].lower() == "of"
        if place or word in STOP or _is_verb(word) or not word[0].isalnum():
            phrases.append([])
            predicate = word in BE and before != "there"
        elif not predicate:
            phrases[-1].append(token)
        before = word
    return [words for words in phrases if any(_names(word[0].lower()) for word in words)]


def _names(word: str) -> bool:
    return _is_content(word) and word not in MODIFIERS
