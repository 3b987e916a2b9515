"""The loader: the same batches whatever reads them; whatever goes wrong ends it plainly."""

import contextlib
import gc
import importlib
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from ppclas_core.config.schema import DataSection
from ppclas_core.contracts.data import ImageSet, Record, Transform
from ppclas_core.errors import ConfigError, DataError, ShapeError, TrainingError
from ppclas_data.decoding.decode import decode
from ppclas_data.loading.loader import Loader, auto_workers, available_cpus, cpu_quota
from ppclas_data.loading.pipeline import Pipeline, build_transforms, default_train_transforms
from ppclas_data.loading.sampling import count_batches, cut, epoch_order
from ppclas_data.sources.splits import open_splits
from ppclas_data.transforms.basic import CenterCrop, Normalize, Resize

POSIX = pytest.mark.skipif(os.name != "posix", reason="signals as POSIX has them")


@pytest.fixture(scope="module")
def photos():
    return open_splits(DataSection()).train.subset(range(50))


@pytest.fixture(scope="module")
def pipeline():
    return Pipeline(build_transforms(default_train_transforms(32, "bilinear")))


class Grows(Transform):
    """The pixel says which epoch it is and what was drawn."""

    def __call__(self, image, draw):
        return np.full((1, 1, 3), (draw.epoch, draw.epochs, draw.rng.integers(256)), np.uint8)


def test_draws_that_come_again_leave_the_epoch_as_it_is(photos):
    with Loader(
        photos.subset(range(4)), Pipeline([Grows()]), 4, epochs=5, repeat_draws_after=2
    ) as loader:
        seen = np.stack([next(loader.epoch(epoch)).images[:, 0, 0] for epoch in range(5)])
    assert (seen[..., 0] == np.arange(5)[:, None]).all()
    assert (seen[..., 1] == 5).all()
    np.testing.assert_array_equal(seen[0, :, 2], seen[2, :, 2])
    np.testing.assert_array_equal(seen[1, :, 2], seen[3, :, 2])
    assert (seen[0, :, 2] != seen[1, :, 2]).any()


@pytest.fixture
def outside(tmp_path):
    """Transforms in a module of their own that lies where the training script does."""
    source = """
        import os, signal, sys, tempfile, time
        from ppclas_core.contracts.data import Transform
        from ppclas_core.errors import ConfigError

        class TwoArguments(ConfigError):
            def __init__(self, what, why):
                super().__init__(f"{what}: {why}")

        class Refuses(Transform):
            def __call__(self, image, draw):
                if image.shape != (375, 500, 3):
                    raise TwoArguments("the mask", "not there")
                return image

        class Waits(Transform):
            folder: str
            trial: int
            def __call__(self, image, draw):
                if os.getpid() == self.trial:
                    return image
                if not image.any():
                    os.close(tempfile.mkstemp(dir=self.folder)[0])
                    return image
                count, before, tries = 0, -1, 0
                while (not count or count != before) and tries < 120:
                    time.sleep(0.5)
                    count, before, tries = len(os.listdir(self.folder)), count, tries + 1
                return image * 0 + count

        class Sometimes(Transform):
            def __call__(self, image, draw):
                return image.astype("float32") / 255 if draw.rng.random() < 0.5 else image

        class Talks(Transform):
            def __call__(self, image, draw):
                print("hello from a transform")
                return image

        class Dies(Transform):
            parent: int
            how: str
            def __call__(self, image, draw):
                if os.getpid() != self.parent:
                    os.kill(os.getpid(), signal.SIGKILL) if self.how == "killed" else os._exit(7)
                return image

        class Fails(Transform):
            def __call__(self, image, draw):
                if image.shape[:2] != (375, 500):  # that of the test image
                    raise KeyError("lost")
                return image

        class Epoch(Transform):
            def __call__(self, image, draw):
                return image[:4, :4] * 0 + draw.epoch * 10 + draw.epochs

        class Tells(Transform):
            def __call__(self, image, draw):
                return image[:1, :1] * 0 + ("paddle" in sys.modules)
        """
    with module_from(tmp_path / "outside_transforms.py", source) as module:
        yield module


