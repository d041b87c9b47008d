"""Named recipes: settings of `helip.train` that go together, each with its reason and source.

The table below is the one place where they stand: `helip.train`, the shell, ``helip recipes`` and
docs/recipes.md read it. Whoever changes a value here raises the recipe's version, which checkpoints
record.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from helip.common.options import require

#: The recipe of a run with ``from_scratch=True`` that names none.
FROM_SCRATCH = "from-scratch"
_MEASUREMENTS = ("docs/results.md", "docs/results-emoji.md", "docs/benchmarks.md")
_HELIP = "arXiv 2305.05208"
_CLIP = "arXiv 2103.00020"
_PHOTOGRAPHS = "docs/results.md#photographs"
_COMMUNITIES = "docs/results.md#batches-of-communities-on-icons"
_MARGIN_LOSS = "docs/results-emoji.md#the-margin-loss"
_POOLS = "docs/results-emoji.md#hard-pairs-a-target-and-pool-size"
_SETTING = "docs/results-emoji.md#how-they-were-made"
_ROWS = "docs/results-emoji.md#rows-of-a-batch"
_FORGOTTEN = "docs/results.md#icons-what-is-forgotten-of-another-set"
_LORA = "docs/results-emoji.md#all-weights-against-lora"
_EQUAL = "docs/benchmarks.md#equal-captions"
_OWN_TOWERS = (
    "Embed the data by the two towers of the model that is fine-tuned: their pools did at least as "
    "well as those of unimodal encoders (docs/results-emoji.md#whose-features-are-mined)."
)


@dataclass(frozen=True)
class Setting:
    """The value of an option, why it has that value, and who says so."""

    option: str
    value: Any
    why: str
    sources: tuple[str, ...] = ()
    """Pages of helip's documentation, and papers."""

    @property
    def measured_here(self) -> bool:
        """Whether helip's own results or benchmarks are among the sources."""
        return any(source.startswith(_MEASUREMENTS) for source in self.sources)

    @property
    def origin(self) -> str:
        """The sources in words, which say where none is a measurement of helip."""
        return ", ".join([*self.sources, *([] if self.measured_here else ["not measured here"])])


