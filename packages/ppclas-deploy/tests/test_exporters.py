"""What exporters do to graphs and files, on graphs written by hand: no Paddle, no converter."""

import json

import numpy as np
import pytest
from PIL import Image
from ppclas_core.bundle import Bundle, write_manifest
from ppclas_core.config.schema import ComponentConfig
from ppclas_core.errors import BundleError, ExportError
from ppclas_core.plugins import get_registries
from ppclas_deploy.engines.onnxruntime import make_session
from ppclas_deploy.engines.tensorrt import onnxruntime_lacks
from ppclas_deploy.export import make_exporter
from ppclas_deploy.exporters import onnx as to_onnx
from ppclas_deploy.exporters import serving, tensorrt
from ppclas_deploy.exporters import triton as to_triton
from ppclas_deploy.prototext import format_text
from ppclas_deploy.triton import End, ModelConfig, ensemble_config, network_config, require_ends

onnx = pytest.importorskip("onnx", reason="needs the extra [onnx]")
pytest.importorskip("onnxruntime", reason="needs the extra [onnx]")

SIZE = (4, 5)
OPTIONS = {"instances": 1, "kind": "cpu", "delay": 2000, "tensorrt": False}
FREE = {"batch": None, "input": "images", "output": "logits"}


class TestInterface:
    """How the network looks from outside, by the options."""

    @pytest.mark.parametrize(
        ("options", "activation", "ends"),
        [
            ({}, "softmax", (None, "images", "logits")),
            ({"batch": 4}, "softmax", (4, "images", "logits")),
            ({"with_preprocess": True}, "softmax", (None, "pixels", "probabilities")),
            ({"with_preprocess": True}, "sigmoid", (None, "pixels", "probabilities")),
            ({"with_preprocess": True}, "none", (None, "pixels", "logits")),
        ],
    )
    @pytest.mark.parametrize("target", ["paddle", "onnx", "triton", "lite"])
    def test_the_ends_that_were_asked_for(self, export, target, options, activation, ends):
        bundle = with_manifest(export, activation=activation)
        interface = make_exporter(target, options).interface(bundle)
        assert (interface["batch"], interface["input"], interface["output"]) == ends

    @pytest.mark.parametrize(
        ("activation", "output"), [("softmax", "probabilities"), ("none", "logits")]
    )
    def test_clients_of_paddle_serving_always_get_probabilities(self, export, activation, output):
        bundle = with_manifest(export, activation=activation)
        assert make_exporter("serving", {}).interface(bundle)["output"] == output

    def test_normalised_images_cannot_be_normalised_inside(self, export):
        transforms = (*export.manifest.preprocessing.transforms, ComponentConfig(name="Normalize"))
        preprocessing = export.manifest.preprocessing.replace(transforms=transforms)
        bundle = with_manifest(export, preprocessing=preprocessing)
        with pytest.raises(ExportError, match=r"needs transforms that end in RGB pixels .*float32"):
            make_exporter("paddle", {"with_preprocess": True}).interface(bundle)

    def test_a_job_is_plain_json(self, export, tmp_path):
        job = make_exporter("onnx", {}).job(export, tmp_path / "x" / ".." / "out", FREE, opset=13)
        assert json.loads(json.dumps(job)) == job
        assert job["folder"] == str(tmp_path / "out")
        assert (job["interface"], job["opset"]) == (FREE, 13)


class TestOptions:
    @pytest.mark.parametrize(
        ("target", "options", "message"),
        [
            ("triton", {"ensemble": True, "with_preprocess": True}, "take one of them"),
            ("triton", {"tensorrt": True}, "needs a GPU: add --option kind=gpu"),
            ("trt", {"precision": "int8"}, "go together"),
            ("trt", {"calibrate": "photos"}, "go together"),
            (
                "trt",
                {"precision": "int8", "calibrate": "photos", "via": "paddle"},
                "int8 is offered through ONNX Runtime only",
            ),
            ("lite", {"weights": "int16", "place": "x86"}, "does not turn int16 weights back"),
        ],
    )
    def test_what_does_not_go_together(self, target, options, message):
        pytest.importorskip("paddle2onnx", reason="needs the extra [onnx]")
        with pytest.raises(ExportError, match=message):
            make_exporter(target, options).check()

    @pytest.mark.parametrize(
        ("target", "options", "facts", "tolerance"),
        [
            ("onnx", {}, {}, 1e-4),
            ("onnx", {"fp16": True}, {}, 0.03),
            ("onnx", {"fp16": True, "tolerance": 1e-3}, {}, 1e-3),
            ("triton", {"fp16": True}, {}, 0.03),
            ("trt", {}, {}, 0.03),
            ("trt", {"precision": "fp32"}, {}, 1e-4),
            ("trt", {"precision": "int8", "calibrate": "x"}, {}, 0.3),
            ("trt", {}, {"verified_with": "onnxruntime"}, 1e-4),
            ("trt", {"tolerance": 0.5}, {}, 0.5),
        ],
    )
    def test_the_tolerance_follows_the_precision_unless_told(
        self, target, options, facts, tolerance
    ):
        assert make_exporter(target, options).accepted(facts) == tolerance


