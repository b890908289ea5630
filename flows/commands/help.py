"""How `--help` looks: commands in groups, nothing cut off, no Python types."""

from __future__ import annotations

import re
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

_AT_LEAST = re.compile(r"x>=([\d.]+)")


def _usage(argument: Any) -> str:
    name = argument.metavar or argument.name.upper()
    name += "..." if argument.nargs != 1 else ""
    return name if argument.required else f"[{name}]"


class Command(TyperCommand):
    """A command whose help names values in capitals and bounds in words."""

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """The words after the command's name in the line of usage."""
        arguments = [one for one in self.get_params(ctx) if one.param_type_name == "argument"]
        return [*map(_usage, arguments), "[OPTIONS]"]

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write arguments, then options, each with its help."""
        rows: dict[str, list[tuple[str, str]]] = {"argument": [], "option": []}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None:
                kind = parameter.param_type_name
                name = _usage(parameter).strip("[]") if kind == "argument" else record[0]
                rows[kind].append((name, _AT_LEAST.sub(r"at least \1", record[1])))
        for kind, records in rows.items():
            if records:
                with formatter.section(f"{kind.capitalize()}s"):
                    formatter.write_dl(records)


class Group(TyperGroup):
    """Commands listed by panel, each with the whole first paragraph of its help."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write the commands, one section a panel."""
        panels: dict[str, list[tuple[str, str]]] = {}
        width = max(map(len, self.commands))
        for name in self.list_commands(ctx):
            command: Any = self.commands[name]
            summary = " ".join((command.help or "").split("\n\n")[0].split())
            panels.setdefault(command.rich_help_panel or "Commands", []).append((f"{name:<{width}}", summary))
        for panel, rows in panels.items():
            with formatter.section(panel):
                formatter.write_dl(rows)


def command_group(help: str, cls: type[Group] = Group) -> typer.Typer:
    """An empty group of commands."""
    return typer.Typer(
        help=help,
        cls=cls,
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        add_completion=False,
        rich_markup_mode=None,
    )
