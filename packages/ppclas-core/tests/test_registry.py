import pytest
from ppclas_core.errors import PluginError, UnknownNameError
from ppclas_core.params import Params
from ppclas_core.registry import Registry, resolve


class Blur(Params):
    radius: int = 2


@pytest.fixture
def registry():
    registry = Registry("transform")
    with registry.owned_by("blur-package"):
        registry.register(
            "GaussianBlur", Blur, aliases=("Blur",), summary="soft", metadata={"year": 1}
        )
        registry.register("BoxBlur", Blur)
    return registry


def test_names_aliases_and_entries(registry):
    assert registry.names() == list(registry) == ["GaussianBlur", "BoxBlur"]
    assert len(registry) == 2
    assert "Blur" in registry
    assert "blur" not in registry
    entry = registry.entry("Blur")
    assert (entry.name, entry.owner, entry.summary, entry.metadata) == (
        "GaussianBlur",
        "blur-package",
        "soft",
        {"year": 1},
    )
    assert registry.build("Blur", radius=3) == Blur(radius=3)


def test_an_unknown_name_suggests_near_ones_whatever_their_case(registry):
    with pytest.raises(
        UnknownNameError,
        match=r"^Unknown transform 'gaussianblr'\. Did you mean 'GaussianBlur'\? Known: Box",
    ):
        registry.entry("gaussianblr")
    with pytest.raises(
        UnknownNameError, match=r"^Unknown transform 'Zoom'\. Known: BoxBlur, GaussianBlur\.$"
    ):
        registry.build("Zoom")


def test_a_long_registry_names_the_command_that_lists_it():
    models = Registry("model", "ppclas models list")
    models.register("ResNet50", Blur)
    with pytest.raises(
        UnknownNameError, match=r"Did you mean 'ResNet50'\? Run 'ppclas models list' to see all 1\."
    ):
        models.entry("Resnet51")


def test_an_empty_registry_says_what_to_install():
    with pytest.raises(
        UnknownNameError,
        match=r"No installed package registers any model\. Try: pip install ppclas-models",
    ):
        Registry("model").entry("ResNet50")


@pytest.mark.parametrize("name", ["GaussianBlur", "Blur"])
@pytest.mark.parametrize("as_alias", [False, True])
def test_a_taken_name_or_alias_is_refused_with_both_owners(registry, name, as_alias):
    names = ("Mine", (name,)) if as_alias else (name, ())
    with (
        pytest.raises(
            PluginError,
            match=rf"'{name}' is registered twice: by blur-package and by stranger\. Uninstall",
        ),
        registry.owned_by("stranger"),
    ):
        registry.register(names[0], Blur, aliases=names[1])
    assert registry.names() == ["GaussianBlur", "BoxBlur"]


def test_a_failing_owner_is_rolled_back_and_the_next_one_has_its_own_name(registry):
    def fill_and_fail():
        with registry.owned_by("stranger"):
            registry.register("New", Blur, aliases=("Newer",))
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fill_and_fail()
    assert "New" not in registry
    assert "Newer" not in registry
    registry.register("Own", Blur)
    assert registry.entry("Own").owner == "ppclas-core"


def test_dropping_an_owner_takes_its_names_and_aliases(registry):
    registry.register("Own", Blur)
    registry.drop("blur-package")
    assert registry.names() == ["Own"]
    assert "Blur" not in registry


def test_strings_are_imported_on_use_only():
    registry = Registry("transform")
    registry.register("Lazy", "collections:Counter")
    registry.register("Gone", "no_such_module_here:Thing")
    assert registry.build("Lazy", a=2) == {"a": 2}
    with pytest.raises(
        PluginError,
        match=r"'no_such_module_here:Thing' is registered and cannot be imported \(No module",
    ):
        registry.build("Gone")


def test_what_a_string_can_name():
    assert resolve("collections:OrderedDict.fromkeys")("a") == {"a": None}
    assert resolve(len) is len
    with pytest.raises(PluginError, match=r"collections has no 'Missing'\. Mend the plugin"):
        resolve("collections:Missing")


def test_parameters_come_from_the_builder_or_beside_it():
    registry = Registry("model")
    registry.register("Component", Blur)
    registry.register("Function", dict, params=Blur)
    assert registry.entry("Component").params_model() is Blur
    assert registry.entry("Function").params_model() is Blur


def test_a_builder_that_knows_its_parameters_is_asked():
    class Lazy:
        def params_model(self):
            return Blur

        def __call__(self, **params):
            return params

    registry = Registry("model")
    registry.register("Model", Lazy())
    assert registry.entry("Model").params_model() is Blur


def test_loose_names_ignore_case_and_separators_and_an_exact_one_comes_first():
    models = Registry("model", "ppclas models list", loose=True)
    for name, size in (("Net_x2_0", 40), ("Net_x1_0", 10), ("NET", 90), ("Other50", 1)):
        models.register(name, Blur, metadata={"params": size})
    models.register("net", Blur, aliases=("other_name",))
    assert models.entry("NET").name == "NET"
    assert models.entry("net").name == "net"
    assert models.entry("net-x1.0").name == "Net_x1_0"
    assert models.entry("OtherName").name == "net"
    assert "net-x1.0" in models
    assert "Net" not in models  # NET or net?
    with pytest.raises(UnknownNameError, match="lightest first: Net_x1_0, Net_x2_0, NET, net"):
        models.entry("Net")
    with pytest.raises(UnknownNameError, match="Did you mean 'Other50'"):
        models.entry("other5")
