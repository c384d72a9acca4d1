"""A function that was written for the terminal, with bars of tqdm, as an operation: two lines make it one.

pip install 'restive[standard,tqdm]'
uvicorn examples.progress_bars:app
restive submit http://127.0.0.1:8000/fits --json '[[0, 1], [1, 3], [2, 5]]'
"""

from fastapi import FastAPI

from restive import Restive
from restive.tqdm import tqdm  # was: from tqdm import tqdm

app = FastAPI()
live = Restive(app)


def fit(points: list[tuple[float, float]], epochs: int = 200, rate: float = 0.05) -> dict[str, float]:
    """The line through points, by gradient descent. It knows nothing of operations."""
    slope = offset = 0.0
    bar = tqdm(range(epochs), desc="fitting", unit="epochs")
    for _ in bar:
        loss = 0.0
        for x, y in tqdm(points, desc="points", leave=False):
            error = slope * x + offset - y
            slope -= rate * error * x
            offset -= rate * error
            loss += error * error
        bar.set_postfix(loss=loss / len(points))
    return {"slope": round(slope, 3), "offset": round(offset, 3)}


live.operation("/fits", engine="processes")(fit)
