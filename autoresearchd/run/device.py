"""The devices of this machine, and what must be equal for two runs to be compared. Starts no run."""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import json
import os
import platform
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import structlog

from autoresearchd.errors import NotYet
from autoresearchd.experiment import Device, Environment
from autoresearchd.program import Program
from autoresearchd.run import nodes
from autoresearchd.run.log import one_line
from autoresearchd.run.pins import pinned
from autoresearchd.run.target import visible_gpus
from autoresearchd.slots import Devices

logger = structlog.get_logger()
Row = tuple[str, str, str, str]
"""Index, uuid, memory and name of a GPU."""
QUERY = ("nvidia-smi", "--query-gpu=index,uuid,memory.total,name", "--format=csv,noheader,nounits")
QUERY_SECONDS = 20.0
"""A GPU that wakes up takes its time."""
PCI, NVIDIA, GRAPHICS = Path("/sys/bus/pci/devices"), "0x10de", "0x03"
"""Where the kernel lists what is plugged in; a maker, and the class of all graphics cards."""
TELL = """
import json, torch
found = map(torch.cuda.get_device_properties, range(torch.cuda.device_count()))
print(json.dumps([[gpu.name, gpu.total_memory] for gpu in found]))
"""
TELL_SECONDS = 120.0
MOST_FILES = 10_000
"""Of a data folder without meta.json, the names and sizes of so many files identify it."""


def discover(devices: Devices) -> tuple[Device, ...]:
    """The slots to train on, as program.toml asks for them.

    Raises: NotYet naming a device that is not there, or why GPUs that are there cannot be used.
    """
    if devices.use == "cpu":
        return _cpus(range(devices.cpu_slots))
    if devices.use == "auto":
        return _gpus() or _cpus(range(devices.cpu_slots))
    wants_gpu = any(name.startswith("cuda") for name in devices.use)
    slots = max(cores(), devices.cpu_slots)
    there = {device.name: device for device in (*(_gpus() if wants_gpu else ()), *_cpus(range(slots)))}
    missing = [name for name in devices.use if name not in there]
    if missing:
        known = ", ".join(name for name in there if name.startswith(missing[0][:4])) or "none of its kind"
        raise NotYet(f"device {missing[0]} is not there (devices.use); this machine has: {known}")
    return tuple(there[name] for name in dict.fromkeys(devices.use))


def threads(devices: Devices, device: Device) -> int | None:
    """Threads that a run on a device should use; None where the target may choose."""
    if device.is_cuda:
        return None
    return devices.cpu_threads or max(1, cores() // max(1, len(devices.cpu_names)))


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0))


def environment(
    program: Program,
    device: Device,
    *,
    folder: Path,
    protected: Mapping[str, bytes],
    ahead: Sequence[str] = (),
) -> Environment:
    """A label and a hash, such as `h200/torch2.13.0/300s/9f3a2c1b`: one line, no spaces.

    In the hash: the files that measure, the commands, the metric's definition, the identity of the data, Python, and
    what is imported ahead: a script that counts its own imports as training trains longer without them.
    """
    train, metric = program.train, program.metric
    facts = {
        "protected": {path: hashlib.sha256(content).hexdigest() for path, content in protected.items()},
        "command": train.command,
        "metric": [metric.name, metric.direction, metric.pattern, metric.evaluate]
        + [also.model_dump(mode="json") for also in metric.also],
        "data": [_identity(folder, train.data), _identity(folder, metric.data)],
        "python": platform.python_version(),
        **({"ahead": list(ahead)} if ahead else {}),
    }
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:8]
    return Environment(f"{slug(device.model)}/torch{_torch()}/{_budget(program, device)}/{digest}")


def _budget(program: Program, device: Device) -> str:
    """What a run has to train with: time, or steps and threads."""
    train = program.train
    if device.is_cuda:
        return f"{train.seconds:g}s"
    own = len(pinned(program.devices, device))
    cores_of_its_own = f"-{own}c" if own and not train.cpu_steps else ""  # what is done in a second depends on them
    counted = f"{train.cpu_steps}steps" if train.cpu_steps else f"{train.seconds:g}s"
    return f"{counted}-{threads(program.devices, device)}t{cores_of_its_own}"


def slug(model: str) -> str:
    """`NVIDIA H200` → `h200`, `Intel(R) Xeon(R) Gold 6330 CPU @ 2.00GHz` → `intel-xeon-gold-6330-2-00ghz`."""
    text = re.sub(r"\((R|TM)\)|\b(NVIDIA|GeForce|CPU|Processor)\b", " ", model, flags=re.IGNORECASE)
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:60] or "device"


def _torch() -> str:
    try:
        return importlib.metadata.version("torch")
    except importlib.metadata.PackageNotFoundError:
        return "-none"


def _identity(folder: Path, data: str | None) -> str:
    """What a data folder holds, without reading all of it."""
    if data is None:
        return "none"
    path = folder / data
    meta = path / "meta.json"
    if meta.is_file():
        return hashlib.sha256(meta.read_bytes()).hexdigest()
    if path.is_file():
        return f"file {path.stat().st_size}"
    listing = "\n".join(_listing(path)) if path.is_dir() else "absent"
    return hashlib.sha256(listing.encode("utf-8", "surrogateescape")).hexdigest()


