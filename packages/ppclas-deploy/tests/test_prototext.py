"""Server configurations: the very files, their wire format by hand, and what a parser refuses."""

import pytest
from ppclas_core.errors import BundleError
from ppclas_deploy.exporters import serving
from ppclas_deploy.exporters.triton import TritonExporter
from ppclas_deploy.prototext import declare, enum_name, format_text, parse_text
from ppclas_deploy.triton import End, ModelConfig, ensemble_config, network_config

PIXELS = End("pixels", "TYPE_UINT8", (48, 64, 3))
IMAGES = End("images", "TYPE_FP32", (3, 48, 64))
ANSWERS = End("probabilities", "TYPE_FP32", (3,))
ON_CPU = {"instances": 1, "kind": "cpu", "delay": 2000, "tensorrt": False}
ON_GPU = {"instances": 2, "kind": "gpu", "delay": 0, "tensorrt": True}


def serving_config(feed="images", fetch="softmax_0.tmp_0"):
    return serving.GeneralModelConfig(
        feed_var=[serving.variable(feed, "float32", (-1, 3, 224, 224), "image", "feed_type")],
        fetch_var=[serving.variable(fetch, "float32", (-1, 1000), "prediction", "fetch_type")],
    )


class TestText:
    """The files are compared letter by letter: people diff them, and servers parse them."""

    def test_paddle_servings_configuration(self):
        assert format_text(serving_config()) == (
            'feed_var {\n  name: "images"\n  alias_name: "image"\n  is_lod_tensor: false\n'
            "  feed_type: 1\n  shape: 3\n  shape: 224\n  shape: 224\n}\n"
            'fetch_var {\n  name: "softmax_0.tmp_0"\n  alias_name: "prediction"\n'
            "  is_lod_tensor: false\n  fetch_type: 1\n  shape: 1000\n}\n"
        )

    def test_a_network_with_every_part(self):
        config = network_config("Tiny", [PIXELS], [ANSWERS], batch=None, most=8, options=ON_GPU)
        config.output[0].label_filename = "labels.txt"
        assert format_text(config) == (
            'name: "Tiny"\nbackend: "onnxruntime"\nmax_batch_size: 8\n'
            'input {\n  name: "pixels"\n  data_type: TYPE_UINT8\n'
            "  dims: 48\n  dims: 64\n  dims: 3\n}\n"
            'output {\n  name: "probabilities"\n  data_type: TYPE_FP32\n  dims: 3\n'
            '  label_filename: "labels.txt"\n}\n'
            "instance_group {\n  count: 2\n  kind: KIND_GPU\n}\n"
            "dynamic_batching {\n  preferred_batch_size: 2\n  preferred_batch_size: 4\n"
            "  preferred_batch_size: 8\n  max_queue_delay_microseconds: 0\n}\n"
            "optimization {\n  execution_accelerators {\n    gpu_execution_accelerator {\n"
            '      name: "tensorrt"\n      parameters {\n        key: "precision_mode"\n'
            '        value: "FP16"\n      }\n    }\n  }\n}\n'
        )

    def test_an_ensemble(self):
        first = network_config("T_prepare", [PIXELS], [IMAGES], batch=None, most=32, options=ON_CPU)
        second = network_config(
            "T_network", [IMAGES], [ANSWERS], batch=None, most=9, options=ON_GPU
        )
        assert format_text(ensemble_config("T", first, second)) == (
            'name: "T"\nplatform: "ensemble"\nmax_batch_size: 32\n'
            'input {\n  name: "pixels"\n  data_type: TYPE_UINT8\n'
            "  dims: 48\n  dims: 64\n  dims: 3\n}\n"
            'output {\n  name: "probabilities"\n  data_type: TYPE_FP32\n  dims: 3\n}\n'
            "ensemble_scheduling {\n"
            '  step {\n    model_name: "T_prepare"\n    model_version: -1\n'
            '    input_map {\n      key: "pixels"\n      value: "pixels"\n    }\n'
            '    output_map {\n      key: "images"\n      value: "prepared"\n    }\n  }\n'
            '  step {\n    model_name: "T_network"\n    model_version: -1\n'
            '    input_map {\n      key: "images"\n      value: "prepared"\n    }\n'
            '    output_map {\n      key: "probabilities"\n      value: "probabilities"\n    }\n'
            "  }\n}\n"
        )

    def test_an_ensemble_leaves_its_parts_as_they_are(self):
        first = network_config("a", [PIXELS], [IMAGES], batch=None, most=32, options=ON_CPU)
        second = network_config("b", [IMAGES], [ANSWERS], batch=None, most=32, options=ON_CPU)
        before = format_text(second)
        ensemble_config("T", first, second).output[0].label_filename = "labels.txt"
        assert format_text(second) == before

    def test_names_in_another_script_stay_readable(self):
        text = format_text(ModelConfig(name="番茄"))
        assert text == 'name: "番茄"\n'
        assert parse_text(text, ModelConfig, "config").name == "番茄"