@contextlib.contextmanager
def module_from(path, source):
    """A module that lies where the training script does."""
    path.write_text(textwrap.dedent(source))
    sys.path.insert(0, str(path.parent))
    try:
        yield importlib.import_module(path.stem)
    finally:
        sys.path.remove(str(path.parent))
        del sys.modules[path.stem]


def contents(batches):
    return [
        (b.position, b.images.tobytes(), b.labels.tolist(), b.indices.tolist()) for b in batches
    ]


def alive(pid):
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return status.rpartition(")")[2].split()[0] != "Z"


def wait_until_gone(pids):
    deadline = time.monotonic() + 120
    while any(alive(pid) for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.02)
    return not any(alive(pid) for pid in pids)


# Order


def test_every_image_once_an_epoch_in_another_order_each():
    orders = [
        np.concatenate(
            cut(epoch_order(103, shuffle=True, seed=seed, epoch=epoch), 10, drop_last=False)
        ).tolist()
        for seed, epoch in [(0, 0), (0, 1), (1, 0)]
    ]
    assert all(sorted(order) == list(range(103)) for order in orders)
    assert len({tuple(order) for order in orders}) == 3
    plain = cut(epoch_order(103, shuffle=False, seed=0, epoch=5), 10, drop_last=False)
    assert np.concatenate(plain).tolist() == list(range(103))


@pytest.mark.parametrize(
    ("images", "batch", "drop_last", "count"),
    [
        (100, 10, True, 10),
        (105, 10, True, 10),
        (105, 10, False, 11),
        (7, 10, True, 1),
        (7, 10, False, 1),
        (0, 10, True, 0),
    ],
)
def test_number_of_batches(images, batch, drop_last, count):
    assert count_batches(images, batch, drop_last=drop_last) == count
    batches = cut(epoch_order(images, shuffle=True, seed=0, epoch=0), batch, drop_last=drop_last)
    assert len(batches) == count


# Contents


def test_the_same_batches_with_any_number_of_workers(photos, pipeline):
    seen = []
    for workers in (0, 1, 2):
        with Loader(photos, pipeline, 8, shuffle=True, seed=5, epochs=2, workers=workers) as loader:
            seen.append([contents(loader.epoch(epoch)) for epoch in (0, 1)])
    assert seen[0] == seen[1] == seen[2]
    assert seen[0][0] != seen[0][1]
    assert [position for position, *_ in seen[0][0]] == list(range(7))
    assert sorted(i for _, _, _, indices in seen[0][0] for i in indices) == list(range(50))


@pytest.mark.parametrize("workers", [0, 2])
def test_an_epoch_can_be_entered_anywhere(photos, pipeline, workers):
    with Loader(photos, pipeline, 8, shuffle=True, workers=workers) as loader:
        whole = contents(loader.epoch(3))
        assert contents(loader.epoch(3, start=4)) == whole[4:]
        assert contents(loader.epoch(3, start=7)) == []


def test_batches_hold_what_they_say(photos):
    pipeline = Pipeline([Resize(size=100)])
    with Loader(photos, pipeline, 20, workers=1) as loader:
        batches = list(loader.epoch(0))
    assert [len(batch.labels) for batch in batches] == [20, 20, 10]
    assert batches[0].images.shape == (20, 100, 100, 3)
    assert batches[0].images.dtype == np.uint8
    assert batches[0].labels.dtype == batches[0].indices.dtype == np.int64
    for batch in batches:
        assert batch.labels.tolist() == photos.labels()[batch.indices].tolist()
        assert batch.wait_seconds >= 0
    image = cv2.resize(decode(photos.read(27), "photo"), (100, 100))
    np.testing.assert_array_equal(batches[1].images[7], image)


def test_float_images_from_a_normalising_list(photos):
    with Loader(photos, Pipeline([Resize(size=8), Normalize()]), 50, workers=1) as loader:
        (batch,) = loader.epoch(0)
    assert batch.images.dtype == np.float32
    assert -2.2 < batch.images.min() < batch.images.max() < 2.7


