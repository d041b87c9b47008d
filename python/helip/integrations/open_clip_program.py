"""open_clip's training program, and the few names of it that hard pair training replaces.

Two forms of open_clip_train.main are known. The releases up to 3.3 call ``create_loss`` and give
what the model returns to that loss; open_clip's main branch, 4.2.0.dev0, calls ``create_task``, and
the task owns the loss.
"""

from __future__ import annotations

import contextlib
import dataclasses
import inspect
import logging
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from helip.common.errors import InvalidArgumentError, UnsupportedError
from helip.data.image_transform import open_clip_train_transform
from helip.data.opening import open_dataset
from helip.data.options import MAX_PIXELS
from helip.data.picture_reader import can_assemble
from helip.integrations.open_clip import HardPairSource, OpenClipLoss
from helip.loading.loader import HardPairLoader
from helip.loading.options import PairOptions, ReadOptions
from helip.loading.pair_source import table_of
from helip.losses.loss import Loss
from helip.losses.options import LossOptions, check_loss

#: Of open_clip_torch, as pyproject.toml has it.
WORKS_WITH = ">=3.1,<4.3"
_INSTALL = f"pip install 'open_clip_torch[training]{WORKS_WITH}'"
_WORKS = f"helip works with open_clip_torch{WORKS_WITH}: {_INSTALL}"

# What is used of open_clip_train.main: each name, and the parameters that it is given.
_PROGRAM = {
    "parse_args": {"args"},
    "create_model_and_transforms": {"model_name", "pretrained", "aug_cfg"},
    "get_data": {"args", "preprocess_fns", "epoch", "tokenizer"},
}
_LOSS = {"create_loss": {"args"}}
_TASK = {"create_task": {"args", "model", "dist_model"}}

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class HardPairOptions(PairOptions, LossOptions, ReadOptions):
    """What hard pair training needs besides open_clip's own flags."""

    hard_pairs: str
    """Table of hard pairs, mined from --train-data."""


def open_clip_program() -> ModuleType:
    """open_clip_train.main; of a version that was not tried with a warning.

    Raises:
        UnsupportedError: it is absent, of neither known form, or not of the open_clip that is
            imported; names the versions that work.
    """
    try:
        import open_clip
        import open_clip_train.main as program
    except ImportError as error:
        raise UnsupportedError(
            f"this needs open_clip_train and what it imports ({error}); {_INSTALL}"
        ) from error
    version = getattr(open_clip, "__version__", "0")  # early ones had none
    folders = [Path(str(module.__file__)).parents[1] for module in (open_clip, program)]
    if folders[0] != folders[1]:
        raise UnsupportedError(
            f"open_clip {version} is that of {folders[0]}, and open_clip_train that of "
            f"{folders[1]}; have both from one place: {_WORKS}"
        )
    missing = _lacks(program, _PROGRAM)
    if missing or (_lacks(program, _LOSS) and _lacks(program, _TASK)):
        missing = missing or [*_LOSS, "or", *_TASK]
        raise UnsupportedError(
            f"open_clip {version} has a training program of another form (no "
            f"{' '.join(missing)} as known); {_WORKS}"
        )
    least, bound = map(_major_minor, WORKS_WITH.split(","))
    if not least <= _major_minor(version) < bound:
        _log.warning("open_clip %s was not tried; %s", version, _WORKS)
    return program


def has_tasks(program: ModuleType) -> bool:
    """Whether the program trains a task, and not a model with a loss."""
    return not _lacks(program, _TASK)


