"""The page says what the networks were made of."""

from __future__ import annotations

from pathlib import Path

from crosstask.experiment import experiment_from
from crosstask.report.networks import network_notes
from crosstask.runs import run_specs, write_record

FIGURES = {"mean": [-0.03, -0.088, -0.188], "deviation": [0.458, 0.448, 0.45]}


def test_the_page_says_form_first_weights_and_normalisation_of_each_network(tmp_path: Path) -> None:
    experiment = experiment_from(
        {
            "name": "e",
            "dataset": {"name": "phantom", "root": str(tmp_path), "tasks": ["dose"]},
            "encoder": {"name": "alexnet"},
            "variants": {
                "TL": {"encoder": {"weights": "imagenet"}},
                "OLD": {"encoder": {"weights": "a.pth"}},
                "RI": {},
            },
            "methods": ["hps"],
            "seeds": [0, 1],
            "output": str(tmp_path / "out"),
        }
    )
    plans = run_specs(experiment)
    for plan in plans:
        plan.folder.mkdir(parents=True)
        own = {} if plan.variant == "OLD" else {"form": "form paper", "normalisation": None}
        if plan.variant == "TL":
            own["normalisation"] = FIGURES
        write_record(plan.folder, {"method": "hps", "seed": plan.seed, "tasks": ["dose"], "task_state": {}, **own})
    assert network_notes(plans) == (
        "HPS + TL: alexnet, weights imagenet; inputs in [-1, 1] normalised with mean -0.03, -0.088, -0.188 and "
        "deviation 0.458, 0.448, 0.45; form paper. HPS + OLD: alexnet, weights a.pth; inputs in [-1, 1], not "
        "normalised. HPS + RI: alexnet, random weights; form paper."
    )