def with_manifest(bundle, **changes):
    """The bundle with another manifest, not written anywhere."""
    return Bundle(bundle.folder, bundle.manifest.replace(**changes), bundle.weights_file)


def small_graph():
    """Relu(images + constant) by way of an identity; a constant that nobody uses."""
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    value = onnx.numpy_helper.from_array(np.full((1, 2), 0.5, np.float32))
    return helper.make_graph(
        [
            helper.make_node("Constant", [], ["half"], value=value),
            helper.make_node("Constant", [], ["unused"], value=value),
            helper.make_node("Identity", ["x"], ["same"]),
            helper.make_node("Identity", ["same"], ["still"]),
            helper.make_node("Add", ["still", "half"], ["sum"]),
            helper.make_node("Relu", ["sum"], ["y"]),
        ],
        "g",
        [helper.make_tensor_value_info("x", kind, ["p2o.DynamicDimension.0", 2])],
        [helper.make_tensor_value_info("y", kind, ["p2o.DynamicDimension.0", 2])],
        [onnx.numpy_helper.from_array(np.zeros(3, np.float32), "left over")],
    )


def run_graph(graph, name, values):
    model = onnx.helper.make_model(
        graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8
    )
    onnx.checker.check_model(model, full_check=True)
    return make_session(model.SerializeToString(), 1).run(None, {name: values})[0]


class TestOnnxGraph:
    def test_tidying_changes_the_form_and_not_the_answers(self):
        graph, values = small_graph(), np.array([[1.0, -9.0]], np.float32)
        to_onnx.tidy(graph)
        assert [node.op_type for node in graph.node] == ["Add", "Relu"]
        assert [tensor.name for tensor in graph.initializer] == ["half"]
        np.testing.assert_array_equal(run_graph(graph, "x", values), [[1.5, 0.0]])

    def test_an_identity_that_is_the_output_stays(self):
        graph = small_graph()
        graph.node[-1].op_type = "Identity"
        to_onnx.tidy(graph)
        assert [node.op_type for node in graph.node] == ["Add", "Identity"]
        values = np.array([[1.0, -9.0]], np.float32)
        np.testing.assert_array_equal(run_graph(graph, "x", values), [[1.5, -8.5]])

    @pytest.mark.parametrize(("batch", "axis"), [(None, "batch"), (3, 3)])
    def test_ends_get_their_names_and_the_batch_axis(self, batch, axis):
        graph = small_graph()
        to_onnx.name_ends(graph, {"batch": batch, "input": "images", "output": "probabilities"})
        (given,), (answer,) = graph.input, graph.output
        assert (given.name, answer.name) == ("images", "probabilities")
        for end in (given, answer):
            first = end.type.tensor_type.shape.dim[0]
            assert (first.dim_param or first.dim_value) == axis
        values = np.ones((batch or 2, 2), np.float32)
        assert run_graph(graph, "images", values).shape == values.shape

    def test_the_file_tells_what_the_bundle_says(self, export):
        model = onnx.helper.make_model(small_graph())
        bundle = with_manifest(export, labels=("番茄", "b"), activation="sigmoid")
        to_onnx.describe(model, bundle, FREE, "the mark")
        told = {entry.key: json.loads(entry.value) for entry in model.metadata_props}
        assert told == {
            "labels": ["番茄", "b"],
            "activation": "sigmoid",
            "meaning": "the mark",
            "preprocessing": bundle.manifest.model_dump(mode="json")["preprocessing"],
            "input": "images",
            "output": "logits",
        }
        assert (model.producer_name, model.graph.name) == ("ppclas", "Linear")

    def test_only_the_scales_of_resizing_become_narrow(self, tmp_path):
        """Paddle 3.3 writes 64-bit scales; other 64-bit attributes are none of ours."""
        numbers = '{"AT":{"#":"0.a_array","D":[{"#":"0.a_f64","D":2.0},{"#":"0.a_f64","D":3.0}]},'
        scale, other = f'{numbers}"N":"scale"}}', f'{numbers}"N":"step"}}'
        program = tmp_path / "inference.json"
        program.write_text(f"[{other},{scale},{other}]")
        to_onnx.narrow_resize_scales(program)
        narrow = scale.replace("a_f64", "a_f32")
        assert program.read_text() == f"[{other},{narrow},{other}]"


