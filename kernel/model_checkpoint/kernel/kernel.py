"""The kernel: the one place that knows everything, and does nothing itself."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any

from model_checkpoint.checkpoint.saver import Saver
from model_checkpoint.checkpoint.services import Operation
from model_checkpoint.checkpoint.which import Scope, checked_mode
from model_checkpoint.common.fsops import FsOps
from model_checkpoint.config import ConfigSources, ConfigWatcher
from model_checkpoint.contracts import JSON, Analyzer, MetricAggregate, RunStatus
from model_checkpoint.errors import ConfigurationError, KernelClosedError, KernelError
from model_checkpoint.hooks import FireReport, HookEvent, HookManager
from model_checkpoint.kernel import open_kernels, opening
from model_checkpoint.kernel.checkpoints import CheckpointOperations
from model_checkpoint.kernel.exclusive import Exclusive
from model_checkpoint.kernel.identity import default_experiment
from model_checkpoint.kernel.performance import performance_report
from model_checkpoint.kernel.runs import RunStarter
from model_checkpoint.kernel.settings import followed, plugin_section, read_settings, warn_of_foreign_sections
from model_checkpoint.plugins import PluginSet

if TYPE_CHECKING:
    from model_checkpoint.contracts import RankGroup
    from model_checkpoint.kernel.session import RunSession

DRAIN_S = 30.0
"""How long `Kernel.close` waits for BACKGROUND hooks."""


class Kernel(CheckpointOperations):
    """Opens plugins, records and storage, and carries every operation to them. Made by `Kernel.open`.

    Safe to use from several threads. A save is one at a time, and so are the beginning and the end of a run; metrics
    and loads wait for none of them. A hook that runs on another thread (with a timeout, async) must therefore not save.
    Closing ends the current run.
    """

    _sources: ConfigSources

    def __init__(self, *, metric_modes: Mapping[str, str] | None = None, strict: bool | None = None) -> None:
        self.pid = os.getpid()
        self.hooks = HookManager(kernel=self, strict=bool(strict))
        self.plugins = PluginSet(self.hooks, self, section=lambda plugin, schema: plugin_section(self, plugin, schema))
        self.plugins.in_use = self._use_of
        if not isinstance(metric_modes or {}, Mapping):
            raise ConfigurationError(f"metric_modes={metric_modes!r} is no mapping of metrics to 'min' or 'max'")
        self._metric_modes = {name: checked_mode(name, mode) for name, mode in (metric_modes or {}).items()}
        self._analyzers: dict[str, Analyzer] = {}
        self._session: RunSession | None = None
        self._plan: dict[str, Any] = {}
        self._saver = Saver()
        self._lock = Exclusive(lambda: self._saver.is_finishing, self.plugins.waits_for_us)
        self._closed = self._closing = self._has_deleted = False
        self._watcher: ConfigWatcher | None = None

    @classmethod
    def open(
        cls,
        database_url: str | None = None,
        *,
        checkpoint_dir: str | os.PathLike[str] | None = None,
        storage_backend: str | None = None,
        plugins: str | Iterable[str] = "all",
        register: Iterable[object] = (),
        early: Iterable[object] = (),
        strict: bool | None = None,
        quiet: bool | None = None,
        config_file: str | os.PathLike[str] | None = None,
        metric_modes: Mapping[str, str] | None = None,
        ranks: RankGroup | None = None,
        fs: FsOps | None = None,
    ) -> Kernel:
        """Open a kernel.

        Args:
            database_url: record store, such as ``sqlite:///experiments.db`` (the default).
            checkpoint_dir: where checkpoints go; default ``checkpoints/`` beside the SQLite file.
            storage_backend: ``vault`` (default), ``safetensors``, ``pytorch``, ``memory`` or what a plugin provides.
            plugins: ``all``, ``builtin``, or the names of those to load.
            register: objects with hookimpls, registered after the plugins.
            early: the same, registered before anything else, so that they hear ``before_config_load`` too.
            strict: let a hook's error end the operation instead of isolating it.
            quiet: do not print where things are.
            config_file: the project's settings; default ``MCE_CONFIG``, else ``mce.toml`` in the working directory.
            metric_modes: ``min`` or ``max`` for metrics whose names do not tell.
            ranks: the processes of a distributed training, whose hooks decide on rank 0.
            fs: the file-system calls; a test may stand in front of them.

        Raises ``ConfigurationError`` with everything that is wrong with the settings, ``UnknownSchemeError``,
        ``UnknownBackendError``, ``PluginLoadError``, ``StorageReadOnlyError``, ``RecordStoreError``.
        """
        kernel = cls.prepare(
            database_url,
            checkpoint_dir=checkpoint_dir,
            storage_backend=storage_backend,
            plugins=plugins,
            register=register,
            early=early,
            strict=strict,
            quiet=quiet,
            config_file=config_file,
            metric_modes=metric_modes,
            ranks=ranks,
        )
        try:
            kernel._wire(fs or FsOps())
        except BaseException:
            kernel.close()
            raise
        return kernel

    @classmethod
    def prepare(
        cls,
        database_url: str | None = None,
        *,
        checkpoint_dir: str | os.PathLike[str] | None = None,
        storage_backend: str | None = None,
        plugins: str | Iterable[str] = "all",
        register: Iterable[object] = (),
        early: Iterable[object] = (),
        strict: bool | None = None,
        quiet: bool | None = None,
        config_file: str | os.PathLike[str] | None = None,
        metric_modes: Mapping[str, str] | None = None,
        ranks: RankGroup | None = None,
    ) -> Kernel:
        """Return a kernel to look at: settings read, plugins found and ordered, nothing opened and nothing created.

        It has `config`, `settings`, `plugins` and `hooks`; anything else raises ``KernelError``. See `open`.
        """
        kernel = cls(metric_modes=metric_modes, strict=strict)
        kernel.hooks.ranks = ranks
        arguments = {
            "database.url": database_url,
            "storage.checkpoint_dir": checkpoint_dir,
            "storage.backend": storage_backend,
            "hooks.strict": strict,
            "quiet": quiet,
        }
        try:
            opening.add_objects(kernel.plugins, [*open_kernels.everywhere, *early])
            kernel.settings, kernel._sources = read_settings(kernel, arguments, config_file)
            kernel.hooks.strict = kernel.config.hooks.strict
            kernel.plugins.limit_s = kernel.config.plugin_timeout_s
            kernel.plugins.load_found(opening.wanted_plugins(plugins), opening.policy_of(kernel.config))
            opening.add_objects(kernel.plugins, register)
        except BaseException:
            kernel.close()  # early plugins have come up, and their hooks have threads
            raise
        return kernel

    @staticmethod
    def register_everywhere(plugin: object) -> None:
        """Register an object with hooks, early, in every kernel that this process opens from now on."""
        open_kernels.everywhere.append(plugin)

    def _wire(self, fs: FsOps) -> None:
        parts = opening.assemble(self.config, self.hooks, self.plugins.provided, self._metric_modes, fs)
        self.backends, self.records, self.services = parts.backends, parts.records, parts.services
        runs_root = self.config.storage.checkpoint_dir / "runs"
        self._starter = RunStarter(self.services, runs_root, fs, lambda: self._new_analyzer("metrics"))
        open_kernels.add(self)
        self.plugins.start_all()
        self.plugins.require(self.config.required_plugins)
        warn_of_foreign_sections(self)
        self._watcher = followed(self, self._sources)
        opening.announce(self)

    def __getattr__(self, name: str) -> Any:
        if name in ("backends", "records", "services", "_starter"):
            raise KernelError("this kernel was only prepared to be looked at: open one with Kernel.open(...)")
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def _use_of(self, capability: str) -> str:
        kind, _, name = capability.partition(":")
        if "backends" not in vars(self) or self._closed:
            return ""
        if kind == "storage" and name in self.backends.opened():
            return "the storage of an open kernel"
        if kind == "scheme" and name == self.config.database.scheme:
            return "the record store of an open kernel"
        return ""

    @staticmethod
    def current() -> Kernel:
        """Return the one open kernel. Raises ``NoKernelError``, or ``AmbiguousKernelError`` with several open."""
        return open_kernels.current()

    @staticmethod
    def open_kernels() -> list[Kernel]:
        """Return the kernels that are open in this process, the oldest first."""
        return open_kernels.listed()

    @property
    def hook(self) -> Any:
        """The hooks by name, as pluggy calls them: ``kernel.hook.on_system_start(context=...)``."""
        return opening.Callers(self.hooks)

    def fire(self, event: HookEvent | str, **fields: object) -> FireReport:
        """Fire an event on behalf of the current run. Raises ``OperationVetoed``, ``ContextFieldError``."""
        run = self._session.state.record if self._session else None
        return Operation(self.services, run).fire(HookEvent(event), **fields)

    def analyzer(self, name: str) -> Analyzer:
        """Return this kernel's analyzer of that name, creating it at the first call. Raises ``KernelError``."""
        found = self._analyzers.get(name) or self._new_analyzer(name)
        if found is None:
            known = ", ".join(self.plugins.provided.analyzers.names()) or "none"
            raise KernelError(f"no plugin provides an analyzer named {name!r}; known: {known}")
        return self._analyzers.setdefault(name, found)

    def _new_analyzer(self, name: str) -> Analyzer | None:
        return descriptor.create() if (descriptor := self.plugins.provided.analyzers.get(name)) else None

    def start_run(
        self,
        experiment: str | None = None,
        *,
        run: str | None = None,
        config: Mapping[str, JSON] | None = None,
        tags: Iterable[str] | Mapping[str, str] | None = None,
        adopt: bool = False,
    ) -> RunSession:
        """Begin a run of an experiment, or with `adopt` go on with the newest unfinished one.

        `run`, ``MCE_RUN`` or the job scheduler's id name it outright. Raises ``RunInUseError``, ``KernelError`` when a
        run is active already, ``OperationVetoed``.
        """
        with self._lock:
            self._check_open()
            if self._session is not None and not self._session.ended:
                raise KernelError(f"run {self._session.name!r} is active: end it before another one begins")
            self._session = self._starter.start(
                experiment or default_experiment(), run=run, config=config, tags=tags, adopt=adopt
            )
            return self._session

    @contextlib.contextmanager
    def run(
        self,
        experiment: str,
        *,
        run: str | None = None,
        config: Mapping[str, JSON] | None = None,
        tags: Iterable[str] | Mapping[str, str] | None = None,
    ) -> Iterator[RunSession]:
        """Begin a run and end it with the block: finished, failed by an exception, or preempted by Ctrl-C."""
        session = self.start_run(experiment, run=run, config=config, tags=tags)
        try:
            yield session
        except BaseException as error:
            self._end(session, *open_kernels.outcome(error))
            raise
        self._end(session, RunStatus.FINISHED)

    def end_run(
        self, status: RunStatus = RunStatus.FINISHED, reason: str = "", *, error: BaseException | None = None
    ) -> None:
        """End the current run, if there is one; `error` is what ended it, and tells status and reason."""
        if self._session is not None:
            self._end(self._session, *(open_kernels.outcome(error) if error else (status, reason)))

    def _end(self, session: RunSession, status: RunStatus, reason: str = "") -> None:
        if os.getpid() != self.pid:  # the run is the parent's
            return
        with self._lock:  # not in the middle of a save
            self._saver.wait()
            session.end(status, reason)

    @property
    def active_run(self) -> RunSession | None:
        """The run that this process works on, or None."""
        return self._session if self._session is not None and not self._session.ended else None

    def current_run(self) -> RunSession:
        """Return the active run; without one, begin one as planned, else of an experiment named like the script."""
        active = self.active_run
        if active is not None:
            return active
        with self._lock:
            return self.active_run or self.start_run(**self._plan)

    def plan_run(self, **plan: Any) -> None:
        """Say as `start_run` does how a run begins that nobody begins outright; until then ``latest`` looks there."""
        self._plan = plan

    def log_metrics(
        self,
        values: Mapping[str, object],
        *,
        step: int | None = None,
        epoch: int | None = None,
        tags: Iterable[str] | Mapping[str, str] | None = None,
    ) -> None:
        """Record metrics on the current run. Raises ``MetricError``."""
        self._check_open()
        self._saver.raise_failure()
        self.current_run().log(values, step=step, epoch=epoch, tags=tags)

    def aggregated_metrics(self) -> dict[str, MetricAggregate]:
        """Return what is known of every metric of the latest run of this kernel."""
        aggregates = getattr(self._session.state.metrics if self._session else None, "aggregates", None)
        return dict(aggregates()) if aggregates is not None else {}

    def performance_report(self) -> dict[str, JSON]:
        """Return counts, percentiles, bytes and throughput of every operation so far, per hook too."""
        self._check_open()
        return performance_report(self)

    def flush(self, timeout_s: float | None = None) -> bool:
        """Write what is buffered; return whether BACKGROUND hooks are done, after at most `timeout_s` seconds."""
        done = self.hooks.flush(timeout_s)
        if self.active_run is not None:
            self.active_run.flush()
        return done

    def close(self, *, status: RunStatus = RunStatus.FINISHED, reason: str = "") -> None:
        """End the current run, release everything. Closing twice, or in a forked child, does nothing."""
        if os.getpid() != self.pid:
            return
        self._saver.wait()
        self.hooks.flush(DRAIN_S)  # what they still log belongs to the run; before the lock, which they may want
        with contextlib.ExitStack() as ends, self._lock:  # each of the ends comes about, whatever fails before it
            if self._closed or self._closing:  # the latter: a hook on the end of the run closes it, too
                return
            self._closing = True
            ends.callback(self._saver.raise_failure)
            ends.callback(self._saver.close)
            ends.callback(open_kernels.print_failed_hooks, self.hooks)
            ends.callback(open_kernels.remove, self)
            ends.callback(self.plugins.close)
            ends.callback(self.hooks.close, DRAIN_S)
            ends.callback(self.plugins.take_leave)
            if "records" in vars(self):  # else it was only prepared
                ends.callback(self.records.close)
                ends.callback(self.backends.close)
                ends.callback(self._clean_up)
                ends.callback(self.hooks.flush, DRAIN_S)
                ends.callback(self.fire, HookEvent.ON_SYSTEM_SHUTDOWN, reason=reason or status.value, deadline_s=None)
            if self._watcher is not None:
                ends.callback(self._watcher.stop)
            try:
                self.end_run(status, reason)
            finally:
                self._closed = True

    def __enter__(self) -> Kernel:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        status, reason = open_kernels.outcome(error)
        if error is not None:
            self._saver.wait()
            self._saver.log_failures()
        self.close(status=status, reason=reason)

    def _check_open(self) -> None:
        if self._closed:
            raise KernelClosedError("this kernel is closed: open another one with Kernel.open(...)")

    def _scope(self) -> Scope:
        own = self._session.state.record if self._session else None
        run, experiment = self._plan.get("run"), self._plan.get("experiment")
        return Scope.of(self.records, own, run, experiment, self._metric_modes)
