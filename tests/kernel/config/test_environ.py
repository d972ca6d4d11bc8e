"""What environment variables set, in both spellings, and which ones are pointed out."""

from __future__ import annotations

import pytest

from model_checkpoint.config import ConfigSources, load
from model_checkpoint.errors import ConfigProblems


def config(**environ: str):
    return load(ConfigSources(environ=environ)).config


def warnings(**environ: str) -> tuple[str, ...]:
    return load(ConfigSources(environ=environ)).warnings


def test_one_or_two_underscores_lead_to_a_setting() -> None:
    assert config(MCE_STORAGE_VERIFY="full").storage.verify == "full"
    assert config(MCE_STORAGE__VERIFY="full").storage.verify == "full"
    assert config(MCE_STORAGE__CHECKPOINT_DIR="/x").storage.checkpoint_dir.name == "x"
    assert config(MCE_SAFE_MODE="builtin").safe_mode == "builtin"


def test_a_number_is_read_from_text_and_what_is_none_is_refused() -> None:
    assert config(MCE_PLUGIN_TIMEOUT_S="2.5").plugin_timeout_s == 2.5
    with pytest.raises(ConfigProblems, match=r"MCE_PLUGIN_TIMEOUT_S='soon' does not fit: .* a valid number"):
        config(MCE_PLUGIN_TIMEOUT_S="soon")


def test_two_variables_that_disagree_are_refused_and_two_that_agree_are_not() -> None:
    with pytest.raises(ConfigProblems, match="MCE_STORAGE_VERIFY and MCE_STORAGE__VERIFY disagree: set one of them"):
        config(MCE_STORAGE_VERIFY="full", MCE_STORAGE__VERIFY="fast")
    assert config(MCE_STORAGE_VERIFY="full", MCE_STORAGE__VERIFY="full").storage.verify == "full"


@pytest.mark.parametrize("text", ["a,b", " a , b ,", '["a", "b"]'])
def test_a_list_is_written_with_commas_or_as_json(text: str) -> None:
    assert config(MCE_REQUIRED_PLUGINS=text).required_plugins == ("a", "b")


@pytest.mark.parametrize("text", ["[a", '["a", 1]', "[" * 100_000])
def test_a_list_in_bad_json_names_its_variable(text: str) -> None:
    with pytest.raises(ConfigProblems, match=r"MCE_REQUIRED_PLUGINS=.*(is none|more than strings)"):
        config(MCE_REQUIRED_PLUGINS=text)


def test_a_setting_of_a_plugin_is_text_that_stays_text() -> None:
    assert config(MCE_PLUGINS__S3__BUCKET="0012", MCE_PLUGINS__S3__A__B="true").plugins == {
        "s3": {"bucket": "0012", "a": {"b": "true"}}
    }


def test_a_variable_for_all_plugins_wipes_no_section(folder) -> None:
    folder.write("project", '[plugins.s3]\nbucket = "x"\n')
    loaded = folder.load({"MCE_PLUGINS": "{}"})
    assert loaded.config.plugins == {"s3": {"bucket": "x"}}
    assert loaded.warnings == ("MCE_PLUGINS is ignored: a setting of one plugin is MCE_PLUGINS__NAME__KEY",)


def test_a_name_with_a_hyphen_is_the_section_of_the_file_where_there_is_one(folder) -> None:
    folder.write("project", "[plugins.state-dict]\nx = 1\n")
    assert folder.load({"MCE_PLUGINS__STATE_DICT__Y": "2"}).config.plugins == {"state-dict": {"x": 1, "y": "2"}}


def test_a_variable_close_to_a_known_one_is_pointed_out_and_changes_nothing() -> None:
    assert warnings(MCE_STORAGE_VERFY="full") == (
        "MCE_STORAGE_VERFY is not known and ignored; did you mean MCE_STORAGE_VERIFY?",
    )
    assert warnings(MCE_STORAGE__ZZZ="1") == ("MCE_STORAGE__ZZZ is not known and ignored",)
    assert "two underscores each time" in warnings(MCE_PLUGINS_S3_BUCKET="x")[0]


def test_variables_that_others_read_are_left_alone() -> None:
    others = ("MCE_RUN", "MCE_ENV", "MCE_CONFIG", "MCE_FULL", "MCE_HOME", "MCE_SEED", "OTHER", "MCE_STORAGE_BACKND_")
    assert warnings(**dict.fromkeys(others[:-1], "x")) == ()


def test_wrong_words_are_refused_with_the_words_that_are_right() -> None:
    with pytest.raises(ConfigProblems, match="MCE_SAFE_MODE='on' is not known: use 'off', 'builtin', 'none'"):
        config(MCE_SAFE_MODE="on")
    with pytest.raises(ConfigProblems, match="MCE_STORAGE_VERIFY='deep' is not known: use 'stat', 'header', 'fast'"):
        config(MCE_STORAGE_VERIFY="deep")


def test_a_password_is_not_shown_in_a_problem() -> None:
    with pytest.raises(ConfigProblems) as caught:
        config(MCE_CHECKPOINT_DIR="s3://ada:s3cret@host/x")
    assert "s3cret" not in str(caught.value)
