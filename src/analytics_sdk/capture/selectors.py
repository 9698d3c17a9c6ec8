"""Selectors: ids, totals and verdicts picked out of a call. Compiled once, when decorating.

A selector is a constant, a template over the bound arguments (`"{node.node_id}"`), or a callable given the bound
arguments that it names. A compiled one is called with `(args, kwargs)`, or with `(args, kwargs, extras)` where it may
also ask for `result`, `exception` or `item`; it may raise whatever the user's objects raise.
"""

import functools
import inspect
from collections.abc import Callable, Mapping
from operator import attrgetter
from string import Formatter
from typing import Any

from analytics_sdk.errors import SelectorError

Args = tuple[Any, ...]
Kwargs = Mapping[str, Any]
Before = Callable[[Args, Kwargs], Any]
After = Callable[..., Any]
"""Called with (args, kwargs) or (args, kwargs, extras)."""

NOTHING: Mapping[str, Any] = {}

Pick = tuple[int | slice, Callable[[Any], Any]]
"""(at, of): what a selector gives for a call without keyword arguments is `of(args[at])`, or it raises."""

AFTER_NAMES = frozenset({"result", "exception", "item"})
_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


class Call:
    """What is known of a callable's arguments while decorating: where each of them will be found."""

    def __init__(self, func: Callable[..., Any]) -> None:
        named = func
        while isinstance(named, functools.partial):
            named = named.func
        self.name: str = getattr(named, "__qualname__", None) or type(named).__qualname__
        try:
            self.signature: inspect.Signature | None = inspect.signature(func)
        except (ValueError, TypeError):  # because some C functions tell no signature
            self.signature = None
        parameters = self.signature.parameters if self.signature else {}
        self.index = {name: i for i, (name, p) in enumerate(parameters.items()) if p.kind in _POSITIONAL}
        self.names = frozenset(parameters)
        self.takes_any = self.signature is None or any(p.kind is p.VAR_KEYWORD for p in parameters.values())

    def argument(self, name: str) -> Before:
        """A getter of one bound argument.

        Raises:
            SelectorError: the function takes no such argument.
        """
        if name not in self.names and not self.takes_any:
            raise SelectorError(
                f"{self.name} takes no argument {name!r}; it takes {', '.join(sorted(self.names)) or 'none'}"
            )
        index = self.index.get(name)

        if index is None:
            return lambda args, kwargs: self.bound(args, kwargs)[name]

        def positional(args: Args, kwargs: Kwargs) -> Any:
            try:
                return args[index]
            except IndexError:
                return kwargs[name] if name in kwargs else self.bound(args, kwargs)[name]

        return positional

    def bound(self, args: Args, kwargs: Kwargs) -> dict[str, Any]:
        """All bound arguments by name, defaults filled in and `**kwargs` spread out."""
        if self.signature is None:
            return dict(kwargs)
        bound = self.signature.bind(*args, **kwargs)
        bound.apply_defaults()
        values = dict(bound.arguments)
        for name, parameter in self.signature.parameters.items():
            if parameter.kind is parameter.VAR_KEYWORD:
                values.update(values.get(name) or {})
        return values


def pick_of(selector: Before) -> Pick:
    """How to get what a selector picks without calling the selector, which is a frame less where it is simple."""
    known: Pick | None = getattr(selector, "pick", None)
    return (slice(None), lambda args: selector(args, NOTHING)) if known is None else known


def _noted(selector: After, pick: Pick) -> After:
    selector.pick = pick  # type: ignore[attr-defined]  # because a function may carry what is known of it
    return selector


def _constant(value: object) -> After:
    return _noted(lambda args, kwargs, extra=NOTHING: value, (slice(0), lambda nothing: value))


def asks_for(spec: object) -> frozenset[str]:
    """The names among result, exception and item that a selector asks for."""
    if isinstance(spec, str):
        try:
            return frozenset(_root(field) for _, field, _, _ in Formatter().parse(spec) if field) & AFTER_NAMES
        except ValueError:  # because it is no template; compiling it says so
            return frozenset()
    if callable(spec):
        return frozenset(_parameters_of(spec)) & AFTER_NAMES
    return frozenset()


def compile_before(spec: object, call: Call, what: str) -> Before | None:
    """A selector that is evaluated before the call. None stays None: the default applies.

    Raises:
        SelectorError: it is malformed, or names an argument that the function does not take.
    """
    if spec is None:
        return None
    late = asks_for(spec) - call.names
    if late:
        raise SelectorError(
            f"{what} of {call.name} is evaluated before the call and cannot ask for {', '.join(sorted(late))}; "
            "only success and error can"
        )
    return _compile(spec, call, what, frozenset())


def compile_after(spec: object, call: Call, what: str) -> After | None:
    """A `success` or `error` selector: evaluated after the call, with extras.

    Raises:
        SelectorError: as `compile_before`.
    """
    return None if spec is None else _compile(spec, call, what, AFTER_NAMES)


