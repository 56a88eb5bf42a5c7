"""The contexts file: which control plane is meant, and who may read it."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from gateway.cli import app
from gateway.cli.remote.contexts import Context, chosen, contexts_path, is_chosen, read_contexts
from gateway.cli.remote.session import complete_context
from gateway.errors import ConfigError

PROD = ("--url", "https://control.example:8443")


@pytest.fixture
def environ(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    for name in ("URL", "TOKEN", "CONTEXT", "TENANT", "CA_FILE", "RUNTIME_DIR"):
        monkeypatch.delenv(f"TWINSPAN_{name}", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    return {"XDG_CONFIG_HOME": str(tmp_path)}


def context(*words: str, stdin: str = "") -> Result:
    return CliRunner().invoke(app, ["context", *words], input=stdin)


def test_the_first_context_is_used_and_the_file_is_its_owners_alone(
    environ: dict[str, str],
) -> None:
    assert context("set", "prod", *PROD, "--token", "-", stdin="secret-1\n").exit_code == 0
    assert context("set", "lab", "--url", "http://127.0.0.1:8080").exit_code == 0
    path = contexts_path(environ)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert chosen(environ, None) == Context(PROD[1], token="secret-1")
    assert chosen(environ, "lab") == Context("http://127.0.0.1:8080")


def test_a_token_is_never_shown(environ: dict[str, str]) -> None:
    context("set", "prod", *PROD, "--token", "secret-1")
    shown = [context("list", "-o", form).output for form in ("table", "json", "yaml", "name")]
    assert all("prod" in text and "secret-1" not in text for text in shown)
    assert json.loads(shown[1])["items"][0]["token"] == "set"
    assert "secret-1" not in repr(chosen(environ, None))


def test_set_changes_only_what_is_named_and_use_and_delete_do_their_part(
    environ: dict[str, str],
) -> None:
    context("set", "prod", *PROD, "--tenant", "red")
    context("set", "prod", "--ca-file", "/etc/ssl/ours.pem")
    assert chosen(environ, None).tenant == "red"
    context("set", "lab", "--url", "unix:/run/twinspan/control.sock")
    assert context("use", "lab").exit_code == 0
    assert read_contexts(contexts_path(environ)).current == "lab"
    assert context("delete", "lab", stdin="n\n").exit_code == 1
    assert context("delete", "lab", "--yes").exit_code == 0
    assert list(read_contexts(contexts_path(environ)).by_name) == ["prod"]
    assert not is_chosen(environ)


def test_the_environment_wins_over_the_file_and_an_option_over_both(
    environ: dict[str, str],
) -> None:
    context("set", "prod", *PROD, "--token", "secret-1")
    context("set", "lab", "--url", "http://127.0.0.1:8080")
    assert chosen({**environ, "TWINSPAN_CONTEXT": "lab"}, None).url == "http://127.0.0.1:8080"
    there = {**environ, "TWINSPAN_URL": "https://x:1", "TWINSPAN_TOKEN": "t"}
    assert chosen(there, None) == Context("https://x:1", token="t")
    assert chosen(there, "prod", "blue") == Context(PROD[1], token="t", tenant="blue")


def test_without_any_context_it_is_the_socket_of_this_machine(environ: dict[str, str]) -> None:
    assert chosen(environ, None).url == "unix:/run/twinspan/control.sock"
    assert chosen({**environ, "TWINSPAN_RUNTIME_DIR": "/x"}, None).url == "unix:/x/control.sock"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("set", "x"), "--url: is required"),
        (("set", "x", "--url", "ftp://a"), "url: must be like https://HOST:PORT"),
        (("set", "x", "--url", "https://a:b"), "url: https://a:b: "),
        (("set", "x", "--url", "http://10.0.0.1:80"), "url: not without TLS to another machine"),
        (("set", "x", *PROD, "--token", "a", "--token-file", "b"), "give one of them"),
        (("set", "x", *PROD, "--token", "a\nb"), "token: has characters that no token has"),
        (("set", "x", *PROD, "--token-file", "/nowhere"), "token_file: /nowhere: no such file"),
        (("set", "x", *PROD, "--ca-file", "/nowhere"), "ca_file: /nowhere: no such file"),
        (("use", "x"), "no context is named 'x'; there are: none"),
        (("delete", "x"), "no context is named 'x'"),
    ],
)
def test_a_mistake_is_one_message_and_changes_nothing(
    environ: dict[str, str], words: tuple[str, ...], said: str
) -> None:
    refused = context(*words)
    assert refused.exit_code == 2
    assert said in refused.output
    assert not contexts_path(environ).exists()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("nonsense", "contexts.toml: "),
        ("context = 7", "must hold current = NAME and tables [context.NAME]"),
        ("[context]\nx = 7", "context.x: must be a table"),
        ('[context.x]\ntoken = "a"', "context.x.url: is required"),
        ("[context.x]\nurl = 7", "context.x.url: must be a string"),
        ('[context.x]\nurl = "a"\nuser = "b"', "context.x.user: unknown key"),
    ],
)
def test_a_file_that_makes_no_sense_is_named_with_the_key(
    environ: dict[str, str], text: str, said: str
) -> None:
    path = contexts_path(environ)
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    refused = context("list")
    assert refused.exit_code == 2
    assert said in refused.output


def test_a_file_with_a_token_that_others_may_read_is_refused(environ: dict[str, str]) -> None:
    context("set", "prod", *PROD, "--token", "secret-1")
    contexts_path(environ).chmod(0o640)
    with pytest.raises(ConfigError, match="holds a token and is open to others: chmod 600"):
        read_contexts(contexts_path(environ))


def test_names_of_contexts_are_completed(environ: dict[str, str]) -> None:
    context("set", "prod", *PROD)
    context("set", "lab", *PROD)
    assert complete_context("p") == ["prod"]
    contexts_path(environ).write_text("nonsense")
    assert complete_context("p") == []
