"""What some models keep from one call to the next, found by what a pass leaves behind."""

from dataclasses import dataclass

from torch import Tensor, nn

Attributes = dict[tuple[nn.Module, str], Tensor | None]


@dataclass(frozen=True)
class KeptState:
    """An attribute that a pass changes, and what it was before.

    Attributes:
        module: whose.
        name: of the attribute.
        value: before the first pass.
    """

    module: nn.Module
    name: str
    value: Tensor | None

    def reset(self) -> None:
        """Make it what it was before the first pass."""
        setattr(self.module, self.name, self.value)


def tensor_attributes(model: nn.Module) -> Attributes:
    """Attributes of all modules that are tensors, or None and may become so; no parameters."""
    return {
        (module, name): value
        for module in model.modules()
        for name, value in {**vars(module), **module._buffers}.items()  # noqa: SLF001
        if value is None or isinstance(value, Tensor)
    }


def find_kept_state(model: nn.Module, before: Attributes) -> tuple[KeptState, ...]:
    """Attributes that are other tensors than `before` a pass, which `tensor_attributes` told."""
    return tuple(
        KeptState(module, name, before.get((module, name)))
        for (module, name), value in tensor_attributes(model).items()
        if value is not None and value is not before.get((module, name))
    )
