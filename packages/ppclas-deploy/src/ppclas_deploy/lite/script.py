"""What runs inside the older Python that has Paddle-Lite; also syntax for Python 3.7, and no import
of ppclas.

``script.py convert MODEL PARAMS OUT PLACES FP16 WEIGHTS`` writes ``OUT.nb``; ``script.py run
MODEL.nb`` answers batches on stdin with logits on stdout until stdin ends. A batch is a header of
five little-endian uint32 (kind: 0 float32, 1 uint8; then the four sizes) and its values; an answer
is two uint32 (rows, columns) and float32 values.
"""

from __future__ import annotations

import os
import struct
import sys

HEADER, SHAPE = struct.Struct("<5I"), struct.Struct("<2I")


def convert(model: str, params: str, out: str, places: str, fp16: str, weights: str) -> None:
    """Convert an old-IR program; ``weights`` is float32, int16 or int8."""
    from paddlelite.lite import Opt

    opt = Opt()
    opt.set_model_file(model)
    opt.set_param_file(params)
    opt.set_model_type("naive_buffer")
    opt.set_valid_places(places)
    opt.set_optimize_out(out)
    if fp16 == "1":
        opt.enable_fp16()
    if weights != "float32":
        opt.set_quant_model(True)
        opt.set_quant_type("QUANT_" + weights.upper())
    opt.run()


def run(model: str) -> None:
    """Answer batches until stdin ends."""
    # Lite writes notes to stdout; they go to stderr, and the answers to what stdout was.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    import numpy as np
    from paddlelite.lite import MobileConfig, create_paddle_predictor

    config = MobileConfig()
    config.set_model_from_file(model)
    predictor = create_paddle_predictor(config)
    batches = sys.stdin.buffer
    while True:
        header = batches.read(HEADER.size)
        if len(header) < HEADER.size:
            return
        kind, *shape = HEADER.unpack(header)
        dtype = np.dtype(np.uint8 if kind else np.float32)
        data = batches.read(dtype.itemsize * int(np.prod(shape)))
        predictor.get_input(0).from_numpy(np.frombuffer(data, dtype).reshape(shape))
        predictor.run()
        values = np.ascontiguousarray(predictor.get_output(0).numpy(), np.float32)
        answers.write(SHAPE.pack(*values.shape) + values.tobytes())
        answers.flush()


if __name__ == "__main__":
    if sys.argv[1] == "convert":
        convert(*sys.argv[2:])
    else:
        run(*sys.argv[2:])
