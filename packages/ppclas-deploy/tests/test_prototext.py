"""Server configurations against Google's own implementation of protocol buffers."""

import pytest
from ppclas_core.errors import BundleError
from ppclas_deploy import triton
from ppclas_deploy.exporters import serving
from ppclas_deploy.exporters.triton import TritonExporter
from ppclas_deploy.prototext import encode, format_text, parse_text

SERVING = {
    "feed_var": [serving.variable("images", "float32", (-1, 3, 224, 224), "image", "feed_type")],
    "fetch_var": [
        serving.variable("softmax_0.tmp_0", "float32", (-1, 1000), "prediction", "fetch_type")
    ],
}


@pytest.fixture(scope="module")
def general_model_config():
    """baidu.paddle_serving.configure.GeneralModelConfig, as its .proto file declares it (proto2,
    nothing packed).
    """
    descriptor_pb2 = pytest.importorskip(
        "google.protobuf.descriptor_pb2", reason="comes with Paddle"
    )
    from google.protobuf import descriptor_pool, message_factory

    file = descriptor_pb2.FileDescriptorProto(name="conf.proto", package="conf", syntax="proto2")
    string, boolean, int32, message = 9, 8, 5, 11
    for name, kind in (("FeedVar", "feed_type"), ("FetchVar", "fetch_type")):
        declared = file.message_type.add(name=name)
        fields = (
            ("name", string),
            ("alias_name", string),
            ("is_lod_tensor", boolean),
            (kind, int32),
            ("shape", int32),
        )
        for number, (field, type_) in enumerate(fields, 1):
            declared.field.add(
                name=field, number=number, type=type_, label=3 if field == "shape" else 1
            )
    whole = file.message_type.add(name="GeneralModelConfig")
    whole.field.add(name="feed_var", number=1, type=message, label=3, type_name=".conf.FeedVar")
    whole.field.add(name="fetch_var", number=2, type=message, label=3, type_name=".conf.FetchVar")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("conf.GeneralModelConfig"))


def test_paddle_servings_two_files_say_the_same(general_model_config):
    from google.protobuf import text_format

    read = text_format.Parse(format_text(SERVING, serving.CONFIG), general_model_config())
    assert read.feed_var[0].alias_name == "image"
    assert list(read.feed_var[0].shape) == [3, 224, 224]
    assert (read.fetch_var[0].fetch_type, list(read.fetch_var[0].shape)) == (1, [1000])
    assert read.SerializeToString() == encode(SERVING, serving.CONFIG)
    assert parse_text(text_format.MessageToString(read), serving.CONFIG, "read") == SERVING


def test_a_stream_by_hand():
    """Field 1, a message of: field 1 "a", field 2 "b", field 3 false, field 4 one, field 5 three
    hundred.
    """
    config = {"feed_var": [serving.variable("a", "float32", (-1, 300), "b", "feed_type")]}
    assert encode(config, serving.CONFIG).hex(" ") == "0a 0d 0a 01 61 12 01 62 18 00 20 01 28 ac 02"


def test_negative_numbers_take_ten_bytes():
    assert encode({"model_version": -1}, triton._STEP).hex() == "10" + "ff" * 9 + "01"


def test_shorthands_and_comments_of_the_text_format():
    text = """
      # written by hand
      name: "net"  max_batch_size: 8
      input: [ { name: "x" data_type: TYPE_FP32, dims: [ 3, 224, 224 ] } ]
      dynamic_batching { }
    """
    assert parse_text(text, triton.SCHEMA, "config.pbtxt") == {
        "name": "net",
        "max_batch_size": 8,
        "input": [{"name": "x", "data_type": "TYPE_FP32", "dims": [3, 224, 224]}],
        "dynamic_batching": {},
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('nam: "net"', r"no field is called 'nam'"),
        ("max_batch_size: many", "max_batch_size should be of kind int; got many"),
        ('name: "a" name: "b"', "name is given more than once"),
        ("input { data_type: FP32 }", "data_type should be of kind enum"),
        ('input { name: "x"', "ends in the middle of a message"),
        ('name: "a" }', "a closing brace too many"),
        ("name: 'a'", "config, line 1: .* is not text format"),
    ],
)
def test_what_a_server_would_refuse_is_refused(text, message):
    with pytest.raises(BundleError, match=message):
        parse_text(text, triton.SCHEMA, "config")


def test_values_of_another_kind_are_not_written():
    with pytest.raises(BundleError, match="max_batch_size should be of kind int; got True"):
        format_text({"max_batch_size": True}, triton.SCHEMA)


@pytest.mark.parametrize("batch", [None, 4])
def test_tritons_readme_asks_the_entry_by_its_own_names(bundle, tmp_path, batch):
    ends = [
        [triton.End("pixels", "TYPE_UINT8", (48, 64, 3))],
        [triton.End("probabilities", "TYPE_FP32", (3,))],
    ]
    options = {"instances": 1, "kind": "gpu", "delay": 0, "tensorrt": False}
    config = triton.network_config("Tiny", *ends, batch=batch, most=8, options=options)
    (tmp_path / "config.pbtxt").write_text(format_text(config, triton.SCHEMA), encoding="utf-8")
    said = TritonExporter(kind="gpu", batch=batch)._readme(bundle, tmp_path / "config.pbtxt")
    assert f"np.zeros([{batch or 1}, 48, 64, 3], np.uint8)" in said
    assert 'InferInput("pixels", images.shape, "UINT8")' in said
    assert '.infer("Tiny", [given])' in said
    assert 'answer.as_numpy("probabilities")' in said
    assert " --gpus all " in said
