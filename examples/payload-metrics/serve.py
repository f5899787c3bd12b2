#!/usr/bin/env python3
"""Trains a version of the model `digits` and serves it with MLServer.

    serve.py logreg      on the ports that MLSERVER_HTTP_PORT and MLSERVER_GRPC_PORT name

An imputer in front fills in pixels that a request lacks, so that such requests are answered like others.
"""
import json
import os
import pathlib
import sys
import tempfile

import joblib
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "models"))
import digits  # noqa: E402


def main():
    version = sys.argv[1]
    folder = pathlib.Path(tempfile.mkdtemp(prefix="digits-"))
    (images, labels), _ = digits.data()
    model = make_pipeline(SimpleImputer(), digits.models()[version]).fit(images, labels)
    joblib.dump(model, folder / "model.joblib")
    settings = {
        "name": "digits",
        "implementation": "mlserver_sklearn.SKLearnModel",
        "parameters": {"uri": "./model.joblib", "version": version},
    }
    (folder / "model-settings.json").write_text(json.dumps(settings))
    # No process of its own for one small model, and no listener for metrics.
    (folder / "settings.json").write_text(json.dumps({"parallel_workers": 0, "metrics_endpoint": None}))
    mlserver = pathlib.Path(sys.executable).with_name("mlserver")
    os.execv(mlserver, [mlserver, "start", folder])


if __name__ == "__main__":
    main()