class TestNetworkConfig:
    @pytest.mark.parametrize(
        ("most", "preferred"),
        [(32, [8, 16, 32]), (8, [2, 4, 8]), (5, [1, 2, 5]), (2, [1, 2]), (1, [1])],
    )
    def test_quarters_and_halves_of_the_largest_batch_are_preferred(self, most, preferred):
        config = network_config("n", [IMAGES], [ANSWERS], batch=None, most=most, options=ON_CPU)
        assert list(config.dynamic_batching.preferred_batch_size) == preferred
        assert config.max_batch_size == most

    def test_a_fixed_batch_is_an_axis_like_others(self):
        """Triton adds no batch axis and puts no requests together where max_batch_size is 0."""
        config = network_config("n", [IMAGES], [ANSWERS], batch=4, most=32, options=ON_CPU)
        assert config.max_batch_size == 0
        assert list(config.input[0].dims) == [4, 3, 48, 64]
        assert list(config.output[0].dims) == [4, 3]
        assert not config.HasField("dynamic_batching")
        assert "max_batch_size: 0\n" in format_text(config)

    def test_without_tensorrt_nothing_is_accelerated(self):
        config = network_config("n", [IMAGES], [ANSWERS], batch=None, most=32, options=ON_CPU)
        assert not config.HasField("optimization")
        assert [enum_name(group, "kind") for group in config.instance_group] == ["KIND_CPU"]


class TestWire:
    def test_a_stream_by_hand(self):
        """Field 1, a message of: field 1 "a", field 2 "b", field 3 false, field 4 one, field 5
        three hundred.
        """
        feed = serving.variable("a", "float32", (-1, 300), "b", "feed_type")
        config = serving.GeneralModelConfig(feed_var=[feed])
        expected = "0a 0d 0a 01 61 12 01 62 18 00 20 01 28 ac 02"
        assert config.SerializeToString().hex(" ") == expected

    def test_negative_numbers_take_ten_bytes(self):
        step = ModelConfig(ensemble_scheduling={"step": [{"model_version": -1}]})
        inner = "10" + "ff" * 9 + "01"
        assert step.SerializeToString().hex() == "7a0d" + "0a0b" + inner

    @pytest.mark.parametrize(
        ("field", "tag"),
        [
            ({"name": "a"}, "0a0161"),
            ({"platform": "a"}, "120161"),
            ({"backend": "a"}, "8a010161"),  # 17 << 3 | 2 = 138, two bytes
            ({"max_batch_size": 3}, "2003"),
            ({"input": [{"data_type": "TYPE_FP32"}]}, "2a02100b"),
            ({"input": [{"dims": [5]}]}, "2a022005"),
            ({"output": [{"dims": [5]}]}, "32021805"),
            ({"output": [{"label_filename": "a"}]}, "3203220161"),
            ({"instance_group": [{"count": 2, "kind": "KIND_CPU"}]}, "3a0410022002"),
            ({"dynamic_batching": {"preferred_batch_size": [8]}}, "5a020808"),
            ({"dynamic_batching": {"max_queue_delay_microseconds": 9}}, "5a021009"),
        ],
    )
    def test_the_numbers_are_those_of_tritons_model_config_proto(self, field, tag):
        assert ModelConfig(**field).SerializeToString().hex() == tag

    def test_repeated_numbers_are_not_packed(self):
        """Paddle Serving's .proto file is proto2: a tag before each number."""
        feed = serving.variable("a", "int64", (-1, 2, 3), "a", "feed_type")
        stream = serving.GeneralModelConfig(feed_var=[feed]).SerializeToString()
        assert stream.hex().endswith("2000" + "2802" + "2803")

    def test_both_files_of_paddle_serving_say_the_same(self):
        config = serving_config()
        read = parse_text(format_text(config), serving.GeneralModelConfig, "conf")
        again = serving.GeneralModelConfig.FromString(config.SerializeToString())
        assert read == again == config
        assert (read.feed_var[0].alias_name, list(read.feed_var[0].shape)) == (
            "image",
            [3, 224, 224],
        )


