"""What becomes of a step that fails, hangs, or wants the network."""

import subprocess
import sys
import threading

import pytest
from ppclas_core.errors import ExportError
from ppclas_deploy.isolate import bundle_job, bundle_of, last_words, run_isolated
from ppclas_deploy.worker import STEPS, refuse_network

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
  [TimeInfo: *** Aborted at 1795322637 (unix time) try "date -d @1795322637" if you are using GNU date ***]
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


def test_steps_start_where_nothing_of_the_user_is_imported(tmp_path, monkeypatch):
    (tmp_path / "json.py").write_text("raise SystemExit('imported from the working folder')")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ExportError, match="KeyError: 'folder'"):
        run_isolated("engine", {}, tmp_path / "log", 120)


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
