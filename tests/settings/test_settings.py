"""Settings: who wins over whom, for every one of them; and what is refused, with the way out."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from fullcircle import settings
from fullcircle.errors import SettingInvalid
from fullcircle.settings import FILE, SETTINGS, Setting

# Three values that each setting may have and that differ from each other and from its default.
OTHERS: Mapping[str, tuple[str, str, str]] = {
    "host": ("localhost", "0.0.0.0", "127.0.0.1"),  # noqa: S104 - nothing listens here
    "without_tls": ("yes", "no", "yes"),
    "port": ("8711", "0", "65535"),
    "offline": ("yes", "no", "yes"),
    "workers": ("4", "0", "256"),
    "log_bytes": ("2MB", "500 MB", "1.5GB"),
    "log_full": ("count", "stop", "count"),
    "log_fsync": ("never", "always", "never"),
}
ANY = ("one", "two", "three")
BY_NAME = pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.name)
VARIABLES = pytest.mark.parametrize(
    ("setting", "variable"), [(setting, name) for setting in SETTINGS for name in setting.env]
)


@pytest.fixture(autouse=True)
def _nothing_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for setting in SETTINGS:
        for name in setting.env:
            monkeypatch.delenv(name, raising=False)


def _write(folder: Path, text: str) -> Path:
    (folder / FILE).write_text(text, encoding="utf-8")
    return folder


@pytest.mark.parametrize(
    ("name", "value", "what"),
    [
        ("log_bytes", "much", "not a size that a log can have"),
        ("log_bytes", "10", "not a size that a log can have"),
        ("log_bytes", "999kB", "not a size that a log can have"),
        ("log_full", "wait", "log_full is none of its values"),
        ("log_fsync", "yes", "log_fsync is none of its values"),
    ],
)
def test_a_log_that_cannot_be_kept_like_this_is_refused(name: str, value: str, what: str, tmp_path: Path) -> None:
    _refused(tmp_path, what, {name: value})


def test_the_size_of_the_log_is_read_as_bytes(tmp_path: Path) -> None:
    assert settings.load({"log_bytes": "1.5GB"}, folder=tmp_path).log_bytes == 1_500_000_000
    assert settings.load({"log_bytes": "1MB"}, folder=tmp_path).log_bytes == settings.LEAST_LOG


def _others(setting: Setting) -> tuple[str, str, str]:
    return OTHERS.get(setting.name, ANY)


def _refused(folder: Path, what: str, flags: Mapping[str, str | None] | None = None) -> SettingInvalid:
    with pytest.raises(SettingInvalid, match=what) as caught:
        settings.load(flags, folder=folder)
    assert caught.value.next_step
    return caught.value


class TestWhoWins:
    @BY_NAME
    def test_a_flag_over_the_environment_over_the_file_over_the_default(
        self, setting: Setting, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        flag, variable, file = _others(setting)
        assert settings.load(folder=tmp_path)[setting.name] == setting.default
        _write(tmp_path, f'{setting.name} = "{file}"')
        assert settings.load(folder=tmp_path)[setting.name] == file
        monkeypatch.setenv(setting.env[0], variable)
        assert settings.load(folder=tmp_path)[setting.name] == variable
        assert settings.load({setting.name: flag}, folder=tmp_path)[setting.name] == flag
        assert settings.load({setting.name: None}, folder=tmp_path)[setting.name] == variable, "no flag was given"

    @VARIABLES
    def test_every_variable_counts_and_an_empty_one_does_not(
        self, setting: Setting, variable: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        value = _others(setting)[0]
        monkeypatch.setenv(variable, value)
        assert settings.load(folder=tmp_path)[setting.name] == value
        monkeypatch.setenv(variable, "")
        assert settings.load(folder=tmp_path)[setting.name] == setting.default

    def test_our_own_variable_wins_over_mlflows(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://theirs")
        assert settings.load(folder=tmp_path)["mlflow"] == "http://theirs"
        monkeypatch.setenv("FULLCIRCLE_MLFLOW", "http://ours")
        assert settings.load(folder=tmp_path)["mlflow"] == "http://ours"

    def test_one_setting_leaves_the_others_alone(self, tmp_path: Path) -> None:
        found = settings.load({"port": "8711"}, folder=_write(tmp_path, 'actor = "ada"'))
        expected = {setting.name: setting.default for setting in SETTINGS} | {"port": "8711", "actor": "ada"}
        assert found.values == expected

    def test_variables_of_other_programs_mean_nothing(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PORT", "9999")
        monkeypatch.setenv("HOST", "0.0.0.0")  # noqa: S104 - nothing listens here
        found = settings.load(folder=tmp_path)
        assert (found["host"], found.port) == ("127.0.0.1", 8710)


class TestTable:
    def test_names_and_variables_are_each_used_once(self) -> None:
        names = [setting.name for setting in SETTINGS]
        variables = [name for setting in SETTINGS for name in setting.env]
        assert len(set(names)) == len(names)
        assert len(set(variables)) == len(variables)

    @BY_NAME
    def test_each_has_a_variable_of_ours_and_a_meaning(self, setting: Setting) -> None:
        assert setting.env[0] == f"FULLCIRCLE_{setting.name.upper()}"
        assert setting.help.endswith(".")


class TestFile:
    def test_it_is_looked_for_in_the_current_folder(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(_write(tmp_path, "port = 8711"))
        found = settings.load()
        assert found.port == 8711
        assert found.folder == tmp_path
        (tmp_path / "below").mkdir()
        assert settings.load(folder=tmp_path / "below").port == 8710, "only there, not above"

    @pytest.mark.parametrize(
        ("written", "offline"), [("true", True), ("false", False), ('"yes"', True), ('"no"', False)]
    )
    def test_yes_and_no_may_be_true_and_false(self, written: str, offline: bool, tmp_path: Path) -> None:
        assert settings.load(folder=_write(tmp_path, f"offline = {written}")).offline is offline

    @pytest.mark.parametrize("text", ["port 8711", "port = ", '[paths\nA = "b"', 'actor = "a"\nactor = "b"', "\0"])
    def test_what_is_no_toml_is_refused_with_its_place(self, text: str, tmp_path: Path) -> None:
        error = _refused(_write(tmp_path, text), "is not valid TOML")
        assert str(tmp_path / FILE) in error.what
        assert "line" in error.what or "end of document" in error.what

    def test_what_is_no_text_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / FILE).write_bytes(b'actor = "J\xfcrgen"\n')
        _refused(tmp_path, "is not valid TOML")

    def test_a_folder_of_that_name_is_no_file(self, tmp_path: Path) -> None:
        (tmp_path / FILE).mkdir()
        assert settings.load(folder=tmp_path).paths == {}

    @pytest.mark.parametrize("name", ["ports", "Port", "PORT", "path", "paths_of_mine", "workspace2"])
    def test_an_unknown_name_is_refused_with_the_known_ones(self, name: str, tmp_path: Path) -> None:
        error = _refused(_write(tmp_path, f'{name} = "x"'), "there is no setting of this name")
        assert error.received == repr(name)
        assert FILE in error.what, "it says where the name stands"
        for setting in SETTINGS:
            assert setting.name in (error.allowed or "")
        assert "[paths]" in (error.allowed or "")

    @pytest.mark.parametrize("value", ['["a"]', '{a = "b"}', "2026-11-23", "12:00:00"])
    @BY_NAME
    def test_what_is_not_a_single_value_is_refused(self, setting: Setting, value: str, tmp_path: Path) -> None:
        error = _refused(_write(tmp_path, f"{setting.name} = {value}"), f"{setting.name} in {FILE}")
        assert f'write {setting.name} = "..."' == error.next_step


class TestPaths:
    def test_names_and_paths_of_the_users_own(self, tmp_path: Path) -> None:
        found = settings.load(folder=_write(tmp_path, '[paths]\nBIKE_HOUR = "/data/hour.csv"\nB = "b.csv"'))
        assert found.paths == {"BIKE_HOUR": "/data/hour.csv", "B": "b.csv"}
        assert "paths" not in found.values

    def test_none_is_none(self, tmp_path: Path) -> None:
        assert settings.load(folder=tmp_path).paths == {}
        assert settings.load(folder=_write(tmp_path, "[paths]")).paths == {}

    @pytest.mark.parametrize("value", ['"hour.csv"', "3", '["hour.csv"]', "true"])
    def test_they_are_a_table(self, value: str, tmp_path: Path) -> None:
        error = _refused(_write(tmp_path, f"paths = {value}"), "is not a table")
        assert "[paths]" in (error.next_step or "")

    def test_a_path_is_one_path(self, tmp_path: Path) -> None:
        error = _refused(_write(tmp_path, '[paths]\nBIKES = ["2011.csv", "2012.csv"]'), r"\[paths\] BIKES")
        assert error.next_step == 'write BIKES = "..."'

    def test_a_flag_is_no_path(self, tmp_path: Path) -> None:
        _refused(tmp_path, "there is no setting", {"paths": "x"})


class TestValues:
    @pytest.mark.parametrize("port", ["0", "1", "8710", "65535"])
    def test_a_port(self, port: str, tmp_path: Path) -> None:
        assert settings.load({"port": port}, folder=tmp_path).port == int(port)

    @pytest.mark.parametrize("port", ["65536", "-1", "", "http", "87.5", " 80", "8_710", "1" * 5000])
    def test_another_port_is_refused(self, port: str, tmp_path: Path) -> None:
        error = _refused(tmp_path, "port is not a port number", {"port": port})
        assert (error.received, error.allowed) == (repr(port), "0 to 65535")

    @pytest.mark.parametrize("workers", ["0", "1", "256"])
    def test_a_number_of_workers(self, workers: str, tmp_path: Path) -> None:
        assert settings.load({"workers": workers}, folder=tmp_path).workers == int(workers)

    @pytest.mark.parametrize("workers", ["257", "-1", "", "two", "1.5", "\u0662", "1" * 5000])
    def test_another_number_of_workers_is_refused(self, workers: str, tmp_path: Path) -> None:
        error = _refused(tmp_path, "workers is not a number of processes", {"workers": workers})
        assert error.received == repr(workers)

    @pytest.mark.parametrize("host", ["", "127.0.0.1 ", "a b", "http://example.org", "[::1]", "10.0.0.1/8", "*"])
    def test_what_is_no_address_cannot_be_listened_on(self, host: str, tmp_path: Path) -> None:
        error = _refused(tmp_path, "not an address to listen on", {"host": host})
        assert error.received == repr(host)

    @pytest.mark.parametrize(
        ("host", "near"),
        [("::1", True), ("0.0.0.0", False), ("::", False), ("10.0.0.7", False)],  # noqa: S104
    )
    def test_only_loopback_is_loopback(self, host: str, near: bool, tmp_path: Path) -> None:
        assert settings.is_loopback(settings.load({"host": host}, folder=tmp_path)["host"]) is near

    def test_tls_is_a_certificate_and_its_key(self, tmp_path: Path) -> None:
        assert settings.load(folder=tmp_path).tls is None
        found = settings.load({"tls_cert": "c.pem", "tls_key": "/k.pem"}, folder=tmp_path)
        assert found.tls == (tmp_path / "c.pem", Path("/k.pem"))
        with pytest.raises(SettingInvalid, match="half described"):
            _ = settings.load({"tls_cert": "c.pem"}, folder=tmp_path).tls

    def test_no_setting_says_who_may_ask(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Issuers of tokens are facts: what a folder or a variable names must neither open a server nor close it."""
        _refused(tmp_path, "no setting of this name", {"jwt_issuer": "https://i"})
        monkeypatch.setenv("FULLCIRCLE_JWT_ISSUER", "https://i")
        assert not [name for name in settings.load(folder=tmp_path).values if "jwt" in name]

    @pytest.mark.parametrize("value", ["", "1", "true", "Yes", "maybe"])
    def test_offline_is_yes_or_no(self, value: str, tmp_path: Path) -> None:
        error = _refused(tmp_path, "neither yes nor no", {"offline": value})
        assert (error.received, error.allowed) == (repr(value), "yes, no")

    @pytest.mark.parametrize(("name", "bad"), [("port", "http"), ("host", "a b"), ("offline", "1")])
    def test_a_bad_value_is_refused_wherever_it_comes_from(
        self, name: str, bad: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv(f"FULLCIRCLE_{name.upper()}", bad)
        _refused(tmp_path, name)
        monkeypatch.delenv(f"FULLCIRCLE_{name.upper()}")
        _refused(_write(tmp_path, f'{name} = "{bad}"'), name)

    @pytest.mark.parametrize("name", ["ports", "", "Workspace"])
    def test_an_unknown_flag_is_refused(self, name: str, tmp_path: Path) -> None:
        error = _refused(tmp_path, r"there is no setting of this name \(a flag\)", {name: None})
        assert error.received == repr(name)

    @given(st.integers(-(10**6), 10**6))
    @hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
    def test_a_port_is_a_number_in_its_range_or_refused(self, tmp_path: Path, number: int) -> None:
        if 0 <= number <= 65535:
            assert settings.load({"port": str(number)}, folder=tmp_path).port == number
        else:
            _refused(tmp_path, "port", {"port": str(number)})


class TestWorkspace:
    def test_it_lies_beside_the_file_that_names_it(self, tmp_path: Path) -> None:
        assert settings.load(folder=tmp_path).workspace == tmp_path / ".fullcircle"
        assert settings.load(folder=_write(tmp_path, 'workspace = "w"')).workspace == tmp_path / "w"

    def test_an_absolute_one_lies_where_it_says(self, tmp_path: Path) -> None:
        elsewhere = tmp_path / "elsewhere"
        found = settings.load({"workspace": str(elsewhere)}, folder=tmp_path / "here")
        assert found.workspace == elsewhere

    def test_a_relative_folder_becomes_absolute(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        found = settings.load(folder=Path("below"))
        assert found.folder == tmp_path / "below"
        assert found.workspace.is_absolute()


def test_hosts_are_names_separated_by_commas(tmp_path: Path) -> None:
    assert settings.load(folder=tmp_path).hosts == ()
    found = settings.load({"hosts": " models.example.org,[fd00::1] ,"}, folder=tmp_path)
    assert found.hosts == ("models.example.org", "[fd00::1]")


@pytest.mark.parametrize("hosts", ["http://models.example.org", "models.example.org:443", "a b", "*", "a,b/c"])
def test_hosts_that_are_no_names_are_refused(tmp_path: Path, hosts: str) -> None:
    with pytest.raises(SettingInvalid, match="name of a host"):
        settings.load({"hosts": hosts}, folder=tmp_path)
