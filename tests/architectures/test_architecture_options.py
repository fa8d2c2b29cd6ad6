"""The section ``architecture`` of an experiment: every wrong name or value is told in one line, used or not."""

from __future__ import annotations

import pytest

from crosstask.architectures import ARCHITECTURES
from crosstask.architectures.options import ELSEWHERE, accepted_options, check_options, options_of
from crosstask.errors import InputError

RUN = ["stl", "hps"]


@pytest.mark.parametrize(
    ("section", "said"),
    [
        ({"ctna": {"scaled_bottleneck": True}}, ["architecture.ctna: no such option", "did you mean 'ctan'?", "mtan"]),
        ({"CTAN": {}}, ["did you mean 'ctan'?"]),
        ({"encoder": "resnet18"}, ["architecture.encoder: ", "encoder.name"]),
        ({"hps": {"in_channels": 3}}, ["architecture.hps.in_channels: ", "dataset.windows"]),
        ({"auxiliary": {"major": "sick"}}, ["architecture.auxiliary.major: ", "the key major"]),
        ({"hps": 3}, ["architecture.hps: 3 is not accepted", "upsampling_blocks"]),
        ({"hps": ["upsampling_blocks"]}, ["architecture.hps: ", "mapping"]),
        (3, ["architecture: 3 is not accepted", "mapping"]),
        ({"upsampling_block": 4}, ["did you mean 'upsampling_blocks'?"]),
        ({"upsampling_blocks": 7}, ["architecture.upsampling_blocks: 7", "3, 4 or 5"]),
        ({"upsampling_blocks": "many"}, ["architecture.upsampling_blocks: 'many'", "whole number"]),
        ({"ctan": {"upsampling_blocks": 7}}, ["architecture.ctan.upsampling_blocks: 7"]),
        (
            {"ctan": {"scaled_botleneck": True}},
            ["architecture.ctan.scaled_botleneck: ", "did you mean 'scaled_bottleneck'?"],
        ),
        ({"ctan": {"scaled_bottleneck": "maybe"}}, ["architecture.ctan.scaled_bottleneck: 'maybe'", "true or false"]),
        ({"auxiliary": {"fc1": 0}}, ["architecture.auxiliary.fc1: 0", "1 or more"]),
        ({"auxiliary": {"fc1": True}}, ["architecture.auxiliary.fc1: True", "whole number"]),
        ({"auxiliary": {"dropout": 1.5}}, ["architecture.auxiliary.dropout: 1.5", "below 1"]),
        (
            {"scaled_bottleneck": True},
            ["option of ctan, ctan-gated alone", "write architecture.ctan.scaled_bottleneck"],
        ),
        ({1: 2}, ["architecture.1: no such option"]),
    ],
)
def test_what_no_architecture_takes_is_one_line(section: object, said: list[str]) -> None:
    with pytest.raises(InputError) as caught:
        check_options(section, RUN)
    message = str(caught.value)
    assert "\n" not in message
    for part in said:
        assert part in message


@pytest.mark.parametrize("name", list(ARCHITECTURES))
def test_the_advice_for_each_option_works(name: str) -> None:
    """Whatever is listed as accepted is accepted where it is said to stand, and reaches that architecture alone."""
    values: dict[str, object] = {
        "dropout": 0.25,
        "scaled_bottleneck": True,
        "open_masks": False,
        "pool_first": True,
        "units": "layer",
        "order": ["dose", "organs"],
        "upsampling_blocks": 4,
    }
    values |= {"form": "paper", "fully_connected": "imagenet"}
    for option in accepted_options(name):
        value = values.get(option, 7)
        section = {name: {option: value}}
        assert options_of(section, name) == {option: value}
        assert all(options_of(section, other) == {} for other in ARCHITECTURES if other != name)
    assert not set(accepted_options(name)) & set(ELSEWHERE)


def test_values_as_yaml_writes_them_become_the_right_type() -> None:
    section = {"upsampling_blocks": "5", "auxiliary": {"dropout": "1e-1", "fc1": None}, "ctan": None}
    assert options_of(section, "auxiliary") == {"upsampling_blocks": 5, "dropout": 0.1}
    assert options_of(section, "ctan") == {"upsampling_blocks": 5}


def test_an_option_of_all_that_are_run_needs_no_section() -> None:
    assert check_options({"fc1": 64}, ["auxiliary"]) == {"fc1": 64}
    with pytest.raises(InputError, match=r"option of auxiliary alone; write architecture\.auxiliary\.fc1"):
        check_options({"fc1": 64}, ["stl", "auxiliary"])