class TestTritonRepository:
    """``linear`` behind a preparing model, as a server would run them."""

    @pytest.fixture
    def repository(self, export, tmp_path):
        """A repository of an ensemble, and a way to write it into the export."""
        job = {
            "bundle": {
                "folder": str(export.folder),
                "manifest": export.manifest.model_dump(mode="json"),
                "weights": str(export.weights_file),
            },
            "interface": {**FREE, "input": "pixels"},
            "opset": 17,
        }
        root = export.folder / "model_repository"
        for name in ("net_prepare", "net_network", "net"):
            (root / name / "1").mkdir(parents=True)
        to_triton._write_prepare(job, root / "net_prepare" / "1" / "model.onnx")
        model = (export.folder / "model.onnx").read_bytes()
        (root / "net_network" / "1" / "model.onnx").write_bytes(model)
        prepare = network_config(
            "net_prepare",
            [End("pixels", "TYPE_UINT8", (*SIZE, 3))],
            [End("images", "TYPE_FP32", (3, *SIZE))],
            batch=None,
            most=8,
            options=OPTIONS,
        )
        network = network_config(
            "net_network",
            [End("images", "TYPE_FP32", (3, *SIZE))],
            [End("logits", "TYPE_FP32", (2,))],
            batch=None,
            most=8,
            options=OPTIONS,
        )
        configs = {
            "net_prepare": prepare,
            "net_network": network,
            "net": ensemble_config("net", prepare, network),
        }

        def write(**texts):
            for name, config in configs.items():
                text = texts.get(name, format_text(config))
                (root / name / "config.pbtxt").write_text(text)
            facts = {
                "engine": "triton",
                "target": "triton",
                "repository": "model_repository",
                "entry": "net",
                "input": "pixels",
                "output": "logits",
            }
            write_manifest(export.folder, export.manifest.replace(export=facts, files={}))
            return Bundle.load(export.folder)

        return write, configs

    def test_it_runs_as_the_configurations_say(self, repository, weights):
        write, _ = repository
        engine = get_registries().engines.build("triton", threads=1)
        engine.load(write())
        pixels = np.random.default_rng(0).integers(0, 256, (3, *SIZE, 3), dtype=np.uint8)
        scaled = (pixels / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
        expected = scaled.transpose(0, 3, 1, 2).reshape(3, -1) @ weights
        answers = engine.logits(engine.prepare(pixels))
        np.testing.assert_allclose(answers, expected, rtol=1e-4, atol=1e-4)
        assert engine.versions()["models"] == "net, net_prepare, net_network"

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (("net", 'name: "net"', 'name: "other"'), "is called 'other'; Triton wants the name"),
            (("net", "ensemble_scheduling", "ensembling"), 'has no field named "ensembling"'),
            (("net", "net_network", "net_missing"), "holds no model_repository/net_missing/config"),
            (
                ("net_network", "TYPE_FP32", "TYPE_FP16"),
                r"net_network/config.pbtxt says input .*TYPE_FP16.*the model has .*TYPE_FP32",
            ),
            (("net_network", "dims: 2", "dims: 3"), r"says output .*\[3\].*the model has .*\[2\]"),
            (("net_prepare", "dims: 5", "dims: 7"), r"says input .*\[4, 7, 3\]"),
            (("net_network", "max_batch_size: 8", "max_batch_size: 0"), r"\['batch', 3, 4, 5\]"),
        ],
    )
    def test_what_a_server_would_refuse_is_refused(self, repository, change, message):
        write, configs = repository
        name, old, new = change
        text = format_text(configs[name])
        assert old in text
        with pytest.raises(BundleError, match=message):
            get_registries().engines.build("triton").load(write(**{name: text.replace(old, new)}))

    def test_a_configuration_that_fits(self, export):
        session = make_session(export.folder / "model.onnx", 1)
        ends = [End("images", "TYPE_FP32", (3, *SIZE))], [End("logits", "TYPE_FP32", (2,))]
        require_ends(network_config("net", *ends, batch=None, most=4, options=OPTIONS), session)
        with pytest.raises(BundleError, match=r"net/config.pbtxt says input .*\[2, 3, 4, 5\]"):
            require_ends(network_config("net", *ends, batch=2, most=4, options=OPTIONS), session)

    def test_a_configuration_without_ends_fits_nothing(self, export):
        session = make_session(export.folder / "model.onnx", 1)
        with pytest.raises(BundleError, match=r"says input \[\]"):
            require_ends(ModelConfig(name="net"), session)


