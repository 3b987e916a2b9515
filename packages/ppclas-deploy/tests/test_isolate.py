"""What becomes of a step that fails, hangs, or wants the network."""

import io
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from PIL import Image
from ppclas_core.errors import ExportError
from ppclas_deploy.isolate import (
    bundle_job,
    bundle_of,
    keep_log,
    last_words,
    run_command,
    run_isolated,
)
from ppclas_deploy.progress import Listener, Teller
from ppclas_deploy.worker import STEPS, refuse_network
from ppclas_engine.console import Console

ABORT = """\
[Paddle2ONNX] Start parsing the Paddle model file...
[Paddle2ONNX] Please set the opset_version to 7 or set auto_upgrade_opset=true.
\x1b[0;31m[ERROR][Paddle2ONNX] Due to opset version, the model exporting is aborted.\x1b[0m


--------------------------------------
C++ Traceback (most recent call last):
--------------------------------------
0   paddle2onnx::Export(char const*, char const*, char**)

----------------------
Error Message Summary:
----------------------
FatalError: `Process abort signal` is detected by the operating system.
  [TimeInfo: *** Aborted at 1795322637 (unix time) try "date -d @1795322637" ***]
  [SignalInfo: *** SIGABRT (@0x18e4) received by PID 6372 (TID 0x7f26205eeb80) from PID 6372 ***]
"""
TRACEBACK = """\
Traceback (most recent call last):
  File "worker.py", line 1, in <module>
KeyError: 'bundle'
"""


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (
            ABORT,
            "[Paddle2ONNX] Please set the opset_version to 7 or set auto_upgrade_opset=true. "
            "[ERROR][Paddle2ONNX] Due to opset version, the model exporting is aborted.",
        ),
        (TRACEBACK, "KeyError: 'bundle'"),
        ("", "it said nothing"),
        ("\n----\n", "it said nothing"),
    ],
)
def test_last_words(said, words):
    assert last_words(said) == words


def test_last_words_are_cut_to_a_line():
    assert len(last_words("x" * 10_000)) < 500


def test_our_own_errors_come_back_as_they_are(tmp_path):
    job = {
        "folder": str(tmp_path / "nothing"),
        "photos": [],
        "logits": str(tmp_path / "logits.npy"),
    }
    with pytest.raises(ExportError, match=r"^No such bundle: .*nothing\. Expected a run folder"):
        run_isolated("engine", job, tmp_path / "log", 120)


def test_a_bug_is_one_line_and_its_traceback_is_in_the_log(tmp_path):
    with pytest.raises(
        ExportError, match=r"^the engine step failed \(exit code 1\): KeyError: 'folder'$"
    ):
        run_isolated("engine", {}, tmp_path / "log", 120)
    assert "Traceback" in (tmp_path / "log").read_text()


def test_a_step_that_takes_too_long_is_ended(tmp_path):
    with pytest.raises(ExportError, match=r"did not finish within 0.05 s and was ended.*--timeout"):
        run_isolated("engine", {}, tmp_path / "log", 0.05)


def test_another_thread_ends_a_step(tmp_path):
    stop = threading.Event()
    stop.set()
    job = {
        "folder": str(tmp_path / "nothing"),
        "photos": [],
        "logits": str(tmp_path / "logits.npy"),
    }
    with pytest.raises(ExportError, match=r"^the engine step was stopped$"):
        run_isolated("engine", job, tmp_path / "log", 120, stop=stop)


def test_steps_start_where_nothing_of_the_user_is_imported(tmp_path, python):
    (tmp_path / "json.py").write_text("raise SystemExit('imported from the working folder')")
    said = python(
        "import sys\nsys.path = [path for path in sys.path if path]\n"
        "from pathlib import Path\n"
        "from ppclas_core.errors import ExportError\n"
        "from ppclas_deploy.isolate import run_isolated\n"
        "try:\n    run_isolated('engine', {}, Path('log'), 120)\n"
        "except ExportError as error:\n    print(error)\n",
        cwd=tmp_path,
    )
    assert said == "the engine step failed (exit code 1): KeyError: 'folder'\n"


def test_only_steps_of_the_list_run(tmp_path):
    with pytest.raises(ExportError, match="KeyError: 'os:system'"):
        run_isolated("os:system", {"command": "true"}, tmp_path / "log", 120)
    assert all(target.startswith("ppclas_deploy.") for target in STEPS.values())