def test_transforms_learn_the_epoch(photos, outside):
    with Loader(photos, Pipeline([outside.Epoch()]), 50, epochs=9, workers=1) as loader:
        assert [next(loader.epoch(epoch)).images[0, 0, 0, 0] for epoch in (0, 4)] == [9, 49]


def test_an_abandoned_epoch_leaves_nothing_in_the_next(photos, pipeline):
    with Loader(photos, pipeline, 4, shuffle=True, workers=2) as loader:
        for _ in range(3):
            next(loader.epoch(0))
        got = contents(loader.epoch(1))
    with Loader(photos, pipeline, 4, shuffle=True) as loader:
        assert got == contents(loader.epoch(1))


def test_two_epochs_at_a_time_are_refused(photos, pipeline):
    # Each would take the other's answers and wait for ever.
    with Loader(photos, pipeline, 8, workers=1) as loader:
        first = loader.epoch(0)
        next(first)
        next(loader.epoch(1))
        with pytest.raises(TrainingError, match="expected one epoch at a time"):
            list(first)
        assert len(list(loader.epoch(2))) == 7


def test_a_photo_that_takes_long_does_not_fill_the_memory(tmp_path, outside):
    records = []
    for index in range(60):
        path = tmp_path / f"{index}.png"
        path.write_bytes(cv2.imencode(".png", np.full((8, 8, 3), not index, np.uint8))[1].tobytes())
        records.append(Record(str(path), 0, str(path)))
    (tmp_path / "read").mkdir()
    pipeline = Pipeline([outside.Waits(folder=str(tmp_path / "read"), trial=os.getpid())])
    with Loader(ImageSet(tuple(records), ("a",), "memory"), pipeline, 1, workers=2) as loader:
        batches = list(loader.epoch(0))
    # The first photo says how many were read while it was waited for.
    assert 0 < batches[0].images.max() <= 12
    assert [batch.position for batch in batches] == list(range(60))


def test_transforms_may_print(photos, outside, capfd):
    with Loader(photos, Pipeline([Resize(size=8), outside.Talks()]), 25, workers=1) as loader:
        assert len(list(loader.epoch(0))) == 2
    assert "hello from a transform" in capfd.readouterr().err


def test_a_reader_of_archives_can_subclass_the_image_set(outside, tmp_path):
    # What a worker reads goes through ImageSet.read, wherever the bytes are.
    (tmp_path / "inline_set.py").write_text(
        "from ppclas_core.contracts.data import ImageSet\n"
        "class Inline(ImageSet):\n"
        "    def read(self, index):\n"
        "        return bytes.fromhex(self.records[index].path)\n"
        "class Lost(ImageSet):\n"
        "    def read(self, index):\n"
        "        raise KeyError('no such member')\n"
    )
    import inline_set

    encoded = cv2.imencode(".png", np.full((4, 4, 3), 9, np.uint8))[1].tobytes().hex()
    image_set = inline_set.Inline((Record(encoded, 0, "here"),) * 3, ("a",), "memory")
    with Loader(image_set, Pipeline([]), 3, workers=1) as loader:
        (batch,) = loader.epoch(0)
    assert (batch.images == 9).all()

    loader = Loader(
        inline_set.Lost(image_set.records, ("a",), "memory"), Pipeline([]), 3, workers=1
    )
    with (
        loader,
        pytest.raises(
            TrainingError, match="a loader worker failed: KeyError: 'no such member'"
        ) as caught,
    ):
        list(loader.epoch(0))
    assert "in read" in str(caught.value.__cause__)
    del sys.modules["inline_set"]


# Bad images


@pytest.fixture
def spoilt(tmp_path):
    """40 images of which number 5 is text and number 11 is missing."""
    records = []
    for index in range(40):
        path = tmp_path / f"{index}.png"
        path.write_bytes(cv2.imencode(".png", np.full((8, 8, 3), index, np.uint8))[1].tobytes())
        records.append(Record(str(path), index % 2, f"list.txt:{index + 1}"))
    Path(records[5].path).write_text("no image")
    Path(records[11].path).unlink()
    return ImageSet(tuple(records), ("a", "b"), "list.txt")


