"""Random SIGKILLs and SIGTERMs over all tasks: called again, each ends as if nobody had killed it.

``SEEDSWEEP_KILLS=60+20`` says how many of each; one third has TMPDIR on another file system. The table is printed at
the end.
"""

import os
import signal
from collections.abc import Iterator

import pytest
from kill_campaign import ELSEWHERE, Campaign, plan

KILLS, TERMS = (int(n) for n in os.environ.get("SEEDSWEEP_KILLS", "60+20").split("+"))


@pytest.fixture(scope="module")
def campaign(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Campaign]:
    held = Campaign(tmp_path_factory.mktemp("campaign"))
    yield held
    capture = request.config.pluginmanager.getplugin("capturemanager")
    with capture.global_and_fixture_disabled():
        print(f"\n{held.table()}")


@pytest.mark.slow
@pytest.mark.skipif(not ELSEWHERE.is_dir(), reason="no second file system is known here")
@pytest.mark.parametrize(
    ("name", "number", "sent", "elsewhere"),
    plan(KILLS, TERMS),
    ids=lambda value: value.name if isinstance(value, signal.Signals) else str(value).replace(" ", "_"),
)
def test_killed_and_called_again(
    name: str, number: int, sent: signal.Signals, elsewhere: bool, campaign: Campaign
) -> None:
    campaign.run()
    campaign.attempt(name, number, sent, elsewhere=elsewhere)


def test_a_third_has_its_temporary_files_elsewhere_and_every_area_its_turn() -> None:
    tries = list(plan(60, 20))
    assert sum(elsewhere for *_, elsewhere in tries) == 27
    assert {tries.count(t) for t in tries} == {1}
    for sent in (signal.SIGKILL, signal.SIGTERM):
        assert len({name for name, _, signal_, _ in tries if signal_ == sent}) == 8
    for name in {name for name, *_ in tries}:
        assert {elsewhere for other, _, _, elsewhere in tries if other == name} == {True, False}
