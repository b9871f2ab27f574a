"""The options of `ltxcore restore` that are about its cache."""

import pytest


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--cache-size", "1GiB"], "--cache-size requires --cache"),
        (["--cache-size", "10GiB"], "--cache-size requires --cache"),
        (["--cache", "cache", "--dry-run"], "--cache excludes --follow and --dry-run"),
        (["--cache", "cache", "--follow"], "--cache excludes --follow and --dry-run"),
    ],
)
def test_options_that_would_have_no_effect(run, tmp_path, options, message):
    result = run("restore", tmp_path, "-o", tmp_path / "out.db", *options)
    assert result.exit_code == 2
    assert message in result.output
