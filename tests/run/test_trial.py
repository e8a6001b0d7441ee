"""How a run ends, what counts as its result, and what it is given; with real processes."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from autoresearchd.experiment import Ending
from tests.run.room import Room, finish, program, spec, until

EVALUATE = "evaluate = 'python evaluate.py'"
SHOW = "print(json.dumps(dict(os.environ)))\nsay(loss=1)"


def environment_of(
    room: Room, monkeypatch: pytest.MonkeyPatch, train: str = "", device: str = "cpu:0"
) -> dict[str, str]:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "secret")
    monkeypatch.setenv("SOME_TOKEN", "secret")
    with room.executor(program(train)) as executor:
        executor.start(spec(room.tree(SHOW), device=device))
        shown: dict[str, str] = json.loads(finish(executor).log_tail)
    return shown


def test_the_environment_of_a_run_holds_no_secrets_and_no_home(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = environment_of(room, monkeypatch, "cpu_steps = 20\ndata = 'data'")
    assert "secret" not in shown.values()
    assert "HOME" not in shown
    assert shown["AUTORESEARCH_RUN"] == "run-1"
    assert shown["AUTORESEARCH_SEED"] == "7"
    assert shown["AUTORESEARCH_STEPS"] == "20"
    assert shown["AUTORESEARCH_SECONDS"] == "300"
    assert shown["AUTORESEARCH_DEVICE"] == "cpu"
    assert shown["AUTORESEARCH_DATA"] == str(room.folder / "data")
    assert shown["AUTORESEARCH_OUT"] == str(room.work / "run-1" / "train" / "out")
    assert shown["AUTORESEARCH_THREADS"] == shown["OMP_NUM_THREADS"] == str(len(os.sched_getaffinity(0)))
    assert shown["CUDA_VISIBLE_DEVICES"] == ""
    assert shown["PYTHONUNBUFFERED"] == "1"


def test_a_run_on_a_gpu_sees_that_one_only(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    shown = environment_of(room, monkeypatch, "cpu_steps = 20", device="cuda:1")
    assert (shown["CUDA_VISIBLE_DEVICES"], shown["AUTORESEARCH_DEVICE"]) == ("1", "cuda:0")
    assert "AUTORESEARCH_STEPS" not in shown
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4, GPU-77aa")
    assert environment_of(room, monkeypatch, device="cuda:1")["CUDA_VISIBLE_DEVICES"] == "GPU-77aa"


def test_the_kernel_would_kill_a_run_for_memory_before_the_daemon(room: Room) -> None:
    done = room.measure("say(loss=float(Path('/proc/self/oom_score_adj').read_text()))")
    assert done.metrics["loss"] > float(Path("/proc/self/oom_score_adj").read_text())


def test_a_script_that_asks_for_home_and_a_socket_in_tmpdir_does_not_crash(room: Room) -> None:
    train = """
import socket, tempfile
Path("~").expanduser()
folder = tempfile.mkdtemp(prefix="a-name-as-long-as-multiprocessing-makes-them-")
socket.socket(socket.AF_UNIX).bind(folder + "/listener-12345678")
say(loss=1, inside=float(Path(folder).resolve().is_relative_to(OUT)))
"""
    deep = Room(room.folder / ("long" * 20))
    done = deep.measure(train)
    assert (done.ending, done.why) == (Ending.FINISHED, "")
    assert done.metrics["inside"] == 1.0


@pytest.mark.parametrize(
    ("train", "ending", "why"),
    [
        ("raise ValueError('no good')", Ending.CRASH, "ValueError: no good"),
        ("import nowhere", Ending.CRASH, "ModuleNotFoundError: No module named 'nowhere'"),
        ("def broken(:", Ending.CRASH, "SyntaxError: invalid syntax"),
        ("raise SystemExit(1)", Ending.CRASH, "exit code 1, and no word why"),
        ("os.kill(os.getpid(), 11)", Ending.CRASH, "killed by SIGSEGV"),
        ("print(object()); raise SystemExit(1)", Ending.CRASH, "<object object at 0x…>"),
        ("raise KeyError(__file__)", Ending.CRASH, "KeyError: 'train/code/train.py'"),
        ("pass", Ending.CRASH, "it ended well, but no result.json was written"),
        ("say(other=1)", Ending.CRASH, "it ended well, but reported no number loss"),
        ("say(loss='low')", Ending.CRASH, "it ended well, but reported no number loss"),
        ("say(loss=True)", Ending.CRASH, "it ended well, but reported no number loss"),
        ("say(loss=float('nan'))", Ending.UNSTABLE, "loss is nan"),
        ("say(loss=float('inf'))", Ending.UNSTABLE, "loss is inf"),
        ("print('spikes at step 3'); raise SystemExit(3)", Ending.UNSTABLE, "spikes at step 3"),
        ("raise RuntimeError('loss is NaN')", Ending.UNSTABLE, "RuntimeError: loss is NaN"),
        ("print('FAIL'); raise SystemExit(1)", Ending.UNSTABLE, "FAIL"),
        ("raise MemoryError", Ending.OUT_OF_MEMORY, "MemoryError"),
        (
            "class OutOfMemoryError(RuntimeError): pass\nraise OutOfMemoryError('CUDA out of memory. Tried 2 GiB')",
            Ending.OUT_OF_MEMORY,
            "OutOfMemoryError: CUDA out of memory. Tried 2 GiB",
        ),
        (
            "print('CUDA out of memory, giving up')",
            Ending.OUT_OF_MEMORY,
            "it ended well, but no result.json was written",
        ),
    ],
)
def test_how_a_run_ends_and_why(room: Room, train: str, ending: Ending, why: str) -> None:
    done = room.measure(train)
    assert (done.ending, done.why.replace("__main__.", "")) == (ending, why)
    assert "loss" not in done.metrics


def test_a_curve_that_lost_its_way_makes_a_crash_unstable(room: Room) -> None:
    done = room.measure("""
