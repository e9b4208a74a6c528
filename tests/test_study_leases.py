"""Who has which trial: claims, dead workers here and elsewhere, and trials that kill their workers."""

import multiprocessing
import subprocess
import sys
import time
from pathlib import Path

import optuna
import psutil
import pytest
from optuna.trial import Trial, TrialState

from seedsweep.errors import SeedsweepError
from seedsweep.study import leases as module
from seedsweep.study.journal import CheckedJournal
from seedsweep.study.leases import Leases
from seedsweep.study.options import StorageConfig
from seedsweep.study.plan import add_trial, trials_of
from seedsweep.study.space import Start
from seedsweep.study.storage import open_storage


def random_sampler(slot: int) -> optuna.samplers.BaseSampler:
    return optuna.samplers.RandomSampler(seed=slot)


def begin(folder: Path, n: int = 3) -> optuna.Study:
    study = optuna.create_study(storage=open_storage(StorageConfig("journal"), folder), study_name="s")
    for slot in range(n):
        add_trial(study, slot, Start({"x": float(slot)}))
    return study


def open_again(folder: Path, grace: float = 100.0) -> Leases:
    study = optuna.load_study(study_name="s", storage=open_storage(StorageConfig("journal"), folder))
    return Leases(study, folder, grace)


def claim(leases: Leases) -> Trial:
    trial = leases.claim(random_sampler)
    assert trial is not None
    return trial


def states(leases: Leases) -> list[str]:
    return [trial.state.name for trial in trials_of(leases.study)]


def sign(leases: Leases, trial: Trial, worker: dict[str, object] | None) -> None:
    leases.storage.set_trial_user_attr(trial._trial_id, module.WORKER, worker)


def test_slots_are_taken_in_order_and_keep_what_was_laid(tmp_path: Path) -> None:
    begin(tmp_path)
    one, two = open_again(tmp_path), open_again(tmp_path)
    taken = [claim(one), claim(two), claim(one)]
    assert [trial.user_attrs["slot"] for trial in taken] == [0, 1, 2]
    assert [trial.suggest_float("x", 0, 9) for trial in taken] == [0.0, 1.0, 2.0]
    assert one.claim(random_sampler) is None
    assert all(leases.is_mine(trial) for leases, trial in zip((one, two, one), taken, strict=True))
    assert one.reap(other_machines=True) == 0, "this process lives"


def test_a_dead_process_loses_its_trial(tmp_path: Path) -> None:
    leases = Leases(begin(tmp_path), tmp_path, 100.0)
    trial = claim(leases)
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    sign(leases, trial, {"host": module.host(), "pid": ended.pid, "born": time.time()})
    assert not leases.is_mine(trial)
    assert leases.reap(other_machines=False) == 1
    assert states(leases) == ["WAITING"] * 3
    assert claim(leases).user_attrs["slot"] == 0


def test_a_process_id_used_again_is_another_process(tmp_path: Path) -> None:
    leases = Leases(begin(tmp_path), tmp_path, 100.0)
    trial = claim(leases)
    sign(leases, trial, {**module.me(), "born": 1.0})
    assert leases.reap(other_machines=False) == 1


def test_a_step_of_the_clock_changes_no_name(monkeypatch: pytest.MonkeyPatch) -> None:
    before = module.me()
    boot, now = psutil.boot_time(), time.time()
    monkeypatch.setattr(psutil._pslinux, "boot_time", lambda: boot + 3600)  # what psutil reckons a start from
    monkeypatch.setattr(time, "time", lambda: now + 3600)
    assert module.me() == before
    assert not module.is_gone(before)


def test_an_id_that_the_next_process_got_is_another_process() -> None:
    first, second = (subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) for _ in "ab")
    try:
        named = module.me() | {"pid": second.pid, "born": module._born(second.pid)}
        assert not module.is_gone(named)
        assert module.is_gone(named | {"born": named["born"] - 1}), "a hundredth of a second earlier"
        assert module.is_gone(named | {"pid": 2**22 + 1}), "no such id can be"
    finally:
        for process in (first, second):
            process.communicate()
    assert module.is_gone(named)


