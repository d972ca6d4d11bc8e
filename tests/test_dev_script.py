"""`./dev`: its decisions tested as functions, the whole of it in a scratch copy with a project that needs no index."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from types import ModuleType

import pytest

DEV = Path(__file__).resolve().parents[1] / "dev"


def load_dev(path: Path = DEV) -> ModuleType:
    """Import the script as a module; its ROOT is the folder that it lies in."""
    loader = SourceFileLoader("dev_script", str(path))
    module = module_from_spec(spec_from_loader(loader.name, loader))
    loader.exec_module(module)
    return module


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A folder with the script and two files to fingerprint."""
    shutil.copy(DEV, tmp_path / "dev")
    (tmp_path / "pyproject.toml").write_text("[project]\n")
    (tmp_path / "constraints.txt").write_text("torch==2.13.0\n")
    return tmp_path


@pytest.fixture
def dev(clone: Path) -> ModuleType:
    return load_dev(clone / "dev")


@pytest.fixture
def commands(dev: ModuleType, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """What the script would have run; nothing is run, and everything succeeds."""
    ran: list[list[str]] = []
    monkeypatch.setattr(dev, "run", lambda *words, env=None: ran.append([str(word) for word in words]))
    return ran


def programs_on_path(monkeypatch: pytest.MonkeyPatch, folder: Path, **scripts: str) -> None:
    """Make PATH one folder that holds these shell scripts and nothing else."""
    folder.mkdir()
    for name, body in scripts.items():
        program = folder / name.replace("_", "-")
        program.write_text(f"#!/bin/sh\n{body}\n")
        program.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder))


class TestSetUp:
    @pytest.fixture
    def environment(self, dev: ModuleType, clone: Path, monkeypatch: pytest.MonkeyPatch):
        """An environment whose making and filling are only logged, in `environment.log`."""
        environment = dev.Environment(clone / ".venv")
        environment.log = []

        def make(path: Path) -> None:
            environment.log.append("make")
            environment.python.parent.mkdir(parents=True, exist_ok=True)
            environment.python.touch()

        monkeypatch.setattr(dev, "make_venv", make)
        monkeypatch.setattr(dev, "install", lambda python, extras: environment.log.append(extras))
        return environment

    def test_the_first_start_makes_and_fills_it_and_the_second_does_nothing(self, environment) -> None:
        environment.set_up(".[all]")
        environment.set_up(".[all]")

        assert environment.log == ["make", ".[all]"]

    def test_what_includes_the_tools_serves_the_demo_too_but_not_the_other_way_round(self, environment) -> None:
        environment.set_up(".[all]")
        environment.set_up(".[all,dev]")
        environment.set_up(".[all]")

        assert environment.log == ["make", ".[all]", ".[all,dev]"]

    @pytest.mark.parametrize("name", ["pyproject.toml", "constraints.txt"])
    def test_a_changed_file_installs_again_into_the_same_environment(self, environment, clone: Path, name) -> None:
        environment.set_up(".[all]")
        (clone / name).write_text("changed")
        environment.set_up(".[all]")

        assert environment.log == ["make", ".[all]", ".[all]"]

    def test_an_interrupted_installation_is_made_again_from_the_ground(self, environment, dev, monkeypatch) -> None:
        def interrupted(python: Path, extras: str) -> None:
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(dev, "install", interrupted)
            with pytest.raises(KeyboardInterrupt):
                environment.set_up(".[all]")
        environment.set_up(".[all]")

        assert environment.log == ["make", "make", ".[all]"]

    def test_an_environment_of_another_python_is_made_again(self, environment, dev, monkeypatch) -> None:
        environment.set_up(".[all]")
        monkeypatch.setattr(dev.sys, "version", "3.99.0 (a newer one)")
        environment.set_up(".[all]")

        assert environment.log == ["make", ".[all]", "make", ".[all]"]

    @pytest.mark.parametrize("stamp", ["", "{", "[]", '{"of": 3}'])
    def test_an_unreadable_stamp_is_none(self, environment, stamp: str) -> None:
        environment.set_up(".[all]")
        environment.stamp.write_text(stamp)
        environment.set_up(".[all]")

        assert environment.log == ["make", ".[all]"] * 2


HOLD_LOCK = """
import sys, time
from importlib.machinery import SourceFileLoader
from pathlib import Path

script, lock, log, name = sys.argv[1:]
dev = SourceFileLoader("dev_script", script).load_module()
with dev.only_one(Path(lock)):
    for event in ("in", "out"):
        with open(log, "a") as file:
            file.write(f"{name} {event}\\n")
        time.sleep(0.2)
"""