@dataclass(frozen=True)
class NamedRecipe:
    """Settings of `helip.train` under a name, and what to do before or after."""

    name: str
    version: int
    purpose: str
    settings: tuple[Setting, ...]
    mining: tuple[Setting, ...] = ()
    """Options of `helip.mine` that fit; they are the caller's to give."""
    advice: str = ""

    @property
    def label(self) -> str:
        """Name and version, as a run records them."""
        return f"{self.name} {self.version}"

    def values(self, given: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Option → value, of `helip.train`, beside options that are ``given``.

        With other epochs than the recipe's its schedule takes the same share of them.
        """
        values = {setting.option: setting.value for setting in self.settings}
        epochs = (given or {}).get("epochs")
        if "schedule" in values and "epochs" in values and epochs is not None:
            share = values["schedule"]["epochs"] / values["epochs"]
            values["schedule"] = {**values["schedule"], "epochs": share * epochs}
        return values


_ONE_HARD_PAIR = Setting(
    "hard_per_target", 1,
    "One hard pair a target (p), the paper's; two or three could not be told apart from it.",
    (_HELIP, _POOLS),
)  # fmt: skip
_DRAWN = Setting(
    "strategy", "uniform",
    "What the figures were measured with; communities, the default, were not compared there.",
)  # fmt: skip
_GAMMA = Setting(
    "gamma", 1.0,
    "The paper leaves the margin loss's weight open; values from 0 to 10 could not be told apart.",
    (_HELIP, _MARGIN_LOSS),
)  # fmt: skip
_TWO_EPOCHS = Setting("epochs", 2, "Two more epochs on the model's own data.", (_HELIP,))
_MASK = Setting(
    "equal_captions", "mask",
    "Rows with equal captions are no negatives of each other. The best row of the table, though no "
    "further ahead than chance allows.",
    (_EQUAL,),
)  # fmt: skip
_POOL_OF_50 = Setting(
    "k", 50, "Pools of 10, 50 and 200 could not be told apart; the paper's have 50 to 100.",
    (_HELIP, _POOLS),
)  # fmt: skip

_RECIPES = (
    NamedRecipe(
        name="communities",
        version=3,
        purpose="The default, spelled out: batches made wholly of communities of hard pairs.",
        settings=(
            Setting(
                "strategy", "communities",
                "Gained 1.6 to 2 times what one hard pair a target did, over three seeds and on "
                "test splits, with small models. Communities have 8 rows, 16 where an epoch has "
                "240 steps, 32 where it has 640: those gained most on such data.",
                (
                    "docs/results.md#icons-steps",
                    "docs/results.md#icons-size-of-communities-ranks-share-of-the-batch",
                ),
            ),
            _MASK,
            Setting(
                "gamma", 1.0,
                "Recall of near-twins is the same with 0. But it keeps hard pairs close: in the "
                "demo zero-shot accuracy by coarse names fell 12 points without it, with it not.",
                (_HELIP, "docs/results.md#icons-the-margin-loss-in-communities"),
            ),
            Setting(
                "distill", 1.0,
                "A frozen copy of the start model holds the features near its own. On icons, "
                "photographs, paragraphs and fashion communities gained about as much or more with "
                "it, and on icons and fashion forgot less; without it they fell behind plain "
                "batches in a gallery of paragraphs and in one of fashion. 3 gained more from good "
                "starts, and a little less from weak ones. A step takes a fifth to two fifths "
                "longer.",
                (_PHOTOGRAPHS, _FORGOTTEN),
            ),
            _TWO_EPOCHS,
        ),
        mining=(
            Setting(
                "k", 50,
                "Communities are made of the first 50 ranks there; the first ten gained as much, "
                "ranks 30 to 100 less.",
                (_COMMUNITIES,),
            ),
        ),
        advice="Not while mining (a StreamingMiner has no whole table), and not where a batch "
        "covers the data anyway (small-data). What was gained is what the data teach: names that "
        "no picture of the training data has gained nothing. Where a model has batch norms, "
        "compare with lock_batch_norms=True: batches of communities have other statistics than "
        "the data. From random weights take from-scratch, or give distill=0: there is nothing to "
        "hold. The control beside it keeps distill, that of the defaults has none. To repeat the "
        "paper, take the recipe paper.",
    ),
    NamedRecipe(
        name="from-scratch",
        version=2,
        purpose="A model from random weights: plain batches first, communities later.",
        settings=(
            Setting(
                "epochs", 32, "As many passes as CLIP was trained with; small data bear more.",
                (_CLIP,),
            ),
            Setting("lr", 5e-4, "The peak of CLIP's ViT-B/32; small models bear 1e-3.", (_CLIP,)),
            Setting("warmup", 0.1, "A share of the steps, so that a short run has one as well."),
            Setting("weight_decay", 0.2, "CLIP's.", (_CLIP,)),
            Setting("betas", (0.9, 0.98), "CLIP's, of its vision transformers.", (_CLIP,)),
            Setting("eps", 1e-6, "Likewise.", (_CLIP,)),
            Setting(
                "fraction", 0.0,
                "The first epoch has plain batches: what is hard means nothing to a model that "
                "knows nothing.",
            ),
            Setting(
                "schedule", {"epochs": 16, "fraction": 1.0},
                "The share of rows in communities rises to all of them over the first half of the "
                "epochs, also of other epochs that are given. Of heads on frozen features it "
                "gained as much as communities from the first step; towers were not measured.",
                ("docs/results.md#icons-from-random-weights",),
            ),
            _MASK,
            Setting(
                "gamma", 0.0,
                "The margin loss keeps what a model knows of hard pairs; this one knows nothing.",
            ),
            Setting("distill", 0.0, "A random start is nothing to stay near."),
            Setting(
                "lock_batch_norms", False,
                "Random weights come with no statistics that could be kept.",
            ),
        ),
        mining=(_POOL_OF_50,),
        advice="Give as large a batch_size as memory holds (accumulate=n helps): CLIP took 32,768 "
        "rows. With steps in place of epochs give a schedule, too. helip embed's encoders are "
        "trained models: mining by them tells a new model what is alike.",
    ),
    NamedRecipe(
        name="paper",
        version=2,
        purpose="HELIP as published: a trained CLIP or SLIP model, on the data it was trained on.",
        settings=(
            _TWO_EPOCHS,
            Setting(
                "batch_size", 256,
                "Rows a GPU, of which the paper has 256 to 420. It is the batch of all processes "
                "together: give 256 times their number.",
                (_HELIP,),
            ),
            _ONE_HARD_PAIR,
            Setting("strategy", "uniform", "Any of the pool alike, as in the paper.", (_HELIP,)),
            _GAMMA,
            Setting("margin", 0.0, "m of Eq. 6.", (_HELIP,)),
            Setting(
                "direction", "preserve",
                "Eq. 6. The other reading, repel, cost as much as hard pairs gained.",
                (_HELIP, _MARGIN_LOSS),
            ),
            Setting(
                "space", "cross",
                "Eq. 6; within modalities made no difference.",
                (_HELIP, _MARGIN_LOSS),
            ),
            Setting("distill", 0.0, "Eq. 7 has no teacher.", (_HELIP,)),
            Setting(
                "equal_captions", "separate",
                "The CLIP loss of Eq. 7 takes all rows; mask was not told apart from it.",
                (_HELIP, _EQUAL),
            ),
        ),
        mining=(_POOL_OF_50,),
        advice="Embed with --preset paper: the encoders of the paper's released code.",
    ),
    NamedRecipe(
        name="small-data",
        version=1,
        purpose="A small model, trained from scratch on some thousands of pairs.",
        settings=(
            _TWO_EPOCHS,
            Setting(
                "batch_size", 64,
                "Of 8,832 pairs, hard pairs gain in batches of 16 and 64 rows and lose in those of "
                "256, which hold hard pairs by chance.",
                (_ROWS,),
            ),
            _ONE_HARD_PAIR,
            _DRAWN,
            Setting("lr", 2e-4, "That of the runs with 8 million parameters.", (_SETTING,)),
            _GAMMA,
            _MASK,
        ),
        mining=(
            Setting("method", "exact", "At this size it takes seconds and misses nothing.",
                    ("docs/benchmarks.md",)),
            _POOL_OF_50,
        ),
        advice="Compare with --control --batch-size 256, which was the best of all there: where a "
        "batch covers the data, more rows gain more than hard pairs do. " + _OWN_TOWERS,
    ),
    NamedRecipe(
        name="noisy-captions",
        version=1,
        purpose="Web data, with captions of other pictures and captions that many pictures share.",
        settings=(
            Setting(
                "short", "skip",
                "A target without hard pairs is mostly a mismatched pair: it is no target.",
                (_HELIP, "docs/method.md#hard-pair-mining"),
            ),
            Setting(
                "rank_min", 5,
                "False negatives stand at the head of a pool: one rule flags a fifth of the first "
                "ranks, and less than a hundredth of the last ones.",
                ("docs/filter.md#what-the-rules-find",),
            ),
            _DRAWN,
            _MASK,
        ),
        mining=(
            Setting("k", 100, "More than is drawn from, for a filter makes pools shorter.",
                    ("docs/filter.md#rules",)),
        ),
        advice="Take false negatives out of the table by helip filter --relative-margin 0.05 "
        "(docs/filter.md); with a filtered table, rank_min=0 will do.",
    ),
    NamedRecipe(
        name="fine-grained",
        version=1,
        purpose="Sets whose pictures differ in details, where text should find its very picture.",
        settings=(
            Setting(
                "hard_per_target", 3,
                "Text → picture gained 5.5 points with p = 3 and 3 with p = 1, in batches of 64; "
                "picture → text stayed. The interval over three seeds holds zero.",
                (_POOLS,),
            ),
            _DRAWN,
            _GAMMA,
            _MASK,
        ),
        mining=(_POOL_OF_50,),
        advice=_OWN_TOWERS,
    ),
    NamedRecipe(
        name="siglip",
        version=2,
        purpose="A model with a learned bias, trained by the pairwise sigmoid loss.",
        settings=(
            Setting("loss", "siglip", "The loss that such a model was trained with.",
                    ("arXiv 2303.15343",)),
            Setting("betas", (0.9, 0.95), "The smaller second one steadies training.",
                    ("arXiv 2303.15343",)),
            Setting("weight_decay", 0.0, "Without decay, pre-trained weights lose less.",
                    ("arXiv 2303.15343",)),
            Setting(
                "equal_captions", "mask",
                "Rows with equal captions are no negatives of each other; measured with CLIP's "
                "loss alone.",
            ),
            Setting(
                "strategy", "auto",
                "Communities where there is a table, the default; measured with CLIP's loss alone.",
            ),
        ),
    ),
    NamedRecipe(
        name="lora",
        version=1,
        purpose="Few trained weights: products of rank 8 beside those of attention and MLP.",
        settings=(
            Setting(
                "lora", 8,
                "With hard pairs it is ahead of its own control over queries, over three seeds not "
                "clearly; it moves less than all weights do. alpha is twice the rank.",
                ("arXiv 2106.09685", _LORA),
            ),
            Setting("lr", 1e-3, "What the runs with LoRA were made with.", (_LORA,)),
            _DRAWN,
        ),
    ),
    NamedRecipe(
        name="no-forgetting",
        version=3,
        purpose="A model of general use, which should keep what it knows beside the new data.",
        settings=(
            Setting(
                "wise_ft", 0.5,
                "Also writes the mean of start and tuned weights, OUT/wise-ft; a half is what the "
                "paper recommends where nothing tells a better share. It gave back most, for one "
                "to three points of what was gained.",
                ("arXiv 2109.01903", "docs/benchmarks.md#forgetting"),
            ),
            Setting(
                "distill", 3.0,
                "Holds the features near those of the start model while training; gave back almost "
                "half of what plain batches and more than half of what communities forgot, at no "
                "cost of what was gained.",
                ("docs/benchmarks.md#forgetting", _FORGOTTEN),
            ),
            Setting("lr", 1e-5, "Small steps stay near the start; helip's default."),
            Setting(
                "strategy", "auto",
                "Communities where there is a table, the default. Of another set they forget more "
                "than plain batches do; with distill they forget less.",
                (_FORGOTTEN,),
            ),
        ),
        advice="Give a general set as guard (--guard): the run says at its end whether something "
        "is lost (docs/training.md#the-guard-of-a-run). Or measure OUT/wise-ft beside the last "
        "checkpoint, the start and the control on a "
        "general set, by helip eval --guard (docs/evaluation.md#the-guard-against-forgetting); "
        "helip interpolate writes other mixtures.",
    ),
)  # fmt: skip


def recipes() -> tuple[NamedRecipe, ...]:
    """All named recipes, for ``helip.train(recipe=NAME)``."""
    return _RECIPES


def recipe_named(name: str) -> NamedRecipe:
    """The recipe of this name; InvalidArgumentError names all where there is none."""
    known = {recipe.name: recipe for recipe in _RECIPES}
    require(name in known, "recipe", name, f"one of {', '.join(known)}")
    return known[name]


def recipe_for(given: Mapping[str, Any]) -> str | None:
    """The name of the recipe of a call with these options: FROM_SCRATCH with ``from_scratch``,
    where they name none, not even None, and do not go on with a run that began without."""
    name: str | None = given.get("recipe")
    if "recipe" in given or not given.get("from_scratch"):
        return name
    begun: Mapping[str, Any] = {}
    if given.get("out") is not None and given.get("resume", True):
        from helip.models.run_folder import CHECKPOINTS
        from helip.training.checkpoints import recorded_options

        begun = recorded_options(Path(given["out"]) / CHECKPOINTS)
    return None if begun.get("recipe", FROM_SCRATCH) is None else FROM_SCRATCH


def with_recipe(given: Mapping[str, Any]) -> dict[str, Any]:
    """Options as they were given, and those of the recipe that they name for the rest."""
    name = recipe_for(given)
    if name is None:
        return dict(given)
    return {"recipe": name, **recipe_named(name).values(given), **given}