def test_a_machine_that_was_started_anew_is_another(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    named = module.me()
    for name in ("sys/kernel/random", "self/ns"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "sys/kernel/random/boot_id").write_text("another\n")
    (tmp_path / "self/ns/pid").symlink_to("/proc/self/ns/pid")
    monkeypatch.setattr(module, "PROC", tmp_path)
    module.host.cache_clear()
    try:
        assert module.host() != named["host"]
        assert not module.is_gone(named), "nothing is known of it: its silence decides"
    finally:
        module.host.cache_clear()


def test_without_proc_the_system_is_asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(module, "PROC", tmp_path)
    module.host.cache_clear()
    try:
        assert not module.is_gone(module.me())
        assert module.is_gone(module.me() | {"born": 1.0})
    finally:
        module.host.cache_clear()


def test_killed_between_taking_and_signing(tmp_path: Path) -> None:
    leases = Leases(begin(tmp_path), tmp_path, 100.0)
    sign(leases, claim(leases), None)
    assert leases.reap(other_machines=False) == 1


def test_another_machine_is_given_its_grace(tmp_path: Path) -> None:
    leases = Leases(begin(tmp_path), tmp_path, grace=0.05)
    trial = claim(leases)
    sign(leases, trial, {"host": "elsewhere", "pid": 1, "born": 1.0})
    assert leases.reap(other_machines=False) == 0
    assert leases.reap(other_machines=True) == 0, "seen for the first time"
    leases.storage.set_trial_user_attr(trial._trial_id, module.ALIVE, 1)
    time.sleep(0.1)
    assert leases.reap(other_machines=True) == 0, "it gave a sign of life"
    time.sleep(0.1)
    assert leases.reap(other_machines=True) == 1


def test_a_trial_that_kills_its_workers_is_given_up(tmp_path: Path) -> None:
    leases = Leases(begin(tmp_path, 1), tmp_path, 100.0)
    for death in range(module.DEATHS):
        assert states(leases) == ["WAITING"]
        sign(leases, claim(leases), {**module.me(), "born": 1.0})
        leases.reap(other_machines=False)
        assert trials_of(leases.study)[0].user_attrs["deaths"] == death + 1
    assert states(leases) == ["FAIL"]
    assert "killed 3 times" in trials_of(leases.study)[0].user_attrs["reason"]


def test_a_stopped_study_blames_no_trial(tmp_path: Path) -> None:
    leases = Leases(begin(tmp_path, 1), tmp_path, 100.0)
    for _ in range(5):
        sign(leases, claim(leases), {**module.me(), "born": 1.0})
        leases.reap(other_machines=False, blame=False)
    assert states(leases) == ["WAITING"]
    leases.give_back(claim(leases))
    assert states(leases) == ["WAITING"]


def _drain(folder: Path, out: Path) -> None:
    leases = open_again(folder)
    taken = []
    while (trial := leases.claim(random_sampler)) is not None:
        taken.append(str(trial.user_attrs["slot"]))
        leases.study.tell(trial, 1.0)
    out.write_text(" ".join(taken))


@pytest.mark.slow
def test_four_processes_lose_and_double_nothing(tmp_path: Path) -> None:
    leases = Leases(begin(tmp_path, 60), tmp_path, 100.0)
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_drain, args=(tmp_path, tmp_path / f"{n}.txt")) for n in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        assert process.exitcode == 0
    taken = [int(word) for n in range(4) for word in (tmp_path / f"{n}.txt").read_text().split()]
    assert sorted(taken) == list(range(60))
    assert states(leases) == ["COMPLETE"] * 60


def test_a_torn_last_line_is_cut_off(tmp_path: Path) -> None:
    begin(tmp_path)
    path = tmp_path / "study.journal"
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"op_code":6,"wor')
    leases = open_again(tmp_path)
    assert path.read_bytes() == whole
    assert claim(leases).user_attrs["slot"] == 0
    assert states(open_again(tmp_path))[0] == TrialState.RUNNING.name


def test_what_follows_a_torn_line_is_kept(tmp_path: Path) -> None:
    """Of a worker that was killed in the midst of a line, while others have the journal open."""
    path = tmp_path / "journal"
    first, second = CheckedJournal(path), CheckedJournal(path)
    first.append_logs([{"op": 1}])
    with path.open("ab") as file:
        file.write(b'{"op":2,"x')
    assert [each["op"] for each in second.read_logs(0)] == [1]
    first.append_logs([{"op": 3}])
    second.append_logs([{"op": 4}])
    for journal in (first, second, CheckedJournal(path)):
        assert [each["op"] for each in journal.read_logs(0)] == [1, 3, 4]


def test_a_damaged_journal_gets_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "study.journal").write_text("no json\nat all\n")
    with pytest.raises(SeedsweepError, match="damaged in line 1: put back a copy"):
        open_storage(StorageConfig("journal"), tmp_path)


def test_unreachable_storages_get_a_sentence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("seedsweep.study.storage.CONNECT_SECONDS", 1)
    with pytest.raises(SeedsweepError, match="no storage proxy answers at localhost:1:"):
        open_storage(StorageConfig("grpc", port=1), tmp_path)
    with pytest.raises(SeedsweepError, match="SQLite"):
        open_storage(StorageConfig("rdb", url="sqlite:///x.db"), tmp_path)
    with pytest.raises(SeedsweepError) as error:
        open_storage(StorageConfig("rdb", url="postgresql+psycopg://u:secret@localhost:1/d"), tmp_path)
    assert "secret" not in str(error.value)
