"""doctor and setup: what they make of machines that are not here."""

import json
import sys

import pytest
from ppclas_cli import paddle_install
from ppclas_cli.commands import doctor, setup
from ppclas_cli.diagnosis import diagnose
from ppclas_cli.machine import (
    Gpu,
    Machine,
    installed_packages,
    probe_machine,
    read_nvidia_smi,
    release,
)
from ppclas_cli.paddle_install import install, make_plan, offer_setup
from ppclas_core.errors import MissingDependencyError, PpclasError

PIP = (sys.executable, "-m", "pip")
GOOD = {"paddlepaddle": "3.2.2", "setuptools": "80", "numpy": "2.2.0", "ppclas-models": "0.1.0"}
T4 = Gpu(("Tesla T4",), (12, 4))


def machine(packages=GOOD, **changes):
    values = {
        "python": (3, 12, 1),
        "system": "Linux",
        "architecture": "x86_64",
        "packages": packages,
    }
    return Machine(**{**values, **changes})


def found(**changes):
    return [(finding.level, finding.what) for finding in diagnose(machine(**changes))]


def test_a_good_installation_has_no_findings():
    assert found() == []


@pytest.mark.parametrize(
    ("changes", "level", "words"),
    [
        ({"python": (3, 14, 0)}, "error", "Python 3.14: ppclas and Paddle run on 3.10 to 3.13"),
        (
            {"packages": {**GOOD, "paddlepaddle-gpu": "3.2.2"}, "gpu": T4},
            "error",
            "are both installed",
        ),
        ({"packages": {**GOOD, "paddlepaddle": "2.6.2"}}, "error", "PaddlePaddle 2.6.2 is too old"),
        ({"gpu": T4}, "warning", "there is a GPU (Tesla T4), but the CPU build"),
        (
            {"packages": {"paddlepaddle": "3.2.2", "ppclas-models": "0.1"}},
            "error",
            "setuptools is missing",
        ),
        (
            {"packages": {**GOOD, "paddlepaddle": "3.3.1"}},
            "note",
            "resize inside (HRNet and its kin)",
        ),
        (
            {"packages": {**GOOD, "numpy": "2.4.6"}},
            "note",
            "float(tensor) and int(tensor) raise TypeError",
        ),
        (
            {"packages": {**GOOD, "onnxruntime": "1", "onnxruntime-gpu": "1"}},
            "warning",
            "onnxruntime and onnxruntime-gpu",
        ),
        ({"packages": {**GOOD, "paddle2onnx": "2.1.0"}}, "warning", "without onnx and onnxruntime"),
        (
            {"packages": {**GOOD, "paddle2onnx": "2.0.0", "onnx": "1.17", "onnxruntime": "1.2"}},
            "warning",
            "paddle2onnx 2.0.0 cannot be imported with PaddlePaddle 3.2",
        ),
        (
            {"packages": {**GOOD, "opencv-python": "4", "opencv-python-headless": "4"}},
            "warning",
            "overwrite each",
        ),
        ({"shared_memory": 64 << 20}, "warning", "/dev/shm has 64 MiB"),
        ({"memory": 1 << 30}, "warning", "1024 MiB of memory"),
    ],
)
def test_findings(changes, level, words):
    [(got, what)] = found(**changes)
    assert got == level
    assert words in what


def test_the_worst_comes_first_and_each_has_a_way_out():
    findings = diagnose(machine({"numpy": "2.4.6"}, gpu=T4, shared_memory=1))
    assert [finding.level for finding in findings] == ["error", "warning", "warning"]
    assert findings[0].fix == "ppclas setup"
    assert all(finding.fix for finding in findings)


def test_gpu_build_without_a_gpu():
    packages = {"paddlepaddle-gpu": "3.2.2", "setuptools": "80", "ppclas-models": "0.1"}
    assert "nvidia-smi finds no GPU" in found(packages=packages)[0][1]
    assert found(packages=packages, gpu=T4) == []


@pytest.mark.parametrize(("packages", "code"), [(GOOD, 0), ({}, 1)])
def test_doctor_command(ppclas, monkeypatch, packages, code):
    monkeypatch.setattr(doctor, "probe_machine", lambda: machine(packages, gpu=T4))
    monkeypatch.setattr(doctor, "get_plugin_manager", lambda: type("M", (), {"plugins": []}))
    result = ppclas("doctor", "--json")
    assert result.code == code
    report = json.loads(result.out)
    assert report["facts"]["gpus"] == "Tesla T4"
    assert report["facts"]["packages"] == packages
    assert {"level", "what", "fix"} == set(report["findings"][0])
    result = ppclas("doctor")
    assert result.code == code
    assert (
        f"\n{report['findings'][0]['level']}: {report['findings'][0]['what']}\n  to do: "
        in result.out
    )


