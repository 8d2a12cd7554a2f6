"""The operator's own tables of numbers, from the files that the settings name."""

import pytest

from zhenxian.core.errors import ConfigError
from zhenxian.service.numbers import plan_of
from zhenxian.service.settings import load_settings

TABLE = "prefix,lengths,kind,label,label_zh,source\n8617000,13,mvno,Sample MVNO,示例虚商,import\n"


def settings(folder, content):
    (folder / "mvno.csv").write_bytes(content)
    file = folder / "zhenxian.toml"
    file.write_text('[registry]\nkinds = ["mvno.csv"]\n')
    return load_settings(file)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_a_table_is_read_as_spreadsheets_save_it(tmp_path, encoding):
    plan = plan_of(settings(tmp_path, TABLE.encode(encoding)))
    assert plan.label("8617000002001").text == "Sample MVNO"


def test_a_table_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"mvno\.csv"):
        plan_of(settings(tmp_path, TABLE.encode("gbk")))
    kept = settings(tmp_path, b"")
    (tmp_path / "mvno.csv").unlink()
    with pytest.raises(ConfigError, match=r"mvno\.csv.*No such file"):
        plan_of(kept)
