"""A Pusher whose versions are whole or absent, whatever kills it, and never collide.

TFX's Pusher copies file by file into the folder that the server watches and numbers versions by the second: a kill
leaves half a version there, and two pushes within a second are one. See `versions` for what is done here.
"""

from __future__ import annotations

from tfx.components.pusher import executor as standard_executor
from tfx.components.pusher.component import Pusher
from tfx.dsl.components.base.executor_spec import ExecutorClassSpec
from tfx.proto import pusher_pb2
from tfx.types import artifact_utils
from tfx.utils import io_utils, proto_utils

from pipelines.components.files import is_remote
from pipelines.components.versions import push_version


class AtomicPusherExecutor(standard_executor.Executor):
    """Pushes blessed models by `push_version`; to remote file systems, as TFX's own executor does."""

    def Do(self, input_dict, output_dict, exec_properties):
        """Pushes the model if it is blessed, and marks the PushedModel artifact as TFX's executor does."""
        destination = pusher_pb2.PushDestination()
        proto_utils.json_to_proto(exec_properties["push_destination"], destination)
        base = destination.filesystem.base_directory
        if is_remote(base):
            # Object stores have no rename of folders; copying saved_model.pb last is the best there is.
            super().Do(input_dict, output_dict, exec_properties)
            return
        self._log_startup(input_dict, output_dict, exec_properties)
        pushed = artifact_utils.get_single_instance(output_dict["pushed_model"])
        if not self.CheckBlessing(input_dict):
            self._MarkNotPushed(pushed)
            return
        model = self.GetModelPath(input_dict)
        version = push_version(model, base)
        # TFX archives what was pushed; the job also pushes it again from here when its version has been removed.
        io_utils.copy_dir(model, pushed.uri)
        self._MarkPushed(pushed, pushed_destination=str(version), pushed_version=version.name)


class AtomicPusher(Pusher):
    """TFX's Pusher component with `AtomicPusherExecutor`."""

    EXECUTOR_SPEC = ExecutorClassSpec(AtomicPusherExecutor)
