"""The password of storage.url reaches no file and no message."""

import os
from pathlib import Path

import optuna
import pytest
import study_stub
from study_stub import STUDY, Arm

from seedsweep.cli.arguments import arrange
from seedsweep.cli.main import main
from seedsweep.config.secrets import VARIABLE, scrubbed, with_password
from seedsweep.config.study_schema import StorageConfig
from seedsweep.errors import SeedsweepError
from seedsweep.study import plan, storage

arm = study_stub.arm  # the fixture
SECRET = "s3cr%40t,x"
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

    monkeypatch.setattr(plan, "open_storage", opened)
    few = ["study.n_trials=2", "study.finalists=1", "study.finalist_seeds=1", "report.write=false"]
    line = [*STUDY, *few, "storage=postgres", f"storage.url={URL}"]
    assert main([*(["-m", "seed=1,2", "study.name=s_${seed}"] if grid else ["study.name=s"]), *line]) == 0
    assert set(seen) == {URL}, "the workers have it"
    said = capsys.readouterr()
    for secret in ("s3cr", "cr@t"):
        assert secret not in said.out + said.err
        assert files_with(secret) == []
    assert files_with(BARE), "the rest of the url is kept, for resume="


def test_resume_takes_it_from_the_environment():
    assert arrange([f"storage.url={URL}"]) == [f'storage.url="{BARE}"']
    assert os.environ[VARIABLE] == SECRET
    assert arrange([f'storage.url="{BARE}"']) == [f'storage.url="{BARE}"']
    assert with_password(BARE) == URL
    assert with_password("postgresql://host/db") == "postgresql://host/db"


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
    monkeypatch.setattr(
        plan, "open_storage", lambda config, folder: storage._journal(folder / storage.JOURNAL)
    )
    few = ["study.name=s", "study.n_trials=1", "study.finalists=1", "study.finalist_seeds=1"]
    assert main([*STUDY, *few, "storage=postgres"]) == 0
    assert files_with("s3cr") == []