def test_two_starts_at_once_set_up_one_after_the_other(clone: Path) -> None:
    log = clone / "log"
    arguments = [sys.executable, "-W", "ignore", "-c", HOLD_LOCK, clone / "dev", clone / "lock", log]
    starts = [subprocess.Popen([*arguments, name]) for name in "ab"]

    assert [start.wait(60) for start in starts] == [0, 0]
    (a, a_in), (b, b_out), (c, c_in), (d, d_out) = (line.split() for line in log.read_text().splitlines())
    assert (a, c) == (b, d)
    assert (a_in, b_out, c_in, d_out) == ("in", "out", "in", "out")


class TestMakeVenv:
    def test_a_whole_python_makes_it_itself(self, dev, commands, clone: Path, monkeypatch) -> None:
        monkeypatch.setattr(dev, "can_make_venv", lambda: True)
        dev.make_venv(clone / ".venv")

        assert [command[1:] for command in commands] == [["-m", "venv", str(clone / ".venv")]]

    def test_without_ensurepip_uv_makes_it_where_there_is_one(self, dev, commands, clone: Path, monkeypatch) -> None:
        monkeypatch.setattr(dev, "can_make_venv", lambda: False)
        programs_on_path(monkeypatch, clone / "path", uv="", apt_get="")
        dev.make_venv(clone / ".venv")

        assert [command[1:3] for command in commands] == [["venv", "--seed"]]

    @pytest.mark.parametrize(("uid", "prefix"), [(0, []), (1000, ["sudo"])])
    def test_without_uv_debian_installs_it_as_root_or_by_sudo(
        self, dev, commands, clone: Path, monkeypatch, uid: int, prefix: list[str]
    ) -> None:
        monkeypatch.setattr(dev, "can_make_venv", lambda: False)
        monkeypatch.setattr(dev.os, "geteuid", lambda: uid)
        programs_on_path(monkeypatch, clone / "path", apt_get="", sudo="")
        dev.make_venv(clone / ".venv")

        assert commands[0] == [*prefix, "apt-get", "update", "-q"]
        assert commands[1] == [*prefix, "apt-get", "install", "-y", "--no-install-recommends", "python3-venv"]
        assert commands[-1][1:] == ["-m", "venv", str(clone / ".venv")]

    @pytest.mark.parametrize("programs", [{}, {"apt_get": ""}], ids=["no apt-get", "no sudo"])
    def test_where_nothing_helps_it_says_what_to_install(self, dev, commands, clone, monkeypatch, programs) -> None:
        monkeypatch.setattr(dev, "can_make_venv", lambda: False)
        monkeypatch.setattr(dev.os, "geteuid", lambda: 1000)
        programs_on_path(monkeypatch, clone / "path", **programs)

        with pytest.raises(dev.Failure, match="Install your system's package for it") as raised:
            dev.make_venv(clone / ".venv")
        assert dev.BASE_PYTHON in str(raised.value)
        assert commands == []

    def test_where_debians_package_does_not_help_this_python_it_says_so(self, dev, clone, monkeypatch) -> None:
        monkeypatch.setattr(dev, "can_make_venv", lambda: False)
        monkeypatch.setattr(dev.os, "geteuid", lambda: 0)
        programs_on_path(monkeypatch, clone / "path", apt_get="exit 100")

        with pytest.raises(dev.Failure, match=r"(?s)apt-get update -q.*or uv, and start again"):
            dev.make_venv(clone / ".venv")

    def test_what_was_half_made_is_removed_and_a_linked_folder_stays_a_link(self, dev, commands, clone: Path) -> None:
        disk = clone / "larger-disk"
        (disk / "bin").mkdir(parents=True)
        (disk / "bin/python").symlink_to("/nowhere")
        (clone / ".venv").symlink_to(disk)
        dev.make_venv(clone / ".venv")

        assert (clone / ".venv").is_symlink()
        assert list(disk.iterdir()) == []

    def test_a_folder_that_is_no_environment_is_never_removed(self, dev, commands, clone: Path) -> None:
        (clone / ".venv").mkdir()
        (clone / ".venv/thesis.tex").touch()

        with pytest.raises(dev.Failure, match="move it away"):
            dev.make_venv(clone / ".venv")
        assert (clone / ".venv/thesis.tex").exists()


