"""Every model of a server: loaded, proven, replaced when its folder changes, compared with a
shadow.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from ppclas_core.bundle import MANIFEST, Bundle
from ppclas_core.errors import BundleError, PpclasError
from ppclas_core.wording import near_names
from ppclas_data.loading.loader import available_cpus
from ppclas_engine.console import Console
from ppclas_engine.results.predict import prediction_of

from ppclas_serve.backend.metrics import Metrics
from ppclas_serve.backend.problems import Limits, Problem, over_limit, too_many_images
from ppclas_serve.backend.served import Answer, Photo, Served, not_ready, open_served

Prove = Callable[[Served], Awaitable[str]]
"""Asks a model through the server's own HTTP path; a sentence, or a ``PpclasError``."""
_EXAMPLES = 50
_RETRY = 30.0  # seconds


@dataclass(frozen=True)
class Source:
    """A model that is to be served."""

    name: str
    version: str
    open: Callable[[], Bundle]
    path: Path | None = None
    """What is watched; None: it never changes."""


@dataclass
class Slot:
    """The place of a model: what answers now, and what became of the last attempt to load."""

    source: Source
    live: Served | None = None
    trouble: str = "it is being loaded and proven"
    """Why the last attempt gave nothing; empty: it did."""
    stamp: tuple[Any, ...] = ()
    """Of the files that were loaded last."""
    tried: float = 0.0


@dataclass
class Shadow:
    """What came of comparing the live model with another."""

    source: Source
    slot: Slot
    compared: int = 0
    disagreed: int = 0
    dropped: int = 0
    pairs: Counter[tuple[str, str]] = field(default_factory=Counter)
    examples: deque[dict[str, Any]] = field(default_factory=lambda: deque(maxlen=_EXAMPLES))

    def report(self) -> dict[str, Any]:
        """For JSON: counts, and the commonest pairs (live answer, shadow's answer)."""
        return {
            "shadow": self.source.name,
            "ready": self.slot.live is not None,
            "reason": self.slot.trouble,
            "compared": self.compared,
            "disagreed": self.disagreed,
            "dropped": self.dropped,
            "pairs": [
                {"live": live, "shadow": other, "photos": count}
                for (live, other), count in self.pairs.most_common(_EXAMPLES)
            ],
            "latest": list(self.examples),
        }


