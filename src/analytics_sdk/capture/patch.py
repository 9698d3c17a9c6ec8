"""One wrapper in the place of an attribute of a class or module, and what stood there before."""

from dataclasses import dataclass
from typing import Any
from weakref import WeakSet

ABSENT = object()


@dataclass(slots=True, eq=False, weakref_slot=True)
class Patch:
    """An attribute that was replaced."""

    owner: Any
    name: str
    original: object
    """What stood in the owner's own namespace, or ABSENT where it was inherited."""
    wrapper: object
    users: int = 1
    """How many instrumentations track this place: the last one that is undone puts back what stood there."""

    def undo(self) -> None:
        """Be used by one less, and put back what stood there where that was the last."""
        self.users -= 1
        if self.users or vars(self.owner).get(self.name) is not self.wrapper:
            return  # because another still needs it, or somebody has put another thing there, and that is theirs
        if self.original is ABSENT:
            delattr(self.owner, self.name)
        else:
            setattr(self.owner, self.name, self.original)


_standing: WeakSet[Patch] = WeakSet()


def put(owner: Any, name: str, wrapper: object) -> Patch:
    """Put a wrapper there.

    Raises:
        TypeError, AttributeError: the owner does not allow it.
    """
    original = vars(owner).get(name, ABSENT)
    setattr(owner, name, wrapper)
    patch = Patch(owner, name, original, vars(owner)[name])
    _standing.add(patch)
    return patch


def shared(wrapper: object) -> list[Patch]:
    """The patch that put this wrapper where it stands, for one more user; empty where no patch did."""
    found = [patch for patch in _standing if patch.users and patch.wrapper is wrapper]
    for patch in found:
        patch.users += 1
    return found
