"""setup: the build for a card and its driver, and how it is installed."""

import os
import subprocess
import sys

import click
import pytest
from packaging.version import Version
from ppclas_cli.commands.setup import choose_and_install
from ppclas_cli.cuda_builds import BUILDS, has_kernels
from ppclas_cli.machine import Gpu, GpuBuild, Machine
from ppclas_cli.paddle_install import Plan, install, make_plan, offer_setup, run_command, terminal
from ppclas_core.errors import MissingDependencyError, PpclasError
from ppclas_core.hookspecs import hookimpl
from ppclas_core.testing import use_plugin

PIP = (sys.executable, "-m", "pip")
GOOD = {"paddlepaddle": "3.2.2", "setuptools": "80", "numpy": "2.2.0", "ppclas-models": "0.1.0"}
GOOD_GPU = {**GOOD, "paddlepaddle-gpu": "3.2.2"}
del GOOD_GPU["paddlepaddle"]
GIB = 1 << 30


def card(name, capability, driver, memory=16 * GIB):
    major, _, minor = capability.partition(".")
    return Gpu(name, (int(major), int(minor)), memory, driver)


T4 = card("Tesla T4", "7.5", "550.54.15")
RTX_5090 = card("NVIDIA GeForce RTX 5090", "12.0", "576.02")
CUDA_126 = GpuBuild("12.6", ((7, 5), (8, 0), (8, 6), (8, 9)))


def machine(packages=GOOD, **changes):
    values = {
        "python": (3, 12, 1),
        "system": "Linux",
        "architecture": "x86_64",
        "packages": {"pip": "25", **packages},
    }
    return Machine(**{**values, **changes})


def gpu_index(name):
    return f"https://www.paddlepaddle.org.cn/packages/stable/{name}/"


def test_kernels_run_on_later_cards_of_the_same_generation_only():
    # CUDA C++ Programming Guide, "Binary Compatibility".
    assert has_kernels([(8, 0)], (8, 6))
    assert not has_kernels([(8, 6)], (8, 0))
    assert not has_kernels([(8, 0), (9, 0)], (10, 0))
    assert not has_kernels([(10, 0)], (12, 0))


def test_the_newest_build_comes_first_and_each_row_is_complete():
    assert [build.name for build in BUILDS] == ["cu130", "cu129", "cu126", "cu118"]
    for build in BUILDS:
        assert build.name == f"cu{build.cuda.replace('.', '')}"
        assert set(build.wheels) == {"Linux", "Windows"}
    for system in ("Linux", "Windows"):
        drivers = [Version(build.wheels[system].driver) for build in BUILDS]
        assert drivers == sorted(drivers, reverse=True)


@pytest.mark.parametrize(
    ("name", "capability", "driver", "system", "build"),
    [
        # PaddlePaddle/Paddle#76037: the RTX 50 works with the build for CUDA 12.9.
        ("RTX 5090", "12.0", "580.65.06", "Linux", "cu129"),
        ("RTX 5070 Ti", "12.0", "576.02", "Windows", "cu129"),
        ("RTX 5090", "12.0", "575.51.03", "Linux", "cu129"),
        ("B200", "10.0", "580.65.06", "Linux", "cu130"),
        ("B300", "10.3", "575.57.08", "Linux", "cu129"),
        ("H100", "9.0", "580.65.06", "Linux", "cu130"),
        ("H100", "9.0", "575.57.08", "Linux", "cu129"),
        # PaddleX: the build for CUDA 12.6 needs driver 550.54.14, the one for 11.8 needs 450.80.02.
        ("H100", "9.0", "550.54.14", "Linux", "cu126"),
        ("RTX 4090", "8.9", "550.54.14", "Windows", "cu126"),
        ("RTX 4090", "8.9", "545.84", "Windows", "cu118"),
        ("A100", "8.0", "450.80.02", "Linux", "cu118"),
        # CUDA 13 compiles for nothing older than 7.5.
        ("Tesla V100", "7.0", "580.65.06", "Linux", "cu126"),
        # PaddlePaddle/PaddleX#4682: the GTX 1080 on Windows works with the build for CUDA 11.8.
        ("GTX 1080", "6.1", "576.02", "Windows", "cu118"),
        ("Tesla P100", "6.0", "580.65.06", "Linux", "cu118"),
    ],
)
def test_the_build_for_a_card_and_its_driver(name, capability, driver, system, build):
    there = machine({}, gpus=(card(name, capability, driver),), system=system)
    plan = make_plan(there)
    paddle = {"cu130": "3.2.1", "cu129": "3.2"}.get(build, "3.0")
    assert plan.commands == (
        (*PIP, "install", "setuptools>=61"),
        (*PIP, "install", f"paddlepaddle-gpu>={paddle}", "-i", gpu_index(build)),
    )
    assert f"{name} (compute capability {capability}), driver {driver}: the build" in plan.reason


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({}, "the NVIDIA driver shows no GPU, or there is no driver"),
        (
            {"gpus": (card("RTX 5090", "12.0", "570.86.10"),)},
            "1 GPU, RTX 5090 (compute capability 12.0): the build for CUDA 12.9 has kernels for it "
            "and needs driver 575.51.03 or newer, this one is 570.86.10: update the driver",
        ),
        (
            {"gpus": (card("H100", "9.0", "535.104"),)},
            "the build for CUDA 12.6 has kernels for it and needs driver 550.54.14 or newer",
        ),
        (
            {"gpus": (card("T4", "7.5", "not a version"),)},
            "needs driver 450.80.02 or newer, this one is not a version: update the driver",
        ),
        (
            {"gpus": (card("Tesla K80", "3.7", "470.82.01"),)},
            "no build of Paddle 3 has kernels for that compute capability; use the CPU, or compile",
        ),
        (
            {"gpus": (card("H100", "9.0", "580.88"),), "system": "Windows"},
            "no build of Paddle 3 has kernels for that compute capability",
        ),
        (
            {"gpus": (card("GH200", "9.0", "580.65.06"),), "architecture": "aarch64"},
            "GH200, but Paddle has GPU builds for Linux and Windows on x86-64 only",
        ),
    ],
)
def test_cpu_build_where_no_gpu_build_fits(changes, reason):
    plan = make_plan(machine({}, **changes))
    assert (plan.device, plan.commands[-1]) == ("cpu", (*PIP, "install", "paddlepaddle>=3.0"))
    assert reason in plan.reason
    with pytest.raises(PpclasError, match="There is no GPU build for this machine") as raised:
        make_plan(machine({}, **changes), "gpu")
    assert reason in str(raised.value)


