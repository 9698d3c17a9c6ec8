"""Help that teaches: what a command does, examples that work, what it prints and what its exit codes mean."""

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Any, NamedTuple

import typer
from typer.core import TyperGroup

PROGRAM = "analytics-sdk"
MEANT = {
    "help": "--help",
    "version": "--version",
    "init": "db upgrade",
    "migrate": "db upgrade",
    "upgrade": "db upgrade",
    "create": "db upgrade",
    "show": "stats",
    "summary": "stats",
    "check": "doctor",
    "settings": "doctor",
    "config": "doctor",
    "deliver": "ship",
    "flush": "ship --once",
    "export": "report",
    "html": "report --format html",
    "pdf": "report --format pdf",
    "exec": "run",
    "record": "run",
    "prune": "archive",
    "retention": "archive",
    "vacuum": "archive --vacuum",
}
"""Words that people try -> what we call it."""


class Brief(NamedTuple):
    """A command in the overview."""

    does: str
    example: str


def epilog(examples: Sequence[str], codes: Mapping[int, str], json: str = "") -> str:
    """What stands below a command's options: examples, the JSON that it prints, its exit codes."""
    parts = [_lines("Examples:", [f"{PROGRAM} {example}" for example in examples])]
    if json:
        parts.append(f"With --json, one object on stdout: {json}. What is not known is null. {_OF_ERRORS}")
    parts.append(_lines("Exit codes:", [f"{code}  {meaning}" for code, meaning in {**codes, **_ALWAYS}.items()]))
    return "\n\n".join(parts)


_OF_ERRORS = 'An error is {"error": {"message", "advice"}}.'
_ALWAYS = {2: "it was typed wrongly", 3: "something around it is missing or broken"}


def _lines(title: str, lines: Sequence[str]) -> str:
    return "\n".join(["\b", title, *(f"  {line}" for line in lines)])


class Overview(TyperGroup):
    """The commands in the order in which data travels, each with an example; a misspelt one is told what was meant."""

    program = PROGRAM
    briefs: Mapping[str, Brief] = {}

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write the list of commands."""
        with formatter.section("Commands"):
            names = [name for name in self.list_commands(ctx) if name in self.briefs]
            for name in names:
                formatter.write_dl([(name, self.briefs[name].does)], col_max=10, col_spacing=12 - len(name))
                formatter.write(f"{'':{formatter.current_indent + 12}}{self.program} {self.briefs[name].example}\n")

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The command of that name.

        Raises:
            typer.BadParameter: there is none; the message says what was probably meant.
        """
        typed = args[0]
        if self.get_command(ctx, typed) is not None or typed.startswith("-"):
            return super().resolve_command(ctx, args)
        near = get_close_matches(typed.lower(), [*self.list_commands(ctx), *MEANT], n=1)
        meant = [f"{PROGRAM} {MEANT[name]}" if name in MEANT else f"{self.program} {name}" for name in near]
        advice = f"did you mean `{meant[0]}`?" if meant else f"`{self.program} --help` lists the commands"
        raise typer.BadParameter(f"there is no command {typed!r}; {advice}", ctx=ctx)