(OUT / "metrics.jsonl").write_text('{"step": 1, "seconds": 1, "train_loss": NaN}\\n')
raise SystemExit(1)
""")
    assert done.ending is Ending.UNSTABLE


@pytest.mark.parametrize(
    ("train", "why"),
    [
        ("say(run='another', loss=1)", "another run (another)"),
        ("say('elsewhere.json', loss=1); (OUT / 'result.json').symlink_to('elsewhere.json')", "symbolic link"),
        ("os.mkfifo(OUT / 'result.json')", "not a regular file"),
        ("(OUT / 'result.json').mkdir()", "cannot be read"),
        ("say(loss=1, padding='x' * 2**20)", "larger than"),
        ("say(loss=1); OUT.rename('moved'); OUT.symlink_to(Path('moved').resolve())", "cannot be read"),
        ("(OUT / 'result.json').write_text('[' * 100_000)", "cannot be read"),
        ("(OUT / 'result.json').write_text('{\"run\": \"run-1\"}')", "metrics"),
        ("(OUT / 'result.json').write_text('1')", "result.json"),
        ("(OUT / 'result.json').write_bytes(bytes([255, 0]))", "cannot be read"),
    ],
)
def test_what_is_no_honest_result_is_no_result(room: Room, train: str, why: str) -> None:
    done = room.measure(train)
    assert done.ending is Ending.CRASH
    assert why in done.why
    assert done.metrics == {}


def test_a_result_of_an_earlier_run_is_no_result(room: Room) -> None:
    keep = "say(loss=1); (OUT / 'result.json').rename(OUT.parents[2] / 'kept')"
    bring = "(OUT.parents[2] / 'kept').rename(OUT / 'result.json')"
    with room.executor(program()) as executor:
        executor.start(spec(room.tree(keep)))
        finish(executor)
        executor.start(spec(room.tree(bring), run="run-2"))
        done = finish(executor)
    assert (done.ending, done.metrics) == (Ending.CRASH, {})
    assert "of another run (run-1)" in done.why


def test_numbers_of_the_result_are_tidied(room: Room) -> None:
    done = room.measure("say(**{'loss': 1, 'tokens/s': 5, 'bad': float('nan'), '../x': 2, 'huge': 10**400, '9': 1})")
    assert done.metrics == {"loss": 1.0, "tokens_s": 5.0, "x": 2.0}
    many = room.measure("say(**{f'm{n}': n for n in range(500)}, loss=1)")
    assert many.metrics["loss"] == 1.0
    assert len(many.metrics) == 64


def test_a_script_that_knows_nothing_of_us_is_understood(room: Room) -> None:
    train = r'''
print("\rstep 00001 (50.0%) | loss: 3.1    ", end="", flush=True)
print("\rstep 00002 (99.0%) | loss: 2.9    ", end="", flush=True)
print()
print("""---
val_bpb:          0.997900
training_seconds: 0.001
total_seconds:    325.9
peak_vram_mb:     45060.2
mfu_percent:      39.80
total_tokens_M:   499.6
num_steps:        953
num_params_M:     50.3
depth:            8""")
'''
    wanted = program(metric=r"pattern = '^val_bpb:\s+(\S+)'").model_copy()
    named = wanted.model_copy(update={"metric": wanted.metric.model_copy(update={"name": "val_bpb"})})
    done = room.measure(train, named)
    assert done.ending is Ending.FINISHED
    assert done.metrics["val_bpb"] == 0.9979
    assert done.metrics["peak_memory_mib"] == 45060.2
    assert done.metrics["train_seconds"] == done.train_seconds == 0.001
    assert done.train_seconds < (done.train_wall_seconds or 0.0) <= done.wall_seconds, "the clock has its own word"
    assert done.metrics["num_steps"] == 953
    assert done.metrics["depth"] == 8


def test_the_pattern_alone_says_the_number_where_there_is_one(room: Room) -> None:
    wanted = program(metric=r"pattern = '^score (\S+)'")
    done = room.measure("say(loss=9)\nprint('score 1')\nprint('score 2')\nprint('score x')", wanted)
    assert (done.ending, done.metrics) == (Ending.FINISHED, {"loss": 2.0})
    silent = room.measure("say(loss=9)", wanted)
    assert (silent.ending, silent.metrics) == (Ending.CRASH, {})
    assert "metric.pattern" in silent.why
    assert room.measure("print('score nan')", wanted).ending is Ending.UNSTABLE


def test_the_evaluation_alone_says_the_number_where_there_is_one(room: Room) -> None:
    done = room.measure("say(loss=0.001, tokens=5)", program(metric=EVALUATE), evaluate="say(loss=2, error=0.1)")
    assert (done.ending, done.metrics) == (Ending.FINISHED, {"loss": 2.0, "tokens": 5.0, "error": 0.1})
    lying = room.measure("say(loss=0.001)", program(metric=EVALUATE), evaluate="say(error=0.1)")
    assert (lying.ending, lying.metrics) == (Ending.CRASH, {"error": 0.1})
    assert lying.why == "evaluate: it ended well, but reported no number loss"


def test_an_evaluator_that_the_training_changed_is_not_used(room: Room) -> None:
    tamper = """