@pytest.mark.parametrize(
    ("cards", "build"),
    [
        # Both cards have kernels in the build for 12.6, one of them in those for 12.9 and 13.0.
        ([("GTX 1080", "6.1"), ("RTX 3090", "8.6")], "cu126"),
        ([("GTX 1080", "6.1"), ("RTX 5090", "12.0")], "cu129"),  # no build for both
        ([("T4", "7.5"), ("of next year", "14.0")], "cu130"),
    ],
)
def test_several_cards(cards, build):
    gpus = tuple(card(name, capability, "580.65.06") for name, capability in cards)
    plan = make_plan(machine({}, gpus=gpus))
    assert plan.commands[-1][-1] == gpu_index(build)
    assert plan.reason.startswith("2 GPUs, among them ")


def test_cpu_on_request():
    assert make_plan(machine({}, gpus=(T4,)), "cpu").commands[-1] == (
        *PIP,
        "install",
        "paddlepaddle>=3.0",
    )


@pytest.mark.parametrize("python", [(3, 9, 20), (3, 14, 0)])
def test_a_python_without_wheels(python):
    with pytest.raises(PpclasError, match=r"ppclas runs on Python 3\.10 to 3\.13; this is 3\.\d+ "):
        make_plan(machine({}, python=python))


def test_nothing_to_do_where_the_right_build_is_installed():
    assert make_plan(machine()).commands == ()
    assert make_plan(machine({"paddlepaddle": "3.3.1"})).commands == (
        (*PIP, "install", "setuptools>=61"),
    )
    here = machine(GOOD_GPU, gpus=(T4,), gpu_build=CUDA_126)
    assert make_plan(here).commands == ()


@pytest.mark.parametrize("device", ["auto", "gpu"])
def test_a_build_that_has_kernels_stays_under_an_older_driver(device):
    gpus = (card("RTX 5090", "12.0", "570.86.10"),)
    there = machine(GOOD_GPU, gpus=gpus, gpu_build=GpuBuild("12.9", ((9, 0), (12, 0))))
    plan = make_plan(there, device)
    assert (plan.device, plan.commands) == ("gpu", ())
    assert plan.reason == (
        "paddlepaddle-gpu 3.2.2 is installed already, but this build of PaddlePaddle is for CUDA "
        "12.9 and needs driver 575.51.03 or newer; the one of RTX 5090 is 570.86.10: update the "
        "driver"
    )
    cpu = make_plan(there, "cpu")
    assert (cpu.removes, cpu.commands[-1][-1]) == (("paddlepaddle-gpu",), "paddlepaddle>=3.0")


def test_an_old_paddle_is_replaced():
    plan = make_plan(machine({"paddlepaddle": "2.6.2"}))
    assert (plan.removes, plan.commands[-1][-2:]) == ((), ("install", "paddlepaddle>=3.0"))
    plan = make_plan(machine({"paddlepaddle-gpu": "2.6.2"}, gpus=(T4,)))
    assert plan.removes == ("paddlepaddle-gpu",)
    assert plan.commands[-1][-1] == gpu_index("cu126")


