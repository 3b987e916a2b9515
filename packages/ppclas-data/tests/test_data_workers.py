"""Worker processes: whatever goes wrong in one ends plainly, and nothing is left behind."""

import gc
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from ppclas_core.contracts.data import Transform
from ppclas_core.errors import ConfigError, ShapeError, TrainingError
from ppclas_data.loading.loader import Loader, auto_workers, available_cpus, cpu_quota
from ppclas_data.loading.pipeline import Pipeline
from ppclas_data.transforms.basic import CenterCrop, Resize

POSIX = pytest.mark.skipif(os.name != "posix", reason="signals as POSIX has them")


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


def test_a_transform_that_workers_cannot_import(photos, tmp_path, module_from):
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