@pytest.mark.parametrize(
    "attempt",
    ["socket.create_connection(('127.0.0.1', 9), 1)", "socket.getaddrinfo('example.org', 443)"],
)
def test_the_network_is_out_of_reach(attempt):
    hook = "from ppclas_deploy.worker import refuse_network; sys.addaudithook(refuse_network)"
    code = f"import socket, sys; {hook}; {attempt}"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ran.returncode == 1
    assert "PermissionError: a converter must not use the network" in ran.stderr


def test_unix_sockets_stay_open():
    refuse_network("socket.connect", (None, "/run/some.sock"))


def test_a_bundle_survives_the_trip(bundle):
    back = bundle_of(bundle_job(bundle))
    assert back.manifest == bundle.manifest
    assert back.weights_file == bundle.weights_file.resolve()


class TestCommands:
    """Any program, run where it can do no harm."""

    def run(self, tmp_path, code, timeout=60.0, **options):
        command = [sys.executable, "-c", code]
        run_command("the test", command, tmp_path / "log", timeout, **options)
        return (tmp_path / "log").read_text()

    def test_it_starts_in_an_empty_folder_that_goes(self, tmp_path):
        said = self.run(tmp_path, "import os; print(os.listdir(), os.getcwd()); open('x', 'w')")
        listed, _, folder = said.strip().partition(" ")
        assert listed == "[]"
        assert not Path(folder).exists()

    def test_what_it_says_is_appended_to_the_log_from_both_streams(self, tmp_path):
        (tmp_path / "log").write_text("before\n")
        said = self.run(
            tmp_path,
            "import sys; print('out', flush=True); sys.exit(print('err', file=sys.stderr))",
        )
        assert said == "before\nout\nerr\n"

    def test_the_last_words_are_its_own_and_not_those_of_the_step_before(self, tmp_path):
        (tmp_path / "log").write_text("ValueError: of an earlier step\n")
        with pytest.raises(
            ExportError, match=r"^the test failed \(exit code 3\): it said nothing$"
        ):
            self.run(tmp_path, "raise SystemExit(3)")

    @pytest.mark.parametrize(("number", "name"), [(6, "SIGABRT"), (11, "SIGSEGV"), (9, "SIGKILL")])
    def test_a_crash_is_called_by_its_signal(self, tmp_path, number, name):
        with pytest.raises(ExportError, match=rf"^the test crashed \({name}\): a last word$"):
            self.run(
                tmp_path,
                f"import os; print('a last word', flush=True); os.kill(os.getpid(), {number})",
            )

    def test_output_that_is_no_text_does_no_harm(self, tmp_path):
        with pytest.raises(ExportError, match="\ufffd\ufffd bytes"):
            self.run(
                tmp_path, r"import sys; sys.stdout.buffer.write(b'\xff\xfe bytes'); sys.exit(1)"
            )

    def test_what_it_started_ends_with_it(self, tmp_path):
        """A converter's own children would go on writing into a folder that is gone."""
        code = (
            "import subprocess, sys, time\n"
            "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
            "print(child.pid, flush=True)\ntime.sleep(600)\n"
        )
        with pytest.raises(ExportError, match=r"did not finish within 1\.5 s and was ended"):
            self.run(tmp_path, code, timeout=1.5)
        child = int((tmp_path / "log").read_text())
        for _ in range(50):
            try:
                state = Path(f"/proc/{child}/stat").read_text().split()[2]
            except OSError:
                return
            if state == "Z":  # dead, and nobody's yet
                return
            time.sleep(0.1)
        pytest.fail("the child is still running")

    def test_the_network_of_package_managers_is_off_unless_told(self, tmp_path):
        code = "import os; print(os.environ.get('UV_OFFLINE'), os.environ.get('PIP_NO_INDEX'))"
        assert self.run(tmp_path, code) == "1 1\n"
        (tmp_path / "log").unlink()
        bare = {"PATH": os.environ["PATH"]}
        assert self.run(tmp_path, code, environment=bare) == "None None\n"

    def test_an_index_of_the_users_is_not_handed_on(self, tmp_path, python):
        said = python(
            "from ppclas_deploy.isolate import offline_environment as e\n"
            "print([key in e() for key in ('PIP_INDEX_URL', 'PIP_FIND_LINKS', 'HOME_OF_TEST')])",
            PIP_INDEX_URL="x",
            PIP_FIND_LINKS="y",
            HOME_OF_TEST="z",
        )
        assert said == "[False, False, True]\n"

    def test_stdin_is_empty(self, tmp_path):
        assert self.run(tmp_path, "import sys; print(repr(sys.stdin.read()))") == "''\n"

    def test_what_is_raised_meanwhile_ends_it(self, tmp_path):
        def give_up():
            raise KeyboardInterrupt

        started = time.monotonic()
        with pytest.raises(KeyboardInterrupt):
            self.run(tmp_path, "import time; time.sleep(600)", meanwhile=give_up)
        assert time.monotonic() - started < 10

    def test_meanwhile_is_called_while_it_runs(self, tmp_path):
        calls = []
        self.run(
            tmp_path,
            "import time; time.sleep(0.7)",
            meanwhile=lambda: calls.append(time.monotonic()),
        )
        assert 2 <= len(calls) <= 5


