#!/usr/bin/env python3
"""Trains a version of the model `digits` and serves it with MLServer; one that can break.

    serve.py svm      breaks as BREAK says, BREAK_AFTER seconds after its first request

BREAK=errors: a third of the answers are 500. BREAK=nulls: a third of them have no value, with status 200. BREAK=slow: all take half a
second longer. Empty: it does not break.
"""
import json
import os
import pathlib
import sys
import tempfile

FOLDER = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(FOLDER.parent / "models"))


def main():
    import joblib
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline

    import digits

    version = sys.argv[1]
    folder = pathlib.Path(tempfile.mkdtemp(prefix="digits-"))
    (images, labels), _ = digits.data()
    model = make_pipeline(SimpleImputer(), digits.models()[version]).fit(images, labels)
    joblib.dump(model, folder / "model.joblib")
    settings = {
        "name": "digits",
        "implementation": "breakable.Breakable",
        "parameters": {"uri": "./model.joblib", "version": version},
    }
    (folder / "model-settings.json").write_text(json.dumps(settings))
    # No process of its own for one small model, and no listener for metrics.
    (folder / "settings.json").write_text(json.dumps({"parallel_workers": 0, "metrics_endpoint": None}))
    mlserver = pathlib.Path(sys.executable).with_name("mlserver")
    os.environ["PYTHONPATH"] = str(FOLDER)
    os.execv(mlserver, [mlserver, "start", folder])


if __name__ == "__main__":
    main()
