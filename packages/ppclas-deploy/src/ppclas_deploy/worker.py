"""The process that ``isolate`` starts: ``python -m ppclas_deploy.worker STEP JOB.json
RESULT.json PARENT``, the number of the process that waits for it.

A step is one of a fixed list, a job is plain data, and the answer is JSON: ``{"result": …}`` or
``{"error": "…"}``.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from ppclas_core.errors import PpclasError
from ppclas_core.registry import resolve
from ppclas_data.leftovers import end_with

STEPS = {
    "paddle": "ppclas_deploy.exporters.paddle:convert",
    "onnx": "ppclas_deploy.exporters.onnx:convert",
    "openvino": "ppclas_deploy.exporters.openvino:convert",
    "lite": "ppclas_deploy.exporters.lite:convert",
    "serving": "ppclas_deploy.exporters.serving:convert",
    "triton": "ppclas_deploy.exporters.triton:convert",
    "trt": "ppclas_deploy.exporters.tensorrt:convert",
    "tensorrt_here": "ppclas_deploy.exporters.tensorrt:look",
    "reference": "ppclas_deploy.answers:run_reference",
    "engine": "ppclas_deploy.answers:run_export",
    "heat_reference": "ppclas_deploy.heat:run_reference",
    "heat_engine": "ppclas_deploy.heat:run_export",
    "measure": "ppclas_deploy.measuring:run",
    "quantize": "ppclas_deploy.quantize.work:run",
}
"""Name of a step → the function that takes its job and returns plain data."""


def refuse_network(event: str, args: tuple[Any, ...]) -> None:
    """Audit hook: raise on a connection to another machine, or a look-up of one."""
    local = event == "socket.connect" and isinstance(args[1], str | bytes)  # a Unix socket
    if event in ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname") and not local:
        raise PermissionError(f"a converter must not use the network ({event} {args[1:]!r})")


def main(step: str, job: Path, result: Path) -> int:
    """Run one step; exit code 0 where it returned."""
    sys.addaudithook(refuse_network)
    try:
        answer = {"result": resolve(STEPS[step])(json.loads(job.read_text(encoding="utf-8")))}
    except PpclasError as error:
        answer = {"error": str(error)}
    result.write_text(json.dumps(answer), encoding="utf-8")
    return 0 if "result" in answer else 1


if __name__ == "__main__":
    end_with(int(sys.argv[4]))
    sys.exit(main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])))
