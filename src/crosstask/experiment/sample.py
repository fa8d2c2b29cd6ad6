"""What a network sees once."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, PositiveFloat, PositiveInt, field_validator, model_validator

from crosstask.experiment.section import Section


class LesionSection(Section):
    """Patches of a lesion in a volume, as Fang et al. (2019) take them (sections 2.2 and 2.3)."""

    outline: str = Field(default="segmentation", description="case array of masks, whose voxels are the lesion")
    spacing: PositiveFloat = Field(default=0.5, description="of a patch's pixels, in mm")
    pixels: PositiveInt = Field(default=64, description="of a patch's side, before it is resized to sample.size")
    per_case: PositiveInt = Field(
        default=100, description="training patches of a case, at random places inside the lesion, in random planes"
    )
    copies: int = Field(default=2, ge=0, description="further copies of each, randomly shifted and rotated")
    shift: float = Field(default=4.0, ge=0, description="largest shift of a copy along each axis of its plane, in mm")
    rotate: float = Field(default=180.0, ge=0, le=180, description="largest rotation of a copy, in degrees")


class SampleSection(Section):
    """What a network sees once."""

    kind: Literal["slice", "patch", "image", "volume", "lesion"] = Field(
        default="slice",
        description="of volumes: axial slices (2-D), patches (3-D), the whole volume (3-D) or patches of a lesion in "
        "planes (2-D); of images: image",
    )
    size: list[PositiveInt] = Field(
        default=[128, 128], description="slice, image, volume, lesion: resized to this; patch: voxels z y x"
    )
    lesion: LesionSection = LesionSection()

    @field_validator("size")
    @classmethod
    def _even(cls, size: list[int]) -> list[int]:
        if any(length % 2 or length < 16 for length in size):
            raise ValueError("lengths must be even and at least 16")
        return size

    @model_validator(mode="after")
    def _axes(self) -> SampleSection:
        axes = {"slice": 2, "patch": 3, "image": 2, "volume": 3, "lesion": 2}[self.kind]
        if len(self.size) != axes:
            raise ValueError(f"a {self.kind} has {axes} lengths, size {self.size} has {len(self.size)}")
        return self

    @property
    def case_dims(self) -> int:
        """Axes of the cases that such samples are taken from."""
        return 2 if self.kind == "image" else 3