for folder in (Path.cwd(), OUT, OUT.parent, OUT.parents[1]):
    (folder / "evaluate.py").write_text("raise SystemExit(0)")
    (folder / "json.py").write_text("raise SystemExit(0)")
say(loss=0)
"""
    done = room.measure(tamper, program(metric=EVALUATE), evaluate="say(loss=2)")
    assert (done.ending, done.metrics) == (Ending.FINISHED, {"loss": 2.0})
    training, evaluation = room.checkouts
    assert training != evaluation


def test_a_place_made_beforehand_for_the_evaluation_is_not_used(room: Room) -> None:
    plant = "(OUT.parents[1] / 'evaluate').symlink_to('/')\n(OUT.parents[1] / 'evaluate-code').mkdir()"
    done = room.measure(plant, program(metric=EVALUATE), evaluate="say(loss=2)")
    assert (done.ending, done.metrics) == (Ending.FINISHED, {"loss": 2.0})


def test_a_training_that_destroys_its_folder_is_a_crash(room: Room) -> None:
    destroy = "import shutil; shutil.rmtree(OUT.parents[1]); OUT.parents[1].write_text('')"
    done = room.measure(destroy, program(metric=EVALUATE), evaluate="say(loss=2)")
    assert (done.ending, done.metrics) == (Ending.CRASH, {})
    assert "its folder is unusable" in done.why
    assert list(room.work.iterdir()) == []


def test_the_evaluation_sees_the_model_and_its_own_data(room: Room) -> None:
    evaluate = """
