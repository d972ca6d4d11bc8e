"""Every built-in kind of rule keeps the contract of save decisions."""

from __future__ import annotations

import pytest

from model_checkpoint.cadence.kinds import KINDS
from model_checkpoint.cadence.plugin import register_save_decisions
from model_checkpoint.contracts import Moment, SaveDecisionDescriptor
from model_checkpoint.testing import SaveDecisionTests


def named(name: str) -> SaveDecisionDescriptor:
    return next(each for each in register_save_decisions(kernel=None) if each.name == name)


class Kind(SaveDecisionTests):
    __test__ = False
    name: str
    yes: Moment
    no: Moment

    @pytest.fixture
    def descriptor(self) -> SaveDecisionDescriptor:
        return named(self.name)

    @pytest.fixture
    def saves(self) -> Moment:
        return self.yes

    @pytest.fixture
    def saves_not(self) -> Moment:
        return self.no


class TestEvery(Kind):
    __test__ = True
    name, arguments = "every", ("500steps", "1step", "2epochs", "10m", "90s", "1h30m", "0.5s")
    wrong = (
        "",
        "500",
        "0steps",
        "-1steps",
        "0s",
        "steps",
        "1e999s",
        "10 parsecs",
        "10m x",
        "99999999999999999999steps",
    )
    yes, no = Moment(step=1000, saved_step=999), Moment(step=999, saved_step=500)


class TestFirst(Kind):
    __test__ = True
    name, arguments, wrong = "first", ("",), ("x",)
    yes, no = Moment(step=1), Moment(step=2, saved_step=1, save_count=1)


class TestLast(Kind):
    __test__ = True
    name, arguments, wrong = "last", ("",), ("x",)
    yes, no = Moment(last=True), Moment()


class TestImproved(Kind):
    __test__ = True
    name = "improved"
    arguments = ("val_loss", "val_loss,delta=0.25", "zeta,min", "zeta,max", '"a, ""b"" | c",max', "val_loss,max")
    wrong = (
        "",
        "zeta",
        "val_loss,most",
        "val_loss,delta=x",
        "val_loss,delta=nan",
        "val_loss,delta=-1",
        "a,min,b",
        '"x',
    )
    yes = Moment(metrics={"val_loss": 0.25}, lowest={"val_loss": 0.5})
    no = Moment(metrics={"val_loss": 0.5}, lowest={"val_loss": 0.5})


class TestOnException(Kind):
    __test__ = True
    name, arguments, wrong = "on-exception", ("",), ("ValueError",)
    yes, no = Moment(error="ValueError: x"), Moment()


class TestOnSignal(Kind):
    __test__ = True
    name, arguments = "on-signal", ("", "SIGTERM", "SIGUSR1,SIGTERM", "grace=90s", "INT,grace=2m")
    wrong = ("SIGKILL", "SIGTERM,grace=0s", "grace=", "SIGTERM,,SIGINT", "loud")
    yes, no = Moment(signal="SIGTERM", left_s=20.0), Moment(signal="SIGHUP")


class TestBeforeLimit(Kind):
    __test__ = True
    name, arguments = "before-limit", ("5m", "5m,limit=4h")
    wrong = ("", "5", "5m,limit=0s", "5m,6m", "5m,limit=4h,limit=5h", "5m,end=4h")
    yes, no = Moment(left_s=299.0), Moment(left_s=301.0)


class TestAdaptive(Kind):
    __test__ = True
    name, arguments = "adaptive", ("", "1%", "mtbf=6h", "0.5%,mtbf=2d")
    wrong = ("0%", "101%", "1", "1%,2%", "mtbf=0s", "%", "nan%")
    yes = Moment(since_start_s=9000.0, since_save_s=900.0, save_count=1, stalls_s=(1.0,), stalled_s=1.0)
    no = Moment(since_start_s=9000.0, since_save_s=10.0, save_count=1, stalls_s=(1.0,), stalled_s=1.0)


class TestExpression(Kind):
    """What reads expressions is a kind itself, whose text is the expression."""

    __test__ = True
    name, arguments = "expression", ("last | every:2steps", "last & ~first")
    wrong = ("", "|", "last |", "nothing")
    yes, no = Moment(last=True), Moment()

    def test_its_text_makes_it_again(self, descriptor: SaveDecisionDescriptor) -> None:
        for argument in self.arguments:
            assert str(descriptor.create(argument)) == argument


def test_every_kind_is_tried() -> None:
    tried = {each.name for each in Kind.__subclasses__()}

    assert tried == {*KINDS, "expression"}