class TestServingVariable:
    def test_the_batch_axis_is_not_mentioned(self):
        assert serving.variable("x", "float32", (-1, 3, 8, 9), "image", "feed_type") == {
            "name": "x",
            "alias_name": "image",
            "is_lod_tensor": False,
            "feed_type": 1,
            "shape": [3, 8, 9],
        }

    @pytest.mark.parametrize(
        ("dtype", "number"), [("int64", 0), ("float32", 1), ("int32", 2), ("uint8", 7)]
    )
    def test_types_have_paddle_servings_numbers(self, dtype, number):
        assert serving.variable("x", dtype, (1, 2), "x", "fetch_type")["fetch_type"] == number

    @pytest.mark.parametrize(
        ("dtype", "shape"), [("complex64", (-1, 3)), ("float32", (-1, 3, -1)), ("uint8", (-1, 0))]
    )
    def test_what_it_cannot_describe(self, dtype, shape):
        with pytest.raises(ExportError, match=rf"cannot describe the tensor x \({dtype} \["):
            serving.variable("x", dtype, shape, "x", "feed_type")


class TestTensorRt:
    def test_what_lacks_is_found_by_trying(self):
        """A machine with TensorRT says nothing; one without names the provider."""
        import onnxruntime

        why = onnxruntime_lacks()
        if "TensorrtExecutionProvider" not in onnxruntime.get_available_providers():
            assert why.startswith("this onnxruntime ")
            assert "has no TensorrtExecutionProvider" in why

    @pytest.fixture
    def job(self, export, tmp_path):
        """Two photos, and their pixels."""
        pixels = np.random.default_rng(1).integers(0, 256, (2, *SIZE, 3), dtype=np.uint8)
        files = [tmp_path / f"{index}.png" for index in range(2)]
        for file, image in zip(files, pixels, strict=True):
            Image.fromarray(image).save(file)
        bundle = {
            "folder": str(export.folder),
            "manifest": export.manifest.model_dump(mode="json"),
            "weights": str(export.weights_file),
        }
        return {"bundle": bundle, "photos": [str(file) for file in files]}, pixels

    @pytest.mark.parametrize(("batch", "kind"), [(None, "images"), (3, "images"), (2, "pixels")])
    def test_calibration_shows_each_photo_as_the_network_takes_it(self, job, export, batch, kind):
        told, pixels = job
        interface = {"batch": batch, "input": kind, "output": "logits"}
        batches = tensorrt._Batches({**told, "interface": interface})
        for image in pixels:
            (shown,) = batches.get_next().values()
            expected = image[None] if kind == "pixels" else export.normalize(image[None])
            np.testing.assert_array_equal(shown, np.repeat(expected, batch or 1, axis=0))
        assert batches.get_next() is None

    def test_the_table_holds_the_largest_magnitude_of_each_tensor(
        self, job, export, tmp_path, weights, python
    ):
        told, pixels = job
        (tmp_path / "work").mkdir()
        text = json.dumps({**told, "interface": FREE})
        python(
            "import json\nfrom pathlib import Path\n"
            "from ppclas_deploy.exporters.tensorrt import _write_table\n"
            f"_write_table(json.loads({text!r}), Path({str(export.folder)!r}))\n",
            cwd=tmp_path / "work",
        )
        assert (export.folder / "calibration.flatbuffers").stat().st_size > 0
        table = json.loads((tmp_path / "work" / "calibration.json").read_text())
        images = export.normalize(pixels)
        logits = images.reshape(len(pixels), -1) @ weights
        for name, values in (("images", images), ("flat", images), ("logits", logits)):
            largest = np.abs(values).max()
            ends = [table[name][end]["data"][0] for end in ("lowest", "highest")]
            assert ends == pytest.approx([-largest, largest], rel=1e-5)


def test_half_precision_is_inside_and_the_ends_stay(export, python):
    """By way of ONNX Runtime's converter, which leaves a file in the working folder."""
    code = (
        "import onnx, os, tempfile\n"
        f"model = onnx.load({str(export.folder / 'model.onnx')!r})\n"
        "os.chdir(tempfile.mkdtemp())\n"
        "from ppclas_deploy.exporters.onnx import _half\n"
        "half = _half(model)\n"
        "print([t.data_type for t in half.graph.initializer])\n"
        "print([end.type.tensor_type.elem_type for end in (*half.graph.input, *half.graph.output)])"
    )
    kinds, ends = python(code).splitlines()
    assert kinds == f"[{onnx.TensorProto.FLOAT16}]"
    assert ends == f"[{onnx.TensorProto.FLOAT}, {onnx.TensorProto.FLOAT}]"