class TestKeptLog:
    def test_it_lies_beside_the_export_that_came_to_nothing(self, tmp_path):
        (tmp_path / "log").write_text("words")
        assert keep_log(tmp_path / "log", tmp_path / "out") == f" Log: {tmp_path / 'out.log'}"
        assert (tmp_path / "out.log").read_text() == "words"

    @pytest.mark.parametrize("content", ["", None])
    def test_nothing_is_kept_of_nothing(self, tmp_path, content):
        if content is not None:
            (tmp_path / "log").write_text(content)
        assert keep_log(tmp_path / "log", tmp_path / "out") == ""
        assert not (tmp_path / "out.log").exists()


class TestProgress:
    """What a step tells, and what a command shows of it."""

    @pytest.fixture
    def ends(self, tmp_path):
        stream = io.StringIO()
        file = tmp_path / "progress.jsonl"
        teller = Teller(file)
        yield teller, Listener(file, Console(stream=stream)), stream
        teller._file.close()

    def test_lines_and_warnings_arrive_once_and_in_order(self, ends, capsys):
        teller, listener, stream = ends
        teller.line("one")
        teller.warn("two")
        listener.catch_up()
        listener.catch_up()
        teller.line("drei: 番茄")
        listener.close()
        assert stream.getvalue() == "one\nwarning: two\ndrei: 番茄\n"
        assert capsys.readouterr().out == "one\nwarning: two\ndrei: 番茄\n"  # the step's log

    def test_half_a_line_waits_for_the_other_half(self, ends, tmp_path):
        _, listener, stream = ends
        whole = json.dumps(["line", "all of it"]) + "\n"
        with open(tmp_path / "progress.jsonl", "a") as file:
            file.write(whole[:9])
            file.flush()
            listener.catch_up()
            assert stream.getvalue() == ""
            file.write(whole[9:])
        listener.catch_up()
        assert stream.getvalue() == "all of it\n"

    def test_a_bar_that_a_crash_left_is_taken_away(self, ends):
        teller, listener, stream = ends
        told = teller.bar("photos", 3)
        told.__enter__().advance("loss 1")
        listener.catch_up()
        listener.close()  # the step ended without a word about its bar
        listener._console.line("the next")
        assert stream.getvalue().endswith("the next\n")

    def test_a_step_that_tells_nothing_has_no_file(self, tmp_path):
        listener = Listener(tmp_path / "nothing", Console(quiet=True))
        listener.catch_up()
        listener.close()


class TestWorker:
    """The process itself, started as ``isolate`` starts it."""

    def start(self, tmp_path, step, job):
        (tmp_path / "job.json").write_text(json.dumps(job))
        ran = subprocess.run(
            [
                *(sys.executable, "-m", "ppclas_deploy.worker", step),
                *(tmp_path / "job.json", tmp_path / "result.json", str(os.getpid())),
            ],
            capture_output=True,
            text=True,
            check=False,
        )
        result = tmp_path / "result.json"
        return ran, json.loads(result.read_text()) if result.is_file() else None

    def test_a_result_is_plain_json_and_the_exit_code_0(self, tmp_path, export):
        job = {"folder": str(export.folder), "photos": [], "logits": str(tmp_path / "l.npy")}
        photo = tmp_path / "photo.png"
        Image.new("RGB", (5, 4)).save(photo)
        ran, said = self.start(tmp_path, "engine", {**job, "photos": [str(photo)]})
        assert ran.returncode == 0, ran.stderr
        assert said["result"]["provider"] == "CPUExecutionProvider"

    def test_our_own_error_is_an_answer_and_the_exit_code_1(self, tmp_path):
        job = {"folder": str(tmp_path / "none"), "photos": [], "logits": "l.npy"}
        ran, said = self.start(tmp_path, "engine", job)
        assert ran.returncode == 1
        assert said["error"].startswith("No such bundle")
        assert "Traceback" not in ran.stderr

    def test_a_bug_is_a_traceback_and_no_answer(self, tmp_path):
        ran, said = self.start(tmp_path, "engine", {})
        assert ran.returncode == 1
        assert said is None
        assert "KeyError: 'folder'" in ran.stderr
