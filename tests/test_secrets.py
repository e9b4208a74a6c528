"""The password of storage.url reaches no file and no message."""

import os
from pathlib import Path
from urllib.parse import unquote

import optuna
import pytest
import study_stub
from sqlalchemy import make_url
from study_stub import STUDY, Arm

from seedsweep.cli.arguments import arrange
from seedsweep.cli.main import main
from seedsweep.errors import SeedsweepError
from seedsweep.overrides import text_of
from seedsweep.study import main_process, plan, storage
from seedsweep.study.options import StorageConfig
from seedsweep.study.password import VARIABLE, scrubbed, with_password, without_password

arm = study_stub.arm  # the fixture
SECRET = "s3cr%40t,x"
ENCODED = "s3cr%40t%2Cx"
BARE = "postgresql+psycopg://me@127.0.0.1:1/trials"
URL = f"postgresql+psycopg://me:{SECRET}@127.0.0.1:1/trials"


@pytest.fixture(autouse=True)
def _variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "")
    monkeypatch.delenv("SEEDSWEEP_STORAGE_URL", raising=False)


def files_with(secret: str) -> list[str]:
    return [
        str(path) for path in Path().rglob("*") if path.is_file() and secret.encode() in path.read_bytes()
    ]


@pytest.mark.parametrize("grid", [False, True])
def test_it_reaches_no_file_and_no_line(
    grid: bool, arm: Arm, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    seen = []

    def opened(config: StorageConfig, folder: Path) -> optuna.storages.BaseStorage:
        seen.append(with_password(str(config.url)))
        return storage._journal(folder / storage.JOURNAL)

    for module in (plan, main_process):
        monkeypatch.setattr(module, "open_storage", opened)
    few = ["study.n_trials=2", "study.finalists=1", "study.finalist_seeds=1", "report.write=false"]
    line = [*STUDY, *few, "storage=postgres", f"storage.url={URL}"]
    assert main([*(["-m", "seed=1,2", "study.name=s_${seed}"] if grid else ["study.name=s"]), *line]) == 0
    assert set(seen) == {URL.replace(SECRET, ENCODED)}, "the workers have it"
    said = capsys.readouterr()
    for secret in ("s3cr", "cr@t"):
        assert secret not in said.out + said.err
        assert files_with(secret) == []
    assert files_with(BARE), "the rest of the url is kept, for resume="


def test_resume_takes_it_from_the_environment():
    assert arrange([f"storage.url={URL}"]) == [f'storage.url="{BARE}"']
    assert os.environ[VARIABLE] == "s3cr@t,x"
    assert arrange([f'storage.url="{BARE}"']) == [f'storage.url="{BARE}"']
    assert with_password(BARE) == URL.replace(SECRET, ENCODED)
    assert with_password("postgresql://host/db") == "postgresql://host/db"


@pytest.mark.parametrize("quote", ["", '"', "'"])
@pytest.mark.parametrize("password", ["p@ss", "p%40ss", "p@s:s", "50%off", "a@b@c", "p%2Fs%3Fs%23", "${x}%"])
@pytest.mark.parametrize("user", ["me", "me@corp"])
def test_a_typed_password_is_taken_whole(user: str, password: str, quote: str):
    rest = "host:5432/db?application_name=a@b"
    bare = f"postgresql+psycopg://{user}@{rest}"
    typed = f"storage.url={quote}postgresql+psycopg://{user}:{password}@{rest}{quote}"
    if "$" in password:
        with pytest.raises(SeedsweepError, match=VARIABLE):
            without_password(typed)
        return
    assert text_of(without_password(typed).partition("=")[2]) == bare
    assert os.environ[VARIABLE] == unquote(password)
    assert make_url(with_password(bare)).password == unquote(password)
    assert make_url(with_password(bare)).host == "host"


@pytest.mark.parametrize("password", ["p/ss", "12/3", "p?s@s", "p#1", "p/s@s", "12?3", "a%00b"])
def test_a_password_whose_end_cannot_be_told_is_refused(password: str):
    with pytest.raises(SeedsweepError, match=VARIABLE) as caught:
        without_password(f"storage.url=postgresql://me:{password}@host/db")
    assert password not in str(caught.value)


def test_the_variable_holds_the_password_as_it_is(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(VARIABLE, "p@s/s#1")
    url = make_url(with_password(BARE))
    assert (url.username, url.password, url.host) == ("me", "p@s/s#1", "127.0.0.1")
    assert make_url(with_password("postgresql://me:p@ss@host/db")).password == "p@ss"
    assert scrubbed("p@s/s#1 p%40s%2Fs%231 me", BARE) == "*** *** me"
    monkeypatch.setenv(VARIABLE, "p")
    assert scrubbed("no password p for psycopg", BARE) == "no password *** for psycopg"


def test_no_message_of_the_database_shows_it(capsys: pytest.CaptureFixture[str], in_tmp: Path):
    pytest.importorskip("psycopg")
    with pytest.raises(SeedsweepError, match=f"127.0.0.1:1/trials.*set {VARIABLE}") as caught:
        storage.open_storage(StorageConfig("rdb", url=URL), in_tmp)
    assert "s3cr" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert scrubbed("FATAL: s3cr@t,x or s3cr%40t,x", URL) == "FATAL: *** or ***"


@pytest.mark.parametrize(
    "url", ["postgresql://h/d?user=me&password=hidden", "postgresql://a:b1@h/d,postgresql://a:c1@h/d"]
)
def test_a_password_at_another_place_is_refused(url: str, in_tmp: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["storage=postgres", f"storage.url={url}"]) == 2
    said = capsys.readouterr().err
    assert VARIABLE in said
    assert not [word for word in ("hidden", "b1", "c1") if word in said]


def test_a_password_in_a_file_of_the_user_is_refused(in_tmp: Path, capsys: pytest.CaptureFixture[str]):
    (in_tmp / "mine/storage").mkdir(parents=True)
    (in_tmp / "mine/storage/ours.yaml").write_text(f"name: rdb\nurl: {URL}\n")
    assert main(["--config-dir", "mine", "storage=ours"]) == 2
    assert VARIABLE in (said := capsys.readouterr().err)
    assert "s3cr" not in said
    assert not (in_tmp / "outputs").exists()


def test_a_url_of_the_environment_is_written_nowhere(arm: Arm, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SEEDSWEEP_STORAGE_URL", URL)
    for module in (plan, main_process):
        monkeypatch.setattr(
            module, "open_storage", lambda _, folder: storage._journal(folder / storage.JOURNAL)
        )
    few = ["study.name=s", "study.n_trials=1", "study.finalists=1", "study.finalist_seeds=1"]
    assert main([*STUDY, *few, "storage=postgres"]) == 0
    assert files_with("s3cr") == []