def test_doctor_names_broken_plugins(ppclas, monkeypatch):
    from ppclas_core.plugins import PluginInfo

    infos = [PluginInfo("bad", "bad-plugin", "1", "bad", "ImportError: no x", "Traceback")]
    monkeypatch.setattr(doctor, "probe_machine", machine)
    monkeypatch.setattr(doctor, "get_plugin_manager", lambda: type("M", (), {"plugins": infos}))
    result = ppclas("doctor")
    assert (
        "warning: plugin 'bad' of bad-plugin is left out: ImportError: no x\n  to do: ppclas "
        "plugins -v" in result.out
    )
    assert result.code == 0


def test_this_machine():
    here = probe_machine()
    assert here.python == sys.version_info[:3]
    assert here.cpus >= 1
    assert here.version("ppclas-core") == release(installed_packages()["ppclas-core"])
    assert here.version("no-such-package") is None


def test_nvidia_smi_is_read():
    listing = (
        "GPU 0: NVIDIA H100 80GB HBM3 (UUID: GPU-1)\nGPU 1: NVIDIA H100 80GB HBM3 (UUID: GPU-2)\n"
    )
    banner = "| NVIDIA-SMI 550.54.14    Driver Version: 550.54.14    CUDA Version: 12.4     |\n"
    assert read_nvidia_smi(listing, banner) == Gpu(("NVIDIA H100 80GB HBM3",) * 2, (12, 4))
    assert read_nvidia_smi(listing, "no table") == Gpu(("NVIDIA H100 80GB HBM3",) * 2, None)
    assert read_nvidia_smi("No devices found.", banner) is None


@pytest.mark.parametrize(
    ("text", "numbers"),
    [("3.3.1", (3, 3, 1)), ("3.0.0b2", (3, 0, 0)), ("3.1.post1", (3, 1)), ("x", ())],
)
def test_release(text, numbers):
    assert release(text) == numbers


def gpu_index(name):
    return ("-i", f"https://www.paddlepaddle.org.cn/packages/stable/{name}/")


@pytest.mark.parametrize(
    ("cuda", "build"),
    [
        ((13, 2), "cu130"),
        ((13, 0), "cu130"),
        ((12, 9), "cu129"),
        ((12, 8), "cu126"),
        ((12, 6), "cu126"),
        ((12, 4), "cu118"),
    ],
)
def test_the_newest_build_that_the_driver_runs(cuda, build):
    plan = make_plan(machine({}, gpu=Gpu(("H100",), cuda)))
    assert plan.commands == (
        (*PIP, "install", "setuptools>=61"),
        (*PIP, "install", "paddlepaddle-gpu>=3.0", *gpu_index(build)),
    )


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({}, "no NVIDIA GPU found"),
        (
            {"gpu": Gpu(("K80",), (11, 4))},
            "the driver runs CUDA 11.4 and Paddle needs 11.8: update the driver",
        ),
        (
            {"gpu": Gpu(("GH200",), (12, 4)), "architecture": "aarch64"},
            "GPU builds for Linux and Windows on x86-64 only",
        ),
        ({"gpu": Gpu(("T4",), None)}, "nvidia-smi does not say which CUDA the driver runs"),
    ],
)
def test_cpu_build_where_no_gpu_build_fits(changes, reason):
    plan = make_plan(machine({}, **changes))
    assert (plan.device, plan.commands[-1]) == ("cpu", (*PIP, "install", "paddlepaddle>=3.0"))
    assert reason in plan.reason
    with pytest.raises(PpclasError, match="There is no GPU build for this machine"):
        make_plan(machine({}, **changes), "gpu")


def test_cpu_on_request():
    assert make_plan(machine({}, gpu=T4), "cpu").commands[-1] == (
        *PIP,
        "install",
        "paddlepaddle>=3.0",
    )


def test_a_python_without_wheels():
    with pytest.raises(PpclasError, match=r"ppclas runs on Python 3\.10 to 3\.13; this is 3\.14"):
        make_plan(machine({}, python=(3, 14, 0)))


def test_nothing_to_do_where_the_right_build_is_installed():
    assert make_plan(machine()).commands == ()
    assert make_plan(machine({"paddlepaddle": "3.3.1"})).commands == (
        (*PIP, "install", "setuptools>=61"),
    )


