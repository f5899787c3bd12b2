"""The files for Istio and Envoy Gateway have the fields that the kinds in them have.

Istio's kinds by models that a package generates from its CRDs; the others by `fields.yaml`.
"""

import copy
import pathlib
import unittest

import pydantic
import yaml
from cloudcoil.models.istio.extensions.v1alpha1 import WasmPlugin
from cloudcoil.models.istio.networking.v1 import VirtualService
from cloudcoil.models.istio.networking.v1alpha3 import EnvoyFilter

HERE = pathlib.Path(__file__).parent
ENVOY = HERE.parents[1] / "envoy"
MODELS = {
    ("extensions.istio.io/v1alpha1", "WasmPlugin"): WasmPlugin,
    ("networking.istio.io/v1", "VirtualService"): VirtualService,
    ("networking.istio.io/v1alpha3", "EnvoyFilter"): EnvoyFilter,
}
TYPES = {"text": str, "number": int, "boolean": bool}


def kind(resource):
    return resource["apiVersion"], resource["kind"]


TABLE = {kind(entry): entry["fields"] for entry in yaml.safe_load((HERE / "fields.yaml").read_text())}
METADATA = {"name!": "text", "namespace": "text", "labels": {"*": "text"}, "annotations": {"*": "text"}}


def problems(resource):
    """What is wrong with a resource, one line each."""
    if kind(resource) in MODELS:
        return list(by_model(resource, MODELS[kind(resource)]))
    if kind(resource) in TABLE:
        head = {"apiVersion!": "text", "kind!": "text", "metadata!": METADATA}
        return list(by_table(resource, {**head, **TABLE[kind(resource)]}, ""))
    return [f"{kind(resource)}: unknown kind"]


def by_model(resource, model):
    """The models check types and pass over fields that they do not know: what they give back lacks those."""
    try:
        known = model.model_validate(resource).model_dump(mode="json", by_alias=True, exclude_unset=True)
    except pydantic.ValidationError as error:
        yield from (f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors())
    else:
        yield from differences(resource, known, "")


def differences(given, known, path):
    if isinstance(given, dict) and isinstance(known, dict):
        for name, value in given.items():
            if name in known:
                yield from differences(value, known[name], f"{path}.{name}")
            else:
                yield f"{path}.{name}: unknown field"
    elif isinstance(given, list) and isinstance(known, list):
        for index, (one, other) in enumerate(zip(given, known)):
            yield from differences(one, other, f"{path}[{index}]")
    elif given != known:
        yield f"{path}: {given!r} was read as {known!r}"


def by_table(value, form, path):
    if form == "any":
        return
    if isinstance(form, dict):
        yield from fields_by_table(value, form, path)
    elif isinstance(form, list):
        if not isinstance(value, list):
            yield f"{path}: no list"
            return
        for index, element in enumerate(value):
            yield from by_table(element, form[0], f"{path}[{index}]")
    else:
        name, _, choices = form.partition(" = ")
        if type(value) is not TYPES[name]:
            yield f"{path}: no {name}"
        elif choices and value not in choices.split(" | "):
            yield f"{path}: {value!r} is none of {choices}"


def fields_by_table(value, form, path):
    if not isinstance(value, dict):
        yield f"{path}: no object"
        return
    forms = {name.removesuffix("!"): inner for name, inner in form.items()}
    for name, inner in value.items():
        if name in forms or "*" in forms:
            yield from by_table(inner, forms.get(name, forms.get("*")), f"{path}.{name}")
        else:
            yield f"{path}.{name}: unknown field"
    for name in form:
        if name.endswith("!") and name[:-1] not in value:
            yield f"{path}.{name[:-1]}: missing"


def shipped(file):
    return list(yaml.safe_load_all((ENVOY / file).read_text()))


def resource(file, wanted):
    return next(copy.deepcopy(each) for each in shipped(file) if each["kind"] == wanted)


class ShippedTest(unittest.TestCase):
    def test_every_field_is_published(self):
        for file, count in [("istio.yaml", 4), ("envoy-gateway.yaml", 5)]:
            resources = shipped(file)
            self.assertEqual(len(resources), count)
            for each in resources:
                self.assertEqual(problems(each), [], (file, each["kind"]))


class MistakesTest(unittest.TestCase):
    """The checks find what they are there for."""

    def test_in_istios_kinds(self):
        plugin = resource("istio.yaml", "WasmPlugin")
        plugin["spec"]["pluginConfiguration"] = plugin["spec"].pop("pluginConfig")
        self.assertEqual(problems(plugin), [".spec.pluginConfiguration: unknown field"])
        plugin = resource("istio.yaml", "WasmPlugin")
        plugin["spec"]["failStrategy"] = "OPEN"
        self.assertIn("spec.failStrategy: Input should be", problems(plugin)[0])
        plugin = resource("istio.yaml", "WasmPlugin")
        del plugin["spec"]["url"]
        self.assertEqual(problems(plugin), ["spec.url: Field required"])
        patches = resource("istio.yaml", "EnvoyFilter")
        patches["spec"]["configPatches"][1]["match"]["routeConfiguration"]["virtualHost"] = {}
        path = ".spec.configPatches[1].match.routeConfiguration.virtualHost"
        self.assertEqual(problems(patches), [f"{path}: unknown field"])

    def test_in_the_table(self):
        policy = resource("envoy-gateway.yaml", "EnvoyExtensionPolicy")
        wasm = policy["spec"]["wasm"][0]
        wasm["rootId"] = wasm.pop("rootID")
        wasm["failOpen"] = "true"
        wasm["code"]["type"] = "ConfigMap"
        del wasm["code"]["image"]["url"]
        self.assertEqual(sorted(problems(policy)), [
            ".spec.wasm[0].code.image.url: missing",
            ".spec.wasm[0].code.type: 'ConfigMap' is none of HTTP | Image",
            ".spec.wasm[0].failOpen: no boolean",
            ".spec.wasm[0].rootId: unknown field",
        ])
        self.assertEqual(problems({"apiVersion": "v1", "kind": "Secret"}), ["('v1', 'Secret'): unknown kind"])


if __name__ == "__main__":
    unittest.main()
