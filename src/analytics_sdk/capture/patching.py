"""`auto_instrument`: track the calls of a class or module that nobody may edit.

Each place is an attribute of a class or module. Patching puts a wrapper there and `uninstrument` puts back exactly
what stood there before, or takes the wrapper away where the attribute was inherited. What is not imported yet is
patched when it is: the import is waited for, never made.
"""

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from inspect import getattr_static
from types import FunctionType, MethodDescriptorType, MethodType, ModuleType, WrapperDescriptorType
from typing import Any

from analytics_sdk.capture.patch import ABSENT, Patch, put, shared
from analytics_sdk.capture.recovery import RecoveryTracker
from analytics_sdk.capture.trackers import StepTracker, WorkflowTracker
from analytics_sdk.capture.tracking import ControlFlow, decorate, disabled_by_environment
from analytics_sdk.capture.wrapping import CallTracker, tracker_of, wrap
from analytics_sdk.errors import AnalyticsError, TargetError
from analytics_sdk.guard import logger, trouble

DEFAULT_WORKFLOW = "execute_workflow"
DEFAULT_STEP = "_execute_node"


@dataclass(frozen=True, slots=True)
class Target:
    """A place to patch, with selectors of its own.

    `place`: a method name on the target, `"pkg.mod:Class.method"` or `"pkg.mod:function"`. `id` is the workflow_id, or
    the node_id of a step or recovery.
    """

    place: str
    _: Any = field(default=None, init=False, repr=False, compare=False, kw_only=True)
    id: object = field(default=None, kw_only=True)
    success: object = field(default=None, kw_only=True)
    error: object = field(default=None, kw_only=True)
    control_flow: ControlFlow = field(default=(), kw_only=True)
    action_type: object = field(default=None, kw_only=True)
    total_steps: object = field(default=None, kw_only=True)
    strategy: object = field(default=None, kw_only=True)
    tags: Mapping[str, object] | None = field(default=None, kw_only=True)


@dataclass(frozen=True, slots=True)
class _Request:
    """One place with what to do there. `typed` is False for a default name, which applies where it exists."""

    role: str
    target: Target
    typed: bool

    def tracker(self, func: Callable[..., Any]) -> CallTracker:
        target = self.target
        verdicts = {
            "success": target.success,
            "error": target.error,
            "control_flow": target.control_flow,
            "tags": target.tags,
        }
        if self.role == "workflow":
            return WorkflowTracker(func, workflow_id=target.id, total_steps=target.total_steps, **verdicts)
        if self.role == "step":
            return StepTracker(func, node_id=target.id, action_type=target.action_type, **verdicts)
        return RecoveryTracker(
            func,
            strategy=target.strategy,
            node_id=target.id,
            success=target.success,
            tags=target.tags,
            by_result=True,
        )


class Instrumentation:
    """What `auto_instrument` did; a context manager that undoes it on leaving.

    `pending`: places that wait for their module to be imported. `failed`: places that turned out not to exist, with
    the reason.
    """

    def __init__(self) -> None:
        self.pending: list[str] = []
        self.failed: dict[str, str] = {}
        self._patches: list[Patch] = []
        self._undo_threads: Callable[[], None] | None = None
        self._undone = False
        self._found = 0

    def __enter__(self) -> "Instrumentation":
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.uninstrument()

    def __repr__(self) -> str:
        return (
            f"<Instrumentation of {len(self._patches)} places, {len(self.pending)} pending, {len(self.failed)} failed>"
        )

    def uninstrument(self) -> None:
        """Put everything back as it was, save what another instrumentation still tracks. What is running now is still
        recorded to its end."""
        self._undone = True
        self.pending.clear()
        for patch in reversed(self._patches):
            patch.undo()
        self._patches.clear()
        if self._undo_threads is not None:
            self._undo_threads()
            self._undo_threads = None

    def _apply(self, owner: Any, name: str, request: _Request) -> None:
        """Patch one attribute of a class or module.

        Raises:
            TargetError: it is not there, or is nothing that can be called.
            SelectorError: a selector does not fit it.
        """
        static = getattr_static(owner, name, ABSENT)
        place = f"{getattr(owner, '__qualname__', owner.__name__)}.{name}"
        if static is ABSENT:
            raise TargetError(f"{place} does not exist; {_near(owner, name)}")
        func = static.__func__ if isinstance(static, staticmethod | classmethod) else static
        if isinstance(func, type) or not callable(func):
            raise TargetError(f"{place} is a {type(static).__name__}, not a function or method that can be tracked")
        if tracker_of(func) is not None:
            request.tracker(func)  # raises where the selectors are wrong, also when there is nothing left to do
            self._patches.extend(shared(static))
            return
        wrapper: object
        if isinstance(owner, type) and _binds_itself(static):
            wrapper = wrap(func, request.tracker(func), _bound_first(func))
        else:
            if isinstance(owner, type) and not _binds_instances(static):
                static = staticmethod(static)  # because what binds no instance must not begin to
            wrapper = decorate(static, request.tracker)
        try:
            self._patches.append(put(owner, name, wrapper))
        except (TypeError, AttributeError) as problem:  # because built-in types and some metaclasses allow nobody
            raise TargetError(f"{place} cannot be replaced: {problem}") from None


