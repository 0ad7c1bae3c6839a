"""What users type arrives as typed: text stays text, one value is a list of one, and odd paths need no quotes."""

from __future__ import annotations

from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given, settings
from hypothesis import strategies as st

from hwnas.cli.arguments import in_hydras_syntax, quoted
from hwnas.cli.compose import compose_config, compose_jobs, group_names
from hwnas.cli.config import register_schemas, to_pipeline_config
from hwnas.cli.main import main
from hwnas.errors import ConfigError
from hwnas.pipeline.config import PipelineConfig
from tests.cli.test_config import settings_of, told_schemas


def typed(command: str, *arguments: str, positional: str | None = None) -> PipelineConfig:
    told_schemas()
    overrides = in_hydras_syntax(arguments, positional, settings_of, set(group_names()))
    return to_pipeline_config(compose_config(command, overrides))


TEXTS = [
    "87681e28", "1_2345678", "0123456", "12:30", "1e5", "yes", "off", "true", "nan", "inf", "None", "~", "-1",
    "2026_11_28", "2024_01", "a b", "ü/日本", "photos (1)", "epoch=3-step=9.ckpt", "it's", "a'b'c", 'say "hi"',
    "#1", "a&b", "x[0]", "{x}", "a,b", "a:b", "back\\slash", "ends\\", "100%", "$HOME", "a;b", "*?", "!x", "@y",
    "choice(a,b)", "x\\'y",
]  # fmt: skip


@pytest.mark.parametrize("text", TEXTS)
def test_text_is_text_as_typed(text: str) -> None:
    config = typed("export", f"checkpoint={text}", f"device.address={text}", f"data.root={text}")
    assert (config.checkpoint, config.device.address, config.images.root) == (text, text, text)


@given(st.text(st.characters(blacklist_categories=("Cs", "Cc")), min_size=1).filter(lambda text: "${" not in text))
@settings(max_examples=200, deadline=None)
def test_hydra_reads_any_quoted_text_literally(text: str) -> None:
    assert OverridesParser.create().parse_override(f"key={quoted(text)}").value() == text


def test_a_name_of_digits_is_a_folder_of_that_name() -> None:
    assert typed("train", "name=2026_11_28").name == "2026_11_28"


def test_the_schema_is_that_of_the_chosen_data() -> None:
    config = typed("train", "data=image_folder", "data.root=2024_01", "data.class_names=1_0.txt")
    assert (config.data.root, config.data.class_names) == ("2024_01", "1_0.txt")


@pytest.mark.parametrize("null", ["checkpoint=null", "device.address=null"])
def test_null_is_nothing(null: str) -> None:
    config = typed("export", null)
    assert (config.checkpoint, config.device.address) == (None, None)


def test_what_is_quoted_for_hydra_may_stay_so() -> None:
    assert typed("train", "data.root='my pictures'").images.root == "my pictures"
    assert typed("train", 'data.root="my pictures"').images.root == "my pictures"


def test_variables_are_filled_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PICTURES", "/photos (1)")
    assert typed("train", "data.root=${oc.env:PICTURES}/x").images.root == "/photos (1)/x"


def test_a_home_is_this_users_and_a_devices_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    config = typed("profile", "data.root=~/photos", "device.folder=~/hwnas", "device.key_file=~/.ssh/key")
    assert config.images.root == "/home/me/photos"
    assert (config.device.folder, config.device.key_file) == ("~/hwnas", "~/.ssh/key")


@pytest.mark.parametrize(
    ("argument", "expected"),
    [
        ("formats=onnx", ("onnx",)), ("formats=[onnx,tflite]", ("onnx", "tflite")),
        ("formats=[ onnx , tflite ]", ("onnx", "tflite")), ("formats=", ()),
        ("formats=[]", ()), ("formats=['onnx']", ("onnx",)),
    ],
)  # fmt: skip
def test_one_value_is_a_list_of_one(argument: str, expected: tuple[str, ...]) -> None:
    assert typed("export", argument).formats == expected


def test_lists_of_numbers_and_of_texts() -> None:
    assert typed("search", "search.budgets=0.1").search.budgets == (0.1,)
    assert typed("search", "devices=1_2").devices == ("1_2",)
    assert typed("search", "devices=[1_2,3e4,'a,b']").devices == ("1_2", "3e4", "a,b")
    assert typed("profile", "runtime=litert").runtimes == ("litert",)
    assert typed("profile", "runtime=[litert,onnxruntime]").runtimes == ("litert", "onnxruntime")
    assert typed("train", "data=image_folder", "data.mean=null").data.mean is None


@pytest.mark.parametrize(
    ("argument", "form"),
    [("devices=a,b", "devices=[a,b]"), ("formats=onnx, tflite", "formats=[onnx, tflite]"),
     ("search.budgets=0.1,0.2", "search.budgets=[0.1,0.2]"), ("runtime=litert,tvm", "runtime=[litert,tvm]")],
)  # fmt: skip
def test_several_values_name_the_form(argument: str, form: str) -> None:
    with pytest.raises(ConfigError, match="several values are a list in brackets") as caught:
        typed("search", argument)
    assert form in str(caught.value)


def test_an_arch_is_json_or_a_path() -> None:
    assert typed("export", 'arch={"ks": [3, 5], "r": 32}').arch == {"ks": [3, 5], "r": 32}
    assert typed("export", "arch=my (1)=best.json").arch == "my (1)=best.json"


def test_a_sweep_divides_at_commas_and_keeps_texts() -> None:
    register_schemas()
    arguments = ["-m", "name=1_0,it's", "seed=0,1", "formats=onnx,tflite"]
    overrides = in_hydras_syntax(arguments, None, settings_of, set(group_names()))[1:]
    jobs = [to_pipeline_config(config) for _, config in compose_jobs("export", overrides)]
    assert [(job.name, job.seed, job.formats) for job in jobs] == [
        (name, seed, (form,)) for name in ("1_0", "it's") for seed in (0, 1) for form in ("onnx", "tflite")
    ]


def test_a_positional_path_may_be_any(tmp_path: Path) -> None:
    for name in ("a=b", "x (1)", "it's", "1_0"):
        (tmp_path / name).mkdir()
        assert typed("verify-bundle", str(tmp_path / name), positional="folder").folder == str(tmp_path / name)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["import-table", "/etc/hostname"], ["format: expected one of", "format=…"]),
        (["train", "/etc/hostname"], ["'/etc/hostname' is no setting", "key=value", "--help"]),
        (["train", "training.batch_size=[3"], ["training.batch_size", "'[3'", "if it is text, quote it"]),
        (["train", "name="], ["name: expected a name", "got ''"]),
        (["train", "name=../x"], ["name: expected a name", "'../x'"]),
        (["search", "devices=a,b"], ["devices=[a,b]"]),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_one_line(
    arguments: list[str],
    expected: list[str],
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("hwnas: error: ")
    for text in expected:
        assert text in line