class TestParsing:
    def test_shorthands_and_comments_of_the_text_format(self):
        text = """
          # written by hand
          name: "net"  max_batch_size: 8
          input: [ { name: 'x' data_type: TYPE_FP32, dims: [ 3, 224, 224 ] } ]
          dynamic_batching { }
        """
        read = parse_text(text, ModelConfig, "config.pbtxt")
        assert (read.name, read.max_batch_size) == ("net", 8)
        assert (read.input[0].name, list(read.input[0].dims)) == ("x", [3, 224, 224])
        assert enum_name(read.input[0], "data_type") == "TYPE_FP32"
        assert read.HasField("dynamic_batching")
        assert not read.HasField("optimization")

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ('nam: "net"', r'line 1:1 : .*has no field named "nam"'),
            ("\nmax_batch_size: many", r"line 2:17 : .*Couldn't parse integer: many"),
            ("max_batch_size: 3000000000", "Value out of range"),
            ('name: "a" name: "b"', 'should not have multiple "name" fields'),
            ("input { data_type: FP32 }", "has no value named FP32"),
            ('input { name: "x"', 'Expected "}"'),
            ('name: "a" }', "Expected identifier"),
            ("name: net", "Expected string"),
        ],
    )
    def test_what_a_server_would_refuse_is_refused(self, text, message):
        with pytest.raises(BundleError, match=f"^Tiny/config.pbtxt, .*{message}"):
            parse_text(text, ModelConfig, "Tiny/config.pbtxt")

    def test_values_of_another_kind_are_not_written(self):
        with pytest.raises(TypeError, match="max_batch_size"):
            ModelConfig(max_batch_size=True)


class TestDeclaring:
    def test_messages_may_refer_to_later_ones_and_to_enums(self):
        made = declare(
            "demo",
            {
                "Box": {"side": (2, "Side", "repeated"), "color": (1, "Color")},
                "Side": {"length": (1, "uint64")},
            },
            {"Color": {"RED": 0, "BLUE": 5}},
        )
        box = made["Box"](color="BLUE", side=[{"length": 7}, {"length": 2**63}])
        assert enum_name(box, "color") == "BLUE"
        # As text in the order of the declaration, on the wire in the order of the numbers.
        assert " ".join(format_text(box).split()) == (
            "side { length: 7 } side { length: 9223372036854775808 } color: BLUE"
        )
        assert box.SerializeToString().hex().startswith("0805" + "12020807")

    def test_two_declarations_of_one_name_do_not_meet(self):
        first = declare("same", {"M": {"a": (1, "bool")}})["M"]
        second = declare("same", {"M": {"b": (1, "string")}})["M"]
        assert format_text(first(a=True)) + format_text(second(b="x")) == 'a: true\nb: "x"\n'


@pytest.mark.parametrize("batch", [None, 4])
@pytest.mark.parametrize("kind", ["cpu", "gpu"])
def test_tritons_readme_asks_the_entry_by_its_own_names(bundle, tmp_path, batch, kind):
    options = {**ON_CPU, "kind": kind}
    config = network_config("Tiny", [PIXELS], [ANSWERS], batch=batch, most=8, options=options)
    (tmp_path / "config.pbtxt").write_text(format_text(config), encoding="utf-8")
    said = TritonExporter(kind=kind, batch=batch)._readme(bundle, tmp_path / "config.pbtxt")
    assert f"np.zeros([{batch or 1}, 48, 64, 3], np.uint8)" in said
    assert 'InferInput("pixels", images.shape, "UINT8")' in said
    assert '.infer("Tiny", [given])' in said
    assert 'answer.as_numpy("probabilities")' in said
    assert (" --gpus all " in said) is (kind == "gpu")