model = Path(os.environ["AUTORESEARCH_MODEL"])
data = float("train" in os.environ["AUTORESEARCH_DATA"])
say(loss=float((model / "weights").read_text()), own=float(OUT != model), data=data)
"""
    wanted = program("data = 'data/train'", EVALUATE + "\ndata = 'data/val'")
    done = room.measure("(OUT / 'weights').write_text('1.25')", wanted, evaluate=evaluate)
    assert done.metrics == {"loss": 1.25, "own": 1.0, "data": 0.0}
    undated = room.measure(
        "",
        program("data = 'data/train'", EVALUATE),
        evaluate="say(loss=len([n for n in os.environ if n == 'AUTORESEARCH_DATA']))",
    )
    assert undated.metrics == {"loss": 0.0}


@pytest.mark.parametrize(
    ("evaluate", "ending", "why"),
    [
        ("print('it looks ahead'); raise SystemExit(4)", Ending.TAMPERED, "evaluate: it looks ahead"),
        ("raise ValueError('shape')", Ending.CRASH, "evaluate: ValueError: shape"),
        ("print('spikes'); raise SystemExit(3)", Ending.UNSTABLE, "evaluate: spikes"),
        ("say(loss=float('nan'))", Ending.UNSTABLE, "evaluate: loss is nan"),
    ],
)
def test_how_an_evaluation_ends_a_run(room: Room, evaluate: str, ending: Ending, why: str) -> None:
    done = room.measure("say(tokens=1)", program(metric=EVALUATE), evaluate=evaluate)
    assert (done.ending, done.why) == (ending, why)
    assert "loss" not in done.metrics


def test_a_training_that_exits_4_is_a_crash(room: Room) -> None:
    assert room.measure("raise SystemExit(4)").ending is Ending.CRASH


def test_an_evaluation_that_hangs_has_a_deadline_of_its_own(room: Room) -> None:
    wanted = program(metric=EVALUATE + "\nevaluate_seconds = 50.0")
    with room.executor(wanted) as executor:
        executor.start(spec(room.tree("", evaluate="import time; time.sleep(600)")))
        until(executor, lambda: executor.progress()[0].phase == "evaluating")
        done = finish(executor, now=executor.progress()[0].started + 2000)
    assert (done.ending, done.why) == (Ending.TIMEOUT, "evaluate: still running after 50 s")


def test_a_failing_check_spends_no_device(room: Room) -> None:
    wanted = program("check = 'python check.py'")
    failed = room.measure("say(loss=1)", wanted, check="raise ImportError('half')")
    assert (failed.ending, failed.why, failed.train_seconds) == (Ending.CRASH, "check: ImportError: half", 0.0)
    passed = room.measure("say(loss=1)", wanted, check="say(loss=0)")
    assert (passed.ending, passed.metrics) == (Ending.FINISHED, {"loss": 1.0})


def test_progress_follows_the_curve(room: Room, tmp_path: Path) -> None:
    train = """
with open(OUT / "metrics.jsonl", "w") as file:
    file.write('{"step": 5, "seconds": 30, "train_loss": 2.5}\\nnonsense\\n{"step": 10, "sec')
    file.flush()
    while not Path(os.environ["AUTORESEARCH_DATA"]).exists():
        pass
    file.write('onds": 60, "train_loss": 2}\\n')
say(loss=2)
"""
    with room.executor(program("data = 'go'")) as executor:
        executor.start(spec(room.tree(train)))
        first = executor.progress()[0]
        until(executor, lambda: executor.progress()[0].step == 5)
        halfway = executor.progress()[0]
        (tmp_path / "go").touch()
        done = finish(executor)
    assert (first.step, first.fraction, first.phase) == (0, None, "starting")
    assert (halfway.fraction, halfway.phase, halfway.train_seconds) == (0.1, "training", 30.0)
    assert [point.step for point in done.curve] == [5, 10]
    assert done.train_seconds < 60, "nobody trains longer than the clock says"


def test_a_budget_in_steps_counts_steps(room: Room) -> None:
    train = """
(OUT / "metrics.jsonl").write_text('{"step": 5, "seconds": 0, "train_loss": 2.5}\\n')
import time; time.sleep(600)
"""
    with room.executor(program("cpu_steps = 20")) as executor:
        executor.start(spec(room.tree(train)))
        until(executor, lambda: executor.progress()[0].step == 5)
        assert executor.progress()[0].fraction == 0.25


LADDER = """
[[scale]]
name = "large"
args = "--depth 12"
evaluate_args = "--batch 8"
cpu_steps = 40
"""


def test_a_run_on_a_rung_has_the_arguments_and_the_budget_of_that_rung(room: Room) -> None:
    train = "import sys\nsay(depth=float(sys.argv[2]), steps=float(os.environ['AUTORESEARCH_STEPS']))"
    wanted = program("cpu_steps = 20", metric=EVALUATE, more=LADDER)
    tree = room.tree(train, evaluate="import sys\nsay(loss=float(sys.argv[2]))")
    with room.executor(wanted) as executor:
        executor.start(replace(spec(tree), scale="large"))
        done = finish(executor)
    assert (done.metrics["depth"], done.metrics["steps"], done.metrics["loss"]) == (12, 40, 8)
