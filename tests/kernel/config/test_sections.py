"""How a plugin's section is checked against the plugin's own schema."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass, field

import pydantic
import pytest

from model_checkpoint.common.secrets import Secret
from model_checkpoint.config import Section, check_section
from model_checkpoint.errors import ConfigProblems, ConfigurationError


@dataclass(frozen=True, slots=True)
class Retry:
    times: int = 3
    wait_s: float = 0.5


@dataclass(frozen=True, slots=True)
class Config:
    bucket: str = "none"
    retry: Retry = field(default_factory=Retry)
    regions: tuple[str, ...] = ()
    token: Secret | None = None
    fast: bool = False

    def __post_init__(self) -> None:
        if self.bucket == "forbidden":
            raise ValueError("that bucket is forbidden")


class Model(pydantic.BaseModel):
    bucket: str
    size: int = 1


def test_a_section_becomes_an_instance_of_its_schema() -> None:
    raw = Section({"bucket": "b", "retry": {"times": 5}, "regions": ["eu", "us"], "token": "env:TOKEN"})
    assert check_section(Config, raw, "plugins.s3") == Config("b", Retry(5), ("eu", "us"), Secret("env:TOKEN"))
    assert check_section(Model, {"bucket": "b"}, "plugins.m") == Model(bucket="b")


def test_text_of_variables_becomes_numbers_flags_and_lists() -> None:
    raw = Section({"retry": {"times": "5"}, "regions": "eu,us", "fast": "1"})
    assert check_section(Config, raw, "plugins.s3") == Config("none", Retry(5), ("eu", "us"), None, True)


def test_all_problems_come_at_once_with_the_nearest_known_key() -> None:
    raw = {"buckt": "b", "retry": {"times": "x", "wait": 1}, "fast": "maybe", "regions": "[1", "token": 3}
    with pytest.raises(ConfigProblems) as caught:
        check_section(Config, raw, "plugins.s3")
    assert sorted(caught.value.problems) == [
        "plugins.s3.buckt is not known; did you mean 'bucket'?",
        "plugins.s3.fast='maybe': input should be a valid boolean, unable to interpret input",
        "plugins.s3.regions='[1' begins like a list in JSON and is none: Expecting ',' delimiter: line 1 column 3"
        " (char 2)",
        "plugins.s3.retry.times='x': input should be a valid integer, unable to parse string as an integer",
        "plugins.s3.retry.wait is not known; did you mean 'wait_s'?",
        "plugins.s3.token='***': input should be text, or a reference such as 'env:NAME'",
    ]


def test_what_a_model_cannot_do_without_is_asked_for_by_its_key() -> None:
    with pytest.raises(ConfigProblems, match=r"^plugins\.m\.bucket: field required$"):
        check_section(Model, {}, "plugins.m")


def test_what_the_schema_itself_refuses_is_a_problem_of_the_section() -> None:
    with pytest.raises(ConfigProblems, match=r"plugins\.s3=.*that bucket is forbidden"):
        check_section(Config, {"bucket": "forbidden"}, "plugins.s3")


def test_a_schema_that_is_none_is_a_typed_error_that_names_it() -> None:
    @dataclass
    class Odd:
        lock: Odder  # type: ignore[name-defined]  # noqa: F821

    with pytest.raises(ConfigurationError, match=r"\[plugins\.odd\] cannot be checked: .*Odd is no schema"):
        check_section(Odd, {"lock": 1}, "plugins.odd")


def test_an_empty_section_of_a_dataclass_imports_no_pydantic() -> None:
    program = (
        "import sys; from dataclasses import make_dataclass; from model_checkpoint.config import check_section;"
        "made = make_dataclass('Config', [('x', int, 3)]);"
        "print(check_section(made, {}, 'plugins.x'), 'pydantic' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("Config(x=3) False\n", "")
