"""URLs in messages: no part of a password is ever shown."""

import traceback
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

import ltxcore
from ltxcore._process.urls import shown
from ltxcore.cli import app

#: No other part of the URLs below has any of these.
ODD = "XYZ%!$&'()*+,;=:@/?#[] \\"
SCHEMES = ("https", "http", "HTTPS", "s3", "sftp", "abs", "webdavs", "other+1")


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("https://user:password@host/x", "https://host/x"),
        ("https://user:pass/word@host/x", "https://host/x"),
        ("https://user:pass@word@host/x", "https://host/x"),
        # The @ may be one of a parameter.
        ("https://user:pa?ssword@host/x", "https://..."),
        ("https://user:pa#ssword@host/x", "https://..."),
        ("https://host/x?token=se@cret", "https://..."),
        ("https://host/x?token=secret", "https://host/x"),
        ("https://user:password", "https://user:***"),
        ("https://user:password/x?y", "https://user:***"),
        ("https://host:8080/x", "https://host:8080/x"),
        ("https://host:/x", "https://host:/x"),
        ("https://[::1]:80/x", "https://[::1]:80/x"),
        ("s3://key:se?cret@b/x", "s3://..."),
        ("s3://key:secret@b/x?endpoint=y", "s3://b/x"),
        ("s3://arn:aws:s3:r:1:accesspoint/x", "s3://arn:aws:s3:r:1:accesspoint/x"),
        ("https:/user:password@host/x", "https:/host/x"),
        ("https:user:password@host/x", "https:host/x"),
        ("//user:password@host/x", "//host/x"),
        (" https://user:password@host/x", " https://host/x"),
        ("h ttps://user:password@host/x", "...://host/x"),
        ("file:///srv/me@work/x?y", "file:///srv/me@work/x"),
        ("/srv/me@work/x?y", "/srv/me@work/x?y"),
        ("app.db", "app.db"),
        ("", ""),
    ],
)
def test_what_is_shown(url: str, text: str) -> None:
    assert shown(url) == text


@given(
    st.sampled_from(SCHEMES),
    st.sampled_from([":", ":/", "://", ":///", ":////"]),
    st.text(ODD, min_size=4),
    st.sampled_from(["", "?a=b", "#a", "/?a=b#c"]),
)
def test_no_part_of_a_password_is_ever_shown(scheme: str, slashes: str, password: str, end: str) -> None:
    for user in ("user:", ":", ""):
        text = shown(f"{scheme}{slashes}{user}{password}@host/app{end}").removeprefix(scheme)
        # The slashes at the start may be more than the URL should have.
        text = text.lstrip(":/")
        parts = [password[at : at + 4] for at in range(len(password) - 3)]
        assert not any(part in text for part in parts)
        assert set(text) <= set("host/app."), text


@given(st.text(ODD + "xyz"), st.sampled_from(["", "://", "https://"]))
def test_any_text_can_be_shown(text: str, start: str) -> None:
    assert isinstance(shown(start + text), str)


def test_a_url_that_lost_a_slash_is_not_looked_for_in_a_configuration(tmp_path: Path) -> None:
    """It was shown as the path of a database that the file does not have."""
    (tmp_path / "c.yml").write_text(
        f"dbs:\n  - path: {tmp_path}/app.db\n    replica:\n      path: {tmp_path}/replica\n"
    )
    words = ["restore", "https:/user:secret@host/x", "--config", str(tmp_path / "c.yml"), "-o", "none.db"]
    done = CliRunner().invoke(app, words, prog_name="ltxcore")
    assert done.exit_code
    assert "without its slashes: https:/host/x" in done.output + str(done.exception)
    assert "cret" not in done.output + str(done.exception)


@pytest.mark.parametrize(
    "url",
    [
        "file://user:secret@host/x",
        "https://user:se?cret@host/x",
        "https://user:se#cret@host/x",
        "https://user:se/cret@host/x",
        "https:/user:secret@host/x",
        "https:user:secret@host/x",
        "s3://key:se?cret@b/x",
        "s3://key:se#cret@b/x",
        "s3://key:se/cret@b/x",
        "s3://key:secret@b/x?unknown=1",
    ],
)
def test_no_password_is_in_a_message(url: str) -> None:
    """Of the command, and of the functions."""
    said = CliRunner().invoke(app, ["restore", url, "-o", "none.db"], prog_name="ltxcore").output
    for act in (ltxcore.client_from_url, ltxcore.restore_points, ltxcore.Replica):
        try:
            act(url)  # type: ignore[operator]
        except (ltxcore.errors.ConfigError, click.ClickException) as error:
            said += "".join(traceback.format_exception_only(error)) + str(vars(error))
    assert said
    assert "cret" not in said
