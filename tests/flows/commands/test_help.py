"""`--help` of every command: grouped, complete, in words, at 80 columns."""

import re

import pytest
import typer

from flows.cli import COMMANDS, app

PYTHON = re.compile(r"<\w|list\[|\bNone\b|\bPath\b|x>=|<=x|[a-z]\.\.\.$", re.MULTILINE)


def commands():
    """The words of every command that is not a group."""
    for group in COMMANDS.values():
        for name, command in group.items():
            if isinstance(command, typer.Typer):
                yield from ((name, one.name) for one in command.registered_commands)
            else:
                yield (name,)


@pytest.fixture
def help_of(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")

    def shown(*command):
        with pytest.raises(SystemExit):
            app([*command, "--help"])
        out = capsys.readouterr().out
        assert max(map(len, out.splitlines())) <= 80
        assert not PYTHON.search(out.replace("<scene id>", ""))
        return out

    return shown


@pytest.mark.parametrize("command", list(commands()), ids=" ".join)
def test_every_command_has_an_example_and_shows_no_python(help_of, command):
    assert f"Example: slickwatch {' '.join(command)}" in " ".join(help_of(*command).split())


def test_commands_are_grouped_and_each_has_a_whole_sentence(help_of):
    out = help_of()
    headings = [line for line in out.splitlines() if re.match(r"[A-Z]\w+:$", line)]
    assert headings == ["Options:", "Detect:", "Monitor:", "Catalogue:", "Models:", "Research:"]
    rows = re.findall(r"^  ([a-z]+) +(.+(?:\n {4,}.+)*)", out.partition("Detect:")[2], re.MULTILINE)
    assert [name for name, _ in rows] == [name for group in COMMANDS.values() for name in group]
    assert all(text.endswith(".") for _, text in rows)


@pytest.mark.parametrize("group", ["slicks", "scenes", "models", "train", "bench", "settings"])
def test_groups_list_their_commands(help_of, group):
    assert "Commands:" in help_of(group)
