"""Stands in for `hornbeam train …` in tests of the supervisor: does what a scenario says, in a moment.

The scenario, `$STAND_IN`, is a JSON file: for each attempt, for each rank, what is to be done in order:
["say", text], ["err", text], ["run"] (make the run), ["checkpoint", step], ["exit", code],
["kill", signal], ["hang"], ["deaf"] (hang, whatever is asked), ["child"] (leave a process behind),
["touch", name], ["await", name].
"""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

rank = int(os.environ["HORNBEAM_RANK"])
words = sys.argv[1:]
run = Path(next(word for word in words if word.startswith("--run=")).removeprefix("--run="))
scenario = Path(os.environ["STAND_IN"])
notes = scenario.parent
attempt = len(list(notes.glob(f"attempt-{rank}-*")))
known = {k: v for k, v in os.environ.items() if k.startswith("HORNBEAM_")}
(notes / f"attempt-{rank}-{attempt}").write_text(
    json.dumps({"words": words, "pid": os.getpid(), "environment": known})
)


def end(number, frame):
    print("hornbeam: Stopped by SIGTERM at step 7, which is saved. To go on: …", file=sys.stderr)
    sys.exit(143)


signal.signal(signal.SIGTERM, end)
signal.signal(signal.SIGUSR1, lambda *_: (notes / f"saved-{rank}").touch())

attempts = json.loads(scenario.read_text())
steps = attempts[min(attempt, len(attempts) - 1)]
for step in steps.get(str(rank), steps.get("all", [])):
    match step:
        case ["say", text]:
            print(text, flush=True)
        case ["err", text]:
            print(text, file=sys.stderr, flush=True)
        case ["run"]:
            run.mkdir(parents=True, exist_ok=True)
            temporary = run / f"config-{os.getpid()}"
            temporary.write_text("batch_size: 32\n")
            temporary.replace(run / "config.yaml")
        case ["checkpoint", number]:
            (run / "checkpoints" / f"step-{number:08}").mkdir(parents=True)
        case ["exit", code]:
            sys.exit(code)
        case ["kill", number]:
            os.kill(os.getpid(), number)
        case ["hang"]:
            (notes / f"hangs-{rank}").touch()
            while True:
                time.sleep(0.02)
        case ["deaf"]:
            signal.signal(signal.SIGTERM, lambda *_: (notes / f"asked-{rank}").touch())
            (notes / f"hangs-{rank}").touch()
            while True:
                time.sleep(0.02)
        case ["child"]:
            child = subprocess.Popen(["sleep", "300"])
            (notes / f"child-{rank}").write_text(str(child.pid))
        case ["touch", name]:
            (notes / name).touch()
        case ["await", name]:
            while not (notes / name).exists():
                time.sleep(0.02)
