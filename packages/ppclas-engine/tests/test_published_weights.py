"""Where published weights are is asked of the package that registers the model."""

from pathlib import Path

import pytest
from ppclas_core import hookimpl
from ppclas_core.errors import UnknownNameError, WeightsError
from ppclas_core.testing import use_plugin
from ppclas_engine.bundles import pretrained_path


def locate(name, *, download, folder, mirror):
    return Path(f"{name} {download} {folder} {mirror}")


class Zoo:
    @hookimpl
    def register_models(self, registry):
        registry.register("Published", dict, metadata={"pretrained": locate})
        registry.register("Bare", dict)


@pytest.fixture(autouse=True)
def zoo():
    with use_plugin(Zoo()):
        yield


def test_the_package_is_asked_with_what_was_given():
    assert pretrained_path("Published") == Path("Published False None None")
    found = pretrained_path("Published", download=True, folder=Path("here"), mirror="http://m")
    assert found == Path("Published True here http://m")


def test_a_package_without_an_answer_is_named():
    with pytest.raises(WeightsError, match="brings the model Bare knows no published weights"):
        pretrained_path("Bare")


def test_unknown_names_are_the_registrys_to_refuse():
    with pytest.raises(UnknownNameError, match="Did you mean 'Published'"):
        pretrained_path("Publishd")
