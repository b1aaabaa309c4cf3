"""Shells complete options and subcommands."""

import pytest


@pytest.fixture
def complete(command, monkeypatch):
    """Asks a command as bash does: its words, the last one unfinished."""

    def ask(words: str):
        name = words.split()[0]
        monkeypatch.setenv(f"_ACDC_{name.upper()}_COMPLETE", "complete_bash")
        monkeypatch.setenv("COMP_WORDS", f"acdc-{words}")
        monkeypatch.setenv("COMP_CWORD", str(len(words.split()) - 1))
        outcome = command(name)
        assert (outcome.code, outcome.err) == (0, "")
        return outcome.out.split()

    return ask


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("evaluate --ver", ["--versus", "--version"]),
        ("predict --keep", ["--keep-largest", "--keep-all"]),
        ("data ch", ["check"]),
        ("data check --qu", ["--quick"]),
        ("evaluate --nonsense", []),
    ],
)
def test_bash_completes(complete, words, expected):
    assert complete(words) == expected


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_command_writes_the_script_of_a_shell(command, monkeypatch, shell):
    monkeypatch.setenv("_ACDC_EVALUATE_COMPLETE", f"source_{shell}")
    outcome = command("evaluate")
    assert (outcome.code, outcome.err) == (0, "")
    assert f"_ACDC_EVALUATE_COMPLETE=complete_{shell}" in outcome.out