def _major_minor(version: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", version)[:2]]


def _lacks(program: ModuleType, names: dict[str, set[str]]) -> list[str]:
    """Names that the program has not, or not with these parameters."""
    return [
        name
        for name, parameters in names.items()
        if not callable(getattr(program, name, None))
        or not parameters <= inspect.signature(getattr(program, name)).parameters.keys()
    ]


@contextlib.contextmanager
def hard_pair_training(
    options: HardPairOptions, *, loss: Loss | str | None = None
) -> Iterator[None]:
    """Inside, ``open_clip_train.main.main`` trains with hard pairs.

    loss: as OpenClipLoss takes it; None is HelipLoss, or HelipSigmoidLoss for ``--siglip``.

    Four names of that module are replaced: ``parse_args``, ``create_model_and_transforms``,
    ``get_data``, and ``create_loss`` or ``create_task``. Everything else, from the flags to the
    checkpoints, is open_clip's.
    """
    for name in ("similar_captions", "similar_images"):
        if getattr(options, name) is not None:
            raise UnsupportedError(
                f"{name} is {getattr(options, name)}, which compares embeddings of a store, and "
                "open_clip's training is given none; leave it out, or train with helip.train"
            )
    program = open_clip_program()
    if loss is not None:
        check_loss(loss)
    training = _Training(program, options, loss)
    names = [*_PROGRAM, *(_TASK if training.tasks else _LOSS)]
    with contextlib.ExitStack() as stack:
        for name in names:
            stack.enter_context(patch.object(program, name, getattr(training, name)))
        stack.enter_context(cpu_processes())
        yield


@contextlib.contextmanager
def cpu_processes() -> Iterator[None]:
    """Inside, several processes of open_clip's program can train on a CPU.

    It names a device to DistributedDataParallel, which torch refuses for a model on the CPU.
    """

    class Parallel(DistributedDataParallel):
        def __init__(self, module: Any, device_ids: Any = None, **options: Any) -> None:
            on_cpu = all(str(device) == "cpu" for device in device_ids or ())
            super().__init__(module, device_ids=None if on_cpu else device_ids, **options)

    with patch.object(torch.nn.parallel, "DistributedDataParallel", Parallel):
        yield


class _Training:
    """What stands in place of names of the program, each under its own name."""

    def __init__(
        self, program: ModuleType, options: HardPairOptions, loss: Loss | str | None
    ) -> None:
        self.tasks = has_tasks(program)
        self._options, self._loss = options, loss
        self._given = {name: getattr(program, name) for name in _PROGRAM}
        self._create_task = getattr(program, "create_task", None)
        self._source: HardPairSource | None = None
        self._data: Any = None  # and its table, once the flags are read
        self._table: Any = None

    def parse_args(self, args: Any) -> Any:
        parsed = self._given["parse_args"](args)
        _refuse(parsed)
        # Before the model is made, which takes long and says much.
        self._data = open_dataset(_shards(parsed.train_data), **_columns(parsed))
        self._table = table_of(self._data, self._options.hard_pairs)
        return parsed

    def create_model_and_transforms(self, *args: Any, **options: Any) -> Any:
        """With a transform that threads of the core do, where open_clip's is a standard one."""
        model, train, evaluation = self._given["create_model_and_transforms"](*args, **options)
        preprocess = getattr(model.visual, "preprocess_cfg", None) or {}
        ours = open_clip_train_transform(preprocess, options.get("aug_cfg") or {})
        return model, ours or train, evaluation

    def get_data(
        self,
        args: Any,
        preprocess_fns: Any,
        epoch: int = 0,
        tokenizer: Any = None,
        **others: Any,
    ) -> Any:
        train_data, args.train_data = args.train_data, None
        try:
            data = self._given["get_data"](
                args, preprocess_fns, epoch=epoch, tokenizer=tokenizer, **others
            )
        finally:
            args.train_data = train_data
        if train_data:
            self._source = self._make_source(args, preprocess_fns[0], tokenizer)
            self._source.set_epoch(epoch)
            data["train"] = self._source
        return data

    def create_loss(self, args: Any) -> OpenClipLoss:
        # The source of a task's loss is made after the task.
        loss = self._loss or ("siglip" if args.siglip else "clip")
        made = OpenClipLoss(self, loss=loss, **LossOptions.of(self._options).as_dict())
        return made.to(args.device)

    def create_task(self, args: Any, *more: Any, **others: Any) -> Any:
        assert self._create_task is not None
        task = self._create_task(args, *more, **others)
        task.loss = self.create_loss(args)
        return task

    def given(self, rows: int) -> dict[str, Tensor]:
        assert self._source is not None  # a loss is asked of training data alone
        return self._source.given(rows)

    def _make_source(self, args: Any, transform: Any, tokenizer: Any) -> HardPairSource:
        """The training data that open_clip's flags name, with the hard pairs of the table."""
        data, own = self._data, self._options
        if not can_assemble(data, transform):
            _log.info(
                "Training images are read by %d worker processes: threads of helip's core do "
                "RandomResizedCrop with color_jitter and gray_scale, not %s",
                args.workers,
                transform,
            )
        read = dataclasses.replace(
            ReadOptions.of(own),
            workers=args.workers if own.workers is None else own.workers,
            pin_memory=own.pin_memory or str(args.device).startswith("cuda"),
        )
        loader = HardPairLoader(
            data,
            self._table,
            batch_size=args.batch_size,
            seed=args.seed,
            transform=transform,
            tokenizer=tokenizer,
            **PairOptions.of(own).as_dict(),
            **read.as_dict(),
        )
        source = HardPairSource(loader, accumulate=args.accum_freq, named=self.tasks)
        if left := len(loader) - len(source):
            _log.warning(
                "%d of %d batches of an epoch make no whole step of --accum-freq %d and are left "
                "out, others each epoch",
                left,
                len(loader),
                args.accum_freq,
            )
        return source


def _shards(train_data: str) -> str | list[str]:
    shards = train_data.split("::")
    return shards if len(shards) > 1 else shards[0]


def _is_table(args: Any) -> bool:
    return args.dataset_type == "csv" or args.train_data.endswith((".csv", ".tsv"))


def _columns(args: Any) -> dict[str, Any]:
    """What open_clip's flags say of columns and members, as open_dataset takes it."""
    if _is_table(args):
        return {"image_column": args.csv_img_key, "caption_column": args.csv_caption_key}
    pixels = getattr(args, "max_image_pixels", 0) or MAX_PIXELS
    options: dict[str, Any] = {"max_pixels": min(pixels, MAX_PIXELS)}
    if field := getattr(args, "json_text_key", None):
        options["caption_column"] = field
    if (image := getattr(args, "image_key", _IMAGE_KEY)) != _IMAGE_KEY:
        options["image_column"] = image
    return options


_IMAGE_KEY = "jpg;png;jpeg;webp"  # open_clip's default, of which helip takes the one that is there


def _refuse(args: Any) -> None:
    """Flags that ask for what hard pair training does not do; some are of one form alone."""
    if args.train_data is None:
        raise InvalidArgumentError("--hard-pairs without --train-data; name what was mined")
    text, field = getattr(args, "text_key", "txt"), getattr(args, "json_text_key", None)
    image = getattr(args, "image_key", _IMAGE_KEY)
    other_model = any(kind in args.model.lower() for kind in ("coca", "genlip", "genlap", "clap"))
    chosen = {
        f"--dataset-type {args.dataset_type}": args.dataset_type not in _TYPES,
        "--dataset-resampled": args.dataset_resampled,
        "--train-data-upsampling-factors": args.train_data_upsampling_factors is not None,
        "--distill-model": args.distill_model is not None,
        "--horovod": getattr(args, "horovod", False),
        "--use-naflex": getattr(args, "use_naflex", False),
        "--length-bucketing": getattr(args, "length_bucketing", False),
        f"--text-key {text}": text != "txt" and not field,
        f"--json-text-key {field}": field is not None and ";" in field,
        "--json-text-key-probs": getattr(args, "json_text_key_probs", None) is not None,
        f"--image-key {image}": ";" in image and image != _IMAGE_KEY,
        f"--csv-separator {args.csv_separator!r}": _is_table(args)
        and args.csv_separator not in (",", "\t"),
        f"--model {args.model}": other_model,
    }
    wrong = [flag for flag, is_set in chosen.items() if is_set]
    if wrong:
        raise UnsupportedError(
            f"{', '.join(wrong)} cannot be combined with --hard-pairs: an epoch has every target "
            "once, with one caption of a fixed length, and the loss is CLIP's or SigLIP's with the "
            "margin loss; leave it out"
        )


_TYPES = ("auto", "csv", "webdataset")
