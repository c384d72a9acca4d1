"""The table that the clients of all languages share: worlds that the machine of this one has lived in.

``python tests/client/vectors.py`` writes ``tests/client/vectors/*.json`` anew; a test says when that is due.
A world is a policy (times in milliseconds; ``null``: never) and calls in order. How times are written, see
``recording``. Bytes are ``{"base64": …}``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from chaos import Chaos
from readings import events_of_streams, readings
from recording import Recorder, _camel
from scenes import SCENES, Prompt
from weather import World

from restive.client.policy import AUTO, TRANSPORTS, Policy

__all__ = ["DIRECTORY", "files"]

DIRECTORY = Path(__file__).parent / "vectors"
POLICY = replace(Policy(), connect_within=None)
MODES = ["ok", "ok", "refuse", "busy", "drop", "silent", "unreachable", "short"]
RUNGS = [AUTO, AUTO[1:], AUTO[2:], *((name,) for name in TRANSPORTS)]
TARGETS = ["/r", "/s", "/t"]
CHAOS = 34
WEATHERS = 18


def files() -> Iterator[tuple[str, str]]:
    """Names and contents."""
    yield "scenes.json", _worlds((scene.__name__, _scene(scene)) for scene in SCENES)
    yield "chaos.json", _worlds((f"chaos {seed}", _chaos(seed)) for seed in range(CHAOS))
    yield "weathers.json", _worlds((f"weathers {seed}", _weathers(seed)) for seed in range(WEATHERS))
    yield "news.json", _table(readings())
    yield "sse.json", _table(events_of_streams())


class Recorded(World):
    """The network, round a machine that is recorded."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.machine: Any = Recorder(self.policy, self.seed)


def _scene(scene: Any) -> Recorder:
    recorder = Recorder(Policy(), 1)
    scene(Prompt(recorder))
    return recorder


def _chaos(seed: int) -> Recorder:
    recorder = Recorder(replace(Policy(), better_after=[2.0, 20.0][seed % 2]), seed)
    Chaos(recorder, seed).run(60)
    return recorder


def _weathers(seed: int) -> Recorder:
    world = Recorded(
        seed,
        replace(POLICY, better_after=[1.0, 5.0, 60.0][seed % 3]),
        latency=[0.01, 0.3, 2.0][seed % 3],
        announce=[0.0, 0.3, 1.0][seed // 3 % 3],
        together=seed % 4 != 3,
        slow={"/s": 4.0} if seed % 2 else {},
        refused={"/t"} if seed % 5 == 4 else set(),
    )
    for key in range(3):
        world.watch(key, RUNGS[seed % len(RUNGS)], None, TARGETS[key])
    for _ in range(8):
        _step(world)
    world.turn({})
    world.run(20)
    world.end()
    world.run(60)
    return world.machine


def _step(world: World) -> None:
    random = world.random
    match random.choice(["run", "burst", "burst", "weather", "one weather", "watch", "reopen", "unwatch"]):
        case "run":
            world.run(random.choice([0.5, 3.0, 20.0]))
        case "burst":
            for _ in range(random.randrange(1, 5)):
                world.change(random.choice(list(world.versions)))
                world.run(random.random() * world.latency)
        case "weather":
            world.turn({name: random.choice(MODES) for name in TRANSPORTS})
        case "one weather":
            world.turn(dict.fromkeys(TRANSPORTS, random.choice(MODES)))
        case "watch":
            target = random.choice(TARGETS)
            tag = random.choice([None, f'"{world.versions.get(target, 0)}"', '"0"'])
            world.watch(len(world.shown), random.choice(RUNGS), tag, target)
        case "reopen":
            world._do(world.machine.reopen_socket(world.now))
        case "unwatch":
            world.unwatch(random.randrange(len(world.shown)))


def _worlds(worlds: Any) -> str:
    lines = []
    for name, recorder in worlds:
        policy = {
            _camel(key): value and round(value * 1000) for key, value in asdict(recorder.policy).items()
        }
        calls = ",\n".join(_json(call) for call in recorder.calls)
        lines.append(f'{{"name":{_json(name)},"policy":{_json(policy)},"calls":[\n{calls}\n]}}')
    return "[\n" + ",\n".join(lines) + "\n]\n"


def _table(rows: list[Any]) -> str:
    return "[\n" + ",\n".join(_json(row) for row in rows) + "\n]\n"


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


if __name__ == "__main__":
    DIRECTORY.mkdir(exist_ok=True)
    for name, content in files():
        (DIRECTORY / name).write_text(content, encoding="utf-8")
