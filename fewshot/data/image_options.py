"""The form in which the images of a dataset are packed."""

from typing import Literal

from pydantic import Field

from fewshot.settings.base import Immutable

Ink = Literal["auto", "dark", "bright"]
"""Letters are trained as bright ink on black. "auto" inverts a grey image whose border is bright: ink on paper."""


class ImageOptions(Immutable):
    """The form in which the images of a dataset are packed: `options` of its declaration, with those of its source."""

    side: int = Field(84, ge=8, le=1024, description="pixels; images are fitted whole into a square of this size")
    channels: Literal[1, 3] = Field(3, description="1: grey; 3: colour")
    ink: Ink = Field(
        "bright",
        description="of grey images: dark is inverted; auto: inverted if the border is bright, as with letters",
    )

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(channel, height, width) of a packed image."""
        return self.channels, self.side, self.side
