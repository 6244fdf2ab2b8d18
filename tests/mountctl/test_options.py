"""Mount options: one table for parsing, help and the daemon."""

from __future__ import annotations

import msgspec
import pytest

from jaxfs import options
from jaxfs.errors import Invalid
from jaxfs.options import Options


def test_no_words_give_the_defaults() -> None:
    assert options.parse([]) == Options()


def test_words_may_be_joined_by_commas_or_repeated() -> None:
    joined = options.parse(["devices=4,allow_other"])
    assert joined == options.parse(["devices=4", "allow_other"])
    assert (joined.devices, joined.allow_other) == (4, True)


def test_of_a_repeated_option_the_last_counts() -> None:
    assert options.parse(["devices=4,devices=2"]).devices == 2


@pytest.mark.parametrize(
    ("text", "size_bytes"),
    [("1", 1), ("100000", 100_000), ("2k", 2048), ("3MiB", 3 << 20), ("4G", 4 << 30)],
)
def test_sizes_take_binary_suffixes(text: str, size_bytes: int) -> None:
    assert options.parse([f"max_write_bytes={text}"]).max_write_bytes == size_bytes


@pytest.mark.parametrize(
    ("word", "reason"),
    [
        ("device=4", "did you mean devices?"),
        ("xyzzy", "there are devices platform visible_devices"),
        ("devices", "devices takes a number"),
        ("devices=0", "devices takes a number"),
        ("devices=-1", "devices takes a number"),
        ("devices=\N{ARABIC-INDIC DIGIT FOUR}", "devices takes a number"),
        ("allow_other=no", "allow_other takes no value"),
        ("max_write_bytes=0", "max_write_bytes takes a number of bytes"),
        ("max_write_bytes=4X", "max_write_bytes takes a number of bytes"),
        ("log_level=loud", "log_level takes one of debug info warning error"),
        ("fsname=a b", "fsname takes a word"),
        ("=4", "there is no option ''"),
    ],
)
def test_wrong_words_are_refused_with_the_way_out(word: str, reason: str) -> None:
    with pytest.raises(Invalid) as caught:
        options.parse([word])
    assert reason in caught.value.reason


def test_every_option_is_in_the_help() -> None:
    named = {line.split()[0].partition("=")[0] for line in options.usage().splitlines()}
    assert named == set(Options.__struct_fields__)


def test_options_survive_the_way_to_the_daemon() -> None:
    sent = options.parse(["devices=3,platform=cpu,allow_root,max_result_bytes=5M,fsname=gpu0"])
    assert msgspec.json.decode(msgspec.json.encode(sent), type=Options) == sent


def test_daemon_refuses_options_it_does_not_know() -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(b'{"devises": 3}', type=Options)
