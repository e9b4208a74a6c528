"""The page of all settings has each setting of the schema, with a meaning; the documentation's build makes it."""

import sys
from pathlib import Path

import yaml

from seedsweep.cli.main import main
from seedsweep.names import conf_dir

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "docs" / "_pages"))
import settings


def rows() -> dict[str, settings.Setting]:
    return {row.key: row for _, _, part in settings.sections() for row in part}


def test_each_setting_of_a_composed_configuration_is_there(capsys):
    assert main(["--cfg", "job"]) == 0
    shown = yaml.safe_load(capsys.readouterr().out)
    keys = {
        f"{section}.{key}"
        for section, content in shown.items()
        if isinstance(content, dict)
        for key, value in content.items()
        if not isinstance(value, dict) or key in ("space", "options")
    }
    assert len(keys) > 80
    assert keys <= set(rows())


def test_each_setting_has_a_meaning_and_a_kind():
    for key, row in rows().items():
        assert row.meaning, f"{key}: give it a comment in the schema; the page shows it"
        assert row.allowed or row.kind, key


def test_bounds_and_defaults_are_those_of_the_schema():
    found = rows()
    assert found["data.val_fraction"].allowed == "0.01 to 0.9"
    assert found["data.batch_size"].allowed == "1 to 65,536"
    assert found["trainer.patience"].default == "10"
    assert found["optim.name"].allowed == "`adam`, `adamw`, `sgd`"
    assert found["batchnorm.name"].default == "inference"


def test_each_choice_of_conf_is_on_the_page():
    page = settings.page()
    for path in conf_dir().rglob("*/*.yaml"):
        assert f"| `{path.stem}` |" in page or f"/{path.stem}` |" in page, path
    assert "|  |\n" not in page.partition("## Choices")[2], "a file of conf/ opens with no comment"
