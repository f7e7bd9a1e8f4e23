"""Settings come from PATHLANE_* and a wrong one is named without its value."""

from pathlib import Path

import pytest

from worker.settings import SettingsError, embedded_environment, embedded_socket, read_settings


@pytest.fixture
def environment(monkeypatch):
    def set_all(**values):
        for name, value in values.items():
            monkeypatch.setenv(f"PATHLANE_{name}", value)
        return read_settings()

    return set_all


def test_the_defaults_are_safe(environment):
    settings = environment()
    assert settings.imaging.image_roots == ()
    assert settings.delivery.webhook_hosts == ()
    assert settings.imaging.fetch_hosts == ()
    assert settings.delivery.webhook_plain_http is False


def test_lists_are_read(environment):
    settings = environment(IMAGE_ROOTS="/a:/b", WEBHOOK_HOSTS="lis.example, 10.0.0.0/8")
    assert settings.imaging.image_roots == (Path("/a"), Path("/b"))
    assert settings.delivery.webhook_hosts == ("lis.example", "10.0.0.0/8")


def test_a_wrong_value_names_its_variable_and_not_the_value(environment):
    with pytest.raises(SettingsError, match="PATHLANE_SLOTS") as caught:
        environment(SLOTS="secret-value")
    assert "secret-value" not in str(caught.value)


def test_urls_with_passwords_are_hidden(environment):
    settings = environment(DATABASE_URL="postgresql+psycopg://u:hunter2@db/x")
    assert "hunter2" not in repr(settings)


def test_an_embedded_store_lies_in_its_folder():
    environment = embedded_environment(Path("/srv/lab"), {"PATHLANE_WEBHOOK_HOSTS": "lis.example"})
    assert environment["PATHLANE_DATABASE_URL"] == "sqlite:////srv/lab/pathlane.db"
    assert environment["PATHLANE_WEBHOOK_HOSTS"] == "lis.example", "what the operator says stands"


def test_a_socket_whose_path_would_be_too_long_lies_elsewhere():
    short, long = Path("/srv/lab"), Path("/" + "x" * 120)
    assert embedded_socket(short).parent == short
    assert len(str(embedded_socket(long))) <= 100
    assert embedded_socket(long) == embedded_socket(long)