@pytest.mark.parametrize("workers", [0, 1])
def test_bad_images_are_left_out_and_reported_once(spoilt, workers):
    told = []
    with Loader(
        spoilt, Pipeline([]), 10, workers=workers, max_bad_fraction=0.05, on_bad=told.append
    ) as loader:
        sizes = [len(batch.labels) for _ in range(2) for batch in loader.epoch(0)]
    assert sizes == [9, 9, 10, 10] * 2
    assert [(bad.index, bad.where, bad.reason) for bad in told] == [
        (5, "list.txt:6", f"{spoilt.records[5].path}: not an image: it looks like text"),
        (11, "list.txt:12", f"{spoilt.records[11].path}: No such file or directory"),
    ]
    assert loader.bad_images == told


@pytest.mark.parametrize("workers", [0, 1])
def test_more_bad_images_than_allowed(spoilt, workers):
    loader = Loader(spoilt, Pipeline([]), 10, workers=workers, max_bad_fraction=0.04)
    with loader, pytest.raises(DataError) as caught:
        list(loader.epoch(0))
    assert str(caught.value).startswith(
        "expected at most 4.0% unreadable images in list.txt, got 2 of 40 so far: "
        f"list.txt:6: {spoilt.records[5].path}: not an image: it looks like text; list.txt:12: "
    )
    assert "\n" not in str(caught.value)


def test_a_batch_of_bad_images_is_passed_over(spoilt):
    with Loader(spoilt, Pipeline([]), 1, max_bad_fraction=0.1) as loader:
        positions = [batch.position for batch in loader.epoch(0)]
    assert positions == [i for i in range(40) if i not in (5, 11)]


# What goes wrong


@pytest.mark.parametrize("workers", [0, 1])
def test_a_failing_transform_arrives_with_its_cause(photos, outside, workers):
    loader = Loader(photos, Pipeline([outside.Fails()]), 8, workers=workers)
    message = r"transform Fails\(\) failed on an image .*KeyError: 'lost'"
    with loader, pytest.raises(ConfigError, match=message) as caught:
        list(loader.epoch(0))
    assert caught.value.__cause__ is not None
    if workers:
        assert 'raise KeyError("lost")' in str(caught.value.__cause__)


def test_an_error_of_a_plugin_arrives_as_the_one_it_derives_from(photos, outside):
    # It cannot be made again from its message.
    loader = Loader(photos, Pipeline([outside.Refuses()]), 8, workers=1)
    with loader, pytest.raises(ConfigError, match="the mask: not there") as caught:
        list(loader.epoch(0))
    assert "TwoArguments" in str(caught.value.__cause__)


def test_a_batch_that_does_not_fit_into_memory(photos, pipeline, monkeypatch):
    def no_room(stream, array):
        raise MemoryError("unable to allocate 9 GiB")

    monkeypatch.setattr("ppclas_data.loading.worker._read_into", no_room)
    loader = Loader(photos, pipeline, 8, workers=1)
    with (
        loader,
        pytest.raises(
            TrainingError, match=r"MemoryError: unable to allocate 9 GiB; use smaller batches"
        ),
    ):
        list(loader.epoch(0))


def test_a_transform_that_fails_on_any_image_stops_the_start(photos, outside):
    class Broken(Transform):
        def __call__(self, image, draw):
            raise ValueError("never works")

    with pytest.raises(
        ConfigError, match=r"a grey test image: transform Broken\(\) failed .* never works"
    ):
        Loader(photos, Pipeline([Broken()]), 8, workers=1)


@pytest.mark.parametrize("workers", [0, 1])
def test_images_of_different_shapes(photos, workers):
    with (
        Loader(photos, Pipeline([Resize(short=32)]), 50, workers=workers) as loader,
        pytest.raises(
            ShapeError,
            match=r"one shape, got \[.*end the transforms with Resize \(size\) or CenterCrop",
        ),
    ):
        list(loader.epoch(0))


@pytest.mark.parametrize("workers", [0, 1])
def test_images_of_different_dtypes(photos, outside, workers):
    # Floats in an array of bytes would be cut off to 0.
    with (
        Loader(
            photos, Pipeline([Resize(size=8), outside.Sometimes()]), 50, workers=workers
        ) as loader,
        pytest.raises(
            ShapeError,
            match=r"of one dtype, got (uint8 after float32|float32 after uint8); a transform",
        ),
    ):
        list(loader.epoch(0))