def _compile(spec: object, call: Call, what: str, extras: frozenset[str]) -> After:
    if isinstance(spec, str):
        return _compile_template(spec, call, what, extras)
    if callable(spec):
        return _compile_callable(spec, call, extras)
    return _constant(spec)


def _compile_template(template: str, call: Call, what: str, extras: frozenset[str]) -> After:
    try:
        parts = list(Formatter().parse(template))
    except ValueError as error:
        raise SelectorError(f"{what} {template!r} of {call.name} is not a template: {error}") from None
    fields = [field for _, field, _, _ in parts if field is not None]
    if not fields:
        return _constant(template.format())
    getters = {field: _compile_field(field, template, call, what, extras) for field in fields}
    literal, field, spec, conversion = parts[0]
    if len(parts) == 1 and not literal and field is not None and not spec and not conversion:
        return getters[field]

    def render(args: Args, kwargs: Kwargs, extra: Mapping[str, Any] = NOTHING) -> str:
        text = []
        for literal, field, spec, conversion in parts:
            text.append(literal)
            if field is not None:
                value = getters[field](args, kwargs, extra)
                if conversion:
                    value = Formatter().convert_field(value, conversion)
                text.append(format(value, spec or ""))
        return "".join(text)

    return render


def _root(field: str) -> str:
    return field.split(".")[0].split("[")[0]


def _compile_field(field: str, template: str, call: Call, what: str, extras: frozenset[str]) -> After:
    root = _root(field)
    if not root.isidentifier():
        raise SelectorError(
            f"{what} {template!r} of {call.name}: name an argument in the braces, as in {{node.node_id}}"
        )
    rest = field[len(root) :]
    if root in extras and root not in call.names:
        path = _path(rest)
        return lambda args, kwargs, extra=NOTHING: path(extra[root])
    argument = call.argument(root)
    if not rest:
        return lambda args, kwargs, extra=NOTHING: argument(args, kwargs)
    path = _path(rest)
    index = call.index.get(root)
    if index is None:
        return lambda args, kwargs, extra=NOTHING: path(argument(args, kwargs))

    def attribute(args: Args, kwargs: Kwargs, extra: Mapping[str, Any] = NOTHING) -> Any:
        try:
            value = args[index]
        except IndexError:
            value = argument(args, kwargs)
        return path(value)

    return _noted(attribute, (index, path))


def _path(rest: str) -> Callable[[Any], Any]:
    """What follows the argument's name in a field: attributes, and items in brackets."""
    if not rest:
        return lambda value: value
    if "[" not in rest:
        return attrgetter(rest[1:])
    return lambda value: Formatter().get_field("0" + rest, (value,), {})[0]


def _parameters_of(spec: Callable[..., Any]) -> list[str]:
    try:
        return list(inspect.signature(spec).parameters)
    except (ValueError, TypeError):
        raise SelectorError(
            f"cannot tell which arguments {spec!r} wants; wrap it in a lambda that names them"
        ) from None


def _compile_callable(spec: Callable[..., Any], call: Call, extras: frozenset[str]) -> After:
    wanted: list[tuple[str, bool]] = []
    for name in _parameters_of(spec):
        parameter = inspect.signature(spec).parameters[name]
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            continue
        known = name in call.names or call.takes_any or name in extras
        if not known and parameter.default is parameter.empty:
            call.argument(name)  # raises, naming what there is
        if known:
            wanted.append((name, parameter.kind is parameter.POSITIONAL_ONLY))
    getters = {
        name: call.argument(name) for name, _ in wanted if name in call.names or (name not in extras and call.takes_any)
    }

    def evaluate(args: Args, kwargs: Kwargs, extra: Mapping[str, Any] = NOTHING) -> Any:
        positional = []
        named = {}
        for name, by_position in wanted:
            value = getters[name](args, kwargs) if name in getters else extra.get(name)
            if by_position:
                positional.append(value)
            else:
                named[name] = value
        return spec(*positional, **named)

    return evaluate


def default_of(call: Call, preferred: str, attribute: str, derive: Callable[[Any], Any] | None = None) -> Before:
    """The guide's shapes: `attribute` of the argument named `preferred`, else of the first argument that has it.

    The selector gives None where no argument has it. `derive` makes the value of the attribute, such as `len`.
    """
    index = call.index.get(preferred)

    def select(args: Args, kwargs: Kwargs) -> Any:
        try:
            value = getattr(args[index] if index is not None else kwargs[preferred], attribute)
        except (IndexError, KeyError, AttributeError):
            value = _first_with(attribute, args, kwargs, preferred)
        return value if derive is None or value is None else derive(value)

    return select if index is None or derive is not None else _noted(select, (index, attrgetter(attribute)))


def _first_with(attribute: str, args: Args, kwargs: Kwargs, preferred: str) -> Any:
    if preferred in kwargs:
        args = (kwargs[preferred], *args)
    for value in (*args, *kwargs.values()):
        if not isinstance(value, type):
            found = getattr(value, attribute, None)
            if found is not None and not callable(found):
                return found
    return None
