"""``crosstask predict``: images to files, by a trained run, all seeds of a method, or a packed model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

from crosstask.cli.options import SPLITS, WEIGHTS, Device, Json, Weights
from crosstask.cli.showing import one_of, show_predicted

SOME_SKIPPED = 3
"""Exit code where some cases are predicted and others could not be."""

_Run = Annotated[
    Path,
    typer.Argument(
        help="Run folder, packed model, or with --method a benchmark: its output folder or experiment.",
        metavar="RUN_OR_BENCHMARK",
    ),
]
_Paths = Annotated[
    list[Path],
    typer.Argument(
        help="What to predict: image files, folders of them, tables that name them, or a raw data set.",
        metavar="PATH...",
    ),
]
_Output = Annotated[Path, typer.Option("--output", "-o", help="Folder: new, empty, or of this run.")]
_Ensemble = Annotated[
    bool, typer.Option("--ensemble", help="Insist on two seeds or more; a benchmark predicts with all in any case.")
]
_Method = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option(
        help="Of a benchmark: the method, all seeds of which predict as one: mean, and how far apart they are."
    ),
]
_Image = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option(
        help="Of a folder only these files, e.g. '*/ct.nii.gz'; of a table the column that names the images, or a "
        "pattern such as 'scans/{id}.png'."
    ),
]
_Tta = Annotated[
    bool,
    typer.Option("--tta", help="Mean over images mirrored along the axes that training flipped (evaluation.tta)."),
]
_Probabilities = Annotated[
    bool, typer.Option("--probabilities", help="Write probabilities too, not only what they amount to.")
]
_Case = Annotated[Optional[list[str]], typer.Option(help="Only this case; may be repeated.")]  # noqa: UP045
_Split = Annotated[Optional[str], typer.Option(help="Only this split.")]  # noqa: UP045
_Format = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option(
        help="openkbp (pt_N.csv, the challenge's submission), dicom (RTSTRUCT, RTDOSE, SEG, NIfTI and a page), "
        "nifti (volumes on the grid of their files), png (masks of images), overlay (drawn over them), npz "
        "(arrays) or csv (labels of whole cases); default: what fits the images."
    ),
]
_Onnx = Annotated[
    Optional[Path],  # noqa: UP045
    typer.Option(help="Compute with this network of the run, made by export, and ONNX Runtime."),
]
_Plan = Annotated[
    Optional[list[str]],  # noqa: UP045
    typer.Option(help="Of a patient's DICOM plans the one of this label or UID; may be repeated."),
]
_Series = Annotated[
    Optional[list[str]],  # noqa: UP045
    typer.Option(help="Of a patient's CTs the one of this description, number or UID; may be repeated."),
]


def predict(
    run: _Run,
    paths: _Paths,
    output: _Output,
    ensemble: _Ensemble = False,
    method: _Method = None,
    image: _Image = None,
    tta: _Tta = False,
    probabilities: _Probabilities = False,
    case: _Case = None,
    split: _Split = None,
    format: _Format = None,
    weights: Weights = None,
    device: Device = "auto",
    onnx: _Onnx = None,
    plan: _Plan = None,
    series: _Series = None,
    as_json: Json = False,
) -> None:
    """Predict images with a trained run, all seeds of a method, or a packed model; goes on where it was stopped.

    The exit code is 0 if all cases are predicted, 3 if some are and others could not be (each is told in a line), and 2
    or 1 if none is.
    """
    one_of("--weights", weights, WEIGHTS)
    if split is not None:
        one_of("--split", split, SPLITS)
    from crosstask.cli.listening import Terminal
    from crosstask.cli.packing import tell_packed
    from crosstask.pipeline.predicting import predict_cases
    from crosstask.pipeline.subject import runs_to_predict

    tell_packed(run)
    predicted = predict_cases(
        runs_to_predict(run, method, ensemble=ensemble),
        paths,
        output,
        image=image,
        tta=tta,
        probabilities=probabilities,
        cases=case or (),
        split=split,
        kind=format,
        weights=weights,
        device=device,
        onnx=onnx,
        plan=plan or (),
        series=series or (),
        listener=Terminal(),
    )
    show_predicted(predicted, as_json=as_json)
    if predicted.failed:
        raise typer.Exit(SOME_SKIPPED)