class TestInstall:
    def test_uv_installs_with_the_constraints_and_compiles(self, dev, commands, monkeypatch) -> None:
        monkeypatch.setattr(dev, "pip_settings", lambda python: {})
        dev.install(Path("py"), ".[all]")

        assert commands[0] == ["py", "-m", "pip", "--disable-pip-version-check", "install", "-q", "uv"]
        assert commands[1][:5] == ["py", "-m", "uv", "pip", "install"]
        assert "--compile-bytecode" in commands[1]
        assert commands[1][-4:] == ["-c", "constraints.txt", "-e", ".[all]"]
        assert len(commands) == 2

    @pytest.mark.parametrize("failing", ["uv", "-e"], ids=["uv cannot be had", "uv cannot install"])
    def test_where_uv_fails_pip_installs(self, dev, monkeypatch, failing: str, capsys) -> None:
        ran: list[list[str]] = []

        def run(*words: object, env: object = None) -> None:
            ran.append([str(word) for word in words])
            if len(ran) < 3 and failing in ran[-1] and "-q" in ran[-1]:
                raise dev.CommandFailed(ran[-1], 2)

        monkeypatch.setattr(dev, "run", run)
        monkeypatch.setattr(dev, "pip_settings", lambda python: {})
        dev.install(Path("py"), ".[all]")

        assert ran[-1][:3] == ["py", "-m", "pip"]
        assert ran[-1][-4:] == ["-c", "constraints.txt", "-e", ".[all]"]
        assert "Trying pip instead" in capsys.readouterr().err

    def test_where_pip_fails_too_the_command_and_what_to_try_are_named(self, dev, monkeypatch) -> None:
        def run(*words: object, env: object = None) -> None:
            raise dev.CommandFailed([str(word) for word in words], 1)

        monkeypatch.setattr(dev, "run", run)
        with pytest.raises(
            dev.Failure, match=r"(?s)neither by uv nor by pip.*py -m pip .*-e '\.\[all\]'.*PIP_INDEX_URL"
        ):
            dev.install(Path("py"), ".[all]")


class TestUvEnvironment:
    @pytest.fixture(autouse=True)
    def bare(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in list(os.environ):
            if name.startswith(("UV_", "PIP_", "SSL_")):
                monkeypatch.delenv(name)

    def test_pips_settings_are_passed_on_by_uvs_names(self, dev, tmp_path: Path) -> None:
        settings = {
            "find-links": f"{tmp_path} https://wheels.example/",
            "index-url": "https://a.example/simple",
            "extra-index-url": "https://b.example/simple https://c.example/simple",
            "cert": "/etc/company.pem",
        }
        env = dev.uv_environment(settings)

        assert env["UV_FIND_LINKS"] == f"{tmp_path},https://wheels.example/"
        assert env["UV_DEFAULT_INDEX"] == "https://a.example/simple"
        assert env["UV_INDEX"] == "https://b.example/simple https://c.example/simple"
        assert env["UV_INDEX_STRATEGY"] == "unsafe-best-match"
        assert env["SSL_CERT_FILE"] == "/etc/company.pem"
        assert env["UV_SYSTEM_CERTS"] == "1"

    def test_what_the_reader_set_for_uv_stays(self, dev, monkeypatch) -> None:
        monkeypatch.setenv("UV_DEFAULT_INDEX", "https://mine.example/simple")
        monkeypatch.setenv("UV_SYSTEM_CERTS", "0")

        env = dev.uv_environment({"index-url": "https://pip.example/simple"})

        assert (env["UV_DEFAULT_INDEX"], env["UV_SYSTEM_CERTS"]) == ("https://mine.example/simple", "0")

    def test_folders_that_are_not_there_are_left_out_because_uv_refuses_them(self, dev, tmp_path: Path) -> None:
        assert "UV_FIND_LINKS" not in dev.uv_environment({"find-links": str(tmp_path / "gone")})

    def test_pips_settings_are_read_from_variables_and_files_and_variables_win(
        self, dev, tmp_path, monkeypatch
    ) -> None:
        file = tmp_path / "pip.conf"
        file.write_text("[global]\nindex-url = https://file.example\nfind-links =\n    /a\n    /b\n")
        monkeypatch.setenv("PIP_CONFIG_FILE", str(file))
        monkeypatch.setenv("PIP_INDEX_URL", "https://variable.example")
        settings = dev.pip_settings(Path(sys.executable))

        assert settings["index-url"] == "https://variable.example"
        assert settings["find-links"].split() == ["/a", "/b"]

    @pytest.mark.parametrize(
        ("platform", "driver", "wheel", "cpu"),
        [
            ("linux", False, False, True),
            ("linux", True, False, False),
            ("linux", False, True, False),
            ("darwin", False, False, False),
        ],
        ids=["linux", "with a driver", "with a local wheel", "macOS"],
    )
    def test_the_cpu_build_of_torch_is_asked_for_only_on_linux_without_driver_and_local_wheel(
        self, dev, tmp_path: Path, monkeypatch, platform: str, driver: bool, wheel: bool, cpu: bool
    ) -> None:
        if Path("/proc/driver/nvidia").exists():
            pytest.skip("this machine has an NVIDIA driver")
        programs_on_path(monkeypatch, tmp_path / "path", **({"nvidia_smi": ""} if driver else {}))
        monkeypatch.setattr(dev.sys, "platform", platform)
        if wheel:
            (tmp_path / "torch-2.13.0+cpu-cp311-cp311-linux_x86_64.whl").touch()
        env = dev.uv_environment({"find-links": str(tmp_path)})

        assert env.get("UV_TORCH_BACKEND") == ("cpu" if cpu else None)