def _listing(path: Path) -> Iterator[str]:
    count = 0
    for folder, folders, files in os.walk(path):
        folders.sort()
        for name in sorted(files):
            file = Path(folder, name)
            yield f"{file.relative_to(path)} {file.lstat().st_size}"
            count += 1
            if count >= MOST_FILES:
                return


def _cpus(slots: Sequence[int]) -> tuple[Device, ...]:
    model = _cpu_model()
    return tuple(Device(name=f"cpu:{slot}", model=model, index=slot) for slot in slots)


def _cpu_model() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text("utf-8", "replace")
    except OSError:
        text = ""  # not everywhere; the architecture then has to do
    found = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    return found[1].strip() if found else platform.machine()


def _gpus() -> tuple[Device, ...]:
    """Every CUDA device that we may see, numbered as a process sees them that shares our CUDA_VISIBLE_DEVICES."""
    shown = visible_gpus(os.environ)
    if shown == ():
        return ()
    listed = _ask_driver()
    is_told = bool(listed) and not any(word.startswith("MIG-") for word in shown or ())
    found = _in_sight(shown, listed) if is_told else _ask_torch()
    if found:
        nodes.wake()
    return found


def _in_sight(shown: Sequence[str] | None, listed: Sequence[Row]) -> tuple[Device, ...]:
    order = range(len(listed)) if shown is None else [_position(word, listed) for word in shown]
    found = []
    for number, position in enumerate(order):
        if position is None:
            break  # as CUDA does: what follows a device that is not there is not seen
        _, _, memory, model = listed[position]
        size = float(memory) if re.fullmatch(r"\d+(\.\d+)?", memory) else None
        found.append(Device(name=f"cuda:{number}", model=model, memory_mib=size, index=number))
    return tuple(found)


def _position(word: str, listed: Sequence[Row]) -> int | None:
    rows = enumerate(listed)
    return next(
        (at for at, (index, uuid, _, _) in rows if word == index or (not word.isdigit() and uuid.startswith(word))),
        None,
    )


def _ask_driver() -> list[Row]:
    """What nvidia-smi says of each GPU; nothing where it is not there, or fails where there is none.

    Raises: NotYet as `_refuse_cpu`.
    """
    try:
        done = subprocess.run(QUERY, capture_output=True, text=True, timeout=QUERY_SECONDS, check=False)
        said, failed = done.stdout, done.returncode != 0
        why = one_line(done.stdout + done.stderr) or f"exit code {done.returncode}"
    except FileNotFoundError:
        return []
    except (OSError, subprocess.SubprocessError) as error:
        said, failed, why = "", True, one_line(str(error))
    parts = ([part.strip() for part in line.split(",", 3)] for line in said.splitlines())
    rows = [(row[0], row[1], row[2], row[3]) for row in parts if len(row) == 4 and row[0].isdigit()]
    if failed or not rows:
        logger.warning("nvidia_smi_failed", why=why)
    if not rows:
        _refuse_cpu(f"nvidia-smi fails ({why})")
    return rows


def _refuse_cpu(why: str) -> None:
    """Raises: NotYet where there is a GPU that is not found: a night on the CPU would be of no use to anybody."""
    if _is_plugged_in():
        raise NotYet(f'there is an NVIDIA GPU, and {why}: mend the driver, or say [devices] use = "cpu"')


def _is_plugged_in() -> bool:
    """Whether there is a card that a driver should know, working or not."""
    for device in PCI.iterdir() if PCI.is_dir() else ():
        maker, kind = (_word(device / name) for name in ("vendor", "class"))
        if maker == NVIDIA and kind.startswith(GRAPHICS):
            return True
    return False


def _word(path: Path) -> str:
    try:
        return path.read_text("ascii").strip()
    except OSError:
        return ""  # unplugged meanwhile


def _ask_torch() -> tuple[Device, ...]:
    """By a process of its own: whoever has once begun with CUDA holds memory of the GPU for as long as it lives.

    Raises: NotYet as `_refuse_cpu`.
    """
    if not (nodes.DEV / nodes.CONTROL).exists() or importlib.util.find_spec("torch") is None:
        return ()  # without the driver there is no use in the seconds that importing torch takes
    words, environment = (sys.executable, "-P", "-c", TELL), {**os.environ, "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
    try:
        done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=TELL_SECONDS, check=True)
        found = json.loads(done.stdout.splitlines()[-1])
    except (OSError, subprocess.SubprocessError, ValueError, IndexError) as error:
        logger.warning("torch_failed", why=str(error))
        found = []
    if not found:
        _refuse_cpu("torch finds none that it can use")
    return tuple(
        Device(name=f"cuda:{number}", model=model, memory_mib=size / 2**20, index=number)
        for number, (model, size) in enumerate(found)
    )
