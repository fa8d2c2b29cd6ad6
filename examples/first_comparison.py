"""From a table of images to a comparison of methods and a prediction of an array."""

import numpy as np

import crosstask as ct

cohort = ct.describe_table("pictures/table.csv")  # writes cohort.yaml: read it, correct it
comparison = ct.benchmark(
    {
        "name": "first",
        "dataset": {"name": "cohort", "root": cohort, "tasks": ["segmentation", "malignant"], "windows": [[0, 255]]}
        | {"splits": {"rule": "drawn", "stratify": "malignant"}},
        "sample": {"kind": "image", "size": [32, 32]},
        "encoder": {"name": "resnet18-narrow"},
        "training": {"epochs": 10, "batch_size": 4, "learning_rate": 1e-3, "threads": 1},
        "evaluation": {"least_positives": 1},  # a handful of pictures: count every class, however rare
        "methods": ["stl", "hps", "ctan+equal"],
        "seeds": [0],  # of the five by default, to be quick: one run each has no verdict
    }
)
print(comparison)
print(comparison.table[["method", "task", "value", "improvement_percent"]])
run = ct.load_run(comparison.runs["hps/seed0"])
prediction = run.predict(np.full((40, 56), 128.0))
print(prediction.labels, {name: mask.sum() for name, mask in prediction.masks("segmentation").items()})