def auto_instrument(
    target: object = None,
    *,
    workflow: object = DEFAULT_WORKFLOW,
    step: object = DEFAULT_STEP,
    recovery: object = None,
    threads: bool = False,
    workflow_id: object = None,
    total_steps: object = None,
    node_id: object = None,
    action_type: object = None,
    success: object = None,
    error: object = None,
    control_flow: ControlFlow = (),
    strategy: object = None,
) -> Instrumentation:
    """Track a class or module that nobody may edit: its workflow, step and recovery methods.

    Args:
        target: a class, an instance, a module, or `"pkg.mod:Class"`; what is not imported yet is patched when it is.
        workflow, step, recovery: a method name on the target, a place anywhere (`"pkg.mod:Class.method"`,
            `"pkg.mod:function"`), a `Target`, a list of these, or `[]` for none.
        threads: let threads and thread pools started inside a tracked call belong to it.
        workflow_id, total_steps, node_id, action_type, success, error, control_flow, strategy: selectors, as for the
            decorators, for the places that bring none of their own. `success` and `error` apply to steps and workflows.

    Raises:
        TargetError: a name that was given does not exist, or nothing at all was found.
        SelectorError: a selector does not fit a function.
    """
    instrumentation = Instrumentation()
    verdicts: dict[str, Any] = {"success": success, "error": error, "control_flow": control_flow}
    requests = [
        *_requests("workflow", workflow, DEFAULT_WORKFLOW, id=workflow_id, total_steps=total_steps, **verdicts),
        *_requests("step", step, DEFAULT_STEP, id=node_id, action_type=action_type, **verdicts),
        *_requests("recovery", recovery, None, strategy=strategy),
    ]
    if disabled_by_environment():
        logger.debug("off: ANALYTICS_SDK_DISABLED is true; nothing was patched")
        return instrumentation
    try:
        for request in requests:
            instrumentation._found += _patch_or_wait(instrumentation, target, request)
        if not instrumentation._found and not instrumentation.pending and not instrumentation.failed:
            raise TargetError(
                f"nothing to track on {_shown(target)}: it has neither {DEFAULT_WORKFLOW} nor {DEFAULT_STEP}; "
                "name its methods with workflow= and step="
            )
    except BaseException:
        instrumentation.uninstrument()
        raise
    if threads:
        from analytics_sdk.capture.threads import carry_context_into_threads  # here, because few programs ask for it

        instrumentation._undo_threads = carry_context_into_threads()
    return instrumentation


def _requests(role: str, given: object, default: str | None, **options: Any) -> list[_Request]:
    if given is None:
        return []
    if isinstance(given, str | Target):
        listed: Sequence[object] = [given]
    elif isinstance(given, Sequence):
        listed = given
    else:
        raise TargetError(f"{role}= takes a method name, a place, a Target or a list of these, not {given!r}")
    requests = []
    for one in listed:
        if isinstance(one, str):
            requests.append(_Request(role, Target(one, **options), typed=one != default or isinstance(given, list)))
        elif isinstance(one, Target):
            own = {
                name: getattr(one, name) if getattr(one, name) not in (None, ()) else value
                for name, value in options.items()
            }
            rest = {name: getattr(one, name) for name in ("action_type", "total_steps", "strategy", "tags", "id")}
            requests.append(_Request(role, Target(one.place, **{**rest, **own}), typed=True))
        else:
            raise TargetError(f"{role}= takes a method name, a place or a Target, not {one!r}")
    return requests


