"""Finding a Python for Paddle-Lite, and what goes to a phone with the model."""

import gc
import json
import platform
import sys

import numpy as np
import pytest
from ppclas_core.errors import BundleError, ConfigError, ExportError, MissingDependencyError
from ppclas_deploy.engines.lite import LiteProcess
from ppclas_deploy.export import make_exporter
from ppclas_deploy.lite import interpreters
from ppclas_deploy.lite.interpreters import find_runtime, make_ready

IMAGES = {"batch": None, "input": "images", "output": "logits"}


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """A machine of this test's own: interpreters in its pyenv and on its PATH that answer the probe
    as they are told, and a uv that knows of others.
    """
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path / "pyenv"))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.delenv(interpreters.VARIABLE, raising=False)
    return Machine(tmp_path)


class Machine:
    def __init__(self, folder):
        self.folder = folder
        self.uv = self.write("bin/uv", "echo '[]'")

    def write(self, place, script):
        path = self.folder / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
        return str(path)

    def python(self, version, answer, place=None):
        """One whose probe prints ``answer``."""
        said = answer if isinstance(answer, str) else json.dumps(answer)
        return self.write(place or f"pyenv/versions/{version}/bin/python", f"echo '{said}'")

    def known_to_uv(self, *pythons):
        listed = [
            {"path": path, "version_parts": {"major": major, "minor": minor, "patch": 1}}
            for path, major, minor in pythons
        ]
        self.write("bin/uv", f"echo '{json.dumps(listed)}'")


@pytest.mark.skipif(
    (sys.platform, platform.machine()) != ("linux", "x86_64"), reason="no wheels of Paddle-Lite"
)
class TestInterpreters:
    def test_the_one_that_can_compute_is_preferred(self, machine):
        machine.python("3.10.13", [[3, 10], "CPython", 64, ""])
        old = machine.python("3.7.16", [[3, 7], "CPython", 64, ""])
        runtime = find_runtime()
        assert (runtime.python, runtime.version, runtime.computes) == (old, "2.12", True)
        assert runtime.script("run", "model.nb") == [
            *(machine.uv, "run", "--quiet", "--no-project", "--python", old),
            *("--with", "paddlelite==2.12", "--with", "numpy", "python"),
            *(str(interpreters.SCRIPT), "run", "model.nb"),
        ]

    def test_a_converter_alone_is_not_asked_to_compute(self, machine):
        newer = machine.python("3.10.13", [[3, 10], "CPython", 64, ""])
        runtime = find_runtime()
        assert (runtime.python, runtime.version, runtime.computes) == (newer, "2.13rc0", False)
        with pytest.raises(
            MissingDependencyError,
            match=r"needs CPython 3\.7 \(for paddlelite 2\.12\) on 64-bit Linux",
        ):
            find_runtime(computing=True)
        with pytest.raises(
            MissingDependencyError,
            match=r"paddlelite 2\.13rc0, whose x86 runtime computes nonsense",
        ):
            find_runtime(newer, computing=True)

    @pytest.mark.parametrize(
        ("said", "version", "computes"),
        [
            ("v2.12", "2.12", True),
            ("2.12.1", "2.12.1", True),
            ("v2.13-rc", "2.13rc0", False),
            ("v2.1", "2.1", False),
            ("v2.120", "2.120", False),
            ("81ef66554", "81ef66554", False),  # a build of one's own is called by its commit
        ],
    )
    def test_one_that_has_it_is_taken_as_it_is(self, machine, said, version, computes):
        python = machine.python("3.7.16", [[3, 7], "CPython", 64, said])
        runtime = find_runtime()
        assert runtime.command == (python,)
        assert (runtime.version, runtime.computes) == (version, computes)

    @pytest.mark.parametrize(
        "answer",
        [
            "pyenv: python3.7: command not found",
            [[3, 7], "PyPy", 64, ""],
            [[3, 7], "CPython", 32, ""],
            [[3, 9], "CPython", 64, ""],
        ],
    )
    def test_shims_and_strangers_are_passed_over(self, machine, answer):
        python = machine.python("3.7.16", answer)
        with pytest.raises(
            MissingDependencyError, match=r"--lite-python PATH or PPCLAS_LITE_PYTHON.*--ir old"
        ):
            find_runtime()
        with pytest.raises(
            ConfigError, match="is no interpreter for Paddle-Lite: expected a 64-bit CPython"
        ):
            find_runtime(python)

    def test_the_variable_names_one(self, machine, monkeypatch):
        machine.python("3.7.16", [[3, 7], "CPython", 64, ""])
        other = machine.python("3.8.18", [[3, 8], "CPython", 64, ""])
        monkeypatch.setenv(interpreters.VARIABLE, other)
        assert (find_runtime().python, find_runtime().version) == (other, "2.13rc0")
        given = machine.python("3.10.1", [[3, 10], "CPython", 64, ""])
        assert find_runtime(given).python == given  # what is given comes before the variable

    def test_the_newest_of_a_release_and_pyenv_before_path(self, machine):
        on_path = machine.python("", [[3, 7], "CPython", 64, ""], "bin/python3.7")
        assert find_runtime().python == on_path
        machine.python("3.7.3", [[3, 7], "CPython", 64, ""])
        newest = machine.python("3.7.9", [[3, 7], "CPython", 64, ""])
        assert find_runtime().python == newest

    def test_uv_knows_others(self, machine):
        python = machine.python("", [[3, 7], "CPython", 64, ""], "elsewhere/python")
        newer = machine.python("", [[3, 12], "CPython", 64, ""], "elsewhere/python312")
        machine.known_to_uv((newer, 3, 12), (python, 3, 7))
        assert find_runtime(computing=True).python == python

    def test_a_uv_that_fails_knows_none(self, machine):
        machine.write("bin/uv", "echo broken; exit 2")
        with pytest.raises(MissingDependencyError, match="none was found"):
            find_runtime()

    def test_a_path_that_is_no_program(self, machine):
        with pytest.raises(ConfigError, match="nothing-here is no interpreter"):
            find_runtime(str(machine.folder / "nothing-here"))

    def test_it_is_fetched_when_the_cache_has_none(self, machine, capsys):
        """The first try is offline; the second may use the network, and leaves its marks."""
        python = machine.python("3.7.16", [[3, 7], "CPython", 64, ""])
        log = machine.folder / "log"
        machine.write("bin/uv", 'test -z "$UV_OFFLINE" && echo "fetched with $*" || exit 1')
        make_ready(find_runtime(python), log)
        assert "--with paddlelite==2.12 --with numpy" in log.read_text()
        assert f"Fetching paddlelite 2.12 for {python}" in capsys.readouterr().err
        machine.write("bin/uv", "echo 'error: no route to host'; exit 2")
        with pytest.raises(
            MissingDependencyError,
            match=r"could not be fetched .*no route to host.*pip install paddlelite==2\.12 numpy",
        ):
            make_ready(find_runtime(python), log)

    def test_what_is_installed_is_not_fetched(self, machine):
        python = machine.python("3.7.16", [[3, 7], "CPython", 64, "v2.12"])
        machine.write("bin/uv", "exit 1")
        make_ready(find_runtime(python), machine.folder / "log")
        assert not (machine.folder / "log").exists()


