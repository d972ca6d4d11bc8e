"""The analyzer ``performance`` keeps every rule of its kit."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from model_checkpoint.contracts import Analyzer
from model_checkpoint.monitoring.report import PerformanceAnalyzer
from model_checkpoint.testing.analyzer import AnalyzerTests


class TestPerformance(AnalyzerTests):
    @pytest.fixture
    def create(self) -> Callable[[], Analyzer]:
        return PerformanceAnalyzer
