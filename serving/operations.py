"""Which operations an export may use: those that every TensorFlow Serving from 2.16 on runs, and no others.

The list stands in `allowed_ops.txt`. It is derived, not written by hand: the operations with a CPU kernel in
TensorFlow's C++ library or in TF-Text (both are linked into `tensorflow_model_server`), less those that `_REFUSED`
names, in TensorFlow 2.16 *and* in 2.21. To derive it again, run on both stacks

    python -m serving.operations > ops-216.txt      # and ops-221.txt
    comm -12 ops-216.txt ops-221.txt

and put the result below the comment of `allowed_ops.txt`.
"""

from collections import Counter
from fnmatch import fnmatchcase
from functools import lru_cache
from pathlib import Path

from serving import loader

# What a server must not do for a request, although kernels for it exist.
_REFUSED = {
    "runs Python, which a server has not": ("*PyFunc*",),
    "is compiled by XLA, which TensorFlow Serving disables": ("Xla*",),
    "needs a TPU": ("*TPU*", "*Tpu*"),
    "is internal to TensorFlow": ("_*", "*Experimental*", "*Session*", "Send", "Recv", "RemoteCall"),
    "ends the server": ("Abort",),
    "reads or writes files, or the network": (
        *("ReadFile", "WriteFile", "MatchingFiles", "Save", "SaveSlices", "Restore", "RestoreSlice", "*Reader*"),
        *("ImmutableConst", "LoadAndRemapMatrix", "GenerateVocabRemapping", "RecordInput", "ImportEvent"),
        *("*Summary*", "*Dataset*", "*Iterator*", "*Collective*", "Nccl*", "*Rpc*", "*FileSystem*", "*Dump*"),
        *("DistributedSave", "StatsAggregator*"),
    ),
    "writes requests into the log": ("Print*", "Debug*", "CheckNumerics*"),
    "can block a request for ever": (
        *("*Queue*", "Barrier*", "*Stage*", "*Unstage*", "*Mutex*", "MapPeek", "OrderedMap*", "*Accumulator*"),
    ),
    "trains": ("*Apply*", "Sdca*", "NegTrain"),
}

_LIST = Path(__file__).with_name("allowed_ops.txt")


@lru_cache(maxsize=1)
def allowed_operations() -> frozenset[str]:
    """The names of the operations that an export may use."""
    lines = _LIST.read_text(encoding="utf-8").splitlines()
    return frozenset(line.strip() for line in lines if line.strip() and not line.startswith("#"))


def reason_against(operation: str) -> str:
    """Why an operation is not allowed, as the end of a sentence."""
    for reason, patterns in _REFUSED.items():
        if any(fnmatchcase(operation, pattern) for pattern in patterns):
            return reason
    return "is not in every TensorFlow Serving from 2.16 to 2.21"


def used_operations(meta_graph) -> Counter:
    """How often each operation occurs in a graph and its function library.

    Args:
        meta_graph: A `MetaGraphDef` message.

    Returns:
        Operation -> count. Calls of the graph's own functions by name are left out.
    """
    graph = meta_graph.graph_def
    operations = Counter(node.op for node in graph.node)
    for function in graph.library.function:
        operations.update(node.op for node in function.node_def)
    for function in graph.library.function:
        operations.pop(function.signature.name, None)
    return operations


def must_compile(meta_graph) -> list[str]:
    """The functions of a graph that demand XLA (`jit_compile=True`)."""
    return sorted(
        function.signature.name
        for function in meta_graph.graph_def.library.function
        if function.attr["_XlaMustCompile"].b
    )


def available_operations() -> set[str]:
    """The operations of this process's C++ library that have a CPU kernel, less the refused ones."""
    patterns = [pattern for group in _REFUSED.values() for pattern in group]
    return {
        operation
        for operation in loader.cpu_operations()
        if not any(fnmatchcase(operation, pattern) for pattern in patterns)
    }


if __name__ == "__main__":
    print("\n".join(sorted(available_operations())))
