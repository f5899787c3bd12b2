"""Classifiers of handwritten digits: one task, versions that really differ."""

from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler
from sklearn.svm import SVC

PIXELS = 64


def models():
    """The versions there are: a linear model, and one that is not and makes about a third of its errors."""
    return {
        "logreg": make_pipeline(MinMaxScaler(), LogisticRegression(max_iter=200)),
        "svm": SVC(gamma=0.001),
    }


def data():
    """(training images, training labels), (images for requests, their labels): halves of scikit-learn's set."""
    images, labels = load_digits(return_X_y=True)
    half = len(images) // 2
    return (images[:half], labels[:half]), (images[half:], labels[half:])


def train(name):
    """A trained classifier; takes well under a second."""
    (images, labels), _ = data()
    return models()[name].fit(images, labels)


def classify(model, images):
    """Labels, and how sure the model is of each: the softmax of its scores, 0 to 1."""
    import numpy as np

    scores = model.decision_function(images)
    weights = np.exp(scores - scores.max(axis=1, keepdims=True))
    confidence = weights.max(axis=1) / weights.sum(axis=1)
    return model.classes_[scores.argmax(axis=1)].tolist(), confidence.tolist()
