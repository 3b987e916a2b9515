"""doctor: what it makes of machines that are not here, and of this one."""

import json
import sys

import pytest
from ppclas_cli.commands.doctor import print_report
from ppclas_cli.diagnosis import check_import, diagnose
from ppclas_cli.machine import Gpu, GpuBuild, Machine
from ppclas_core.plugins import PluginInfo

GOOD = {"paddlepaddle": "3.2.2", "setuptools": "80", "numpy": "2.2.0", "ppclas-models": "0.1.0"}
GOOD_GPU = {**GOOD, "paddlepaddle-gpu": "3.2.2"}
del GOOD_GPU["paddlepaddle"]
GIB = 1 << 30


def card(name, capability, driver, memory=16 * GIB):
    major, _, minor = capability.partition(".")
    return Gpu(name, (int(major), int(minor)), memory, driver)


T4 = card("Tesla T4", "7.5", "550.54.15")
RTX_5090 = card("NVIDIA GeForce RTX 5090", "12.0", "576.02")


def machine(packages=GOOD, **changes):
    values = {
        "python": (3, 12, 1),
        "system": "Linux",
        "architecture": "x86_64",
        "packages": {"pip": "25", **packages},
    }
    return Machine(**{**values, **changes})


def found(packages=GOOD, **changes):
    return [(finding.level, finding.what) for finding in diagnose(machine(packages, **changes))]


def test_a_good_installation_has_no_findings():
    assert found() == []


@pytest.mark.parametrize(
    ("changes", "level", "words"),
    [
        ({"python": (3, 14, 0)}, "error", "Python 3.14: ppclas and Paddle run on 3.10 to 3.13"),
        (
            {"packages": {**GOOD, "paddlepaddle-gpu": "3.2.2"}, "gpus": (T4,)},
            "error",
            "are both installed",
        ),
        ({"packages": {**GOOD, "paddlepaddle": "2.6.2"}}, "error", "PaddlePaddle 2.6.2 is too old"),
        ({"gpus": (T4,)}, "warning", "there is a GPU (Tesla T4), but the CPU build"),
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
        ({"packages": GOOD_GPU}, "warning", "but the NVIDIA driver shows no GPU"),
    ],
)
def test_findings(changes, level, words):
    [(got, what)] = found(**changes)
    assert got == level
    assert words in what


@pytest.mark.parametrize(
    ("version", "words"),
    [
        ("3.0.0.dev20250717", []),  # the wheels of PaddleX's page for the RTX 50 on Windows
        ("2.6.2.post120", ["PaddlePaddle 2.6.2.post120 is too old"]),
        ("3.10.0", []),  # newer than 3.3
        ("of my own", []),
    ],
)
def test_versions_are_compared_as_versions(version, words):
    assert [what for _, what in found(packages={**GOOD, "paddlepaddle": version})] == words


def test_the_worst_comes_first_and_each_has_a_way_out():
    findings = diagnose(machine({"numpy": "2.4.6"}, gpus=(T4,), shared_memory=1))
    assert [finding.level for finding in findings] == ["error", "warning", "warning"]
    assert findings[0].fix == "ppclas setup"
    assert all(finding.fix for finding in findings)


CUDA_126 = GpuBuild("12.6", ((7, 5), (8, 0), (8, 6), (8, 9)))