def test_int8_weights_are_refused_where_they_would_be_chance():
    with pytest.raises(
        ExportError, match=r"does not turn int8 weights back on x86: the answers would be chance"
    ):
        make_exporter("lite", {"place": "x86", "weights": "int8"}).check()


def test_a_runtime_that_dies_is_an_error_with_its_last_words():
    process = LiteProcess([sys.executable, "-c", "import sys; sys.exit('no kernel for conv9d')"])
    with pytest.raises(
        BundleError, match=r"Paddle-Lite ended \(exit code 1\): no kernel for conv9d"
    ):
        process.ask(np.zeros((1, 3, 4, 5), np.float32))


class TestProcess:
    """Answers through a pipe, from a stand-in for ``script.py run`` that sums the planes."""

    SUMS = (
        "import struct, sys, numpy as np\n"
        "source, out = sys.stdin.buffer, sys.stdout.buffer\n"
        "while True:\n"
        "    head = source.read(20)\n"
        "    if len(head) < 20: break\n"
        "    kind, *shape = struct.unpack('<5I', head)\n"
        "    dtype = np.dtype(np.uint8 if kind else np.float32)\n"
        "    data = source.read(dtype.itemsize * int(np.prod(shape)))\n"
        "    values = np.frombuffer(data, dtype).reshape(shape)\n"
        "    sums = values.sum((2, 3) if not kind else (1, 2)).astype(np.float32)\n"
        "    out.write(struct.pack('<2I', *sums.shape) + sums.tobytes()); out.flush()\n"
    )

    def test_batches_of_any_size_and_both_kinds(self):
        process = LiteProcess([sys.executable, "-c", self.SUMS])
        rng = np.random.default_rng(0)
        for count in (1, 4, 2):
            images = rng.normal(size=(count, 3, 4, 5)).astype(np.float32)
            np.testing.assert_allclose(
                process.ask(images), images.sum((2, 3)), rtol=1e-4, atol=1e-5
            )
            pixels = rng.integers(0, 256, (count, 4, 5, 3), dtype=np.uint8)
            np.testing.assert_array_equal(process.ask(pixels), pixels.sum((1, 2), dtype=np.float32))

    def test_half_an_answer_is_an_error(self):
        code = "import sys, time; sys.stdout.buffer.write(bytes([2, 0, 0, 0, 3, 0, 0, 0, 1, 2]))"
        process = LiteProcess([sys.executable, "-c", code])
        with pytest.raises(
            BundleError, match=r"Paddle-Lite ended \(exit code 0\): it said nothing"
        ):
            process.ask(np.zeros((1, 3, 4, 5), np.float32))

    def test_it_ends_with_its_object(self):
        process = LiteProcess([sys.executable, "-c", self.SUMS])
        running = process._process
        assert running.poll() is None
        del process
        gc.collect()
        assert running.poll() is not None
