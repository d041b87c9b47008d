"""The command that takes embeddings of other tools into a store."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from helip.cli.command import AsJson, Done, Quiet, command, several, text
from helip.cli.command_line import line_of
from helip.cli.commands.data import store_facts
from helip.cli.messages import say
from helip.cli.resuming import saying_what_is_kept
from helip.cli.showing import print_json
from helip.store.options import ImportOptions


@command(ImportOptions, name="import")
def import_embeddings(
    source: Annotated[
        str | None,
        text(
            "A folder of clip-retrieval or DataComp; .parquet, .arrow, .npz, .lance; a "
            "saved datasets.Dataset. Patterns are read in the order of their numbers."
        ),
    ] = None,
    /,
    *,
    out: Annotated[Path, text("The store to write; the same call goes on with it.")],
    image: Annotated[
        list[str] | None, several(".npy files of image embeddings, or a pattern.")
    ] = None,
    text: Annotated[list[str] | None, several("Those of text embeddings.")] = None,
    metadata: Annotated[
        list[str] | None, several("Parquet with keys and captions of .npy files: one, or one each.")
    ] = None,
    json: AsJson = False,
    quiet: Quiet = False,
    **options: Any,
) -> Done:
    """Take embeddings that another tool computed into a store, in their order."""
    from helip.store.embedding_store import EmbeddingStore

    with saying_what_is_kept(out, say):
        store = EmbeddingStore.import_from(
            source, image=image, text=text, metadata=metadata, out=out, progress=not quiet,
            **options,
        )  # fmt: skip
    facts = store_facts(store)
    if json:
        print_json(facts)
    else:
        sides = f"{facts['image_dim']} + {facts['text_dim']} {store.dtype}"
        say(f"{store.path}: {len(store):,} rows of {sides}, fingerprint {store.fingerprint}")
    return Done(out, line_of("mine", store=out, out="PAIRS"))
