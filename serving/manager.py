"""The versions of a served model: found on disk, loaded, switched without a gap, unloaded.

A version is a folder `<base>/<integer>/` with a `saved_model.pb`, which whoever copies versions must write last. The
newest one is served. A new version is loaded and warmed up while the old one serves on; requests under way finish on
the version that they started on. A version that does not load is reported and left alone until its files change.
"""

import logging
import os
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from serving.loader import SavedModel
from serving.protos import get_model_status_pb2
from serving.status import Code, StatusError
from serving.warmup import replay_warmup
from tfmodels.errors import UserError

_LOG = logging.getLogger(__name__)
State = get_model_status_pb2.ModelVersionStatus


@dataclass(frozen=True)
class VersionStatus:
    """What `GetModelStatus` says of a version.

    Attributes:
        version: The version's number.
        state: START, LOADING, AVAILABLE, UNLOADING or END, as a number of the protocol.
        code: Why it is not available, `Code.OK` if nothing is wrong.
        message: The same in words.
    """

    version: int
    state: int
    code: Code = Code.OK
    message: str = ""

    @property
    def state_name(self) -> str:
        """The state's name in the protocol, such as "AVAILABLE"."""
        return State.State.Name(self.state)


class ModelManager:
    """Keeps the wanted versions of one model loaded.

    Example:
        >>> manager = ModelManager("models/reviews", "reviews")  # doctest: +SKIP
        >>> manager.start()                                      # doctest: +SKIP
        >>> version, model = manager.find()                      # doctest: +SKIP
    """

    def __init__(
        self,
        base_path: str | os.PathLike,
        name: str,
        *,
        num_versions: int = 1,
        labels: Mapping[str, int] | None = None,
        poll_seconds: float = 1.0,
        intra_op_threads: int = 0,
        inter_op_threads: int = 0,
    ):
        """Nothing is loaded before `start`.

        Args:
            base_path: The folder with the versions, or one version's own folder.
            name: The model's name.
            num_versions: How many of the newest versions to serve.
            labels: Label -> version, such as {"stable": 3, "canary": 4}; these versions are served too.
            poll_seconds: How often to look for new versions.
            intra_op_threads: Threads inside an operation; 0 lets TensorFlow choose.
            inter_op_threads: Operations at a time; 0 lets TensorFlow choose.
        """
        self.base_path = Path(base_path)
        self.name = name
        self.labels = dict(labels or {})
        self._num_versions = num_versions
        self._poll_seconds = poll_seconds
        self._threads = {"intra_op_threads": intra_op_threads, "inter_op_threads": inter_op_threads}
        self._loaded: dict[int, SavedModel] = {}
        self._statuses: dict[int, VersionStatus] = {}
        self._broken: dict[int, tuple] = {}
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._watcher = threading.Thread(target=self._watch, name=f"versions of {name}", daemon=True)

    def start(self):
        """Loads what is there and watches for more.

        Raises:
            UserError: There is no version, or none that loads.
        """
        if not self.base_path.is_dir():
            raise UserError(f"{self.base_path} is not a folder: give the folder that holds the exported versions.")
        self.refresh()
        if not self._loaded:
            broken = [f"version {s.version}: {s.message}" for s in self.statuses() if s.code != Code.OK]
            if broken:
                raise UserError(f"No version in {self.base_path} can be served. {' '.join(broken)}")
            raise UserError(f"{self.base_path} holds no exported version: export one to {self.base_path / '1'}.")
        self._watcher.start()

    def stop(self):
        """Stops watching and drops all versions."""
        self._stopping.set()
        if self._watcher.ident:
            self._watcher.join()
        with self._lock:
            self._loaded = {}

    def find(self, version: int | None = None, label: str | None = None) -> tuple[int, SavedModel]:
        """The version to answer with.

        The caller's reference keeps the version loaded until it has answered.

        Args:
            version: A version's number; the newest one by default.
            label: A version's label, instead of its number.

        Raises:
            StatusError: NOT_FOUND, that version is not served; INVALID_ARGUMENT, there is no such label.
        """
        if label is not None:
            if label not in self.labels:
                raise StatusError(Code.INVALID_ARGUMENT, f"Unrecognized servable version label: {label}")
            version = self.labels[label]
        with self._lock:
            if version is None and self._loaded:
                version = max(self._loaded)
            if version not in self._loaded:
                wanted = "Latest" if version is None else "Specific"
                asked = self.name if version is None else f"{self.name}, {version}"
                raise StatusError(Code.NOT_FOUND, f"Servable not found for request: {wanted}({asked})")
            return version, self._loaded[version]

    def statuses(self, version: int | None = None) -> list[VersionStatus]:
        """What is known of each version, the newest first.

        Args:
            version: Only this one.

        Raises:
            StatusError: NOT_FOUND, that version was never seen.
        """
        with self._lock:
            if version is None:
                return [self._statuses[number] for number in sorted(self._statuses, reverse=True)]
            if version not in self._statuses:
                raise StatusError(Code.NOT_FOUND, f"Could not find version {version} of model {self.name}")
            return [self._statuses[version]]

    def refresh(self):
        """Looks at the disk once: loads the versions that are wanted, then unloads the others."""
        on_disk = self._versions_on_disk()
        wanted: dict[int, SavedModel] = {}
        for version in sorted(on_disk, reverse=True):
            if len(wanted) < self._num_versions or version in self.labels.values():
                model = self._loaded.get(version) or self._load(version, on_disk[version])
                if model is not None:
                    wanted[version] = model
        if wanted:
            self._switch(wanted)

    def _switch(self, wanted: dict[int, SavedModel]):
        with self._lock:
            leaving = self._loaded.keys() - wanted.keys()
            self._loaded = wanted
            # The session closes with its last reference: a request that still runs on it holds one.
            for version in leaving:
                self._statuses[version] = VersionStatus(version, State.END)

    def _load(self, version: int, directory: Path) -> SavedModel | None:
        """Loads and warms up a version; None if it is broken."""
        stamp = _stamp(directory)
        if self._broken.get(version) == stamp:
            return None
        self._report(VersionStatus(version, State.LOADING))
        try:
            model = SavedModel(directory, **self._threads)
            replay_warmup(model)
        except StatusError as error:
            _LOG.warning("Version %d of %s cannot be served: %s", version, self.name, error)
            self._broken[version] = stamp
            self._report(VersionStatus(version, State.END, error.code, error.message))
            return None
        self._broken.pop(version, None)
        with self._lock:
            # Available at once, before older versions go: there is no moment without a version.
            self._loaded = {**self._loaded, version: model}
            self._statuses[version] = VersionStatus(version, State.AVAILABLE)
        _LOG.info("Serving version %d of %s.", version, self.name)
        return model

    def _report(self, status: VersionStatus):
        with self._lock:
            self._statuses[status.version] = status

    def _versions_on_disk(self) -> dict[int, Path]:
        if (self.base_path / "saved_model.pb").exists():
            name = self.base_path.resolve().name
            return {int(name) if _is_version(name) else 1: self.base_path}
        return {
            int(path.name): path
            for path in self.base_path.iterdir()
            if _is_version(path.name) and (path / "saved_model.pb").exists()
        }

    def _watch(self):
        while not self._stopping.wait(self._poll_seconds):
            try:
                self.refresh()
            except Exception:
                # What is loaded must serve on, whatever happens to the folder meanwhile.
                _LOG.exception("Looking for versions of %s failed; trying again.", self.name)


def _is_version(name: str) -> bool:
    return name.isascii() and name.isdigit()


def _stamp(directory: Path) -> tuple:
    """Changes when a file of the folder does."""
    files = [path.stat() for path in sorted(directory.rglob("*")) if path.is_file()]
    return tuple((stat.st_size, stat.st_mtime_ns) for stat in files)