def test_a_build_without_kernels_for_the_card_is_replaced():
    plan = make_plan(machine(GOOD_GPU, gpus=(RTX_5090,), gpu_build=CUDA_126))
    assert plan.removes == ("paddlepaddle-gpu",)
    assert plan.commands[0] == (*PIP, "uninstall", "-y", "paddlepaddle-gpu")
    assert plan.commands[-1][-1] == gpu_index("cu129")


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
    plan = make_plan(machine(packages, gpus=(T4,)), "gpu")
    assert plan.removes == removes
    assert plan.commands[0] == (*PIP, "uninstall", "-y", *removes)
    assert plan.commands[-1][3:5] == ("install", "paddlepaddle-gpu>=3.0")


def test_an_environment_without_pip():
    there = Machine((3, 12, 1), "Linux", "x86_64")
    assert make_plan(there).commands[0] == (
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


def test_the_last_command_computes(capfd):
    pytest.importorskip("paddle")
    install(Plan("cpu", "nothing to install", ()), run_command)
    assert "PaddlePaddle 3." in capfd.readouterr().err


def test_install_stops_at_the_first_failure():
    runner = Runner("setuptools>=61")
    with pytest.raises(PpclasError, match=r"install 'setuptools>=61'' ended with exit code 1"):
        install(make_plan(machine({})), runner)
    assert len(runner.commands) == 1


def test_a_dry_run_prints_and_runs_nothing(capsys):
    runner = Runner()
    choose_and_install(machine({}), "auto", None, runner, dry_run=True)
    assert capsys.readouterr() == (
        f"{sys.executable} -m pip install 'setuptools>=61'\n{sys.executable} -m pip install "
        "'paddlepaddle>=3.0'\n",
        "",
    )
    assert runner.commands == []


@pytest.mark.parametrize(("answer", "runs"), [(True, 3), (False, 0)])
def test_what_is_installed_is_asked_for(capsys, answer, runs):
    runner, questions = Runner(), []

    def ask(question):
        questions.append(question)
        return answer

    choose_and_install(machine({}), "auto", ask, runner)
    assert questions == ["Run this now?"]
    assert len(runner.commands) == runs
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("PaddlePaddle for CPU: the NVIDIA driver shows no GPU")


def test_nothing_is_installed_without_having_asked():
    runner = Runner()
    with pytest.raises(PpclasError, match="there is no terminal to ask on"):
        choose_and_install(machine({}), "auto", None, runner)
    assert runner.commands == []


def test_setup_on_this_machine(ppclas):
    pytest.importorskip("paddle", reason="would be asked whether to install it")
    result = ppclas("setup", "--device", "cpu")
    assert (result.code, result.out) == (0, "")
    assert "is installed already.\n" in result.err


@pytest.mark.parametrize(("answer", "runs"), [(True, 3), (False, 0)])
def test_a_command_that_needs_paddle_offers_setup(capsys, answer, runs):
    runner = Runner()
    offer_setup(["train", "my photos"], lambda _: answer, lambda: machine({}), runner)
    assert len(runner.commands) == runs
    done = "Done. Now run again: ppclas train 'my photos'\n"
    assert capsys.readouterr().err.endswith(done) is answer


def test_an_offer_that_fails_is_one_line(capsys):
    offer_setup(["train"], lambda _: True, lambda: machine({}), Runner("setuptools>=61"))
    assert "ended with exit code 1" in capsys.readouterr().err.splitlines()[-1]
    offer_setup(["train"], None, lambda: machine({}), Runner())
    assert capsys.readouterr() == ("", "")


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
def test_a_terminal_is_asked_on():
    assert terminal() is None  # the tests read from no terminal
    import pty

    person, slave = pty.openpty()
    code = "from ppclas_cli.paddle_install import terminal; print(terminal()('Run this now?'))"
    os.write(person, b"n\n")
    run = subprocess.run(
        [sys.executable, "-c", code], stdin=slave, stderr=slave, stdout=subprocess.PIPE, text=True
    )
    assert run.stdout.split() == ["False"]
    assert b"Run this now? [Y/n]" in os.read(person, 1000)
    os.close(person)
    os.close(slave)


class NeedsPaddle:
    @hookimpl
    def register_commands(self, registry):
        @click.command()
        def needy():
            raise MissingDependencyError("PaddlePaddle is needed and is not installed.")

        registry.register("needy", needy, summary="Need Paddle.")


def test_a_command_that_needs_paddle_says_so(ppclas):
    with use_plugin(NeedsPaddle()):
        result = ppclas("needy")
    assert result == (1, "", "error: PaddlePaddle is needed and is not installed.\n")
