"""The cards of a packed model, in Markdown: what the model is, and what it has learned from.

The head of the model card is the YAML that model hubs read.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from crosstask.report.tables import markdown_table

UNKNOWN = "unknown"
_PIPELINES = {"segmentation": "image-segmentation", "classification": "image-classification"}
_KINDS = {
    "segmentation": "outlines, pixel by pixel",
    "regression": "a quantity, pixel by pixel",
    "classification": "classes of the whole case",
    "scalar": "a number of the whole case",
}


@dataclass(frozen=True)
class Figure:
    """A figure of the model.

    Attributes:
        task, metric, unit, value: what it is; of a verdict the value is the improvement over the baseline in percent.
        low, high: 95 % interval; NaN where there is none.
        of: ``benchmark`` (mean of the seeds in the comparison's table), ``ensemble`` (all seeds as one), ``verdict``
            (of the comparison), or ``runs`` (from the scores of these runs alone).
        seeds, cases: how many; 0 where that is not known.
        deviation: over the seeds.
        verdict, baseline, covers: of a verdict: its words, against which method, and what the interval covers.
    """

    task: str
    metric: str
    unit: str
    value: float
    of: str
    low: float = math.nan
    high: float = math.nan
    seeds: int = 0
    cases: int = 0
    deviation: float = math.nan
    verdict: str = ""
    baseline: str = ""
    covers: str = ""


def model_card(about: Mapping[str, Any], figures: Sequence[Figure]) -> str:
    """``README.md`` of a packed model.

    Args:
        about: what ``pack.json`` says.
        figures: of the model.
    """
    head = yaml.safe_dump(_head(about, figures), sort_keys=False, allow_unicode=True)
    parts = [
        f"# {about['name']}",
        _what(about),
        "## Intended use and limits",
        _use(about),
        "## Figures",
        *_figures(about, figures),
        "## What it takes",
        _takes(about),
        "## What it gives",
        _gives(about),
        "## How to predict",
        _how(about),
        "## Trained on",
        f"{about['data']['name']}, {_numbers(about['data']['numbers'])}; see [DATA.md](DATA.md).",
        "## Licence",
        _licence(about),
    ]
    return f"---\n{head}---\n\n" + "\n\n".join(parts) + "\n"


def _head(about: Mapping[str, Any], figures: Sequence[Figure]) -> dict[str, Any]:
    kinds = [task["kind"] for task in about["tasks"]]
    head: dict[str, Any] = {
        "license": about["license"] or UNKNOWN,
        "library_name": "crosstask",
        "tags": ["crosstask", "medical-imaging", "multi-task-learning", about["method"], *dict.fromkeys(kinds)],
    }
    pipeline = next((_PIPELINES[kind] for kind in kinds if kind in _PIPELINES), None)
    if pipeline is not None:
        head["pipeline_tag"] = pipeline
    shown = [figure for figure in figures if figure.of == "benchmark"] or [f for f in figures if f.of == "runs"]
    head["metrics"] = list(dict.fromkeys(figure.metric for figure in shown))
    if results := [
        {
            "task": {"type": _PIPELINES.get(kind, "other"), "name": figure.task},
            "dataset": {"type": about["data"]["name"], "name": f"{about['experiment']}, test cases"},
            "metrics": [{"type": figure.metric, "name": _metric(figure), "value": round(figure.value, 4)}],
        }
        for figure in shown
        for kind in [task["kind"] for task in about["tasks"] if task["name"] == figure.task]
        if math.isfinite(figure.value)
    ]:
        head["model-index"] = [{"name": about["name"], "results": results}]
    return head


def _what(about: Mapping[str, Any]) -> str:
    count = len(about["models"])
    several = f" {count} networks predict together, and their mean is given ({_seeds(about)})." if count > 1 else ""
    tasks = "; ".join(f"{task['name']}: {_KINDS.get(task['kind'], task['kind'])}" for task in about["tasks"])
    return (
        f"{about['label']} on {about['encoder']}, {about['parameters']:,} parameters in all, weights "
        f"`{about['weights']}`, trained with Crosstask.{several} It predicts {tasks}."
    )


def _seeds(about: Mapping[str, Any]) -> str:
    seeds = ", ".join(map(str, about["seeds"]))
    return f"seed{'s' if len(about['seeds']) > 1 else ''} {seeds}"


def _use(about: Mapping[str, Any]) -> str:
    numbers = about["data"]["numbers"]
    limits = [
        "For research: to repeat a result, to compare methods, to start from. **It is no medical device, and nothing "
        "that it predicts is for clinical use.**",
        f"It knows images like those of {about['data']['name']} and no others: "
        f"{numbers.get('train', 'an unknown number of')} training cases. The figures below are of cases of the same "
        "origin; how it does with another scanner, camera, hospital or group of patients they do not say. With labels "
        "of your own you can measure it.",
        "It cannot say that an image is none that it should be asked about. What does not fit in kind, channels, "
        "values or spacing is refused; all else gets an answer.",
    ]
    if any(task["kind"] == "classification" for task in about["tasks"]):
        limits.append(
            "Probabilities follow the shares of classes among the training cases, which need not be those of others."
        )
    return "\n".join(f"- {limit}" for limit in limits)


def _figures(about: Mapping[str, Any], figures: Sequence[Figure]) -> Iterator[str]:
    """Sections of the figures; what is not known is said."""
    verdicts = [figure for figure in figures if figure.of == "verdict"]
    if verdicts:
        yield "**What the comparison says of the method.** " + " ".join(map(_verdict, verdicts))
    elif any(figure.of == "benchmark" for figure in figures):
        yield "**What the comparison says of the method.** It is the baseline, or the only one: there is no verdict."
    else:
        yield "No comparison was kept beside the run, so there is no verdict."
    for of, title in (
        ("benchmark", "In the comparison: mean of the seeds on the test cases, and its deviation over seeds."),
        ("ensemble", "All seeds as one, with a 95 % interval over the test cases alone."),
        (
            "runs",
            "By what the packed runs have kept of their test cases, with a 95 % interval over these alone: of whole "
            "cases all runs together, as they predict here; pixel by pixel the mean of each alone.",
        ),
    ):
        own = [figure for figure in figures if figure.of == of]
        if own:
            rows = [(f.task, f.metric, _value(f), _interval(f), str(f.seeds or ""), str(f.cases or "")) for f in own]
            table = markdown_table(["Task", "Metric", "Value", "95 %", "Seeds", "Cases"], rows)
            yield f"{title}\n\n{table}"
    if not any(figure.of != "verdict" for figure in figures):
        yield "The runs were never scored, so there are no figures."


def _verdict(figure: Figure) -> str:
    what = "On average over the tasks" if figure.task == "mean" else figure.task
    return (
        f"{what}: {figure.verdict}, {figure.value:+.2f} % [{figure.low:+.2f}, {figure.high:+.2f}] over "
        f"{figure.baseline.upper()} ({figure.covers}, {figure.seeds} seeds)."
    )


def _metric(figure: Figure) -> str:
    return f"{figure.metric} ({figure.unit})" if figure.unit else figure.metric


def _value(figure: Figure) -> str:
    unit = f" {figure.unit}" if figure.unit else ""
    deviation = f" ± {figure.deviation:.2f}" if math.isfinite(figure.deviation) else ""
    return f"{figure.value:.2f}{deviation}{unit}"


def _interval(figure: Figure) -> str:
    return f"[{figure.low:.2f}, {figure.high:.2f}]" if math.isfinite(figure.low) else ""


def _takes(about: Mapping[str, Any]) -> str:
    given, files = about["input"], about["input"]["files"]
    kind = "pictures" if files["dims"] == 2 else "volumes"
    windows = ", ".join(f"{low:g} to {high:g}" for low, high in given["windows"])
    lines = [
        f"{kind} with {given['channels']} channel{'s' if given['channels'] > 1 else ''}"
        + (f", in {files['files']} files" if files["files"] > 1 else ""),
        f"values: {windows}, cut beyond and scaled to [-1, 1]"
        + (f"; normalised by {given['normalisation']}" if given["normalisation"] else ""),
        f"size of what the network sees ({given['sample']}): {' x '.join(map(str, given['size']))}"
        + (f", at {' x '.join(f'{step:g}' for step in files['spacing'])} mm (z y x)" if files["spacing"] else ""),
    ]
    if spacing := about["data"].get("spacing"):
        low, high = ([f"{step:.3g}" for step in steps] for steps in spacing)
        lines.append(f"training volumes had voxels of {' x '.join(low)} to {' x '.join(high)} mm (z y x)")
    if given["structures"]:
        lines.append(f"and masks of {', '.join(given['structures'])}")
    if beams := given.get("beams"):
        angles = ", ".join(f"{angle:g}" for angle in beams["angles"])
        lines.append(
            f"and what beams at {angles} degrees irradiate, which are aimed at {', '.join(beams['targets'])} with a "
            f"margin of {beams['margin']:g} mm"
        )
    if earlier := given.get("earlier"):
        lines.append(f"and what the earlier run, which is in here too, predicts of {', '.join(earlier)}")
    if files["remark"] or files["refusal"]:
        lines.append(files["refusal"] or files["remark"])
    if given["mirrored"]:
        lines.append(f"every prediction is the mean over images mirrored along {', '.join(given['mirrored'])}")
    return "All of this is done by `predict`:\n\n" + "\n".join(f"- {line}" for line in lines)


def _gives(about: Mapping[str, Any]) -> str:
    rows = []
    for task in about["tasks"]:
        classes = ", ".join(task["classes"])
        decided = ""
        if task["thresholds"] and task["values"] == "softmax":
            decided = "the highest ratio to " + ", ".join(f"{value:.3g}" for value in task["thresholds"])
        elif task["thresholds"]:
            decided = "above " + ", ".join(f"{value:.3g}" for value in task["thresholds"])
        elif task["values"] == "softmax" or task["exclusive"]:
            decided = "the most probable"
        rows.append((task["name"], _KINDS.get(task["kind"], task["kind"]), classes, task["unit"], decided))
    return markdown_table(["Task", "What", "Classes", "Unit", "Decided"], rows)


def _how(about: Mapping[str, Any]) -> str:
    example = "scans/" if about["input"]["files"]["dims"] == 3 else "pictures/"
    pieces = [
        "```sh",
        f"crosstask predict THIS_FOLDER {example} -o predicted",
        "```",
        "",
        "```python",
        "import crosstask as ct",
        "",
        'model = ct.load_run("THIS_FOLDER")',
        "model.predict(array)  # in the values of the training images",
        "```",
    ]
    version = about["versions"]["crosstask"]
    return "\n".join(
        [*pieces, "", f"Packed by Crosstask {version}. Every file is checked against `checksums.json` first."]
    )


def _licence(about: Mapping[str, Any]) -> str:
    data = f"Data: {about['data']['licence']}, which may bind what is made of them, too."
    if about["license"]:
        return f"Weights: {about['license']}. {data}"
    return (
        "**Unknown**: whoever packed this model stated no licence of the weights. Without one you may not assume that "
        f"you may use them; ask. {data}"
    )


def _numbers(numbers: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {split}" for split, count in numbers.items()) + " cases" if numbers else "number unknown"


def data_card(about: Mapping[str, Any], digests: Mapping[str, int]) -> str:
    """``DATA.md`` of a packed model: what it has learned from, in numbers and digests.

    Args:
        about: what ``pack.json`` says.
        digests: number of digests of images, by split.
    """
    data, training = about["data"], about["training"]
    rows = [(split, str(count), str(digests.get(split, 0))) for split, count in data["numbers"].items()]
    splits = "every seed has splits of its own" if training["by_seed"] else "the same for every seed"
    augmentation = {key: value for key, value in (training["augmentation"] or {}).items() if value}
    parts = [
        f"# Data of {about['name']}",
        f"Data set `{data['name']}`. Licence: {data['licence']}. Source: {data['source']}.",
        f"Cite: {data['citation']}",
        "## Cases",
        markdown_table(["Split", "Cases", "Digests in images.json"], rows),
        f"Splits: {training['splits']}, {splits}. No group (patient, lesion) of a seed is in two of them.",
        "## Fingerprint",
        f"`{data['fingerprint']}`: of the prepared cases of the first run, labels among them. `images.json` has a "
        "digest of the pixels of each image, by split and sorted, without any name: who has an image can tell whether "
        "the model has met it, and nobody else can.",
        "## What was done to them",
        f"{training['epochs']} epochs; augmentation: "
        + (", ".join(f"{key} {value}" for key, value in augmentation.items()) or "none")
        + ". What the network sees of an image stands in the [model card](README.md).",
        "## What is not in this folder",
        "No image, no label, no name or id of a patient or case, and no path of the machine that trained it.",
    ]
    return "\n\n".join(parts) + "\n"