@pytest.mark.parametrize(
    ("packages", "removes"),
    [
        ({"paddlepaddle": "3.2.2"}, ("paddlepaddle",)),
        (
            {"paddlepaddle": "3.2.2", "paddlepaddle-gpu": "3.2.2"},
            ("paddlepaddle", "paddlepaddle-gpu"),
        ),
    ],
)
def test_the_other_build_is_uninstalled_first(packages, removes):
    plan = make_plan(machine(packages, gpu=T4), "gpu")
    assert plan.removes == removes
    assert plan.commands[0] == (*PIP, "uninstall", "-y", *removes)
    assert plan.commands[-1][3:5] == ("install", "paddlepaddle-gpu>=3.0")


def test_an_environment_without_pip():
    assert make_plan(machine({}), has_pip=False).commands[0] == (
        sys.executable,
        "-m",
        "ensurepip",
        "--upgrade",
    )


class Runner:
    """Notes the commands; the one that contains ``fails`` ends with 1."""

    def __init__(self, fails="nothing"):
        self.commands, self.fails = [], fails

    def __call__(self, command):
        self.commands.append(tuple(command))
        return int(self.fails in command)


def test_install_runs_the_commands_and_then_imports_paddle():
    plan, runner = make_plan(machine({})), Runner()
    install(plan, runner)
    assert tuple(runner.commands[:-1]) == plan.commands
    assert "import paddle" in runner.commands[-1][-1]


def test_install_stops_at_the_first_failure():
    runner = Runner("setuptools>=61")
    with pytest.raises(PpclasError, match=r"install 'setuptools>=61'' ended with exit code 1"):
        install(make_plan(machine({})), runner)
    assert len(runner.commands) == 1


@pytest.fixture
def bare(monkeypatch):
    """A machine without Paddle, and a runner that notes what would be run."""
    runner = Runner()
    for module in (setup, paddle_install):
        monkeypatch.setattr(module, "probe_machine", lambda: machine({}))
        monkeypatch.setattr(module, "has_pip", lambda: True)
    monkeypatch.setattr(paddle_install, "_run", runner)
    monkeypatch.setattr(paddle_install, "has_paddle", lambda: False)
    return runner


def test_setup_dry_run_prints_and_runs_nothing(ppclas, bare):
    result = ppclas("setup", "--dry-run")
    assert (
        result.out
        == f"{sys.executable} -m pip install 'setuptools>=61'\n{sys.executable} -m pip install "
        "'paddlepaddle>=3.0'\n"
    )
    assert bare.commands == []


def test_setup_with_yes(ppclas, bare):
    result = ppclas("setup", "--yes")
    assert (result.code, result.out) == (0, "")
    assert len(bare.commands) == 3
    assert "PaddlePaddle for CPU: no NVIDIA GPU found (nvidia-smi).\n" in result.err


def test_setup_does_not_install_without_having_asked(ppclas, bare, monkeypatch):
    monkeypatch.setattr("sys.stdin", type("Pipe", (), {"isatty": lambda self: False})())
    result = ppclas("setup")
    assert result.code == 1
    assert result.err.endswith(
        "error: Nothing was installed: there is no terminal to ask on. Run 'ppclas setup --yes'.\n"
    )
    assert bare.commands == []


@pytest.mark.parametrize(("answer", "runs"), [(True, 3), (False, 0)])
def test_a_command_that_needs_paddle_offers_setup_on_a_terminal(
    bare, monkeypatch, capsys, answer, runs
):
    terminal = type(
        "Terminal",
        (),
        {"isatty": lambda self: True, "write": lambda self, text: None, "flush": lambda self: None},
    )
    monkeypatch.setattr("sys.stdin", terminal())
    monkeypatch.setattr("sys.stderr", terminal())
    monkeypatch.setattr("click.confirm", lambda *args, **kwargs: answer)
    assert offer_setup(["train", "my photos"]) == 1
    assert len(bare.commands) == runs


def test_a_command_that_needs_paddle_says_how_to_get_it(ppclas, bare, monkeypatch):
    from ppclas_cli.commands import recipes

    def needs_paddle():
        raise MissingDependencyError(
            "PaddlePaddle is needed for training and is not installed. Install it with 'ppclas "
            "setup'."
        )

    monkeypatch.setattr(recipes, "get_registries", needs_paddle)
    result = ppclas("recipes", "list")
    assert result == (
        1,
        "",
        "error: PaddlePaddle is needed for training and is not installed. Install it with 'ppclas "
        "setup'.\n",
    )
    assert bare.commands == []
