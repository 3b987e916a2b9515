"""The loaders of a run, and what is said of the photos that they cannot read."""

from __future__ import annotations

import math
from functools import partial

from ppclas_core.component import build_component
from ppclas_core.contracts.data import ImageSet
from ppclas_core.contracts.readers import BadImage, BatchReader
from ppclas_core.errors import DataError
from ppclas_core.plugins import get_registries
from ppclas_data.loading.loader import Loader, allowed_bad
from ppclas_data.loading.pipeline import Pipeline, build_transforms

from ppclas_engine.console import Console
from ppclas_engine.planning.plan import Plan, given
from ppclas_engine.ranks.distributed import Ranks


class Loaders:
    """Makes the loaders of this rank; each has its own part of the photos."""

    def __init__(self, plan: Plan, ranks: Ranks, console: Console) -> None:
        self._plan, self._ranks, self._console = plan, ranks, console
        self._reader: BatchReader = build_component(
            get_registries().readers, plan.config.data.reader
        )
        self._noted: set[str] = set()
        self._told: set[int] = set()

    def make(self, images: ImageSet, *, train: bool, alone: bool = False) -> Loader:
        """``train``: shuffled, with the transforms of training; otherwise with those of evaluation.

        ``alone``: this rank reads all of them, not its part.
        """
        data, train_section, ranks = self._plan.config.data, self._plan.config.train, self._ranks
        transforms = data.train_transforms if train else data.eval_transforms
        workers = given(data.workers)
        part = None
        if not ranks.alone and not alone:
            part = ranks.images_of if train else ranks.batches_of
            workers = math.ceil(workers / ranks.size)
        return Loader(
            images,
            Pipeline(build_transforms(given(transforms))),
            given(data.batch_size if train else data.eval_batch_size),
            shuffle=train,
            seed=train_section.seed,
            epochs=given(train_section.epochs),
            workers=workers,
            reader=self._reader,
            max_bad_fraction=data.max_bad_fraction,
            repeat_draws_after=data.repeat_draws_after,
            sampling=data.sampling if train else None,
            on_bad=self._warn_of,
            on_note=partial(self._note_once, train),
            part=part,
        )

    def report_bad_images(self, loader: Loader) -> None:
        """Say which photos the training loaders of other ranks have left out.

        Raises:
            DataError: with those of ``loader`` they are more than ``data.max_bad_fraction``.
        """
        if self._ranks.alone:
            return
        own = loader.bad_images
        found = {bad.index: bad for part in self._ranks.gather(own) for bad in part}
        known = {bad.index for bad in own}
        for index, bad in sorted(found.items()):
            if self._ranks.first and index not in known and index not in self._told:
                self._told.add(index)
                self._warn_of(bad)
        total = len(self._plan.train)
        allowed, words = allowed_bad(self._plan.config.data.max_bad_fraction, total)
        if len(found) > allowed:
            raise DataError(
                f"expected at most {words} in {self._plan.train.origin}, got {len(found)} of "
                f"{total} so far. Run 'ppclas data check', or raise data.max_bad_fraction."
            )

    def _warn_of(self, bad: BadImage) -> None:
        self._console.warn(f"{bad.where}: {bad.reason} (left out)")

    def _note_once(self, train: bool, line: str) -> None:
        # Mostly both loaders have the same to say.
        if line not in self._noted:
            self._noted.add(line)
            self._console.line(line if train else f"in evaluation: {line}")