class Fleet:
    """The models of one process. Its coroutines belong to one event loop."""

    def __init__(
        self,
        sources: Sequence[Source],
        limits: Limits,
        *,
        shadow: Source | None = None,
        engine: str | None = None,
        threads: int | None = None,
        allow_edited: bool = False,
        reload_seconds: float = 2.0,
        console: Console | None = None,
    ) -> None:
        """Load nothing yet.

        Args:
            sources: names and versions, each pair once; the first name is the one that answers
                where none is given, and a name's last version where no version is.
            limits: of requests.
            shadow: answers what the first model answers, and is compared.
            engine: see ``choose``; of all models.
            threads: CPU threads of an engine.
            allow_edited: take a bundle.json that was edited by hand.
            reload_seconds: between looks at the folders; 0: no looks.
            console: where it is said what is loaded.
        """
        self.limits, self.metrics = limits, Metrics()
        self.console = console or Console(quiet=True)
        self.slots = {(source.name, source.version): Slot(source) for source in sources}
        self.shadow = Shadow(shadow, Slot(shadow)) if shadow else None
        self.draining = False
        self.readers = ThreadPoolExecutor(max(2, available_cpus()), "ppclas-read")
        self._loader = ThreadPoolExecutor(1, "ppclas-load")
        self._engine, self._threads = engine, threads
        self._allow_edited, self._reload_seconds = allow_edited, reload_seconds
        self._waiting = 0
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def unready(self) -> dict[str, str]:
        """Name and version of every model that does not answer, and why; ``server`` when it is
        stopping.
        """
        found = {
            f"{name}/{version}": slot.trouble
            for (name, version), slot in self.slots.items()
            if slot.live is None
        }
        return {"server": "it is stopping", **found} if self.draining else found

    def names(self) -> list[str]:
        """Of the models, each once."""
        return list(dict.fromkeys(name for name, _ in self.slots))

    def slot(self, name: str | None = None, version: str | None = None) -> Slot:
        """The place of a model; without a name the first, without a version the last.

        Raises:
            Problem: there is none.
        """
        name = name or next(iter(self.slots))[0]
        versions = [known for known_name, known in self.slots if known_name == name]
        if not versions:
            near = near_names(name, self.names())
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise Problem(404, f"No model {name!r} here; there is {', '.join(self.names())}.{hint}")
        if version is not None and version not in versions:
            raise Problem(
                404, f"The model {name} has no version {version!r}; it has {', '.join(versions)}."
            )
        return self.slots[name, version or versions[-1]]

    def versions(self, name: str) -> list[str]:
        """Of a model."""
        return [version for known, version in self.slots if known == name]

    def live(self, name: str | None = None, version: str | None = None) -> Served:
        """The model that answers.

        Raises:
            Problem: there is none, or it is not proven.
        """
        slot = self.slot(name, version)
        if slot.live is None:
            raise not_ready(slot.source.name, slot.trouble)
        return slot.live

    async def answer(self, served: Served, photos: Sequence[Photo]) -> list[Answer]:
        """Answers in the order of the photos; see ``Served.answer``.

        Raises:
            Problem: as there, too many photos, or too many wait already.
        """
        with self._admitted(len(photos)), served.in_use():
            return await served.answer(photos, self.readers)

    async def answer_prepared(self, served: Served, images: Any) -> Any:
        """Logits [N, C] of prepared images; see ``Served.answer_prepared``."""
        with self._admitted(len(images)), served.in_use():
            return await served.answer_prepared(images)

    def _admitted(self, count: int) -> _Admission:
        limits = self.limits
        if count > limits.max_images:
            raise too_many_images(count, limits)
        if self._waiting + count > limits.max_waiting and self._waiting:
            raise over_limit(
                429,
                "max_waiting",
                limits.max_waiting,
                f"{self._waiting} photos wait already, and {limits.max_waiting} may. Try again in "
                "a second.",
            )
        return _Admission(self, count)

    def count_waiting(self, change: int) -> None:
        """Photos have come or gone."""
        self._waiting += change
        self.metrics.waiting.set(self._waiting)

    async def start(self, prove: Prove) -> None:
        """Load and prove every model, one after the other, and then look after their folders."""
        for slot in self._all_slots():
            await self._load(slot, prove)
        if self._reload_seconds:
            self._spawn(self._watch(prove))

    async def stop(self) -> None:
        """Close every model when its last request is answered."""
        self.draining = True
        for task in self._tasks:
            task.cancel()
        for slot in self._all_slots():
            if slot.live is not None:
                await slot.live.close()
        self.readers.shutdown(wait=False, cancel_futures=True)
        self._loader.shutdown(wait=False, cancel_futures=True)

    def ask_shadow(
        self, served: Served, photos: Sequence[Photo], answers: Sequence[Answer]
    ) -> None:
        """Let the shadow answer too, later; nobody waits for it."""
        if self.shadow is None or served is not next(iter(self.slots.values())).live:
            return
        other = self.shadow.slot.live
        good = [(photo, answer) for photo, answer in zip(photos, answers, strict=True)
                if not answer.error]  # fmt: skip
        if other is None or other.batcher.depth > self.limits.max_waiting:
            self.shadow.dropped += len(good)
            self.metrics.shadow_dropped.inc(len(good))
        elif good:
            self._spawn(self._compare(self.shadow, served, other, good))

    async def _compare(
        self, shadow: Shadow, served: Served, other: Served, asked: list[tuple[Photo, Answer]]
    ) -> None:
        with other.in_use():
            try:
                found = await other.answer([photo for photo, _ in asked], self.readers)
            except Problem as problem:
                shadow.dropped += len(asked)
                self.metrics.shadow_dropped.inc(len(asked))
                self.console.line(f"Shadow: {problem.detail}")
                return
        for (photo, live), answer in zip(asked, found, strict=True):
            shadow.compared += 1
            self.metrics.shadowed.inc()
            ours = _top(served, photo.name, live)
            theirs = _top(other, photo.name, answer) if not answer.error else ("", 0.0)
            if ours[0] != theirs[0]:
                shadow.disagreed += 1
                self.metrics.disagreements.inc()
                shadow.pairs[ours[0], theirs[0]] += 1
                shadow.examples.append(
                    {
                        "live": {"label": ours[0], "probability": ours[1]},
                        "shadow": {"label": theirs[0], "probability": theirs[1]},
                    }
                )

    def _all_slots(self) -> Iterator[Slot]:
        yield from list(self.slots.values())
        if self.shadow is not None:
            yield self.shadow.slot

    def _spawn(self, work: Any) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _watch(self, prove: Prove) -> None:
        """Load again what has changed on disk and has come to rest."""
        seen: dict[int, tuple[Any, ...]] = {}
        while True:
            await asyncio.sleep(self._reload_seconds)
            for slot in self._all_slots():
                now = await asyncio.get_running_loop().run_in_executor(
                    self._loader, stamp_of, slot.source.path
                )
                still, seen[id(slot)] = seen.get(id(slot)) == now, now
                retry = slot.trouble and time.monotonic() - slot.tried > _RETRY
                if now and still and (now != slot.stamp or retry):
                    await self._load(slot, prove)

    async def _load(self, slot: Slot, prove: Prove) -> None:
        """Fill the slot with what lies in its folder now, if it passes; else leave it as it is."""
        name, version, old = slot.source.name, slot.source.version, slot.live
        labels, loop = (name, version), asyncio.get_running_loop()
        slot.tried = time.monotonic()
        slot.stamp = await loop.run_in_executor(self._loader, stamp_of, slot.source.path)
        new: Served | None = None
        try:
            new = await loop.run_in_executor(self._loader, self._open, slot.source)
            new.proof = await prove(new)
        except (PpclasError, OSError) as error:
            slot.trouble = str(error)
        except Exception as error:  # a plugin's engine may raise anything; the others go on
            slot.trouble = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
        else:
            slot.live, slot.trouble = new, ""
        if slot.trouble:
            if new is not None:
                await new.close()
            kept = " The version before goes on answering." if old else ""
            self.console.warn(f"{name}/{version} is not ready: {slot.trouble}{kept}")
            self.metrics.loads.labels(*labels, "refused").inc()
        else:
            assert new is not None
            self.console.line(f"{name}/{version} is ready ({new.revision}): {new.proof}")
            self.metrics.loads.labels(*labels, "ready").inc()
            if old is not None:
                self._spawn(old.close())
        self.metrics.ready.labels(*labels).set(slot.live is not None)

    def _open(self, source: Source) -> Served:
        bundle = source.open()
        edited = [] if self._allow_edited else bundle.manifest.edited_fields()
        if edited:
            raise BundleError(
                f"{bundle.folder / MANIFEST} was changed after it was written: "
                f"{', '.join(edited)}. Put the original back; if the change is meant, start with "
                "--allow-edited."
            )
        labels, classes = bundle.labels, bundle.manifest.architecture.num_classes
        if len(labels) != classes:
            raise BundleError(
                f"{bundle.folder / MANIFEST} has {len(labels)} labels for {classes} classes. Copy "
                "or export it again."
            )
        return open_served(
            source.name,
            source.version,
            bundle,
            engine=self._engine,
            threads=self._threads,
            limits=self.limits,
            metrics=self.metrics,
            console=self.console,
        )


class _Admission:
    """A with-block in which photos count as waiting."""

    def __init__(self, fleet: Fleet, count: int) -> None:
        self._fleet, self._count = fleet, count

    def __enter__(self) -> None:
        self._fleet.count_waiting(self._count)

    def __exit__(self, *_: object) -> None:
        self._fleet.count_waiting(-self._count)


def stamp_of(path: Path | None) -> tuple[Any, ...]:
    """Names, sizes and times of a bundle's files; empty where there is none."""
    if path is None:
        return ()
    folder = path / "bundle" if (path / "bundle" / MANIFEST).is_file() else path
    try:
        if not (folder / MANIFEST).is_file():
            return ()
        found = []
        for file in sorted(folder.rglob("*")):
            facts = file.stat()
            found.append((str(file), facts.st_mtime_ns, facts.st_size, facts.st_ino))
        return tuple(found)
    except OSError:  # being replaced just now
        return ()


def _top(served: Served, name: str, answer: Answer) -> tuple[str, float]:
    probabilities = np.asarray(served.bundle.probabilities(answer.logits[None])[0])
    return prediction_of(name, probabilities, served.bundle, 1).top[0]
