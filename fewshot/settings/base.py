"""Bases of all settings. A method and a backbone declare their own in their own file."""

from pydantic import BaseModel, ConfigDict, Field


class Immutable(BaseModel):
    """Immutable settings; unknown names and defaults out of range are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)


class MethodSettings(Immutable):
    """The settings of a method that has none of its own."""

    name: str = Field(description="a method (see `fewshot methods`), or your own: my_module:Net or my_net.py:Net")


class BackboneSettings(Immutable):
    """The settings of a backbone that has none of its own."""

    name: str = Field(description="a backbone, or your own: my_module:Net or my_net.py:Net")

    @property
    def is_encoder(self) -> bool:
        """True for a pretrained network that stays as it is, whose features are computed once."""
        return False

    @property
    def weights_sha256(self) -> str:
        """SHA-256 of a file of the user's that its weights come from; "" for none."""
        return ""

    def without_download(self) -> "BackboneSettings":
        """The same network without published weights, for one whose weights are about to be loaded."""
        return self