@pytest.mark.parametrize(
    ("gpus", "build", "said"),
    [
        ((T4,), CUDA_126, []),
        # Ada runs what is compiled for the older Ampere.
        ((card("L4", "8.9", "580.65.06"),), GpuBuild("11.8", ((7, 5), (8, 0), (8, 6))), []),
        (
            (RTX_5090,),
            CUDA_126,
            [
                "error: this build of PaddlePaddle (CUDA 12.6) has no kernels for this card: "
                "NVIDIA GeForce RTX 5090 has compute capability 12.0, the build has 7.5, 8.0, 8.6, "
                "8.9 → ppclas setup --device gpu"
            ],
        ),
        # A build that does not say what it is compiled for is looked up in the table.
        (
            (card("RTX 5090", "12.0", "576.02"),),
            GpuBuild("12.6"),
            [
                "error: this build of PaddlePaddle (CUDA 12.6) has no kernels for this card: "
                "RTX 5090 has compute capability 12.0, the build has 6.1, 7.0, 7.5, 8.0, 8.6, 8.9, "
                "9.0 → ppclas setup --device gpu"
            ],
        ),
        ((RTX_5090,), GpuBuild("12.9"), []),
        ((RTX_5090,), GpuBuild("14.7"), []),  # of which nothing is known
        (
            (card("Tesla K80", "3.7", "470.82.01"),),
            GpuBuild("11.8", ((6, 0), (7, 0))),
            [
                "error: this build of PaddlePaddle (CUDA 11.8) has no kernels for this card: Tesla "
                "K80 has compute capability 3.7, the build has 6.0, 7.0 → 1 GPU, Tesla K80 "
                "(compute capability 3.7): no build of Paddle 3 has kernels for that compute "
                "capability; use the CPU, or compile Paddle for this card"
            ],
        ),
        # The other card works.
        (
            (RTX_5090, card("Quadro K620", "5.0", "576.02")),
            GpuBuild("12.9", ((8, 0), (12, 0))),
            [
                "warning: this build of PaddlePaddle (CUDA 12.9) has no kernels for this card: "
                "Quadro K620 has compute capability 5.0, the build has 8.0, 12.0 → 1 GPU, Quadro "
                "K620 (compute capability 5.0): no build of Paddle 3 has kernels for that compute "
                "capability; use the CPU, or compile Paddle for this card"
            ],
        ),
        (
            (T4,),
            GpuBuild("13.0", ((7, 5),)),
            [
                "warning: this build of PaddlePaddle is for CUDA 13.0 and needs driver 580 or "
                "newer; the one of Tesla T4 is 550.54.15 → update the NVIDIA driver"
            ],
        ),
    ],
)
def test_the_installed_build_and_the_card(gpus, build, said):
    findings = diagnose(machine(GOOD_GPU, gpus=gpus, gpu_build=build))
    assert [f"{finding.level}: {finding.what} → {finding.fix}" for finding in findings] == said


def test_an_old_release_is_not_measured_by_the_table():
    # Paddle 3.1 for CUDA 12.9 had no kernels for 12.0 yet, so the row begins with 3.2.
    old = {**GOOD_GPU, "paddlepaddle-gpu": "3.1.0"}
    gpus = (card("P40", "6.1", "576.02"),)
    assert found(packages=old, gpus=gpus, gpu_build=GpuBuild("12.9")) == []
    assert found(packages=GOOD_GPU, gpus=gpus, gpu_build=GpuBuild("12.9")) != []


@pytest.mark.parametrize(
    ("packages", "good", "level"), [(GOOD, True, "warning"), ({}, False, "error")]
)
def test_report(capsys, packages, good, level):
    here = machine(packages, gpus=(T4, RTX_5090), driver_cuda=(12, 4), memory=8 * GIB)
    assert print_report(here, [], as_json=True) is good
    report = json.loads(capsys.readouterr().out)
    assert report["facts"]["gpus"] == {
        "0": "Tesla T4, 16.0 GiB, compute capability 7.5",
        "1": "NVIDIA GeForce RTX 5090, 16.0 GiB, compute capability 12.0",
    }
    assert report["facts"]["driver"] == "550.54.15"
    assert report["facts"]["driver's CUDA"] == "12.4"
    assert report["facts"]["memory"] == "8.0 GiB"
    assert report["facts"]["packages"] == packages
    first = report["findings"][0]
    assert first["level"] == level
    assert {"level", "what", "fix"} == set(first)
    assert print_report(here, []) is good
    shown = capsys.readouterr().out
    assert f"\n{level}: {first['what']}\n  to do: {first['fix']}\n" in shown
    assert "\n  1  NVIDIA GeForce RTX 5090, 16.0 GiB, compute capability 12.0\n" in shown


def test_the_report_names_broken_plugins(capsys):
    infos = [PluginInfo("bad", "bad-plugin", "1", "bad", "ImportError: no x", "Traceback")]
    assert print_report(machine(), infos)
    assert (
        "warning: plugin 'bad' of bad-plugin is left out: ImportError: no x\n  to do: ppclas "
        "plugins -v" in capsys.readouterr().out
    )


def test_doctor_on_this_machine(ppclas):
    result = ppclas("doctor", "--json")
    report = json.loads(result.out)
    assert result.code == any(finding["level"] == "error" for finding in report["findings"])
    assert report["facts"]["python"].startswith(f"{sys.version.split()[0]} (")


def test_importing_paddle_in_a_process_of_its_own():
    pytest.importorskip("paddle")
    assert check_import() is None
    slow = check_import(timeout=0.01)
    assert (slow.level, slow.what) == ("error", "importing Paddle took longer than 0 s")
