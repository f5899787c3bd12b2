"""The Open Inference Protocol v2 over REST, as far as one model needs it.

https://github.com/kserve/open-inference-protocol/blob/main/specification/protocol/inference_rest.md
"""

NUMERIC = {
    "BOOL", "UINT8", "UINT16", "UINT32", "UINT64", "INT8", "INT16", "INT32", "INT64", "FP16", "FP32", "FP64",
}


class Invalid(Exception):
    """A request the protocol does not allow; the text says why."""


def flatten(data):
    """A tensor's data may be nested by rows or flat."""
    if not isinstance(data, list):
        return [data]
    return [value for row in data for value in flatten(row)]


def images(request, pixels):
    """The rows of the one input of an inference request, each with `pixels` numbers."""
    if not isinstance(request, dict):
        raise Invalid("the request is not a JSON object")
    inputs = request.get("inputs")
    if not isinstance(inputs, list) or len(inputs) != 1 or not isinstance(inputs[0], dict):
        raise Invalid("`inputs` must hold exactly one tensor")
    tensor = inputs[0]
    if tensor.get("datatype") not in NUMERIC:
        raise Invalid(f"`datatype` must be numeric, not {tensor.get('datatype')!r}")
    shape = tensor.get("shape")
    if not isinstance(shape, list) or len(shape) != 2 or shape[1] != pixels or not isinstance(shape[0], int):
        raise Invalid(f"`shape` must be [n, {pixels}], not {shape!r}")
    values = flatten(tensor.get("data"))
    if len(values) != shape[0] * pixels or not values:
        raise Invalid(f"`data` holds {len(values)} values, `shape` says {shape[0] * pixels}")
    if not all(isinstance(value, (int, float)) for value in values):
        raise Invalid("`data` must hold numbers only")
    return [values[at:at + pixels] for at in range(0, len(values), pixels)]


def answer(name, version, request, labels, confidence):
    """An inference response."""
    body = {"model_name": name, "model_version": version}
    if isinstance(request.get("id"), str):
        body["id"] = request["id"]
    body["outputs"] = [
        {"name": "label", "shape": [len(labels)], "datatype": "INT64", "data": labels},
        {"name": "confidence", "shape": [len(confidence)], "datatype": "FP64", "data": confidence},
    ]
    return body


def metadata(name, version, pixels):
    """What the model takes and gives."""
    return {
        "name": name,
        "versions": [version],
        "platform": "sklearn",
        "inputs": [{"name": "image", "datatype": "FP32", "shape": [-1, pixels]}],
        "outputs": [
            {"name": "label", "datatype": "INT64", "shape": [-1]},
            {"name": "confidence", "datatype": "FP64", "shape": [-1]},
        ],
    }