@POSIX
@pytest.mark.parametrize(
    ("how", "said"),
    [
        (
            "killed",
            "was ended by the signal SIGKILL; the system ends processes this way when memory runs "
            "out",
        ),
        ("exits", "ended with exit code 7"),
    ],
)
def test_a_worker_that_dies(photos, outside, how, said):
    loader = Loader(photos, Pipeline([outside.Dies(parent=os.getpid(), how=how)]), 8, workers=2)
    pids = loader.worker_pids
    with pytest.raises(TrainingError, match=said):
        list(loader.epoch(0))
    assert wait_until_gone(pids)
    with pytest.raises(TrainingError, match="expected an open loader"):
        next(loader.epoch(1))


@POSIX
def test_no_more_processes_than_a_container_allows(photos, pipeline, monkeypatch):
    started = []

    def limited(*args, **kwargs):
        if len(started) == 2:
            raise BlockingIOError(11, "Resource temporarily unavailable")
        started.append(start(*args, **kwargs))
        return started[-1]

    start = subprocess.Popen
    monkeypatch.setattr(subprocess, "Popen", limited)
    with pytest.raises(
        TrainingError, match=r"worker 3 of 4 cannot be started: .*unavailable; use fewer"
    ):
        Loader(photos, pipeline, 8, workers=4)
    assert wait_until_gone([process.pid for process in started])


@POSIX
def test_a_worker_killed_while_idle(photos, pipeline):
    with Loader(photos, pipeline, 8, workers=2) as loader:
        list(loader.epoch(0))
        os.kill(loader.worker_pids[0], signal.SIGKILL)
        with pytest.raises(TrainingError, match="SIGKILL"):
            list(loader.epoch(1))


def test_a_transform_of_the_script_itself_is_refused(photos):
    local = type("Local", (CenterCrop,), {"__module__": "__main__"})
    with pytest.raises(
        ConfigError,
        match=r"transform Local is defined in .*; move it to a module of its own, or use 0",
    ):
        Loader(photos, Pipeline([local(size=8)]), 8, workers=1)


def test_a_transform_that_cannot_be_sent_to_workers(photos, capfd):
    class Local(CenterCrop):
        pass

    with pytest.raises(
        ConfigError, match=r"cannot be sent to worker processes: .*Local.*; define its class"
    ):
        Loader(photos, Pipeline([Local(size=8)]), 8, workers=1)
    gc.collect()
    assert capfd.readouterr().err == ""


def test_a_transform_that_workers_cannot_import(photos, tmp_path):
    source = """
        from ppclas_data.transforms.basic import CenterCrop

        class Local(CenterCrop):
            pass
        """
    with module_from(tmp_path / "only_here.py", source) as module:
        (tmp_path / "only_here.py").unlink()
        loader = Loader(photos, Pipeline([module.Local(size=8)]), 8, workers=1)
    with (
        loader,
        pytest.raises(
            ConfigError,
            match="a loader worker cannot import a transform: No module named 'only_here'",
        ),
    ):
        list(loader.epoch(0))


# Nothing is left behind


def fail_on(batches):
    for _ in batches:
        raise RuntimeError("the consumer failed")


@POSIX
def test_processes_end_with_the_loader(photos, pipeline):
    loader = Loader(photos, pipeline, 8, workers=1)
    pids = loader.worker_pids
    assert all(alive(pid) for pid in pids)
    loader.close()
    loader.close()
    assert wait_until_gone(pids)

    loader = Loader(photos, pipeline, 8, workers=1)
    pids = loader.worker_pids
    with pytest.raises(RuntimeError, match="the consumer failed"), loader:
        fail_on(loader.epoch(0))
    assert wait_until_gone(pids)

    forgotten = Loader(photos, pipeline, 8, workers=1)
    pids = forgotten.worker_pids
    next(forgotten.epoch(0))
    del forgotten, loader
    gc.collect()
    assert wait_until_gone(pids)


