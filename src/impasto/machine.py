"""The machine: its devices, precision and threads, and its memory: free, in use, and at the peak."""

import ctypes
import math
import re
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Literal

import psutil
import torch

from impasto.cgroups import memory_left
from impasto.errors import SpecError, nearest


def give_back_freed_memory() -> None:
    """Return freed memory to the system: Linux' C library keeps up to 180 MB of freed weights for the process."""
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # only glibc has it
        if trim is not None:
            trim(0)


def in_use(device: torch.device) -> float:
    """Bytes that this process holds on the device now."""
    if device.type == "cuda":
        return float(torch.cuda.memory_allocated(device))
    return float(psutil.Process().memory_info().rss)


def free_memory(device: torch.device) -> float:
    """Bytes that are free on the device; infinite for a device that does not report its memory.

    On a CPU, the smaller of the machine's free memory and the rest of a container's or a job's limit.
    """
    if device.type == "cuda":  # PyTorch keeps freed memory, which its next tensors can use
        kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return float(torch.cuda.mem_get_info(device)[0] + kept)
    return min(float(psutil.virtual_memory().available), memory_left()) if device.type == "cpu" else math.inf


def forget_peak(device: torch.device) -> None:
    """Measure the peak from now on, for instance of one run. On a CPU the peak stays that of the whole process."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def peak_memory_mb(device: torch.device) -> float:
    """The peak of memory in MB: on a GPU since `forget_peak`, else of the whole process so far."""
    if device.type == "cuda":
        return round(torch.cuda.max_memory_allocated(device) / 1e6, 1)
    if sys.platform == "win32":
        return round(psutil.Process().memory_info().peak_wset / 1e6, 1)
    status = Path("/proc/self/status")  # getrusage would give the parent's peak if that was larger
    if status.exists() and (found := re.search(r"^VmHWM:\s*(\d+) kB", status.read_text(), re.MULTILINE)):
        return round(int(found[1]) * 1024 / 1e6, 1)
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6, 1)


Precision = Literal["auto", "float32", "bfloat16", "float64"]


def find_device(name: str = "auto") -> torch.device:
    """The torch device of that name; "auto" is the accelerator if there is one, else the CPU. Raises SpecError."""
    if name == "auto":
        found = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
        return found or torch.device("cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError):
        raise SpecError(f"device {name!r} is not available here; use {' or '.join(_devices())}") from None
    if device.type == "meta":
        raise SpecError(f"device 'meta' holds no numbers; use {' or '.join(_devices())}")
    return device


def _devices() -> list[str]:
    """The names of this machine's devices."""
    if not torch.accelerator.is_available():
        return ["auto", "cpu"]
    kind = torch.accelerator.current_accelerator()
    count = torch.accelerator.device_count()
    return ["auto", "cpu", *([str(kind)] if count == 1 else [f"{kind}:{number}" for number in range(count)])]


def find_precision(name: Precision, device: torch.device) -> torch.dtype:
    """The type that convolutions compute in; "auto" is bfloat16 if the hardware supports it natively, else float32.

    Raises SpecError for an unknown name.
    """
    if name == "auto":
        return torch.bfloat16 if _has_native_bfloat16(device) else torch.float32
    known = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float64": torch.float64}
    if name not in known:
        raise SpecError(f"there is no precision {name!r}; {nearest(name, ('auto', *known))}")
    return known[name]


def _has_native_bfloat16(device: torch.device) -> bool:
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type == "cpu" and hasattr(torch.cpu, "get_capabilities"):
        capabilities = torch.cpu.get_capabilities()
        native = capabilities.get("avx512_bf16") or capabilities.get("amx_bf16")
        return bool(native) and not unfolds(torch.bfloat16, device)  # oneDNN may be told to do without
    return False


def unfolds(precision: torch.dtype, device: torch.device) -> bool:
    """Whether convolutions unfold their input: on a CPU, if oneDNN does not support the precision there."""
    if device.type != "cpu" or precision == torch.float32:
        return False
    known = precision == torch.bfloat16 and hasattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported")
    return not (known and torch.ops.mkldnn._is_mkldnn_bf16_supported())


_SETTING = threading.Lock()  # one thread at a time changes the number that new threads of the process begin with


@contextmanager
def isolated(threads: int | None) -> Iterator[None]:
    """Compute in this thread as in a new program, with `threads` of PyTorch's threads (None: as many as now).

    The host's inference mode, autocast and default device are off inside. Other threads, present and future, keep
    their number of PyTorch's threads (see docs/decisions/0023).
    """
    with ExitStack() as stack:
        if torch.is_inference_mode_enabled():  # its tensors have no gradients
            stack.enter_context(torch.inference_mode(mode=False))
        for kind in ("cpu", "cuda", "mps", "xpu"):
            if torch.is_autocast_enabled(kind):
                stack.enter_context(torch.autocast(kind, enabled=False))
        if torch.get_default_device().type != "cpu":
            stack.enter_context(torch.device("cpu"))
        if threads not in (None, torch.get_num_threads()):
            # Started now: if memory is short, a new thread may die as it starts, and its starter would wait for ever.
            later = stack.enter_context(_fresh_thread())
            stack.callback(_set_threads_here, torch.get_num_threads(), later)
            with _fresh_thread() as now:
                _set_threads_here(threads, now)
        yield


def _set_threads_here(count: int, fresh: ThreadPoolExecutor) -> None:
    """Set the number of PyTorch's threads for the calling thread alone.

    `torch.set_num_threads` sets two numbers: the calling thread's, which OpenMP and MKL keep for each thread, and the
    number that new threads begin with. A `fresh` thread reads the second number before, and puts it back.
    """
    with _SETTING:
        others = fresh.submit(torch.get_num_threads).result()
        torch.set_num_threads(count)
        fresh.submit(torch.set_num_threads, others).result()


@contextmanager
def _fresh_thread() -> Iterator[ThreadPoolExecutor]:
    """A thread that is running and has not called PyTorch yet."""
    with ThreadPoolExecutor(1) as pool:
        pool.submit(int).result()
        yield pool