def _patch_or_wait(instrumentation: Instrumentation, target: object, request: _Request) -> int:
    """Patch a place now, or when its module is imported; how many places that makes now."""
    place = request.target.place
    if ":" in place:
        module_name, _, path = place.partition(":")
    elif isinstance(target, str):
        module_name, _, owner_path = target.partition(":")
        path = f"{owner_path}.{place}" if owner_path else place
    elif target is None:
        if not request.typed:
            return 0
        raise TargetError(f"{place!r} needs a target, or its whole place such as 'pkg.mod:Class.{place}'")
    else:
        owner = target if isinstance(target, type | ModuleType) else type(target)
        return _patch_path(instrumentation, owner, place, request)
    if not module_name or not path or not all(part.isidentifier() for part in module_name.split(".")):
        raise TargetError(f"{place if ':' in place else target!r} is no place; write it as 'pkg.mod:Class.method'")
    module = sys.modules.get(module_name)
    if module is not None and not getattr(getattr(module, "__spec__", None), "_initializing", False):
        return _patch_path(instrumentation, module, path, request)
    _patch_on_import(instrumentation, module_name, path, request)
    return 0


def _patch_path(instrumentation: Instrumentation, owner: Any, path: str, request: _Request) -> int:
    *outer, name = path.split(".")
    for part in outer:
        inner = getattr(owner, part, ABSENT)
        if inner is ABSENT:
            raise TargetError(f"{owner.__name__} has no {part!r}; {_near(owner, part)}")
        owner = inner
    if not request.typed and getattr_static(owner, name, ABSENT) is ABSENT:
        return 0
    instrumentation._apply(owner, name, request)
    return 1


def _patch_on_import(instrumentation: Instrumentation, module_name: str, path: str, request: _Request) -> None:
    import wrapt  # here, because only deferred places need its import hooks

    place = f"{module_name}:{path}"
    instrumentation.pending.append(place)

    def patch(module: ModuleType) -> None:
        if instrumentation._undone:
            return
        if place in instrumentation.pending:
            instrumentation.pending.remove(place)
        try:
            instrumentation._found += _patch_path(instrumentation, module, path, request)
            if not instrumentation.pending and not instrumentation._found and not instrumentation.failed:
                raise TargetError(f"nothing to track: neither {DEFAULT_WORKFLOW} nor {DEFAULT_STEP} is there")
        except AnalyticsError as problem:
            instrumentation.failed[place] = str(problem)
            trouble(f"target:{place}", "cannot track %s: %s", place, problem)
        except Exception as problem:  # because we are inside the host's import
            instrumentation.failed[place] = str(problem)
            trouble(f"target:{place}", "cannot track %s: %s", place, problem, exc=problem)

    wrapt.register_post_import_hook(patch, module_name)


_PLAIN_BINDERS = (FunctionType, partial, MethodDescriptorType, WrapperDescriptorType, staticmethod, classmethod)


def _binds_instances(static: object) -> bool:
    if isinstance(static, partial):
        return sys.version_info >= (3, 14)
    return hasattr(type(static), "__get__") and not isinstance(static, MethodType)


def _binds_itself(static: object) -> bool:
    """Whether it is a decorator's object with a binding of its own, which may do more than put the instance first."""
    return _binds_instances(static) and not issubclass(type(static), _PLAIN_BINDERS)


def _bound_first(descriptor: Any) -> Callable[..., Any]:
    def call(instance: Any, /, *args: Any, **kwargs: Any) -> Any:
        return descriptor.__get__(instance, type(instance))(*args, **kwargs)

    return call


def _shown(target: object) -> str:
    if isinstance(target, str):
        return repr(target)
    return repr(getattr(target, "__qualname__", getattr(target, "__name__", type(target).__qualname__)))


def _near(owner: Any, name: str) -> str:
    """What the user may have meant."""
    import difflib  # here, because it is only needed for a message

    names = [one for one in dir(owner) if callable(getattr_static(owner, one, None)) or not one.startswith("__")]
    close = difflib.get_close_matches(name, names, n=3)
    if close:
        return f"did you mean {' or '.join(close)}?"
    return f"it has {', '.join(one for one in names if not one.startswith('__'))[:200] or 'nothing to track'}"