SCRIPT = """
import sys
from ppclas_core.config.schema import DataSection
from ppclas_data.loading.loader import Loader
from ppclas_data.loading.pipeline import Pipeline
from ppclas_data.sources.splits import open_splits
from ppclas_data.transforms.basic import Resize

print("script runs", flush=True)
# Importing it from here on is an error, in a worker that runs this too.
sys.modules["paddle"] = None
loader = Loader(open_splits(DataSection()).train, Pipeline([Resize(size=224)]), 4, workers=2)
print(*loader.worker_pids, flush=True)
for epoch in range({epochs}):
    for batch in loader.epoch(epoch):
        pass
print("done", flush=True)
"""


def start_script(tmp_path, epochs):
    path = tmp_path / "script.py"
    path.write_text(SCRIPT.format(epochs=epochs))
    # A session of its own, so that an interrupt goes to the script and its workers as it does on a
    # terminal.
    return subprocess.Popen(
        [sys.executable, path],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=os.name == "posix",
    )


def test_a_script_without_a_main_guard(tmp_path):
    out, err = start_script(tmp_path, epochs=1).communicate(timeout=600)
    assert err == ""
    # Once: workers do not run the script again.
    assert out.splitlines()[0] == "script runs"
    assert out.splitlines()[2:] == ["done"]


@POSIX
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_an_interrupted_script_takes_its_workers_with_it(tmp_path, how):
    with start_script(tmp_path, epochs=10_000) as script:
        assert script.stdout.readline() == "script runs\n"
        pids = [int(pid) for pid in script.stdout.readline().split()]
        time.sleep(1.0)
        if how == signal.SIGINT:
            os.killpg(script.pid, how)
        else:
            script.send_signal(how)
        _, err = script.communicate(timeout=300)
        assert script.returncode == -how
        assert wait_until_gone(pids)
        # At most the script's own KeyboardInterrupt; not a word from the workers.
        assert err.count("Traceback") == (how == signal.SIGINT)


@POSIX
def test_an_interrupt_while_the_workers_start_is_not_theirs(photos, pipeline, capfd):
    with Loader(photos, pipeline, 8, workers=2) as loader:
        for pid in loader.worker_pids:
            os.kill(pid, signal.SIGINT)
        assert len(list(loader.epoch(0))) == 7
    assert capfd.readouterr().err == ""
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, [])


def test_workers_never_import_paddle(photos, outside):
    with Loader(photos, Pipeline([outside.Tells()]), 50, workers=1) as loader:
        (batch,) = loader.epoch(0)
    assert not batch.images.any()


def test_number_of_workers():
    assert [auto_workers("cpu", cpus) for cpus in (1, 2, 3, 64)] == [0, 1, 2, 2]
    assert [auto_workers("gpu", cpus) for cpus in (1, 2, 8, 64)] == [0, 1, 7, 8]
    assert 1 <= available_cpus() <= (os.cpu_count() or 1)


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({"cpu.max": "150000 100000\n"}, 1.5),
        ({"cpu.max": "max 100000\n"}, None),
        ({"cpu/cpu.cfs_quota_us": "400000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 4.0),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, None),
        ({}, None),
    ],
)
def test_quota_of_a_container(tmp_path, files, cores):
    (tmp_path / "cpu").mkdir()
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    assert cpu_quota(tmp_path) == cores


@pytest.mark.skipif(
    not Path("/proc/self/maps").exists(), reason="needs Linux' list of what a process has mapped"
)
def test_no_shared_memory_is_needed(photos, pipeline):
    # Containers often have a /dev/shm of 64 MiB: nothing of the loader lies there, however large
    # the batches.
    with Loader(photos, pipeline, 8, workers=1) as loader:
        next(loader.epoch(0))
        mapped = [
            Path(f"/proc/{pid}/maps").read_text() for pid in (*loader.worker_pids, os.getpid())
        ]
        opened = [
            str(file.readlink()) for file in Path(f"/proc/{loader.worker_pids[0]}/fd").iterdir()
        ]
    assert not any("/dev/shm" in text for text in (*mapped, *opened))
