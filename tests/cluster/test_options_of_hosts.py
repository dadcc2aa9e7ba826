"""Hosts and what is said about them: every form, every mistake; and options as words."""

import pytest

from hornbeam.cli import main, parse
from hornbeam.cluster import hosts
from hornbeam.cluster.words import words_of
from hornbeam.config import CLUSTER, ClusterUpOptions, HostsOptions, TrainOptions
from hornbeam.config.cluster import Address, parse_host
from hornbeam.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("gpu1", (None, "gpu1", None)),
        ("10.0.0.1", (None, "10.0.0.1", None)),
        ("ubuntu@gpu-2.lan:2222", ("ubuntu", "gpu-2.lan", 2222)),
        ("fe80::1", (None, "fe80::1", None)),
        ("[fe80::1%eth0]:22", (None, "fe80::1%eth0", 22)),
        ("me@[::1]", ("me", "::1", None)),
    ],
)
def test_a_host_may_have_a_user_and_a_port(text, address):
    assert parse_host(text) == Address(*address)


def test_ssh_port_and_user_are_those_of_hosts_that_name_none():
    options = HostsOptions(hosts="10.0.0.1,me@10.0.0.2:22", ssh_port=2222, user="ubuntu")
    found = [(host.user, host.address, host.port) for host in hosts.hosts_of(options)]
    assert found == [("ubuntu", "10.0.0.1", 2222), ("me", "10.0.0.2", 22)]


@pytest.mark.parametrize(
    "text",
    ["-oProxyCommand=x", "a b", "a;b", "gpu:0", "gpu:99999", "@gpu", "$(x)@gpu", "[::1", "a@-x"],
)
def test_what_is_no_host_is_refused(text):
    with pytest.raises(ConfigError, match=r"--hosts should be \[user@\]host\[:port\]"):
        HostsOptions(hosts=text)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("--hosts a,b,A", "--hosts names 'A' twice"),
        ("--user u --min-hosts 2 --install", "--user goes with --hosts; --install goes with --hosts; --min-hosts goes with --hosts"),
        ("--hosts a,b --min-hosts 3 --identity gone", "--identity gone: there is no such file; --min-hosts 3 is more than the 2 of --hosts"),
        ("--hosts a,b,c", "--batch-size 32 cannot be divided among 3 hosts"),
        ("--hosts a --ray-address r:1", "--hosts and --ray-address exclude each other"),
        ("--launcher ray", "--launcher ray needs --hosts or --ray-address"),
        ("--hosts a --install --python /p", "--install makes a Python of its own"),
    ],
)  # fmt: skip
def test_what_does_not_go_together_is_told_at_once(words, sentence):
    with pytest.raises(ConfigError) as error:
        parse("train", ["d", *words.split()])
    assert sentence in str(error.value)


def test_localhost_may_be_named_several_times():
    options = TrainOptions(data="d", hosts="localhost,localhost")
    assert [host.here for host in hosts.hosts_of(options)] == [True, True]


def test_the_names_of_older_projects_are_taken():
    options = parse("train", ["d", "--ip-list", "10.9.9.1,10.9.9.2", "--username", "ubuntu"])
    assert options.hosts == ("10.9.9.1", "10.9.9.2")
    assert [host.user for host in hosts.hosts_of(options)] == ["ubuntu", "ubuntu"]


def test_an_address_of_this_machine_is_here_and_another_is_not():
    names = hosts.hosts_of(HostsOptions(hosts="127.0.0.1,192.0.2.1,no-such-host.invalid"))
    assert [host.here for host in names] == [True, False, False]


def test_hosts_and_losses_make_no_other_training():
    from hornbeam.config import MAY_CHANGE
    from hornbeam.resuming import repeatable

    options = TrainOptions(data="d", hosts="localhost,localhost", restarts=9)
    assert not CLUSTER & set(repeatable(options))
    assert CLUSTER <= MAY_CHANGE


@pytest.mark.parametrize("command", ["schedule", "find-lr"])
def test_hosts_are_for_train(command):
    with pytest.raises(ConfigError, match="--hosts is for train"):
        parse(command, ["d", "--hosts", "a,b"])


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        (["cluster"], 2, "cluster check"), (["cluster", "--help"], 0, "cluster send"),
        (["cluster", "chek"], 2, "There is no command 'cluster chek'. Did you mean 'cluster check'?"),
        (["cluster", "check"], 2, "--hosts is missing"),
        (["cluster", "send", "d"], 2, "--hosts is missing"),
    ],
)  # fmt: skip
def test_commands_may_have_two_words(words, code, text, capsys):
    assert main(words) == code
    captured = capsys.readouterr()
    assert text in captured.out + captured.err


@pytest.mark.parametrize(
    "words",
    [
        "photos -b 64 --epochs 3 --no-verify --augment strong --crop-area 0.3",
        "photos --imgsz 96x128x1 --metrics top_3,macro_f1 --subset 0.5 --examples 1e5 --validate-every 10min",
        "photos --lr-mult head/.*=2,backbone/.*=0.1 --weights imagenet --freeze none --trainable head/.*,block_1[3-6].*",
        "photos --schedule phases --learning-rate-phases 0.1:1000,0.01:500",
        "photos --recipe r.py --build-model width=32,depth=3,wide=true,name=x,rate=0.5",
        "s3://bucket/photos --mlflow http://x --label-columns a,b --run out",
        "--resume --run out --time 2h",
    ],
)
def test_options_as_words_mean_the_same(words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    options = parse("train", words.split())
    again = parse("train", words_of(options, {}, CLUSTER))
    for name in options.model_fields_set - {"data", "run", "recipe"}:
        assert getattr(again, name) == getattr(options, name), name
    assert again.model_fields_set == options.model_fields_set


def test_words_have_paths_from_the_root_and_what_a_file_said(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "groups.yaml").write_text("animal: [cat, 'it''s a dog']\n")
    (tmp_path / "o.yaml").write_text("batch_size: 8\ngroups: groups.yaml\n")
    options = parse("train", ["photos", "--config", "o.yaml", "--overwrite", "--hosts", "a,b"])
    words = words_of(options, {"run": tmp_path / "r", "overwrite": None}, CLUSTER | {"config"})
    assert words[-1] == str(tmp_path / "photos")
    assert set(words[:-1]) == {
        "--batch-size=8", f"--run={tmp_path / 'r'}",
        '--groups={"animal": ["cat", "it\'s a dog"]}',
    }  # fmt: skip
    assert parse("train", words).groups == options.groups


def test_the_name_of_a_ray_cluster_is_no_path_and_no_shell():
    for name in ("../other", "a b", "$(x)", "-x"):
        with pytest.raises(ConfigError, match="should be letters, digits, hyphens and dots"):
            ClusterUpOptions(hosts="localhost", name=name)
    assert ClusterUpOptions(hosts="localhost", name="gpus-2.lab").name == "gpus-2.lab"
